"""Looking at songs in numbers: density, gaps, range, held notes and sameness of each.

No figure here is good or bad by itself; what lies far outside the quartiles of human songs is worth a look. Scores are
taken as they are: for comparison, give them the same normalisation (the same instruments).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ritornello.facts import instrument
from ritornello.music.bars import bars
from ritornello.music.score import Score, seconds
from ritornello.music.similarity import bar_similarity
from ritornello.music.tracks import SIX

LONG = 12  # quarters: a pitched note of this length (three bars of 4/4) or more counts as stuck
ALIKE = 0.8  # similarity above which neighbouring bars count as the same again

FIGURES = {
    "bars": "bars",
    "seconds": "length in seconds",
    "notes_per_bar": "notes a bar",
    "density_spread": "spread of notes a bar (standard deviation / mean)",
    "empty_bars": "bars in which nothing begins, share",
    "bars_without_lead": "bars without a melody note, share",
    "bars_without_drums": "bars without a drum, share",
    "instruments": "instruments that play",
    "longest_note": "longest pitched note, in quarters",
    "stuck_notes": f"pitched notes of {LONG} quarters or more, share",
    "repeated_bars": "bars identical to an earlier bar, share of those not empty",
    "static_bars": f"bars more than {ALIKE:g} similar to the one before, share",
}


def texture(score: Score) -> dict[str, float]:
    """The FIGURES of one song.

    What a song lacks is nan: held notes without pitched notes, the lead where no track is named "melody" (but a song
    of the six instruments that has none is without lead throughout). A bar is empty if no note begins in it, even where
    one still sounds.
    """
    grid = bars(score)
    count = len(grid)
    tracks = [(track, track.notes.numpy()) for track in score.tracks if len(track.notes)]
    bar_of = {i: grid.of(notes["time"]) for i, (_, notes) in enumerate(tracks)}

    def onsets(chosen: list[int]) -> NDArray[np.int64]:
        return sum((np.bincount(bar_of[i], minlength=count) for i in chosen), np.zeros(count, np.int64))

    everything = onsets(list(bar_of))
    drums = [i for i, (track, _) in enumerate(tracks) if track.is_drum]
    lead = [i for i, (track, _) in enumerate(tracks) if track.name == "melody"]
    has_lead = bool(lead) or all(track.name in SIX for track, _ in tracks)  # the six without melody have lost it
    pitched = [i for i in bar_of if i not in drums]
    figures = {
        "bars": float(count),
        "seconds": float(seconds(score, int(grid.starts[-1]))),
        "notes_per_bar": float(everything.mean()),
        "density_spread": float(everything.std() / everything.mean()) if everything.any() else float("nan"),
        "empty_bars": float((everything == 0).mean()),
        "bars_without_lead": float((onsets(lead) == 0).mean()) if has_lead else float("nan"),
        "bars_without_drums": float((onsets(drums) == 0).mean()),
        "instruments": float(len({instrument(track) for track, _ in tracks})),
    }
    durations = np.concatenate([np.zeros(0), *(tracks[i][1]["duration"] for i in pitched)]) / score.ticks_per_quarter
    figures["longest_note"] = float(durations.max()) if len(durations) else float("nan")
    figures["stuck_notes"] = float((durations >= LONG).mean()) if len(durations) else float("nan")
    figures |= _sameness(bar_similarity(score), everything > 0)
    return figures


def ranges(score: Score) -> dict[str, float]:
    """`<instrument>, lowest pitch` and `<instrument>, highest pitch` of each pitched instrument that plays."""
    pitches: dict[str, list[int]] = {}
    for track in score.tracks:
        if not track.is_drum and len(track.notes):
            heights = track.notes.numpy()["pitch"]
            pitches.setdefault(instrument(track), []).extend((int(heights.min()), int(heights.max())))
    figures = {}
    for name, reached in pitches.items():
        figures |= {f"{name}, lowest pitch": float(min(reached)), f"{name}, highest pitch": float(max(reached))}
    return figures


def _sameness(similarity: NDArray[np.float64], filled: NDArray[np.bool_]) -> dict[str, float]:
    """Shares of bars that repeat; the first bar has none before it and does not count for `static_bars`."""
    same = np.tril(similarity == 1, -1) & filled[:, None] & filled[None, :]
    following = np.diagonal(similarity, -1)[filled[1:]]
    return {
        "repeated_bars": float(same.any(1)[filled].mean()) if filled.any() else float("nan"),
        "static_bars": float((following > ALIKE).mean()) if len(following) else float("nan"),
    }
