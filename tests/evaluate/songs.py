"""Tiny six-track songs written down as patterns: one letter a bar, equal letters equal bars, '-' an empty bar."""

from __future__ import annotations

from symusic.core import NoteTick, TrackTick

from ritornello.music.score import Score

BAR = 48  # ticks of a 4/4 bar at 12 ticks a quarter


def song(melody: str = "", drums: str = "", bass: str = "", piano: str = "") -> Score:
    """Every bar has two half notes; all but the drums take their pitch from the letter: 'a' is 60, 'b' 61 ..."""
    score = Score(12)
    parts = (("melody", 80, melody), ("drums", 0, drums), ("bass", 43, bass), ("piano", 0, piano))
    for name, program, pattern in parts:
        track = TrackTick(name, program, name == "drums")
        for bar, letter in enumerate(pattern):
            if letter != "-":
                base = 36 if name == "drums" else 60
                for beat in (0, 2):
                    track.notes.append(NoteTick(bar * BAR + beat * 12, 24, base + ord(letter) - ord("a"), 80))
        if len(track.notes):
            score.tracks.append(track)
    return score
