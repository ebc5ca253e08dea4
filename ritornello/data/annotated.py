"""Corpora whose files hold annotations beside the music: what of a file is music, and how it is barred."""

from __future__ import annotations

import numpy as np
from symusic.core import TrackTick

from ritornello.errors import MusicError
from ritornello.music.bars import bars
from ritornello.music.score import Score

PIANO = "piano"


def pop909_cl(score: Score) -> Score:
    """A file of POP909-CL → the piano alone, barred where its annotators' chords say.

    The files have a track of chords beside the piano ("chords" or "MIDI 01"), and their metre begins at tick 0 whatever
    comes before the first downbeat: in four of ten, chords begin at another place in the bar than its beginning. Here
    the music is moved later, by less than a bar, until most chords, by their length, begin with the bar.

    Raises:
        MusicError: there is no track of the piano, or none of chords.
    """
    tracks = [track for track in score.tracks if track.name == PIANO]
    chords = [track for track in score.tracks if track.name != PIANO]
    if not tracks or not chords:
        missing = "chords" if tracks else "the piano"
        raise MusicError(f"it has no track of {missing}; files of POP909-CL have two, fetch it anew")
    grid = bars(score)
    length = int(grid.starts[1])
    late = downbeat(chords[0], length)
    result = score.copy()
    result.tracks = type(result.tracks)([])
    for track in tracks:
        result.tracks.append(_later(track, -late % length))
    return result


def downbeat(chords: TrackTick, length: int) -> int:
    """The place in a bar of `length` ticks at which most chords begin, each counted by how long it lasts."""
    notes = chords.notes.numpy()
    onsets, first = np.unique(notes["time"], return_index=True)
    return int(np.bincount(onsets % length, notes["duration"][first]).argmax())


def _later(track: TrackTick, ticks: int) -> TrackTick:
    notes = track.notes.numpy()
    moved = TrackTick(track.name, track.program, track.is_drum)
    moved.notes = type(track.notes).from_numpy(
        notes["time"] + np.int32(ticks), notes["duration"], notes["pitch"], notes["velocity"]
    )
    return moved
