"""Scores and tokens for tests of representations: by hand, and drawn at random."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from symusic.core import NoteTick as Note
from symusic.core import TempoTick as Tempo
from symusic.core import TimeSignatureTick as TimeSignature
from symusic.core import TrackTick as Track

from ritornello.music.score import Score
from ritornello.representations import build
from ritornello.representations.base import Representation, Tokens
from ritornello.representations.grid import all_metres

QUARTER = 480
SIX, PAPER, GENERAL = (build(name) for name in ("museformer", "museformer-paper", "remi"))


def make_score(*notes: tuple[int, int, int, int], name="melody", program=80, is_drum=False, metres=(), tempo=120.0):
    """A score of one track; notes are (time, duration, pitch, velocity) in ticks, 480 a quarter."""
    score = Score(QUARTER)
    score.tempos.append(Tempo(0, qpm=tempo))
    for metre in metres:
        score.time_signatures.append(TimeSignature(*metre))
    track = Track(name, program, is_drum)
    for note in notes:
        track.notes.append(Note(*note))
    score.tracks.append(track)
    return score


def make_tokens(representation: Representation, names: str) -> Tokens:
    """Tokens from their names; only what `decode` reads."""
    vocabulary = representation.vocabulary
    ids = {vocabulary.name(i): i for i in range(vocabulary.size)}
    array = np.array([ids[name] for name in names.split()], np.int16)
    return Tokens(array, np.zeros(len(array), np.int32), np.zeros(len(array), np.int16), np.zeros((1, 0), np.int16))


def names_of(representation: Representation, tokens: Tokens) -> str:
    return " ".join(representation.vocabulary.name(i) for i in tokens.ids)


velocities = st.integers(1, 127)


@st.composite
def scores(draw: st.DrawFn, metres: bool) -> Score:
    """A few tracks of any instrument; where `metres`, with changes of metre and tempo anywhere."""
    score = Score(draw(st.sampled_from([1, 24, 96, 100, 480, 1024])))
    quarter = score.ticks_per_quarter
    times = st.integers(0, 24 * quarter)
    if metres:
        units = st.sampled_from([1, 2, 4, 8, 16, 32, 64])
        for time in draw(st.lists(times, max_size=6)):
            score.time_signatures.append(TimeSignature(time, draw(st.integers(1, 20)), draw(units)))
    for time in draw(st.lists(times, max_size=4)):
        score.tempos.append(Tempo(time, qpm=draw(st.floats(10, 600))))
    for program, is_drum in draw(st.lists(st.tuples(st.integers(0, 127), st.booleans()), min_size=1, max_size=4)):
        track = Track("", program, is_drum)
        notes = st.tuples(times, st.integers(0, 20 * quarter), st.integers(0, 127), velocities)
        for note in draw(st.lists(notes, min_size=1, max_size=12)):
            track.notes.append(Note(*note))
        score.tracks.append(track)
    return score.sort()


@st.composite
def sequences(draw: st.DrawFn) -> str:
    """A well-formed song of the general grammar, whose last bar sounds and is not cut."""
    names = ["BOS"]
    count = draw(st.integers(1, 5))
    for bar in range(count):
        last = bar == count - 1
        numerator, unit = draw(st.sampled_from([m for m in all_metres() if not last or m[1] <= 16]))
        tempo = draw(st.sampled_from(GENERAL.vocabulary.labels("Tempo")))
        names += ["Bar", f"Metre_{numerator}/{unit}", f"Tempo_{tempo}"]
        length = max(1, 48 * numerator // unit)
        for position in sorted(draw(st.sets(st.integers(0, length - 1), min_size=last, max_size=3))):
            names.append(f"Position_{position}")
            for program in sorted(draw(st.sets(st.integers(0, 128), min_size=1, max_size=3))):
                names.append(f"Instrument_{'drums' if program == 128 else program}")
                for pitch in sorted(draw(st.sets(st.integers(0, 127), min_size=1, max_size=3)), reverse=True):
                    names.append(f"{'Drum' if program == 128 else 'Pitch'}_{pitch}")
                    names.append(f"Duration_{draw(st.sampled_from(GENERAL.vocabulary.labels('Duration')))}")
                    names.append(f"Velocity_{draw(st.sampled_from(GENERAL.vocabulary.labels('Velocity')))}")
    return " ".join([*names, "EOS"])
