"""Restyling: a piece of one's own, played again bar by bar with another feel; and the way from one piece to another.

MIDI file → bars → a latent for each (what the bar is like) and its classes of rhythmic intensity and polyphony → the
classes that are asked for → the same song again, told the latents and the new classes. Metre and tempo of every bar are
settled beforehand, and so are the bars that are not to be changed.
"""

from __future__ import annotations

import csv
import re
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from symusic.core import NoteTick, TrackTick

from ritornello.config import Config
from ritornello.data.batch import TokenBatch, collate, unbatch
from ritornello.errors import ConfigError, MusicError
from ritornello.models.directed import Directed
from ritornello.models.musemorphose import CLASSES, MuseMorphose
from ritornello.music.bars import bars
from ritornello.music.score import MusicWarning, Score, read
from ritornello.pictures import Take, draw_takes
from ritornello.representations.base import Representation, Tokens
from ritornello.representations.grid import STEPS, to_steps
from ritornello.representations.vocabulary import BOS, EOS
from ritornello.sampling.autoregress import autoregress
from ritornello.sampling.logits import Processor, seeded, temperature, top_k, top_p
from ritornello.sampling.script import ScriptedGrammar, Settled
from ritornello.song import Song

ATTRIBUTES = ("rhythm", "polyphony")
TOKENS_A_BAR = 400  # of a restyled song at most, on average, or three times what the source has
Ints = NDArray[np.int64]


class Manner(Config):
    """How a song is played again."""

    seed: int = Field(0, ge=0, lt=2**31)
    """The same seed and wishes give the same song; of several variants, the next ones have the next seeds."""
    temperature: float = Field(1.0, gt=0, le=10)
    """Below 1 surer, above 1 bolder."""
    top_k: int = Field(0, ge=0)
    """Draw from the k likeliest tokens only; 0: from all."""
    top_p: float = Field(0.9, gt=0, le=1)
    """Draw from the likeliest tokens that together reach this probability."""
    variety: float = Field(0.0, ge=0, le=4)
    """How far from what the piece is, in the standard deviations that the model has of it."""
    guidance: float = Field(1.0, ge=0, le=10)
    """How strongly the classes steer; 1 is what was learned, more takes twice the time."""
    insist: float = Field(4.0, ge=0, le=100)
    """Nats that a note loses where it would leave the class that is asked for; 0 leaves it all to the model."""


class Restyle(Manner):
    """What a musician may ask of a piece. Classes go from 0 (calm, thin) to 7 (busy, full)."""

    rhythm: str | None = None
    """Rhythmic intensity: "+2" and "-1" shift the class of every bar, "5" sets it; by bars: "1-8:2,9-16:+1". Several
    wishes between slashes, "-2/0/+2", make a song each."""
    polyphony: str | None = None
    """The same for how many notes sound at once."""
    schedule: Path | None = None
    """A CSV file with the columns bar, rhythm, polyphony: a bar or range of bars, and what "rhythm" would say."""
    bars: str | None = None
    """Which bars are played again, such as "5-8,13"; the others stay as they are. By default all."""
    count: int = Field(1, ge=1, le=64)
    """How many variants of each, in one batch."""

    def takes(self) -> list[Restyle]:
        """The wishes between slashes, one by one. Raises ConfigError where rhythm has more or fewer than polyphony."""
        rhythm, polyphony = ((wish or "").split("/") for wish in (self.rhythm, self.polyphony))
        if min(len(rhythm), len(polyphony)) > 1 and len(rhythm) != len(polyphony):
            raise ConfigError(
                f"rhythm = {self.rhythm} has {len(rhythm)} wishes and polyphony = {self.polyphony} {len(polyphony)}: "
                "give one of them, or as many of both."
            )
        count = max(len(rhythm), len(polyphony))
        both = zip(rhythm * (count // len(rhythm)), polyphony * (count // len(polyphony)), strict=True)
        return [self.model_copy(update={"rhythm": r or None, "polyphony": p or None}) for r, p in both]

    def asks(self) -> str:
        """In short."""
        said = [f"{name} {wish}" for name, wish in zip(ATTRIBUTES, (self.rhythm, self.polyphony), strict=True) if wish]
        return ", ".join(said) or (f"as in {self.schedule.name}" if self.schedule else "again")


class Interpolate(Manner):
    """What lies between two pieces."""

    steps: int = Field(5, ge=2, le=64)
    """How many songs, the first and the last like the pieces themselves."""


@dataclass(frozen=True, eq=False)
class Part:
    """One song that is to be played: a row of a batch."""

    source: Tokens
    """Whole song, BOS to EOS; its bars are what is played, their metres and tempos are kept."""
    classes: Ints
    """[bars, 2]: rhythm and polyphony; -1 as the model likes."""
    chosen: NDArray[np.bool_] | None = None
    """[bars]: which bars are played; the others are kept token for token. None: all."""
    latents: torch.Tensor | None = None
    """[bars, latent]; None: those of the source."""


@dataclass(frozen=True)
class Restyled(Song):
    """A piece played again, with what was asked of each bar and what came of it. Classes and attributes: [bars, 2]."""

    source: Score = field(default_factory=Score)
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
        asked = dict(zip(ATTRIBUTES, np.where(self.chosen[:, None], self.asked, np.nan).T, strict=True))
        return Take(self.name, self.score, asked, _on_scale(self.after, self.bounds))


def draw(songs: Sequence[Restyled], path: Path, title: str = "") -> Path:
    """Write a PNG: the source and its variants bar by bar, with what was asked and what was measured."""
    first = songs[0]
    source = Take("source", first.source, {}, _on_scale(first.before, first.bounds))
    return draw_takes([source, *(song.take() for song in songs)], path, title)


def _on_scale(attributes: NDArray, bounds: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Attributes on the scale of classes: bound k lies at k + 1/2."""
    scale = np.arange(CLASSES + 1) - 0.5
    ends = [np.concatenate([[0.0], b, [2 * b[-1] - b[0]]]) for b in bounds]
    columns = zip(ATTRIBUTES, attributes.T, ends, strict=True)
    return {name: np.interp(values, end, scale) for name, values, end in columns}


def classify(attributes: NDArray, bounds: NDArray) -> Ints:
    """Attributes in thousandths, [bars, 2] → classes 0 to 7."""
    return (attributes[..., None] > bounds).sum(-1)


# Playing


def play(
    model: MuseMorphose, representation: Representation, parts: Sequence[Part], manner: Manner
) -> Iterator[tuple[list[Tokens], int]]:
    """Play every part, all in one batch: the songs so far (complete bars only) and how many bars every one has.

    Part i is drawn from the seed `manner.seed` + i. All parts must have equally many bars.

    Raises: ValueError where they have not.
    """
    device = model.head.weight.device
    opening = Tokens(
        np.array([BOS], np.int16), np.zeros(1, np.int32), np.zeros(1, np.int16), np.zeros((1, 0), np.int16)
    )
    prompt = collate([opening] * len(parts)).to(device)
    script = [_script(part) for part in parts]
    most = max(max(3 * len(part.source), TOKENS_A_BAR * (int(part.source.bars[-1]) + 1)) for part in parts)
    grammar = ScriptedGrammar(representation.vocabulary, script, max_tokens=most)
    processors: list[Processor] = [temperature(manner.temperature)]
    processors += [top_k(manner.top_k)] if manner.top_k else []
    processors += [top_p(manner.top_p)] if manner.top_p < 1 else []
    seeds = range(manner.seed, manner.seed + len(parts))
    training, threads = model.training, torch.get_num_threads()
    model.eval()
    torch.set_num_threads(1)  # a step is many small products: handing them to other threads costs more than it gains
    try:
        latents = torch.stack([_latents(model, part, manner, seed) for part, seed in zip(parts, seeds, strict=True)])
        classes = torch.from_numpy(np.stack([part.classes for part in parts])).to(device)
        player = Directed(model, latents, classes, manner.guidance, manner.insist)
        for draft in autoregress(player, prompt, grammar, processors, seeded(seeds)):
            rows = unbatch(TokenBatch(draft.ids, draft.bars, draft.positions, draft.countdown, draft.lengths))
            songs = [replace(row, meta={**part.source.meta}) for row, part in zip(rows, parts, strict=True)]
            yield [song if song.ids[-1] == EOS else _complete(song) for song in songs], draft.complete
    finally:
        model.train(training)
        torch.set_num_threads(threads)


def finish(drafts: Iterator[tuple[list[Tokens], int]]) -> list[Tokens]:
    """The songs of the last draft."""
    *_, (songs, _) = drafts
    return songs


def _script(part: Part) -> list[Settled]:
    """Metre and tempo of every bar, and all of those that are kept."""
    ids, bars, positions = part.source.ids, part.source.bars, part.source.positions
    inside = (ids != BOS) & (ids != EOS)
    begins = np.searchsorted(bars[inside], np.arange(int(bars[-1]) + 2))
    settled = []
    for bar, (begin, end) in enumerate(pairwise(begins)):
        own, at = ids[inside][begin + 1 : end], positions[inside][begin + 1 : end]
        kept = part.chosen is not None and not part.chosen[bar]
        settled.append(Settled(own.tolist() if kept else own[at == 0].tolist(), kept))
    return settled


def _latents(model: MuseMorphose, part: Part, manner: Manner, seed: int) -> torch.Tensor:
    """What the bars are like, strayed from by `manner.variety`."""
    if part.latents is not None:
        return part.latents.to(model.head.weight.device)
    mean, deviation = (x[0] for x in model.encode(collate([part.source]).to(model.head.weight.device)))
    if not manner.variety:
        return mean
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed))
    return mean + manner.variety * deviation * noise.to(mean.device)


def _complete(song: Tokens) -> Tokens:
    """An unfinished song without the bar that is being written."""
    length = int(np.searchsorted(song.bars, song.bars[-1]))
    parts = {name: getattr(song, name)[:length] for name in ("ids", "bars", "positions")}
    return replace(song, **parts)


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
    chosen = _chosen(wishes.bars, len(own))
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
    before, after = part.source.attributes, representation.encode(played).attributes
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
    for note in new:
        own.notes.append(note)
    own.sort()
    return result


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


# Wishes in words → classes


def plan(wishes: Restyle, own: Ints) -> Ints:
    """The classes that are asked of every bar, [bars, 2], given those that it has. Raises: ConfigError."""
    asked = own.copy()
    for column, (name, wish) in enumerate(zip(ATTRIBUTES, (wishes.rhythm, wishes.polyphony), strict=True)):
        for span, value in _wishes(name, wish, len(own)):
            asked[span, column] = _changed(name, value, own[span, column])
    for line, row in _rows(wishes.schedule):
        where = f"{wishes.schedule}, line {line}"
        span = _span(where, row.get("bar") or "", len(own))
        for column, name in enumerate(ATTRIBUTES):
            if value := (row.get(name) or "").strip():
                asked[span, column] = _changed(f"{where}: {name}", value, own[span, column])
    return asked


def _wishes(name: str, wish: str | None, count: int) -> Iterator[tuple[slice, str]]:
    """ "+2" → all bars; "1-8:2,9-16:+1" → its parts."""
    for piece in (wish or "").split(","):
        place, colon, value = piece.strip().rpartition(":")
        if value:
            yield (_span(f"{name} = {wish}", place, count) if colon else slice(0, count)), value.strip()


def _span(where: str, text: str, count: int) -> slice:
    """ "5" or "5-8", counted from 1 → bars counted from 0."""
    found = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+))?\s*", text)
    if not found:
        raise ConfigError(f"{where}: {text.strip()!r} should be a bar or a range of bars, such as 5 or 5-8.")
    first, last = int(found[1]), int(found[2] or found[1])
    if not 1 <= first <= last <= count:
        raise ConfigError(f"{where}: bars {text.strip()} should lie within the piece's bars, 1 to {count}.")
    return slice(first - 1, last)


def _changed(where: str, value: str, own: Ints) -> Ints:
    """ "+2" and "-1" shift, "5" sets."""
    if not re.fullmatch(r"[+-]?\d", value) or not (-CLASSES < int(value) < CLASSES):
        raise ConfigError(f"{where}: {value!r} should be a class from 0 to {CLASSES - 1}, or a shift such as +2 or -1.")
    if value[0] in "+-":
        return np.clip(own + int(value), 0, CLASSES - 1)
    return np.full_like(own, int(value))


def _chosen(text: str | None, count: int) -> NDArray[np.bool_]:
    chosen = np.full(count, text is None)
    for piece in (text or "").split(","):
        if piece.strip():
            chosen[_span(f"bars = {text}", piece, count)] = True
    if not chosen.any():
        raise ConfigError(f"bars = {text!r} should name at least one bar, such as 5-8,13.")
    return chosen


def _rows(path: Path | None) -> Iterator[tuple[int, dict[str, str]]]:
    if path is None:
        return
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"schedule = {path} cannot be read: {reason}.") from error
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    columns = reader.fieldnames or []
    if "bar" not in columns or not set(columns) <= {"bar", *ATTRIBUTES}:
        raise ConfigError(f"schedule = {path}: its columns should be bar, rhythm, polyphony; they are {columns}.")
    yield from ((reader.line_num, row) for row in reader)
