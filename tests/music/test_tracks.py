"""Melody identification on songs made here and real ones; merging into the six and by program, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from symusic.core import KeySignatureTick, NoteTick, TempoTick, TextMetaTick, TimeSignatureTick, TrackTick

from ritornello.music.melody import FEATURES, features, inputs, network
from ritornello.music.score import Score, read
from ritornello.music.tracks import (
    DRUM,
    LEAST,
    PROGRAMS,
    SIX,
    SURE,
    find_melody,
    home_of,
    merge_piano,
    merge_programs,
    merge_six,
)
from tests.songs import make_song

TPQ = 480


def track(name: str, program: int, notes: list[tuple[float, float, int]], is_drum: bool = False) -> TrackTick:
    """A track of (onset, duration, pitch), in quarters."""
    made = TrackTick(name, program, is_drum)
    for onset, duration, pitch in notes:
        made.notes.append(NoteTick(round(onset * TPQ), round(duration * TPQ), pitch, 90))
    return made


def score_of(*tracks: TrackTick) -> Score:
    score = Score(TPQ)
    score.tempos.append(TempoTick(0, 500_000))
    for part in tracks:
        score.tracks.append(part)
    return score


def tune(bars: int, seed: int) -> list[tuple[float, float, int]]:
    """A singable line: mostly steps, some rests, from the third bar on."""
    rng = np.random.default_rng(seed)
    pitch, notes = 69, []
    for bar in range(2, bars):
        for onset in (
            sorted(rng.choice(np.arange(7), size=rng.integers(3, 6), replace=False)) if bar % 4 != 3 else (0, 2)
        ):
            pitch = int(np.clip(pitch + rng.choice([-4, -2, -1, 0, 1, 2, 3]), 62, 79))
            notes.append((bar * 4 + onset / 2, 0.45, pitch))
    return notes


def band(seed: int = 0, bars: int = 24, names: bool = True, pianos: bool = False) -> tuple[Score, int]:
    """A pop song of six tracks and where its melody is."""
    rng = np.random.default_rng(seed)
    roots = rng.choice([0, 2, 4, 5, 7, 9], 4)
    chord = lambda bar, low: [low + int(roots[bar % 4]) + third for third in (0, 4, 7)]  # noqa: E731
    parts = {
        "bass": (33, [(bar * 4 + beat, 0.9, 36 + int(roots[bar % 4])) for bar in range(bars) for beat in range(4)]),
        "tune": (73, tune(bars, seed)),
        "chords": (0, [(bar * 4 + 2 * h, 1.8, p) for bar in range(bars) for h in (0, 1) for p in chord(bar, 55)]),
        "pad": (48, [(bar * 4, 4, p) for bar in range(bars) for p in chord(bar, 60)]),
        "strum": (25, [(bar * 4 + k / 2, 0.3, p) for bar in range(bars) for k in range(8) for p in chord(bar, 52)]),
    }
    order = [list(parts)[k] for k in rng.permutation(len(parts))]
    drums = track("kit", 0, [(k / 2, 0.2, 36 if k % 2 == 0 else 42) for k in range(bars * 8)], is_drum=True)
    made = [track(name if names else "", 0 if pianos else parts[name][0], parts[name][1]) for name in order]
    return score_of(drums, *made), 1 + order.index("tune")


# ---- the melody -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("pianos", [False, True])
def test_finds_the_tune_of_a_band(seed: int, pianos: bool) -> None:
    score, where = band(seed, names=False, pianos=pianos)
    found, confidence = find_melody(score)
    assert found == where
    assert LEAST < confidence <= 1


def test_no_melody_without_pitched_notes() -> None:
    drums = track("melody", 0, [(k, 0.5, 38) for k in range(64)], is_drum=True)
    assert find_melody(Score(TPQ)) == (None, 0.0)
    assert find_melody(score_of(drums, TrackTick("melody", 80, False))) == (None, 0.0)


def test_a_lone_line_is_a_melody_and_a_lone_pianist_is_not() -> None:
    line = score_of(track("", 0, tune(16, 1)))
    piano = score_of(track("", 0, [(bar, 1, p) for bar in range(64) for p in (40, 52, 59, 64, 67)]))
    assert find_melody(line) == (0, 1.0)
    found, confidence = find_melody(piano)
    assert found == 0
    assert confidence < LEAST
    assert [part.name for part in merge_six(line)[0].tracks] == ["melody"]
    assert [part.name for part in merge_six(piano)[0].tracks] == ["piano"]


def test_features_are_finite_for_tiny_tracks() -> None:
    score = score_of(track("", 0, [(0, 0, 0)]), track("", 127, [(3, 100, 127)]), track("", 5, [(0, 1, 60)] * 12))
    chosen, values, programs = features(score)
    assert chosen == [2]
    assert np.isfinite(values).all()
    chosen, values, programs = features(score_of(*list(score.tracks)[:2]))
    assert chosen == [0, 1]
    assert values.shape == (2, len(FEATURES))
    assert np.isfinite(values).all()
    assert network().probabilities(inputs(values, programs)).sum() == pytest.approx(1)


def test_an_enormous_score() -> None:
    """250 tracks over 50,000 quarters, one of them only at the very end: an answer, in little time and memory."""
    tracks = [track("", k % 128, [(j * 3_000 + k, 1, 60) for j in range(16)]) for k in range(249)]
    tracks.append(track("", 0, [(49_000 + j, 1, 60) for j in range(17)]))
    chosen, values, _ = features(score_of(*tracks))
    assert len(chosen) == 64
    assert chosen[-1] == 249
    assert np.isfinite(values).all()


def test_the_words_count() -> None:
    score, where = band(3, names=False)
    sung = FEATURES.index("sung")
    assert (features(score)[1][:, sung] == -1).all()
    for onset, _, _ in tune(24, 3):
        score.tracks[0].lyrics.append(TextMetaTick(round(onset * TPQ), "la"))
    chosen, values, _ = features(score)
    assert values[chosen.index(where), sung] == 1
    assert (np.delete(values[:, sung], chosen.index(where)) < 0.8).all()


def test_pop909(corpus) -> None:
    files = corpus("pop909", 12)
    named = [find_melody(read(path))[0] for path in files]
    assert named.count(0) >= len(files) - 1
    for path in files:  # as another program would give them: other order, no names
        score = read(path)
        turned = score_of(*(track_without_name(score.tracks[k]) for k in (2, 0, 1)))
        turned.ticks_per_quarter = score.ticks_per_quarter
        named.append(find_melody(turned)[0])
    assert named[len(files) :].count(1) >= len(files) - 2


def track_without_name(original: TrackTick) -> TrackTick:
    made = TrackTick("", original.program, original.is_drum)
    made.notes = original.notes.copy()
    return made


# ---- merging --------------------------------------------------------------------------------------------------------


def test_merge_six_of_a_band() -> None:
    score, where = band(2)
    score.time_signatures.append(TimeSignatureTick(0, 4, 4))
    score.key_signatures.append(KeySignatureTick(0, -3, 0))
    before = score.copy()
    merged, report = merge_six(score)
    assert score == before
    assert [(part.name, part.program, part.is_drum) for part in merged.tracks] == [
        (name, program % DRUM, program == DRUM) for name, program in SIX.items()
    ]
    assert merged.tempos == score.tempos
    assert merged.time_signatures == score.time_signatures
    assert merged.key_signatures == score.key_signatures
    assert (merged.tracks[0].notes.numpy()["pitch"] == score.tracks[where].notes.numpy()["pitch"]).all()
    assert report.kept == sum(len(part.notes) for part in score.tracks)
    assert (report.lost, report.doubled) == (0, 0)
    assert report.merged["melody"] == ["flute"]
    assert report.confidence > SURE


def test_doublings_keep_the_longest() -> None:
    """Organ and piano strike C and E together; the organ holds C, the piano E; G comes later in one of them."""
    line = track("melody", 80, tune(16, 0))
    piano = track("", 0, [(0, 1, 60), (0, 2, 64), (0.5, 1, 60)] + [(4, 1, p) for p in range(30, 45)])
    organ = track("", 19, [(0, 3, 60), (0, 1, 64), (2, 1, 67)])
    merged, report = merge_six(score_of(line, piano, organ))
    notes = next(part for part in merged.tracks if part.name == "piano").notes
    first = [(note.time / TPQ, note.duration / TPQ, note.pitch) for note in notes if note.time < 4 * TPQ]
    assert first == [(0, 2, 64), (0, 3, 60), (0.5, 1, 60), (2, 1, 67)]
    assert report.doubled == 2
    assert report.kept == len(line.notes) + 18 + 3 - 2
    assert report.merged["piano"] == ["acoustic grand piano", "church organ"]


def test_the_report_says_what_was_left_out() -> None:
    line = track("melody", 80, tune(16, 0))
    helicopter = track("", 125, [(0, 4, 50), (4, 4, 50)])
    strings = [track("", 48, [(bar * 4, 4, pitch) for bar in range(16)]) for pitch in (60, 64)]
    merged, report = merge_six(score_of(line, helicopter, *strings))
    assert [part.name for part in merged.tracks] == ["melody", "strings"]
    assert report.lost == 2
    text = str(report)
    assert "helicopter left out (2 notes): none of the six plays its part." in text
    assert "Strings: string ensemble 1 (2 tracks)." in text
    assert f"{report.kept:,} notes kept, 2 dropped, 0 doublings merged." in text


def test_merging_twice_changes_nothing() -> None:
    once, _ = merge_six(band(4)[0])
    twice, report = merge_six(once)
    assert twice == once
    assert (report.lost, report.doubled) == (0, 0)


def test_an_empty_score() -> None:
    merged, report = merge_six(Score(96))
    assert len(merged.tracks) == 0
    assert merged.ticks_per_quarter == 96
    assert (report.melody, report.kept, report.lost) == ("", 0, 0)
    assert len(merge_programs(Score(96)).tracks) == 0


def test_homes() -> None:
    def home(program: int, pitch: int = 60) -> str | None:
        return home_of(track("", program, [(0, 1, pitch)]))

    assert len(PROGRAMS) == len(set(PROGRAMS)) == 128
    assert [home(p) for p in (0, 11, 16, 25, 33, 43, 40, 52, 61, 65, 73, 81, 89)] == [
        *("piano", "piano", "piano", "guitar", "bass", "bass"),
        *("strings",) * 7,
    ]
    assert home(81, 36) == "bass"
    assert [home(p) for p in (96, 114)] == ["strings", "piano"]
    assert [home(p) for p in (47, 55, 115, 118, 127)] == [None] * 5
    assert home_of(track("", 99, [(0, 1, 36)], is_drum=True)) == "drums"


def test_merge_programs() -> None:
    """Two flutes become one without their unison; two kits become one; an empty track goes."""
    score = score_of(
        track("a", 73, [(0, 1, 72), (1, 1, 74)]),
        track("x", 8, [(0, 1, 36)], is_drum=True),
        track("b", 73, [(0, 2, 72), (3, 1, 76)]),
        track("", 0, [(0, 1, 60)]),
        track("empty", 5, []),
        track("y", 0, [(1, 1, 38)], is_drum=True),
    )
    merged = merge_programs(score)
    assert [(part.program, part.is_drum, len(part.notes)) for part in merged.tracks] == [
        (0, True, 2),
        (0, False, 1),
        (73, False, 3),
    ]
    assert next((n.time, n.duration, n.pitch) for n in merged.tracks[2].notes) == (0, 2 * TPQ, 72)
    assert merge_programs(merged) == merged


# ---- one piano -------------------------------------------------------------------------------------------------------


def test_merge_piano_says_what_became_of_the_tracks():
    score = make_song(seed=4)
    merged, said = merge_piano(score)
    assert said == "Flute, fingered bass, acoustic grand piano became one piano part; 64 drum notes left out."
    assert [(track.name, track.program, track.is_drum) for track in merged.tracks] == [("piano", 0, False)]
    assert merged.note_num() == sum(len(track.notes) for track in score.tracks if not track.is_drum)
    again, said = merge_piano(merged)
    assert again == merged
    assert said == ""


def test_merge_piano_leaves_nothing_of_drums():
    score = make_song(seed=4)
    del score.tracks[:3]
    merged, said = merge_piano(score)
    assert len(merged.tracks) == 0
    assert said == "64 drum notes left out."
