"""Is it copied? How much of a song, note for note, is found in the music that a model learned from.

A line is one instrument's notes in a row: by onset, those of a chord from below. A run of n notes is found if somewhere
in one line of the known songs n notes in a row have

- the same intervals in semitones from note to note (so a transposed copy is a copy),
- the same steps of time from onset to onset, in twelfths of a quarter, those of a whole note and more alike, and
- the same note values but for the last one's: nearest to a thirty-second, sixteenth, eighth, quarter, half, or whole.

Tempo, loudness, instrument and place in the bar do not matter. Measured are the longest run found, in notes, and the
share of a song's runs of 4, 8 and 16 notes (n-grams) that are found,

- on the melody, the highest note of each onset, in the known songs' melodies, and
- on all pitched tracks, in the known songs' pitched tracks. Drums are left out: their patterns are everybody's.

Music shares figures without copying: scales, broken chords, repeated notes. So a figure says something only beside the
same figure of human songs that are not among the known (nor near-duplicates of one), which is what stands in the
report. An accompaniment is full of patterns; that a melody comes from somewhere shows on the melody.

How: `Known` keeps the known songs' lines on disk, some 4 bytes a note. A run is looked up by a 64-bit hash that any run
has by one subtraction of sums (Karp and Rabin 1987): first all runs of 4 notes, then of 8, 16 ... where those were
found, and between the last found and the next by bisection, one part of a thousand songs after the other: memory is
bounded by a part. (Two different runs have equal hashes about once in 10^19 pairs.)
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ritornello.data.shards import write_atomically, write_json
from ritornello.data.workers import Failure, run
from ritornello.errors import MusicError
from ritornello.evaluate.notes import STEPS, to_steps
from ritornello.music.score import Score

TRACKS = ("melody", "all")
GRAMS = (4, 8, 16)  # notes; each twice the one before, as the search goes
SONGS_PER_PART = 1000
FORMAT = 1  # of what is written
LONGEST_STEP = 4 * STEPS
VALUES = (3, 5, 9, 17, 34)  # twelfths of a quarter at which the next longer note value is the nearer one

FIGURES = {
    name: text
    for tracks, where in (("melody", "melody"), ("all", "all tracks"))
    for name, text in (
        (f"{tracks}_longest_run", f"{where}: longest run found, notes"),
        *((f"{tracks}_found_{n}", f"{where}: runs of {n} notes found, share") for n in GRAMS),
    )
}

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Lines:
    """Lines of notes, end to end, as transitions from note to note: a line of k notes has k - 1."""

    codes: NDArray[np.uint32]  # [n]: interval, step and note value of each transition
    starts: Ints  # [lines + 1]: line i is codes[starts[i] : starts[i + 1]]

    @staticmethod
    def join(parts: Sequence[Lines]) -> Lines:
        sizes = [0, *(len(part.codes) for part in parts)]
        starts = [part.starts[:-1] + before for part, before in zip(parts, np.cumsum(sizes), strict=False)]
        codes = np.concatenate([np.zeros(0, np.uint32), *(part.codes for part in parts)])
        return Lines(codes, np.concatenate([np.zeros(0, np.int64), *starts, [len(codes)]]).astype(np.int64))


def lines(score: Score) -> dict[str, Lines]:
    """The lines of a song: of the tracks named "melody" as one, highest notes only; and of every pitched track."""
    pitched = [track for track in score.tracks if len(track.notes) and not track.is_drum]
    columns = [(track.name, track.notes.numpy()) for track in pitched]
    quarter = score.ticks_per_quarter
    each = [_line(*_rounded(notes, quarter)) for _, notes in columns]
    melody = [_rounded(notes, quarter) for name, notes in columns if name == "melody"]
    lead = []
    if melody:
        onset, pitch, duration = (np.concatenate(column) for column in zip(*melody, strict=True))
        order = np.lexsort((-pitch, onset))
        highest = order[np.append(True, np.diff(onset[order]) > 0)]
        lead = [_line(onset[highest], pitch[highest], duration[highest])]
    return {"melody": _lines(lead), "all": _lines(each)}


def _rounded(notes: dict[str, NDArray[Any]], quarter: int) -> tuple[Ints, Ints, Ints]:
    """Onset and duration in twelfths of a quarter, and pitch."""
    onset, duration = (to_steps(notes[name].astype(np.int64), quarter) for name in ("time", "duration"))
    return onset, notes["pitch"].astype(np.int64), duration


def _line(onset: Ints, pitch: Ints, duration: Ints) -> NDArray[np.uint32]:
    """Transitions between notes by onset, then pitch; of notes at one onset and pitch the longest stays."""
    order = np.lexsort((-duration, pitch, onset))
    onset, pitch, duration = onset[order], pitch[order], duration[order]
    first = np.append(True, (np.diff(onset) > 0) | (np.diff(pitch) != 0))
    onset, pitch, duration = onset[first], pitch[first], duration[first]
    step = np.minimum(np.diff(onset), LONGEST_STEP)
    value = np.searchsorted(VALUES, duration[:-1], "right")
    return ((np.diff(pitch) + 128) << 9 | step << 3 | value).astype(np.uint32)


def _lines(parts: Sequence[NDArray[np.uint32]]) -> Lines:
    return Lines.join([Lines(part, np.array([0, len(part)])) for part in parts])


# The known songs


@dataclass(frozen=True)
class Known:
    """The lines of the known songs, on disk: <folder>/<part>.<tracks>.<codes|starts>.npy, mapped when they are read."""

    folder: Path
    parts: int
    songs: int
    about: str  # what the songs are, in words

    @staticmethod
    def build(
        folder: Path,
        about: str,
        jobs: Iterable[tuple[str, Any]],
        task: Callable[[Any], dict[str, Lines] | Failure],
        workers: int = 1,
        advance: Callable[[int], object] = lambda songs: None,
    ) -> Known:
        """Make the index of songs in `folder`, or finish one that was begun, or take the one that is there.

        jobs:     a song each: what tells it from another (file name and digest, say), and what `task` makes lines of.
        advance:  told of how many more songs are done.

        Raises MusicError where the folder cannot be written to, or where no song is left.
        """
        parts: list[dict[str, Any]] = []
        plan: deque[tuple[int, list[str], int]] = deque()  # parts to make: number, keys, songs

        def missing() -> Iterator[Any]:
            source = iter(jobs)
            for number in range(10**9):
                chunk = list(islice(source, SONGS_PER_PART))
                if not chunk:
                    return
                keys = [key for key, _ in chunk]
                record = _record(folder, number)
                parts.append(record if record and record["keys"] == keys else {})
                if parts[number]:
                    advance(len(keys))
                    continue
                plan.append((number, keys, len(chunk)))
                yield from (job for _, job in chunk)

        try:
            found: list[dict[str, Lines]] = []
            seen = 0
            for outcome in _outcomes(task, missing(), workers):
                seen += 1
                advance(1)
                if not isinstance(outcome, Failure):
                    found.append(outcome)
                number, keys, size = plan[0]
                if seen == size:
                    parts[number] = _save(folder, number, keys, found)
                    plan.popleft()
                    found, seen = [], 0
        except OSError as error:
            raise MusicError(
                f"The index of known songs cannot be written in {folder}: {error.strerror}; name another folder."
            ) from error
        known = Known(folder, len(parts), sum(part["songs"] for part in parts), about)
        if known.songs == 0:
            raise MusicError(f"There is no known song to look for copies in: {about} has none that can be read.")
        return known

    def read(self, part: int, tracks: str) -> Lines:
        """The lines of one part. Raises MusicError where they are missing or damaged."""
        try:
            codes, starts = (
                np.asarray(np.load(_path(self.folder, part, f"{tracks}.{name}"), mmap_mode="r", allow_pickle=False))
                for name in ("codes", "starts")
            )
        except (OSError, ValueError) as error:
            raise MusicError(
                f"The index of known songs in {self.folder} cannot be read ({error}); take it away to make it anew."
            ) from error
        return Lines(codes, starts)


def _outcomes(task: Callable[[Any], Any], jobs: Iterator[Any], workers: int) -> Iterator[Any]:
    """`run`, without starting a worker where there is no job."""
    for first in jobs:
        yield from run(task, chain([first], jobs), workers)


def _path(folder: Path, part: int, name: str) -> Path:
    return folder / f"{part:05d}.{name}.npy"


def _record(folder: Path, part: int) -> dict[str, Any] | None:
    """What says that a part is whole; written last."""
    try:
        record = json.loads((folder / f"{part:05d}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("format") == FORMAT else None


def _save(folder: Path, part: int, keys: list[str], songs: list[dict[str, Lines]]) -> dict[str, Any]:
    for tracks in TRACKS:
        joined = Lines.join([song[tracks] for song in songs])
        for name, array in (("codes", joined.codes), ("starts", joined.starts)):
            buffer = BytesIO()
            np.save(buffer, array, allow_pickle=False)
            write_atomically(_path(folder, part, f"{tracks}.{name}"), buffer.getvalue())
    record = {"format": FORMAT, "songs": len(songs), "keys": keys}
    write_json(folder / f"{part:05d}.json", record)
    return record


# Looking up


def originality(songs: Sequence[dict[str, Lines]], known: Known) -> list[dict[str, float]]:
    """The FIGURES of each song. A run shorter than 4 notes is not looked for: the longest run is 0 then.

    A share is nan where a song has no run of so many notes; all are nan where it has no melody or no pitched track.
    """
    result: list[dict[str, float]] = [{} for _ in songs]
    for tracks in TRACKS:
        parts = (known.read(part, tracks) for part in range(known.parts))
        longest, shares = search([song[tracks] for song in songs], parts)
        for i, song in enumerate(songs):
            has_notes = len(song[tracks].codes) > 0
            result[i][f"{tracks}_longest_run"] = float(longest[i]) if has_notes else float("nan")
            result[i] |= {f"{tracks}_found_{n}": float(share[i]) for n, share in zip(GRAMS, shares, strict=True)}
    return result


def search(songs: Sequence[Lines], known: Iterable[Lines]) -> tuple[Ints, list[NDArray[np.float64]]]:
    """The longest run of each song found, in notes, [songs]; and the shares found of runs of GRAMS, [songs] each."""
    query = _Hashed(Lines.join(songs))
    song = np.repeat(np.arange(len(songs)), [len(lines.codes) for lines in songs])
    longest = np.zeros(len(songs), np.int64)  # transitions
    found = [np.zeros(len(song), bool) for _ in GRAMS]
    for part in known:
        text = _Hashed(part)
        size, here, there = GRAMS[0] - 1, np.arange(len(song)), np.arange(len(part.codes))
        level = 0
        while True:
            here, there = _match(query, here, text, there, size)
            if len(here) == 0:
                break
            if level < len(GRAMS):
                found[level][here] = True
            top = _bisect(query, here, song[here], text, there, size, len(songs))
            np.maximum(longest, top, out=longest)
            size, level = 2 * size + 1, level + 1
    shares = []
    for n, hits in zip(GRAMS, found, strict=True):
        fits = query.room >= n - 1
        counts = np.bincount(song[fits], minlength=len(songs))
        with np.errstate(invalid="ignore"):
            shares.append(np.bincount(song[hits], minlength=len(songs)) / counts)
    return np.where(longest > 0, longest + 1, 0), shares


def _bisect(query: _Hashed, here: Ints, song: Ints, text: _Hashed, there: Ints, size: int, songs: int) -> Ints:
    """[songs]: the longest run found of each, in transitions, from `size` to 2 * size; 0 where `size` is not found."""
    low = np.zeros(songs, np.int64)
    low[song] = size
    high = np.where(low > 0, 2 * size, 0)
    while (open_ := low < high).any():
        middle = (low + high + 1) // 2
        hit = np.zeros(songs, bool)
        for length in np.unique(middle[open_]).tolist():
            mine = open_[song] & (middle[song] == length)
            matched, _ = _match(query, here[mine], text, there, length)
            hit[song[np.searchsorted(here, matched)]] = True
        low, high = np.where(open_ & hit, middle, low), np.where(open_ & ~hit, middle - 1, high)
    return low


class _Hashed:
    """Lines with the sums from which the hash of any run of transitions follows."""

    def __init__(self, lines: Lines) -> None:
        codes = _mix(lines.codes.astype(np.uint64))
        base = np.full(len(codes), BASE, np.uint64)
        inverse = np.full(len(codes), INVERSE, np.uint64)
        with np.errstate(over="ignore"):
            self.sums = np.append(np.uint64(0), np.cumsum(codes * np.cumprod(base, dtype=np.uint64), dtype=np.uint64))
            self.scale = np.cumprod(inverse, dtype=np.uint64)
        ends = np.repeat(lines.starts[1:], np.diff(lines.starts))
        self.room = ends - np.arange(len(codes))  # transitions to the end of the line

    def runs(self, places: Ints, size: int) -> Hashes:
        """The hash of `size` transitions from each place: a sum of codes by powers of BASE that start at 1."""
        with np.errstate(over="ignore"):
            return (self.sums[places + size] - self.sums[places]) * self.scale[places]


def _match(query: _Hashed, here: Ints, text: _Hashed, there: Ints, size: int) -> tuple[Ints, Ints]:
    """Those places on both sides at which a run of `size` transitions begins that the other side has too."""
    here, there = here[query.room[here] >= size], there[text.room[there] >= size]
    ours, theirs = query.runs(here, size), text.runs(there, size)
    sieve = np.zeros(1 << 22, bool)  # most of theirs are told from ours by some bits of the hash
    sieve[ours >> np.uint64(42)] = True
    passed = sieve[theirs >> np.uint64(42)]
    there, theirs = there[passed], theirs[passed]
    kept = np.isin(theirs, ours)
    there, theirs = there[kept], theirs[kept]
    return here[np.isin(ours, theirs)], there


BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse
INVERSE = pow(BASE, -1, 2**64)


def _mix(value: Hashes) -> Hashes:
    """SplitMix64's finaliser: every bit of the result depends on every bit of the value."""
    with np.errstate(over="ignore"):
        value = value + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))
