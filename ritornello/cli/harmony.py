"""Chorales side by side: Bach's held-out ones, a run's own, any folders of MIDI. A part of `ritornello evaluate`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ritornello.api import Player
from ritornello.data.corpora import open_corpus
from ritornello.data.prepare import prepare
from ritornello.data.rolls import RollDataset
from ritornello.errors import MusicError
from ritornello.evaluate.harmony import Voices, figures, table, voices
from ritornello.evaluate.tables import Cells
from ritornello.music.score import Score, parse
from ritornello.representations import build

CORPUS = "jsb_chorales"


def harmony(
    player: Player | None, files: Sequence[str], corpus: str | None, tokens: Path | None, songs: int, seed: int
) -> dict[str, Any]:
    """{"harmony": {system: figures}}: the test split of a corpus, then `songs` pieces of a run, then the files."""
    name = corpus or CORPUS
    folder = tokens or prepared(name, "chorale")
    test = RollDataset(folder, "test", "chorale")
    systems = {f"{open_corpus(name).name if not tokens else folder.name}, test": figures(map(voices, test), seed)}
    if player and songs:
        written = player.songs(count=songs, seed=seed)
        systems[player.run.folder.name] = figures(_voices(song.score for song in written), seed)
    for file in files:
        pieces = list(_voices(_scores(file)))
        if not pieces:
            raise MusicError(f"{file} holds no MIDI file of four voices.")
        systems[Path(file).name] = figures(pieces, seed)
    return {"harmony": systems}


def measured(player: Player, corpus: Sequence[str], tokens: Path | None, device: str) -> dict[str, float]:
    """What a model of piano rolls measures on windows of the test split of what it learned from."""
    from ritornello.run import measure_rolls

    representation = player.run.config.representation
    folders = [tokens] if tokens else [prepared(name, representation) for name in corpus]
    return measure_rolls(player.run, RollDataset(folders, "test", representation), device, windows=None)


def cells(result: dict[str, Any]) -> list[Cells]:
    """The tables of both."""
    made: list[Cells] = []
    if "measured" in result:
        rows = [[name, f"{value:.4g}"] for name, value in result["measured"].items()]
        made.append(("On held-out windows", ["", "value"], rows))
    if "harmony" in result:
        made.append(table(result["harmony"]))
    return made


def prepared(corpus: str, representation: str) -> Path:
    """The folder of a corpus's rolls; made where it is missing or unfinished."""
    folder = Path("tokens", f"{open_corpus(corpus).name}-{representation}")
    if not (folder / "songs.jsonl").exists():
        print(f"Preparing {corpus} in {folder}, once.", file=sys.stderr)
        prepare(corpus, folder, representation)
    return folder


def _scores(name: str) -> Iterator[Score]:
    """The MIDI files of a folder, archive or corpus; what cannot be read is told and left out."""
    for entry in open_corpus(name):
        try:
            if entry.data is not None:
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
