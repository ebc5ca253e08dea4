"""A MIDI file of one's own, played again with another feel; and the way from one piece to another."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from symusic.core import NoteTick, TrackTick

from ritornello.data.batch import collate
from ritornello.errors import ConfigError, MusicError
from ritornello.models.musemorphose import CLASSES, MuseMorphose
from ritornello.music.bars import bars
from ritornello.music.score import MusicWarning, Score, read
from ritornello.pictures import Take, draw_takes
from ritornello.representations.base import Representation, Tokens
from ritornello.representations.grid import STEPS, to_steps
from ritornello.representations.vocabulary import BOS, EOS
from ritornello.restyle.play import Part, play
from ritornello.restyle.wishes import ATTRIBUTES, Interpolate, Ints, Restyle, chosen_bars, plan
from ritornello.song import Song


@dataclass(frozen=True)
class Restyled(Song):
    """A piece played again, with what was asked of each bar and what came of it. Classes and attributes: [bars, 2]."""

    source: Score = field(default_factory=lambda: Score(STEPS))
    asked: Ints = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    before: NDArray[np.int16] = field(default_factory=lambda: np.zeros((0, 2), np.int16))
    after: NDArray[np.int16] = field(default_factory=lambda: np.zeros((0, 2), np.int16))
    """Attributes in thousandths, of the source and now."""
    bounds: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, CLASSES - 1)))
    chosen: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    name: str = ""
    """What was asked, in short."""

    @property
    def reached(self) -> Ints:
        """[bars, 2]: the classes of the bars as they are now."""
        return classify(self.after, self.bounds)

    def take(self) -> Take:
        """What `pictures.draw_takes` shows of it."""
        asked = _named(np.where(self.chosen[:, None], self.asked, np.nan))
        return Take(self.name, self.score, asked, _named(self.reached))


def draw(songs: Sequence[Restyled], path: Path, title: str = "") -> Path:
    """Write a PNG: the source and its variants bar by bar, with what was asked and what was measured."""
    first = songs[0]
    source = Take("source", first.source, {}, _named(classify(first.before, first.bounds)))
    return draw_takes([source, *(song.take() for song in songs)], path, title)


def _named(columns: NDArray) -> dict[str, NDArray]:
    return {name: column.astype(np.float64) for name, column in zip(ATTRIBUTES, columns.T, strict=True)}


def classify(attributes: NDArray, bounds: NDArray) -> Ints:
    """Attributes in thousandths, [bars, 2] → classes 0 to 7."""
    return (attributes[..., None] > bounds).sum(-1)


# From MIDI to MIDI


def restyle(
    model: MuseMorphose, representation: Representation, source: Path, wishes: Restyle
) -> Iterator[list[Restyled]]:
    """Play a MIDI file again: the variants whenever each has another bar, and at last whole.

    Raises: MusicError for a source that cannot be read or held, ConfigError for a schedule that does not fit it.
    """
    start = time.monotonic()
    score, tokens, remarks = _read(representation, source)
    bounds = model.bounds.cpu().double().numpy()
    own = classify(tokens.attributes, bounds)
    chosen = chosen_bars(wishes.bars, len(own))
    takes = [take for take in wishes.takes() for _ in range(wishes.count)]
    asked = [np.where(chosen[:, None], plan(take, own), own) for take in takes]
    parts = [Part(tokens, classes, None if chosen.all() else chosen) for classes in asked]
    for songs, complete in play(model, representation, parts, wishes):
        if complete:
            made = (
                _measured(representation, score, song, part, bounds) for song, part in zip(songs, parts, strict=True)
            )
            taken = time.monotonic() - start
            yield [
                replace(one, seed=wishes.seed + i, taken=taken, name=take.asks(), remarks=(*remarks, *one.remarks))
                for i, (one, take) in enumerate(zip(made, takes, strict=True))
            ]


def interpolate(
    model: MuseMorphose, representation: Representation, first: Path, second: Path, wishes: Interpolate
) -> Iterator[list[Song]]:
    """Songs on the straight line between the latents of two pieces, bar by bar, whenever each has another bar.

    Each has as many bars as the shorter piece. Latents and attributes move evenly, tempos by ratio; metres are those of
    the nearer piece.

    Raises: MusicError for a piece that cannot be read or held.
    """
    start = time.monotonic()
    ends, remarks = [], []
    for path in (first, second):
        _, tokens, said = _read(representation, path)
        ends.append(tokens)
        remarks += said
    count = min(int(tokens.bars[-1]) + 1 for tokens in ends)
    for path, tokens in zip((first, second), ends, strict=True):
        if int(tokens.bars[-1]) + 1 > count:
            remarks.append(f"{path.name} counts up to bar {count}, where the other piece ends.")
    device = model.head.weight.device
    latents = [model.encode(collate([tokens]).to(device))[0][0, :count] for tokens in ends]
    bounds = model.bounds.cpu().double().numpy()
    parts = []
    for share in np.linspace(0, 1, wishes.steps).tolist():
        attributes = (1 - share) * ends[0].attributes[:count] + share * ends[1].attributes[:count]
        mixed = (1 - share) * latents[0] + share * latents[1]
        source = _between(representation, ends, count, share)
        parts.append(Part(source, classify(attributes, bounds), latents=mixed))
    for songs, complete in play(model, representation, parts, wishes):
        if complete:
            taken = time.monotonic() - start
            scores = [_without_markers(representation.decode(song)) for song in songs]
            yield [Song(score, wishes.seed + i, taken, tuple(remarks)) for i, score in enumerate(scores)]


def _read(representation: Representation, path: Path) -> tuple[Score, Tokens, list[str]]:
    """A MIDI file, its tokens, and sentences about what was merged or warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MusicWarning)
        score = read(path)
    try:
        tokens = representation.encode(score)
    except MusicError as error:
        raise MusicError(f"{path} cannot be restyled: {error}") from None
    if not tokens.attributes.shape[1]:
        raise ConfigError(f"the representation {representation.name!r} tells nothing of each bar; take musemorphose.")
    remarks = [str(warning.message) for warning in caught if issubclass(warning.category, MusicWarning)]
    if tokens.meta.get("merged"):
        remarks.append(f"{path.name}: {tokens.meta['merged']}")
    return score, tokens, remarks


def _measured(
    representation: Representation, score: Score, song: Tokens, part: Part, bounds: NDArray[np.float64]
) -> Restyled:
    """The score with the new notes, and what came of each bar."""
    played = _without_markers(representation.decode(song))
    before = part.source.attributes
    silent = np.zeros_like(before[: int(song.bars[-1]) + 1])  # as the first bars of a draft may be
    after = representation.encode(played).attributes if played.note_num() else silent
    count = len(after)
    chosen = (np.ones(len(before), bool) if part.chosen is None else part.chosen)[:count]
    asked = part.classes[:count]
    return Restyled(
        insert(score, played, chosen, cut=count < len(before)),
        seed=0,
        remarks=tuple(_account(classify(after, bounds)[chosen], asked[chosen])),
        source=score,
        asked=asked,
        before=before[:count],
        after=after,
        bounds=bounds,
        chosen=chosen,
    )


def _account(reached: Ints, asked: Ints) -> Iterator[str]:
    """A sentence: how often a class was met."""
    if len(asked):
        exact = (reached == asked).mean(0)
        near = (np.abs(reached - asked) <= 1).mean(0)
        said = " and ".join(
            f"{name} in {e:.0%} of them (within one class in {n:.0%})"
            for name, e, n in zip(ATTRIBUTES, exact, near, strict=True)
        )
        yield f"{len(asked)} bars were played again; the class asked for is met for {said}."


def insert(source: Score, played: Score, chosen: NDArray[np.bool_], cut: bool = False) -> Score:
    """The source with the bars of `chosen` replaced by those of `played`, which has the same bars on its own grid.

    Tempos, metres and keys are the source's. Where all bars are chosen, the result is one piano part; otherwise notes
    that begin in other bars stay where they are, in their own tracks, and new ones join the first piano among them (or
    come in a track of their own). `cut`: the song ends with `played`'s last bar.
    """
    result = source.copy()
    grid = bars(played)
    in_chosen = lambda steps: chosen[grid.of(steps)]  # noqa: E731
    scale = source.ticks_per_quarter / STEPS
    new = [
        NoteTick(
            round(note.time * scale),
            max(1, round((note.time + note.duration) * scale) - round(note.time * scale)),
            note.pitch,
            note.velocity,
        )
        for track in played.tracks
        for note in track.notes
        if in_chosen([note.time])[0]
    ]
    pitched = [track for track in source.tracks if not track.is_drum and len(track.notes)]
    if chosen.all():
        result.tracks = type(result.tracks)()
        kept = pitched[0] if len(pitched) == 1 and pitched[0].program < 8 else TrackTick("piano", 0, False)
        own = TrackTick(kept.name, kept.program, False)
        result.tracks.append(own)
    else:
        end = int(grid.starts[-1])
        for track in result.tracks:
            steps = to_steps(track.notes.numpy()["time"], source.ticks_per_quarter)
            stay = (~chosen[grid.of(steps)] if len(steps) else np.zeros(0, bool)) & ((steps < end) | (not cut))
            track.notes = type(track.notes)([note for note, keep in zip(track.notes, stay, strict=True) if keep])
        pianos = [track for track in result.tracks if not track.is_drum and track.program < 8]
        own = pianos[0] if pianos else TrackTick("piano", 0, False)
        if not pianos:
            result.tracks.append(own)
    for note in _beside(new, list(own.notes)):
        own.notes.append(note)
    own.sort()
    return result


def _beside(new: list[NoteTick], kept: list[NoteTick]) -> Iterator[NoteTick]:
    """New notes that leave the kept ones alone: a MIDI file cannot hold two notes of one key at once.

    One that would begin while its key sounds is left out, one that would sound into a kept note ends there.
    """
    by_pitch: dict[int, list[NoteTick]] = {}
    for note in kept:
        by_pitch.setdefault(note.pitch, []).append(note)
    for note in new:
        others = by_pitch.get(note.pitch, [])
        if any(other.time <= note.time < other.time + other.duration for other in others):
            continue
        later = [other.time for other in others if note.time < other.time]
        duration = min([note.duration, *(time - note.time for time in later)])
        yield NoteTick(note.time, duration, note.pitch, note.velocity)


def _without_markers(score: Score) -> Score:
    """Chords are written as markers, which are no part of what is asked for."""
    score.markers.clear()
    return score


def _between(representation: Representation, ends: Sequence[Tokens], count: int, share: float) -> Tokens:
    """Bars without notes: the metres of the nearer piece, tempos between the two."""
    vocabulary = representation.vocabulary
    tempos, labels = vocabulary.range("Tempo"), np.array(vocabulary.labels("Tempo"), float)
    of = [tokens.ids[np.isin(tokens.ids, np.array(tempos))][:count] - tempos.start for tokens in ends]
    mixed = np.exp((1 - share) * np.log(labels[of[0]]) + share * np.log(labels[of[1]]))
    nearest = tempos.start + np.abs(np.log(labels[:, None] / mixed)).argmin(0)
    nearer = ends[round(share)]
    head = (nearer.positions == 0) & (nearer.bars < count) & ~np.isin(nearer.ids, (BOS, EOS))
    ids, bars = nearer.ids[head].copy(), nearer.bars[head]
    ids[np.isin(ids, np.array(tempos))] = nearest
    rows = np.zeros((count, 2), np.int16)
    return Tokens(ids, bars, np.zeros(len(ids), np.int16), rows, {"transposition": 0})
