"""Anybody's MIDI files in numbers, and a reference of human songs to hold them against; no model is needed.

Files are read and measured in worker processes, so that a file may be broken in any way: it is left out, with the
reason. Both sides are taken as they are, or both as one representation holds them: a song merged into six instruments,
held against songs of twenty, differs for that alone.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ritornello.data.corpora import Corpus, Entry, open_corpus
from ritornello.data.dataset import TokenDataset, evenly
from ritornello.data.split import draw
from ritornello.data.workers import Failure, run
from ritornello.errors import MusicError
from ritornello.evaluate.measure import Measured, measure, with_lead
from ritornello.evaluate.originality import Known, Lines, lines
from ritornello.music.bars import first_bars
from ritornello.music.score import MusicWarning, Score, parse
from ritornello.representations import build
from ritornello.representations.base import Tokens

KNOWN = 1000  # songs of a corpus of files in which copies are looked for, where nothing else is asked

Job = Entry | Tokens
Advance = Callable[[int], object]


@dataclass(frozen=True)
class Reading:
    """What was made of one file."""

    measured: Measured
    tokens: Tokens | None = None
    refused: str = ""  # why there are no tokens, where they were asked for
    warned: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measurer:
    """A file, or a song of a prepared corpus, → Reading; picklable.

    representation:  hold the song as this one does before it is measured.
    encoder:         encode it, too, with this one.
    bars:            of its first bars alone.
    """

    representation: str | None = None
    encoder: str | None = None
    bars: int | None = None

    def __call__(self, job: Job) -> Reading | Failure:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", MusicWarning)
            try:
                score = first_bars(_score(job, self.representation), self.bars)
                measured = measure(score)
            except MusicError as error:
                return Failure("cannot be read", str(error))
            tokens, refused = None, ""
            if self.encoder:
                try:
                    tokens = build(self.encoder).encode(score)
                except MusicError as error:
                    refused = str(error)
        return Reading(measured, tokens, refused, tuple(str(warning.message) for warning in caught))


@dataclass(frozen=True)
class Liner:
    """A file, or a song of a prepared corpus, → its lines for originality; picklable."""

    representation: str | None = None

    def __call__(self, job: Job) -> dict[str, Lines] | Failure:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MusicWarning)
            try:
                return lines(with_lead(_score(job, self.representation)))
            except MusicError as error:
                return Failure("cannot be read", str(error))


def _score(job: Job, representation: str | None) -> Score:
    if isinstance(job, Tokens):
        return build(representation or job.meta["representation"]).decode(job)
    if job.data is None:
        raise MusicError(f"cannot read {job.name}: it {job.problem or 'holds nothing'}")
    score = parse(job.data, job.name)
    return build(representation).decode(build(representation).encode(score)) if representation else score


@dataclass
class Readings:
    """Files that were measured, and those that were not."""

    songs: list[Measured] = field(default_factory=list)
    tokens: list[Tokens] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)  # name → reason
    refused: dict[str, str] = field(default_factory=dict)  # measured, but not to be encoded
    warned: list[str] = field(default_factory=list)


def measure_all(
    jobs: Iterable[tuple[str, Job]], task: Measurer, workers: int = 1, advance: Advance = lambda files: None
) -> Readings:
    """Measure files by name; `advance` is told of each."""
    names: list[str] = []

    def named() -> Iterator[Job]:
        for name, job in jobs:
            names.append(name)
            yield job

    readings = Readings()
    for number, outcome in enumerate(run(task, named(), workers)):
        advance(1)
        if isinstance(outcome, Failure):
            readings.skipped[names[number]] = outcome.detail
            continue
        readings.songs.append(outcome.measured)
        readings.warned += outcome.warned
        if outcome.tokens is not None:
            readings.tokens.append(outcome.tokens)
        if outcome.refused:
            readings.refused[names[number]] = outcome.refused
    return readings


# The reference


@dataclass(frozen=True)
class Reference:
    """Human songs: some to hold others against, and some, never the same or of one piece, to look for copies in."""

    name: str
    about: str  # the songs in which copies are looked for, in words
    representation: str | None  # of prepared tokens
    human_count: int
    known_count: int
    human: Callable[[], Iterator[tuple[str, Job]]] = field(repr=False)
    known: Callable[[], Iterator[tuple[str, Job]]] = field(repr=False)  # key → song; see Known.build
    index: Path = Path()  # where the index of the known songs is kept, if nowhere else is asked for

    def build(
        self, representation: str | None, folder: Path | None, workers: int, advance: Advance = lambda songs: None
    ) -> Known:
        """The index of the known songs; made where it is missing or of other songs."""
        jobs = ((f"{key} {representation or ''}".rstrip(), job) for key, job in self.known())
        return Known.build(folder or self.index, self.about, jobs, Liner(representation), workers, advance)


def open_reference(name: str | Path, songs: int, known: int | None = None) -> Reference:
    """A folder that `ritornello prepare` left, or a named corpus, folder or archive of MIDI files.

    songs:  how many human songs to hold others against.
    known:  in how many songs to look for copies; 0 for all; by default all of prepared tokens, KNOWN of files.

    Of prepared tokens, the first are of the test split (of the validation split where that is empty), the second of the
    training split. Of files they are as its manifest says, or else by lot, the same each time: at most half of the
    pieces are held out, a piece being what the manifest calls a cluster, or each file (a folder without a manifest that
    holds one piece twice may so give it to both).
    """
    if (Path(name) / "songs.jsonl").exists():
        return _tokens(Path(name), songs, known or 0)
    return _files(open_corpus(name), songs, KNOWN if known is None else known)


def _tokens(folder: Path, songs: int, known: int) -> Reference:
    test = TokenDataset(folder, "test")
    human = test if len(test) else TokenDataset(folder, "valid")
    train = TokenDataset(folder, "train")
    chosen, learned = evenly(len(human), songs), evenly(len(train), known or len(train))

    def key(i: int) -> str:
        song = train.songs[i]
        return f"{song['file']} {song['tokens']} {song['notes']}"

    some = human[0] if len(human) else train[0] if len(train) else None
    return Reference(
        name=str(folder),
        about=f"the training songs of {folder}",
        representation=some.meta["representation"] if some else None,
        human_count=len(chosen),
        known_count=len(learned),
        human=lambda: ((human.songs[i]["file"], human[i]) for i in chosen),
        known=lambda: ((key(i), train[i]) for i in learned),
        index=folder / "originality",
    )


def _files(corpus: Corpus, songs: int, known: int) -> Reference:
    listing = sorted(corpus.listing(), key=lambda entry: (_rank(entry), entry.name))
    if not listing:
        raise MusicError(f"{corpus.path} holds no MIDI file that others could be held against.")
    pieces = [entry.cluster or entry.name for entry in listing]
    held_out: dict[str, None] = {}  # pieces, in the order of their lots
    most = min(songs, max(len(set(pieces)) // 2, 1 if songs else 0))
    human: list[str] = []
    for entry, piece in zip(listing, pieces, strict=True):
        if (piece in held_out or len(held_out) < most) and len(human) < songs and entry.split != "train":
            held_out[piece] = None
            human.append(entry.name)
    free = [entry.name for entry, piece in zip(listing, pieces, strict=True) if piece not in held_out]
    learned = free[-known:] if known else free
    chosen, wanted = set(human), set(learned)

    def key(entry: Entry) -> str:
        return f"{entry.name} {hashlib.blake2b(entry.data or b'', digest_size=8).hexdigest()}"

    return Reference(
        name=corpus.name,
        about=f"songs of {corpus.name}",
        representation=None,
        human_count=len(human),
        known_count=len(learned),
        human=lambda: ((entry.name, entry) for entry in corpus.read(chosen)),
        known=lambda: ((key(entry), entry) for entry in corpus.read(wanted)),
        index=Path("tokens", f"{corpus.name}-originality"),
    )


def _rank(entry: Entry) -> tuple[int, float]:
    """Songs to hold out first: those of a test split, then by the lots that `data.split` draws, too."""
    place: dict[Any, int] = {"test": 0, "valid": 1, None: 1, "train": 2}
    return place[entry.split], draw(entry.cluster or entry.name)
