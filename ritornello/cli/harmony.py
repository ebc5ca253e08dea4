"""Chorales side by side: Bach's held-out ones, a run's own, any folders of MIDI. A part of `ritornello evaluate`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from json import dumps
from pathlib import Path
from typing import Any

from rich.console import Console

from ritornello.api import Player
from ritornello.data.corpora import ARCHIVES, find, open_corpus
from ritornello.data.prepare import prepare
from ritornello.data.rolls import RollDataset
from ritornello.errors import MusicError
from ritornello.evaluate.framewise import FRAMES, FillerOfRolls, crops, framewise
from ritornello.evaluate.harmony import Voices, figures, table, voices
from ritornello.evaluate.tables import Cells, markdown, terminal
from ritornello.models.base import RollModel
from ritornello.music.score import Score, parse
from ritornello.representations import build
from ritornello.run import measure_rolls
from ritornello.song import Song

CORPORA = {"chorale": ("jsb_chorales",), "pianoroll": ("bach_cello_suites", "jsb_chorales")}
WIDTH = 150  # columns of tables that go to a file
NATS = ("coconet", "strict")
BATCH = 64  # pieces that are written at once


def side_by_side(
    player: Player | None,
    files: Sequence[str],
    corpus: str | None,
    tokens: Path | None,
    songs: int,
    keys: int,
    seed: int,
    device: str,
) -> dict[str, Any]:
    """{"measured": {figure: value}, "harmony": {system: figures}}: what a model of piano rolls measures on windows of
    the test split; and, unless it is of other music than chorales, the harmony of the test split, of `songs` pieces of
    the run, and of the files, those of each folder together."""
    result: dict[str, Any] = {}
    name = player.run.config.representation if player else "chorale"
    if player and isinstance(player.run.model, RollModel):
        folders = [tokens] if tokens else [prepared(c, name) for c in ((corpus,) if corpus else CORPORA[name])]
        test = RollDataset(folders, "test", name)
        result["measured"] = measure_rolls(player.run, test, device)
        if isinstance(model := player.run.player, FillerOfRolls):
            pieces = crops(model, test, device, seed)
            result["framewise"] = framewise(model, pieces, frames=FRAMES, keys=keys, seed=seed)
        if name != "chorale":
            return result
    if tokens and name != "chorale":
        tokens = None  # those of a model of tokens; harmony is counted on rolls
    folder = tokens or prepared(corpus or CORPORA["chorale"][0], "chorale")
    systems = {"held out": figures(map(voices, RollDataset(folder, "test", "chorale")), seed)}
    if player and songs:
        systems[player.run.folder.name] = figures(_voices(s.score for s in _play(player, songs, seed)), seed)
    for system, given in _grouped(files).items():
        pieces = list(_voices(_scores(given)))
        if not pieces:
            raise MusicError(f"{system} holds no music of four voices.")
        systems[system] = figures(pieces, seed)
    return result | {"harmony": systems}


def show(result: dict[str, Any], json: bool, md: bool) -> None:
    """Print it."""
    made: list[Cells] = []
    if "measured" in result:
        rows = [[name, f"{value:.4g}"] for name, value in result["measured"].items()]
        made.append(("On windows that it has not learned from", ["", "value"], rows))
    if "framewise" in result:
        told = result["framewise"]
        rows = [[kind, f"{told[kind]['value']:.3f}", "{:.3f}-{:.3f}".format(*told[kind]["interval"])] for kind in NATS]
        made.append((f"Nats a frame, {told['pieces']} pieces", ["", "mean", "5 to 95 % of resampled pieces"], rows))
    if "harmony" in result:
        made.append(table(result["harmony"]))
    if json:
        print(dumps(result))
    elif md:
        print(markdown(made))
    else:
        Console(width=None if sys.stdout.isatty() else WIDTH).print(*terminal(made), sep="\n\n")


def _play(player: Player, songs: int, seed: int) -> Iterator[Song]:
    """What the run writes, with the wishes that it has by default, in batches."""
    for first in range(0, songs, BATCH):
        yield from player.songs(seed=seed + first, count=min(BATCH, songs - first))


def prepared(corpus: str, representation: str) -> Path:
    """The folder of a corpus's rolls or tokens; made where it is missing or unfinished."""
    folder = Path("tokens", f"{open_corpus(corpus).name}-{representation}")
    if not (folder / "songs.jsonl").exists():
        print(f"Preparing {corpus} in {folder}, once.", file=sys.stderr)
        prepare(corpus, folder, representation)
    return folder


def _grouped(files: Sequence[str]) -> dict[str, list[str]]:
    """A system for each folder, archive, pattern or corpus; single files go together by the folder they lie in."""
    groups: dict[str, list[str]] = {}
    for file in files:
        single = Path(file).is_file() and not file.lower().endswith(ARCHIVES)
        groups.setdefault(str(Path(file).parent) if single else file.rstrip("/"), []).append(file)
    return groups


def _scores(files: Sequence[str]) -> Iterator[Score]:
    """The music of MIDI files; what cannot be read is told and left out."""
    for entry in find(files):
        if entry.data is None:
            print(f"note: {entry.name}: {entry.problem}", file=sys.stderr)
            continue
        try:
            yield parse(entry.data, entry.name)
        except MusicError as error:
            print(f"note: {error}", file=sys.stderr)


def _voices(scores: Iterator[Score]) -> Iterator[Voices]:
    """Those that are chorales."""
    representation = build("chorale")
    for score in scores:
        try:
            yield voices(representation.encode(score))
        except MusicError as error:
            print(f"note: a piece is left out: {error}", file=sys.stderr)
