"""`ritornello evaluate --run museformer --json`, `ritornello evaluate --files 'some/*.mid' --reference lmd`,
`ritornello evaluate --task restyle --run musemorphose --md`
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table
from tyro.conf import FlagCreatePairsOff, arg

from ritornello.api import Player, load
from ritornello.cli.harmony import WIDTH, prepared, show, side_by_side
from ritornello.data.corpora import find
from ritornello.data.dataset import TokenDataset
from ritornello.errors import ConfigError, MusicError
from ritornello.evaluate.files import Measurer, Readings, Reference, measure_all, open_reference
from ritornello.evaluate.likelihood import Scorer
from ritornello.evaluate.ngram import yardsticks as count_yardsticks
from ritornello.evaluate.originality import Known
from ritornello.evaluate.report import evaluate, markdown, tables
from ritornello.evaluate.restyle import LENGTHS, evaluate_restyle
from ritornello.evaluate.restyle import markdown as restyle_markdown
from ritornello.evaluate.restyle import tables as restyle_tables
from ritornello.music.bars import first_bars
from ritornello.music.score import Score
from ritornello.representations.base import Tokens
from ritornello.representations.pianoroll import PianoRoll
from ritornello.request import Request
from ritornello.restyle import Manner

Item = TypeVar("Item")
KEYS = 11  # one more would be the same an octave away
MOST = 12  # files left out that are named on the terminal


def main(
    files: Annotated[tuple[str, ...], arg(metavar="PATTERN|FOLDER")] = (),
    reference: Annotated[str | None, arg(metavar="CORPUS|FOLDER")] = None,
    run: Annotated[str | None, arg(metavar="NAME|FOLDER")] = None,
    task: Literal["songs", "restyle", "harmony"] = "songs",
    corpus: Annotated[str | None, arg(metavar="CORPUS")] = None,
    tokens: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    held_out: Annotated[int, arg(metavar="N")] = 100,
    songs: Annotated[int, arg(metavar="N")] = 100,
    bars: Annotated[str | None, arg(metavar="N|N,N,...")] = None,
    variants: Annotated[int, arg(metavar="N")] = 4,
    fluency: Annotated[str | None, arg(metavar="NAME|FOLDER")] = None,
    temperature: float | None = None,
    guidance: float | None = None,
    insist: float | None = None,
    candidates: int | None = None,
    keys: int = 1,
    batch: Annotated[int, arg(metavar="N")] = 10,
    yardsticks: FlagCreatePairsOff[bool] = False,
    representation: Annotated[str | None, arg(metavar="NAME")] = None,
    known: Annotated[int | None, arg(metavar="N")] = None,
    index: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    pictures: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    json: FlagCreatePairsOff[bool] = False,
    md: FlagCreatePairsOff[bool] = False,
    seed: int = 0,
    device: str = "cpu",
    precision: Literal["float32", "bfloat16"] = "float32",
    workers: Annotated[int | None, arg(metavar="N")] = None,
) -> None:
    """Measure a run on songs it has not learned from: how they surprise it, and whether its own are like them. Or, with
    --files, measure any MIDI files in the same ways, beside human songs.

    Args:
        files: measure these: files, patterns such as 'some/*.mid', folders, archives, named corpora.
        reference: of --files: human songs to hold them against and to look for copies in: a named corpus (lmd), a
            folder or archive of MIDI files, or a folder that `ritornello prepare` left.
        run: a model that ships, or a run's folder; by default museformer, or musemorphose for restyling.
            With --files, only where it is given: also tell how they surprise it.
        task: measure songs that are written, or how pieces are restyled: fidelity, diversity, control, fluency; or
            harmony: how four voices go together in held-out chorales, in what the run writes (where one is named), and
            in each folder of --files.
        corpus: where held-out songs come from: the test split of a named corpus, folder or archive. By default
            lmd_multitrack, or pop909_cl for restyling.
        tokens: the same corpus as `ritornello prepare` left it; by default it is prepared first, in tokens/.
        held_out: how many held-out songs are read, spread evenly over the test split; 0 for none.
        songs: how many songs the run writes, and how many human ones they are held against; 0 for none.
        bars: of every song that is written (by default each ends where it wants to), and the first so many of --files
            and of human songs (by default whole). Of restyling: one length or several, by default 8,16,32,64,96.
        variants: of restyling: how often each held-out piece is played again.
        fluency: of restyling: another language model of the same representation, for the perplexity of what is played.
        temperature, guidance, insist, candidates: of restyling, as in `ritornello restyle`.
        keys: of a model that fills in: in how many keys it looks at a held-out piece.
        batch: songs that are written at once.
        yardsticks: measure an n-gram, and one that copies from the song, beside the run.
        representation: of --files: hold both sides as this representation does (museformer: six instruments).
        known: in how many songs of the training split, or of the reference, copies are looked for; 0 for all. By
            default all that a prepared folder holds, 1,000 of a corpus of files.
        index: where the index of those songs is kept; by default beside the tokens, or in tokens/.
        pictures: a folder for the similarity distributions (the paper's Figure 3).
        json: print JSON.
        md: print Markdown, for a model's card.
        seed: of the songs and of the bootstrap.
        device: cpu or cuda.
        precision: of the likelihood; bfloat16 is for a GPU.
        workers: processes that read files (by default one a processor).
    """
    workers = workers or os.cpu_count() or 1
    if not files and (reference or representation):
        flag = "--reference" if reference else "--representation"
        raise MusicError(f"{flag} says what --files are held against; name the files, too.")
    if files and task == "restyle":
        raise ConfigError(
            "task = restyle: held-out pieces are played again; --files are measured as songs or by harmony."
        )
    if not 1 <= keys <= KEYS:
        raise ConfigError(f"keys = {keys}: a piece is looked at in 1 to {KEYS} keys.")
    settings: dict[str, Any] = {"device": device, "precision": precision, "seed": seed}
    if task == "harmony":
        player = load(run, device) if run else None
        return show(side_by_side(player, files, corpus, tokens, songs, keys, seed, device), json, md)
    lengths = _lengths(bars)
    if task == "restyle":
        asked = {"temperature": temperature, "guidance": guidance, "insist": insist, "candidates": candidates}
        manner = Manner(seed=seed, **{name: value for name, value in asked.items() if value is not None})
        player = load(run or "musemorphose", device)
        folder = tokens or prepared(corpus or "pop909_cl", player.run.representation.name)
        judge = None if fluency is None else load(fluency, device)
        test = TokenDataset(folder, "test")
        pieces = test.spread(held_out)
        found = _restyled(player, pieces, lengths or LENGTHS, variants, batch, judge, manner, device)
        _print(found, json, md, restyle_markdown, restyle_tables)
        return
    if len(lengths) > 1:
        raise ConfigError(f"bars = {bars}: songs are all measured at one length; give one number.")
    length = lengths[0] if lengths else None
    if files:
        player = load(run, device) if run else None
        source = open_reference(reference, songs, known) if reference else None
        told = _of_files(files, source, player, representation, length, index, workers, pictures, settings)
        _print(told, json, md, markdown, tables)
        return
    player = load(run or "museformer", device)
    if isinstance(player.run.representation, PianoRoll):
        return show(side_by_side(player, (), corpus, tokens, songs, keys, seed, device), json, md)
    folder = tokens or prepared(corpus or "lmd_multitrack", player.run.representation.name)
    result = _of_run(player, folder, held_out, songs, length, batch, yardsticks, known, index, pictures, settings)
    _print(result, json, md, markdown, tables)


def _print(
    result: dict[str, Any],
    json: bool,
    md: bool,
    markdown: Callable[[dict[str, Any]], str],
    tables: Callable[[dict[str, Any]], list[Table]],
) -> None:
    if json:
        print(dumps(result))
    elif md:
        print(markdown(result))
    else:
        Console(width=None if sys.stdout.isatty() else WIDTH).print(*tables(result), sep="\n\n")


def _lengths(bars: str | None) -> tuple[int, ...]:
    """ "8,16" → (8, 16). Raises ConfigError for what is no list of numbers from 1."""
    parts = bars.split(",") if bars else []
    if not all(part.strip().isdecimal() and int(part) for part in parts):
        raise ConfigError(f"bars = {bars}: should be a number of bars, or several with commas between: 8,16,32.")
    return tuple(map(int, parts))


def _restyled(
    player: Player,
    pieces: Sequence[Tokens],
    lengths: Sequence[int],
    variants: int,
    batch: int,
    judge: Player | None,
    manner: Manner,
    device: str,
) -> dict[str, Any]:
    """Play pieces again and measure what came of them. Raises ConfigError for a judge of another representation."""
    representation = player.run.representation
    if judge is not None and judge.run.representation.name != representation.name:
        raise ConfigError(
            f"fluency = {judge.run.folder}: it reads {judge.run.representation.name!r}, and the pieces are "
            f"in {representation.name!r}."
        )
    with _progress() as progress:
        task = progress.add_task("pieces played again", total=None)
        return evaluate_restyle(
            pieces,
            representation,
            lambda sources, classes, seed: player.replay(sources, classes, manner.model_copy(update={"seed": seed})),
            player.bounds,
            lengths,
            variants,
            batch,
            None if judge is None else judge.run.decoder,
            manner.seed,
            device,
            lambda count: progress.advance(task, count),
        )


def _of_run(
    player: Player,
    folder: Path,
    held_out: int,
    songs: int,
    bars: int | None,
    batch: int,
    yardsticks: bool,
    known: int | None,
    index: Path | None,
    pictures: Path | None,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """A run on held-out songs, and its own songs beside them."""
    representation, name = player.run.representation, player.run.folder.name
    test = TokenDataset(folder, "test")
    scorers: dict[str, Scorer] = {name: player.run.model}  # pyright: ignore[reportAssignmentType]
    if yardsticks:
        train = TokenDataset(folder, "train")
        counted = count_yardsticks([train[i].ids for i in range(len(train))], representation.vocabulary.size)
        scorers.update(counted)
    with _progress() as progress:
        learned = _index(open_reference(folder, songs, known), None, index, 1, progress) if songs else None
        read = progress.add_task("held-out songs read", total=min(held_out, len(test)) or None, visible=held_out > 0)
        written = progress.add_task("songs written", total=songs or None, visible=songs > 0)
        written_songs = _counted(_songs(player, songs, bars, batch, settings["seed"]), progress, written)
        return evaluate(
            systems={name: written_songs} if songs else None,
            human=(first_bars(representation.decode(song), bars) for song in test.spread(songs)),
            scorers=scorers if held_out else None,
            held_out=_counted(test.spread(held_out), progress, read),
            vocabulary=representation.vocabulary,
            known=learned,
            pictures=pictures,
            **settings,
        )


def _of_files(
    files: tuple[str, ...],
    reference: Reference | None,
    player: Player | None,
    representation: str | None,
    bars: int | None,
    index: Path | None,
    workers: int,
    pictures: Path | None,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Any files beside a reference; how they surprise a run, too, where there is one."""
    if reference and reference.representation:
        if representation not in (None, reference.representation):
            raise MusicError(f"{reference.name} holds songs as {reference.representation}, not as {representation}.")
        representation = reference.representation
    task = Measurer(representation, player.run.representation.name if player else None, bars)
    with _progress() as progress:
        bar = progress.add_task("files measured", total=None)
        jobs = ((entry.name, entry) for entry in find(files))
        measured = measure_all(jobs, task, workers, lambda count: progress.advance(bar, count))
        if not measured.songs:
            first, count = _reasons(measured.skipped)[0], len(measured.skipped)
            raise MusicError(first if count == 1 else f"None of {count:,} files can be measured; {first}")
        human, learned = Readings(), None
        if reference:
            bar = progress.add_task("human songs measured", total=reference.human_count)
            human = measure_all(reference.human(), task, workers, lambda count: progress.advance(bar, count))
            learned = _index(reference, representation, index, workers, progress) if reference.known_count else None
        result = evaluate(
            {"files": measured.songs}, human.songs, known=learned, pictures=pictures, seed=settings["seed"]
        )
        if player:
            scorer: Scorer = player.run.model  # pyright: ignore[reportAssignmentType]
            name, vocabulary = player.run.folder.name, player.run.representation.vocabulary
            surprise = {}
            for whose, found in (("the files", measured.tokens), ("human songs", human.tokens)):
                if found:
                    asked = {f"{name}, on {whose}": scorer}
                    surprise |= evaluate(scorers=asked, held_out=found, vocabulary=vocabulary, **settings)["likelihood"]
            result = {"likelihood": surprise} | result if surprise else result
    notes = [f"left out: {reason}" for reason in _reasons(measured.skipped)]
    notes += [f"left out of the likelihood: {reason}" for reason in _reasons(measured.refused)]
    if reference and human.skipped:
        notes.append(
            f"{len(human.skipped):,} of {reference.human_count:,} human songs of {reference.name} are left out."
        )
    _tell(notes + measured.warned)
    return result | {"skipped": measured.skipped, "human_skipped": human.skipped, "refused": measured.refused}


def _reasons(left_out: dict[str, str]) -> list[str]:
    """Sentences that name the file."""
    return [reason if name in reason else f"{name}: {reason}" for name, reason in left_out.items()]


def _tell(notes: list[str]) -> None:
    """What was left out and mended, on stderr."""
    for note in notes[:MOST]:
        print(f"note: {note}", file=sys.stderr)
    if len(notes) > MOST:
        print(f"note: and {len(notes) - MOST:,} more; --json names them.", file=sys.stderr)


def _index(
    reference: Reference, representation: str | None, folder: Path | None, workers: int, progress: Progress
) -> Known:
    """The index of known songs, made where it is not there."""
    bar = progress.add_task("known songs read", total=reference.known_count)
    return reference.build(representation, folder, workers, lambda count: progress.advance(bar, count))


def _songs(player: Player, count: int, bars: int | None, batch: int, seed: int) -> Iterator[Score]:
    """What the run writes, with the settings that `ritornello generate` has by default."""
    for first in range(0, count, batch):
        request = Request(bars=bars, seed=seed + first, count=min(batch, count - first))
        yield from (song.score for song in player.songs(**request.model_dump()))


def _counted(items: Iterable[Item], progress: Progress, task: TaskID) -> Iterator[Item]:
    """The same items; the bar moves on with each."""
    for item in items:
        yield item
        progress.advance(task)


@contextmanager
def _progress() -> Iterator[Progress]:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress
