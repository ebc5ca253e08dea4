"""Is it copied? Worked by hand on a few notes, against a slow search, and from an index on disk."""

from __future__ import annotations

from collections.abc import Iterable
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from symusic.core import NoteTick, TrackTick

from ritornello.data.workers import Failure
from ritornello.errors import MusicError
from ritornello.evaluate import originality as module
from ritornello.evaluate.originality import FIGURES, GRAMS, Known, Lines, lines, originality, search
from ritornello.evaluate.report import evaluate, markdown
from ritornello.music.score import Score
from tests.evaluate.songs import song


def melody(*notes: tuple[int, int, int], name: str = "melody", drum: bool = False, quarter: int = 12) -> Score:
    """One track of (start, duration, pitch)."""
    score = Score(quarter)
    score.tracks.append(TrackTick(name, 0, drum))
    for start, duration, pitch in notes:
        score.tracks[0].notes.append(NoteTick(start, duration, pitch, 80))
    return score


def line(*pitches: int, start: int = 0, length: int = 6) -> Score:
    """Eighth notes."""
    return melody(*((start + 6 * i, length, pitch) for i, pitch in enumerate(pitches)))


def found(new: Score, *known: Score, tracks: str = "melody") -> tuple[int, list[float]]:
    """The longest run in notes, and the shares of runs of 4, 8 and 16."""
    joined = Lines.join([lines(score)[tracks] for score in known])
    longest, shares = search([lines(new)[tracks]], [joined])
    return int(longest[0]), [float(share[0]) for share in shares]


TUNE = (60, 62, 64, 65, 67, 65, 64, 62, 60, 71)  # ten notes


def test_by_hand():
    new = line(50, 60, 62, 64, 65, 67, 66, 40, 41, 43)  # five notes of the tune, and others
    longest, shares = found(new, line(*TUNE))
    assert longest == 5
    # Of its seven runs of 4: 60 62 64 65, 62 64 65 67. None of three runs of 8; none of 16 at all.
    assert shares[:2] == pytest.approx([2 / 7, 0])
    assert isnan(shares[2])


def test_the_whole_tune_and_one_note_less():
    longest, shares = found(line(*TUNE), line(*TUNE))
    assert longest == 10
    assert shares[:2] == [1, 1]
    assert found(line(*TUNE[:-1], 72), line(*TUNE))[0] == 9


def test_transposed_shifted_and_at_other_ticks_it_is_the_same():
    for copy in (
        line(*(pitch + 5 for pitch in TUNE)),
        line(*TUNE, start=31),
        line(*TUNE).resample(480),
        line(*TUNE, length=7),  # 7 twelfths are nearest to an eighth too
    ):
        assert found(copy, line(*TUNE))[0] == 10


def test_another_rhythm_is_another_tune():
    assert found(line(*TUNE, length=3), line(*TUNE))[0] == 0  # sixteenths with rests
    slower = melody(*((8 * i, 6, pitch) for i, pitch in enumerate(TUNE)))
    assert found(slower, line(*TUNE))[0] == 0
    last_held = melody(*((6 * i, 6 if i < 9 else 48, pitch) for i, pitch in enumerate(TUNE)))
    assert found(last_held, line(*TUNE))[0] == 10  # of the last note only the pitch counts


def test_rests_of_a_whole_note_and_more_are_alike():
    early, late = (
        melody(*((6 * i + (rest if i > 4 else 0), 6, pitch) for i, pitch in enumerate(TUNE))) for rest in (50, 90)
    )
    assert found(early, late)[0] == 10


def test_runs_do_not_go_on_from_line_to_line():
    assert found(line(*TUNE), line(*TUNE[:5]), line(*TUNE[5:]))[0] == 5
    both = [lines(line(*TUNE[:6]))["melody"], lines(line(*TUNE[6:]))["melody"]]
    longest, _ = search(both, [lines(line(*TUNE))["melody"]])
    assert longest.tolist() == [6, 4]


def test_the_melody_is_the_highest_note_and_chords_are_read_upwards():
    chord = melody(*((12 * i, 6, pitch) for i in range(3) for pitch in (67, 60, 64, 60)))
    codes = lines(chord)
    assert len(codes["melody"].codes) == 2
    assert (codes["melody"].codes >> 9).tolist() == [128, 128]  # 67 67 67
    assert ((codes["all"].codes >> 9).astype(int) - 128).tolist() == [4, 3, -7, 4, 3, -7, 4, 3]
    assert (codes["all"].codes >> 3 & 63).tolist() == [0, 0, 12, 0, 0, 12, 0, 0]
    assert (codes["all"].codes & 7).tolist() == [2] * 8  # eighths


def test_only_melodies_count_as_melody_and_drums_never():
    bass = melody(*((6 * i, 6, pitch) for i, pitch in enumerate(TUNE)), name="bass")
    assert found(line(*TUNE), bass)[0] == 0
    assert found(line(*TUNE), bass, tracks="all")[0] == 10
    drums = melody(*((6 * i, 6, pitch) for i, pitch in enumerate(TUNE)), drum=True)
    assert len(lines(drums)["all"].codes) == 0


def test_agrees_with_a_slow_search(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)

    def made(count: int, most: int) -> list[np.ndarray]:
        return [rng.integers(0, 3, rng.integers(0, most)).astype(np.uint32) for _ in range(count)]

    for _ in range(10):
        known, new = made(6, 60), made(5, 50)
        known[0] = np.concatenate([known[0], new[0][3:], known[1]])  # a long copy
        longest, shares = search([_joined([part]) for part in new], [_joined(known[:3]), _joined(known[3:])])
        for i, codes in enumerate(new):
            runs = {size: _runs(codes, size) for size in range(3, len(codes) + 1)}
            there = {size: {run for part in known for run in _runs(part, size)} for size in runs}
            expected = max((size + 1 for size, ours in runs.items() if there[size] & set(ours)), default=0)
            assert longest[i] == expected
            for n, share in zip(GRAMS, shares, strict=True):
                ours = runs.get(n - 1, [])
                hits = [run in there[n - 1] for run in ours]
                assert share[i] == pytest.approx(np.mean(hits)) if ours else isnan(share[i])


def _runs(codes: np.ndarray, size: int) -> list[tuple[int, ...]]:
    return [tuple(codes[i : i + size].tolist()) for i in range(len(codes) - size + 1)]


def _joined(parts: list[np.ndarray]) -> Lines:
    return Lines.join([Lines(part, np.array([0, len(part)])) for part in parts])


def test_figures_of_songs_without_notes():
    known = [lines(line(*TUNE))]
    songs = [lines(song(drums="ab")), lines(line(*TUNE))]
    index = InMemory(known)
    nothing, tune = originality(songs, index)  # pyright: ignore[reportArgumentType]
    assert list(tune) == list(FIGURES)
    assert all(isnan(value) for value in nothing.values())
    assert tune["melody_longest_run"] == tune["all_longest_run"] == 10


class InMemory:
    """What `originality` reads of a Known."""

    def __init__(self, songs: list[dict[str, Lines]]) -> None:
        self.songs, self.parts, self.about = len(songs), 1, "a test"
        self._songs = songs

    def read(self, part: int, tracks: str) -> Lines:
        return Lines.join([song[tracks] for song in self._songs])


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without worker processes."""
    monkeypatch.setattr(module, "run", lambda task, jobs, workers: map(task, jobs))


def made(seed: int) -> dict[str, Lines] | Failure:
    """A job of the index: the lines of a song of 12 notes; every fifth cannot be read."""
    if seed % 5 == 4:
        return Failure("cannot be read", "is no music")
    return lines(line(*(int(p) for p in np.random.default_rng(seed).integers(50, 80, 12))))


def jobs(count: int, shift: int = 0) -> Iterable[tuple[str, Any]]:
    return ((f"song {i + shift}", i + shift) for i in range(count))


@pytest.mark.usefixtures("here")
def test_the_index_is_kept_and_only_what_changed_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "SONGS_PER_PART", 5)
    done: list[int] = []
    index = Known.build(tmp_path / "index", "songs", jobs(12), made, advance=done.append)
    assert (index.parts, index.songs, sum(done)) == (3, 10, 12)
    new = lines(line(*(int(p) for p in np.random.default_rng(7).integers(50, 80, 12))))
    assert originality([new], index)[0]["melody_longest_run"] == 12
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "index").iterdir()}

    again = Known.build(tmp_path / "index", "songs", jobs(12), _refuse, advance=done.append)
    assert again == index
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "index").iterdir()} == times

    (tmp_path / "index" / "00001.json").unlink()  # stopped half-way
    third = Known.build(tmp_path / "index", "songs", jobs(12), made)
    assert third == index
    assert (tmp_path / "index" / "00000.json").stat().st_mtime_ns == times[tmp_path / "index" / "00000.json"]

    others = Known.build(tmp_path / "index", "songs", jobs(3, shift=100), made)  # other songs, and fewer
    assert (others.parts, others.songs) == (1, 3)
    assert originality([new], others)[0]["melody_longest_run"] < 12


def _refuse(_: int) -> Failure:
    raise AssertionError("nothing is to be made")


@pytest.mark.usefixtures("here")
def test_says_what_is_wrong_with_an_index(tmp_path: Path):
    with pytest.raises(MusicError, match="no known song to look for copies in: nothing"):
        Known.build(tmp_path / "a", "nothing", [], made)
    index = Known.build(tmp_path / "b", "songs", jobs(2), made)
    (tmp_path / "b" / "00000.all.codes.npy").write_bytes(b"nonsense")
    with pytest.raises(MusicError, match="take it away to make it anew"):
        index.read(0, "all")
    (tmp_path / "file").touch()
    with pytest.raises(MusicError, match="name another folder"):
        Known.build(tmp_path / "file", "songs", jobs(2), made)


@pytest.mark.usefixtures("here")
def test_in_the_report(tmp_path: Path):
    index = Known.build(tmp_path / "index", "songs of a test", jobs(4), made)
    copied = line(*(int(p) for p in np.random.default_rng(2).integers(50, 80, 12)))
    result = evaluate({"copied": [copied]}, [line(*range(40, 52))], known=index)
    assert result["known"] == {"songs": 4, "about": "songs of a test"}
    assert result["originality"]["melody_longest_run"]["copied"]["highest"] == 12
    assert result["originality"]["melody_found_8"]["human"]["median"] == 0
    text = markdown(result)
    assert "**Originality: what is found in 4 songs (songs of a test)**" in text
    assert "| melody: longest run found, notes | 12 [12, 12], max. 12 | 0 [0, 0], max. 0 |" in text
