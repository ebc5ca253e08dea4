"""Looking at songs in numbers: density, gaps, range, harmony and sameness of each, and medians beside human songs'.

No figure here is good or bad by itself; what lies far outside the quartiles of human songs is worth a look. Scores are
taken as they are: for comparison, give them the same normalisation (12 ticks a quarter, the same instruments).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ritornello.evaluate.bootstrap import median_interval
from ritornello.music.bars import bars
from ritornello.music.score import Score, seconds
from ritornello.music.similarity import bar_similarity
from ritornello.music.tracks import SIX

LONG = 12  # quarters: a pitched note of this length (three bars of 4/4) or more counts as stuck
ALIKE = 0.8  # similarity above which neighbouring bars count as the same again
MAJOR = (0, 2, 4, 5, 7, 9, 11)

FIGURES = {
    "bars": "bars",
    "seconds": "length in seconds",
    "notes_per_bar": "notes a bar",
    "density_spread": "spread of notes a bar (standard deviation / mean)",
    "empty_bars": "bars in which nothing begins, share",
    "bars_without_lead": "bars without a melody note, share",
    "bars_without_drums": "bars without a drum, share",
    "instruments": "instruments that play",
    "polyphony": "pitched notes at once, where any sounds",
    "pitch_classes": "pitch classes a bar, in bars with pitched notes",
    "diatonic": "pitched notes in the best-fitting major scale, share",
    "longest_note": "longest pitched note, in quarters",
    "stuck_notes": f"pitched notes of {LONG} quarters or more, share",
    "repeated_bars": "bars identical to an earlier bar, share of those not empty",
    "static_bars": f"bars more than {ALIKE:g} similar to the one before, share",
}


def texture(score: Score) -> dict[str, float]:
    """The FIGURES of one song, and `<instrument>_low`, `<instrument>_high`: its lowest and highest pitch.

    What a song lacks is nan: harmony without pitched notes, the lead where tracks are not named as `merge_six` names
    them. A bar is empty if no note begins in it, even where one still sounds.
    """
    grid = bars(score)
    count = len(grid)
    tracks = [(track, track.notes.numpy()) for track in score.tracks if len(track.notes)]
    bar_of = {i: grid.of(notes["time"]) for i, (_, notes) in enumerate(tracks)}

    def onsets(chosen: list[int]) -> NDArray[np.int64]:
        return sum((np.bincount(bar_of[i], minlength=count) for i in chosen), np.zeros(count, np.int64))

    everything = onsets(list(bar_of))
    drums = [i for i, (track, _) in enumerate(tracks) if track.is_drum]
    six = all(track.name in SIX for track, _ in tracks)
    lead = [i for i, (track, _) in enumerate(tracks) if track.name == "melody"]
    pitched = [i for i in bar_of if i not in drums]
    figures = {
        "bars": float(count),
        "seconds": float(seconds(score, int(grid.starts[-1]))),
        "notes_per_bar": float(everything.mean()),
        "density_spread": float(everything.std() / everything.mean()) if everything.any() else float("nan"),
        "empty_bars": float((everything == 0).mean()),
        "bars_without_lead": float((onsets(lead) == 0).mean()) if six else float("nan"),
        "bars_without_drums": float((onsets(drums) == 0).mean()),
        "instruments": float(len({(track.is_drum, track.program, track.name) for track, _ in tracks})),
    }
    columns = ("time", "duration", "pitch")
    rows = [np.stack([*(tracks[i][1][name] for name in columns), bar_of[i]]).astype(np.int64) for i in pitched]
    figures |= _harmony(np.concatenate([np.zeros((4, 0), np.int64), *rows], axis=1), score.ticks_per_quarter)
    figures |= _sameness(bar_similarity(score), everything > 0)
    for i in pitched:
        track, notes = tracks[i]
        name = track.name or f"program {track.program}"
        low, high = float(notes["pitch"].min()), float(notes["pitch"].max())
        figures[f"{name}_low"] = min(low, figures.get(f"{name}_low", low))
        figures[f"{name}_high"] = max(high, figures.get(f"{name}_high", high))
    return figures


def summary(songs: Sequence[Mapping[str, float]], seed: int = 0) -> dict[str, dict[str, Any]]:
    """Per figure: median over the songs that have it, its bootstrap interval, quartiles, and how many songs have it."""
    names = dict.fromkeys(name for song in songs for name in song)
    result = {}
    for name in names:
        values = np.array([song.get(name, np.nan) for song in songs])
        values = values[np.isfinite(values)]
        if len(values):
            result[name] = {
                "median": float(np.median(values)),
                "interval": median_interval(values, seed),
                "quartiles": [float(x) for x in np.quantile(values, [0.25, 0.75])],
                "songs": len(values),
            }
    return result


def _harmony(notes: NDArray[np.int64], quarter: int) -> dict[str, float]:
    """Figures of the pitched notes of all instruments together: [4, n], time, duration, pitch and bar of each."""
    time, duration, pitch, bar = notes
    if len(pitch) == 0:
        return dict.fromkeys(("polyphony", "pitch_classes", "diatonic", "longest_note", "stuck_notes"), float("nan"))
    chroma = np.bincount(pitch % 12, minlength=12)
    in_scale = [chroma[[(tonic + step) % 12 for step in MAJOR]].sum() for tonic in range(12)]
    heard = len(np.unique(bar * 12 + pitch % 12))
    return {
        "polyphony": float(duration.sum() / max(_sounding(time, duration), 1)),
        "pitch_classes": heard / len(np.unique(bar)),
        "diatonic": float(max(in_scale) / len(pitch)),
        "longest_note": float(duration.max() / quarter),
        "stuck_notes": float((duration >= LONG * quarter).mean()),
    }


def _sounding(time: NDArray[np.int64], duration: NDArray[np.int64]) -> int:
    """Ticks at which at least one note sounds."""
    order = np.argsort(time, kind="stable")
    start, end = time[order], (time + duration)[order]
    covered = np.concatenate([[start[0]], np.maximum.accumulate(end)[:-1]])
    return int(np.maximum(end - np.maximum(start, covered), 0).sum())


def _sameness(similarity: NDArray[np.float64], filled: NDArray[np.bool_]) -> dict[str, float]:
    """Shares of bars that repeat; the first bar has none before it and does not count for `static_bars`."""
    same = np.tril(similarity == 1, -1) & filled[:, None] & filled[None, :]
    following = np.diagonal(similarity, -1)[filled[1:]]
    return {
        "repeated_bars": float(same.any(1)[filled].mean()) if filled.any() else float("nan"),
        "static_bars": float((following > ALIKE).mean()) if len(following) else float("nan"),
    }
