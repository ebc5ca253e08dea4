"""Which track carries the melody: features of every track beside the others of its song, and a small ranking network.

The network (weights in `melody.json`, made by `benchmarks/melody.py`) gives every pitched track a score; a softmax over
the tracks of one song turns the scores into probabilities. It sees each feature as it is, as the difference from the
song's mean, and as a rank within the song; then the program and its family. Everything is metre-blind: "bars" here are
four quarters, because the metre of many files is wrong.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from ritornello.music.score import Score

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MINIMUM_NOTES = 12  # a track with fewer notes carries no melody, unless every track is as small
STEPS = 4  # grid for comparing tracks: sixteenths
BAR = 16  # four quarters of them
LONGEST = 64  # steps of one note that count as sounding
MOST_STEPS = 20_000  # of a song that are looked at when tracks are compared: 40 minutes at 120 quarters a minute
MOST_TRACKS = 64  # of a song that are looked at, those with most notes
FULL_CHORDS = 3.0  # voices at once: 99 in 100 labelled melodies have fewer, every solo piano of pop1k7 has more
MINIMUM_SYLLABLES = 20  # fewer lyric events are credits, not words sung

LEAD_NAME = re.compile(r"melod|vocal|vox|voice|lead|sing|voc\b|\bmel\b|\bcant|gesang", re.IGNORECASE)
SURE_NAME = re.compile(r"melod|\bmel\b", re.IGNORECASE)
OTHER_NAME = re.compile(
    r"drum|bass|guit|gtr|piano|string|chord|pad|harm|back|choir|\bbk|perc|brass|organ|fill|rhyt|arp", re.IGNORECASE
)
NAME_HINTS = ("named_lead", "named_melody", "named_other")


def candidates(score: Score) -> list[int]:
    """Indices of the tracks that may carry the melody, ascending: pitched, with enough notes."""
    counts = {k: len(track.notes) for k, track in enumerate(score.tracks) if not track.is_drum and len(track.notes)}
    enough = [k for k, count in counts.items() if count >= MINIMUM_NOTES] or list(counts)
    return sorted(sorted(enough, key=lambda k: -counts[k])[:MOST_TRACKS])


@dataclass(frozen=True)
class Part:
    """One track's notes by onset, then falling pitch; times and durations in quarters. Its line is its top notes."""

    time: Floats
    duration: Floats
    pitch: Ints
    velocity: Ints

    @property
    def line(self) -> tuple[Floats, Floats, Ints]:
        """Time, duration and pitch of the highest note at every onset (to a twelfth of a quarter)."""
        _, first = np.unique((self.time * 12 + 0.5).astype(np.int64), return_index=True)
        return self.time[first], self.duration[first], self.pitch[first]


def _part(score: Score, index: int) -> Part:
    notes = score.tracks[index].notes.numpy()
    time = notes["time"] / score.ticks_per_quarter
    pitch = notes["pitch"].astype(np.int64)
    order = np.lexsort((-pitch, time))
    duration = np.maximum(notes["duration"] / score.ticks_per_quarter, 1 / 48)
    return Part(time[order], duration[order], pitch[order], notes["velocity"].astype(np.int64)[order])


def features(score: Score) -> tuple[list[int], Floats, Ints]:
    """What the network looks at.

    Returns:
        The candidates' indices in `score.tracks`, their features float64[c, len(FEATURES)], their programs int64[c].
    """
    chosen = candidates(score)
    parts = [_part(score, k) for k in chosen]
    if not parts:
        return [], np.zeros((0, len(FEATURES))), np.zeros(0, np.int64)
    begin = min(part.time[0] for part in parts)
    end = max((part.time + part.duration).max() for part in parts)
    total = sum(len(part.time) for part in parts)
    onsets, sounding = _grids(parts, min(int(end * STEPS) + 2, MOST_STEPS))
    words = _lyrics(score, onsets.shape[1])
    rows = []
    for row, (index, part) in enumerate(zip(chosen, parts, strict=True)):
        sung = (sounding[row] >= 0).sum() / STEPS
        rows.append(
            _amount(part, total, sung, begin, end)
            | _line(part)
            | _rhythm(part)
            | _repetition(part)
            | _beside_others(row, onsets, sounding)
            | _hints(score.tracks[index].name, index, row / max(len(chosen) - 1, 1), words, onsets[row] >= 0)
        )
    values = np.array([[row[name] for name in FEATURES] for row in rows])
    return chosen, values, np.array([score.tracks[k].program for k in chosen], np.int64)


def _grids(parts: list[Part], steps: int) -> tuple[Ints, Ints]:
    """Highest pitch that begins, and that sounds, in every sixteenth: two int64[tracks, steps], -1 = none."""
    onsets, sounding = (np.full((len(parts), steps), -1) for _ in range(2))
    for row, part in enumerate(parts):
        begin = (part.time * STEPS + 0.5).astype(np.int64)
        length = np.clip((part.duration * STEPS + 0.5).astype(np.int64), 1, LONGEST)
        early = begin < steps
        np.maximum.at(onsets[row], begin[early], part.pitch[early])
        within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        place = np.repeat(begin, length) + within
        inside = place < steps
        np.maximum.at(sounding[row], place[inside], np.repeat(part.pitch, length)[inside])
    return onsets, sounding


def _amount(part: Part, total: int, sung: float, begin: float, end: float) -> dict[str, float]:
    """How much the track plays, when, how loud, and how many notes at once."""
    bars = np.bincount((part.time / 4).astype(np.int64), minlength=int(end / 4) + 1)
    played = bars[bars > 0]
    onsets = len(part.line[0])
    return {
        "notes": np.log(len(part.time)),
        "share": len(part.time) / total,
        "cover": sung / end,
        "bars": (bars > 0).mean(),
        "notes_a_bar": np.log(played.mean()),
        "evenness": played.std() / played.mean(),
        "onsets_a_bar": np.log(onsets / len(played)),
        "chords": 1 - onsets / len(part.time),
        "voices": part.duration.sum() / max(sung, 1 / STEPS),
        "velocity": part.velocity.mean(),
        "velocity_spread": part.velocity.std(),
        "enters": (part.time[0] - begin) / end,
        "leaves": (end - part.time[-1]) / end,
    }


def _line(part: Part) -> dict[str, float]:
    """Pitch: where the notes lie and how the top line moves."""
    time, _, pitch = part.line
    steps = np.abs(np.diff(pitch))
    near = np.diff(time) < 2
    steps = steps[near] if near.any() else steps
    steps = steps if len(steps) else np.zeros(1)
    low, high = np.percentile(part.pitch, (5, 95))
    return {
        "pitch": float(np.average(part.pitch, weights=part.duration)),
        "low": low,
        "high": high,
        "pitch_spread": part.pitch.std(),
        "pitches": len(np.unique(pitch)),
        "pitch_entropy": _entropy(np.bincount(pitch)),
        "class_entropy": _entropy(np.bincount(pitch % 12)),
        "interval": steps.mean(),
        "same_pitch": (steps == 0).mean(),
        "seconds": ((steps > 0) & (steps < 3)).mean(),
        "thirds": ((steps > 2) & (steps < 5)).mean(),
        "leaps": (steps > 7).mean(),
        "octaves": (steps > 12).mean(),
    }


def _rhythm(part: Part) -> dict[str, float]:
    """Durations, gaps and places in the bar."""
    time, duration, _ = part.line
    gaps = np.diff(time)
    gaps = gaps if len(gaps) else np.ones(1)
    lasting = duration[: len(gaps)]
    close = np.maximum(gaps[gaps < 8] if (gaps < 8).any() else np.ones(1), 1 / 12)
    bars = len(np.unique((part.time / 4).astype(np.int64)))
    place = (part.time * 12 + 0.5).astype(np.int64)
    return {
        "duration": np.log(part.duration).mean(),
        "duration_spread": np.log(part.duration).std(),
        "gap": np.log(close).mean(),
        "gap_spread": np.log(close).std(),
        "gap_entropy": _entropy(np.bincount(np.minimum((close * STEPS + 0.5).astype(np.int64), 16))),
        "legato": float(np.median(np.minimum(lasting / np.maximum(gaps, 1 / 12), 2))),
        "overlap": (lasting > gaps + 0.06).mean(),
        "rests": (gaps > 1.5).sum() / bars,
        "long_rests": (gaps > 4).sum() / bars,
        "on_beat": (place % 12 == 0).mean(),
        "off_beat": (place % 12 == 6).mean(),
        "off_grid": (place % 3 != 0).mean(),
        "place_entropy": _entropy(np.bincount(place % 48 // 3)),
    }


def _repetition(part: Part) -> dict[str, float]:
    """Share of bars of the top line that differ (pitches and rhythm; rhythm alone), and that repeat the bar before."""
    time, _, pitch = part.line
    place = (time * 12 + 0.5).astype(np.int64)
    bars: dict[int, list[tuple[int, int]]] = {}
    for bar, step, key in zip((place // 48).tolist(), (place % 48 // 3).tolist(), pitch.tolist(), strict=True):
        bars.setdefault(bar, []).append((step, key))
    return {
        "different_bars": len({tuple(bar) for bar in bars.values()}) / len(bars),
        "different_rhythms": len({tuple(step for step, _ in bar) for bar in bars.values()}) / len(bars),
        "repeated_bars": float(np.mean([bars.get(k - 1) == bar for k, bar in bars.items()])),
    }


def _beside_others(row: int, onsets: Ints, sounding: Ints) -> dict[str, float]:
    """Of this track's sounding sixteenths: is it on top, how many tracks lie higher; of its onsets: who shares them."""
    others, begins = np.delete(sounding, row, 0), np.delete(onsets, row, 0)
    if not len(others):
        return {"on_top": 1.0, "higher": 0.0, "doubled": 0.0, "in_unison": 0.0, "together": 0.0, "alone": 1.0}
    mine, starts = sounding[row] >= 0, onsets[row] >= 0
    if not starts.any():  # all of it lies beyond MOST_STEPS
        return {"on_top": 0.0, "higher": 0.0, "doubled": 0.0, "in_unison": 0.0, "together": 0.0, "alone": 0.0}
    others, begins, here = others[:, mine], begins[:, starts], onsets[row, starts]
    return {
        "on_top": (sounding[row, mine] >= others.max(0)).mean(),
        "higher": (others > sounding[row, mine]).sum(0).mean(),
        "doubled": ((begins % 12 == here % 12) & (begins >= 0)).mean(1).max(),
        "in_unison": (begins == here).mean(1).max(),
        "together": (begins >= 0).any(0).mean(),
        "alone": 1 - (others >= 0).any(0).mean(),
    }


def _lyrics(score: Score, steps: int) -> Ints:
    """The sixteenths at which words are sung, whichever track holds them; empty without real lyrics."""
    ticks = np.array([word.time for track in score.tracks for word in track.lyrics], np.float64)
    places = np.unique((ticks / score.ticks_per_quarter * STEPS + 0.5).astype(np.int64))
    return places[places < steps] if len(places) > MINIMUM_SYLLABLES else np.zeros(0, np.int64)


def _hints(name: str, index: int, place: float, words: Ints, starts: NDArray[np.bool_]) -> dict[str, float]:
    """What the file says: the track's name, its place, how well words coincide with its notes (F1; -1: no words)."""
    sung = -1.0
    if len(words) and starts.any():
        syllables = np.zeros(len(starts), bool)
        syllables[words] = True
        precision, recall = _widened(syllables)[starts].mean(), _widened(starts)[words].mean()
        sung = 2 * precision * recall / max(precision + recall, 1e-9)
    return {
        "sung": sung,
        "index": index,
        "place": place,
        "named_lead": bool(LEAD_NAME.search(name)),
        "named_melody": bool(SURE_NAME.search(name)),
        "named_other": bool(OTHER_NAME.search(name)),
    }


def _widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """True also one step before and after."""
    return mask | np.roll(mask, 1) | np.roll(mask, -1)


def _entropy(counts: NDArray) -> float:
    """Shannon entropy of a histogram, in nats."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())


FEATURES = (
    *("notes", "share", "cover", "bars", "notes_a_bar", "evenness", "onsets_a_bar", "chords", "voices"),
    *("velocity", "velocity_spread", "enters", "leaves"),
    *("pitch", "low", "high", "pitch_spread", "pitches", "pitch_entropy", "class_entropy"),
    *("interval", "same_pitch", "seconds", "thirds", "leaps", "octaves"),
    *("duration", "duration_spread", "gap", "gap_spread", "gap_entropy", "legato", "overlap", "rests", "long_rests"),
    *("on_beat", "off_beat", "off_grid", "place_entropy", "different_bars", "different_rhythms", "repeated_bars"),
    *("on_top", "higher", "doubled", "in_unison", "together", "alone", "sung", "index", "place", *NAME_HINTS),
)


# ---- the network ----------------------------------------------------------------------------------------------------


def inputs(values: Floats, programs: Ints) -> Floats:
    """What the network takes, float64[c, 3 f + 144]: features as they are, less the mean, ranked; program; family."""
    above = (values[:, None] > values[None]).mean(1)
    below = (values[:, None] < values[None]).mean(1)
    return np.concatenate(
        [values, values - values.mean(0), above - below, np.eye(128)[programs], np.eye(16)[programs // 8]], axis=1
    )


@dataclass(frozen=True)
class Network:
    """An ensemble of perceptrons with a hidden layer; scores are averaged over members m."""

    mean: Floats  # [n]: what is taken off every input,
    scale: Floats  # [n]: and what multiplies it then
    hidden: Floats  # [m, n, h]
    bias: Floats  # [m, h]
    out: Floats  # [m, h]
    direct: Floats  # [n]: a linear path past the hidden layer

    def probabilities(self, x: Floats) -> Floats:
        """Chance of each track of a song to be the melody: float64[c, n] -> float64[c], sum 1."""
        x = np.clip((x - self.mean) * self.scale, -4, 4)
        hidden = np.tanh(np.einsum("cn,mnh->mch", x, self.hidden) + self.bias[:, None])
        scores = np.einsum("mch,mh->c", hidden, self.out) / len(self.hidden) + x @ self.direct
        chances = np.exp(scores - scores.max())
        return chances / chances.sum()


@lru_cache(maxsize=1)
def network() -> Network:
    """The shipped weights."""
    stored = json.loads(files("ritornello.music").joinpath("melody.json").read_text())
    if stored["features"] != list(FEATURES):
        raise RuntimeError("melody.json was trained on other features; run benchmarks/melody.py")
    return Network(**{name: np.reshape(array["values"], array["shape"]) for name, array in stored["arrays"].items()})


def melody_chances(score: Score) -> tuple[list[int], Floats, NDArray[np.bool_]]:
    """Which tracks may carry the melody.

    Returns:
        The candidates' indices in `score.tracks`, the chance of each, float64[c], and whether it plays full chords,
        bool[c]; all empty without pitched notes.
    """
    chosen, values, programs = features(score)
    chordal = values[:, FEATURES.index("voices")] > FULL_CHORDS
    return chosen, network().probabilities(inputs(values, programs)) if chosen else np.zeros(0), chordal
