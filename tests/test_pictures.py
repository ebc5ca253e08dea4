"""Pictures: they are written whole, quickly, for any song, and show what they should."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from symusic.core import NoteTick, TimeSignatureTick, TrackTick

from ritornello.music.score import Score
from ritornello.pictures import draw, draw_costs, draw_similarity
from ritornello.pictures.songs import _parts
from ritornello.pictures.style import FAMILIES, MORE, SIX
from tests.evaluate.songs import song


def shows(path: Path, colour: str) -> bool:
    """Whether some pixel has a colour (or nearly)."""
    rgb = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return bool((np.abs(imread(path)[..., :3] - rgb).max(-1) < 0.02).any())


def test_a_song_is_1600_wide_and_in_its_colours(tmp_path: Path):
    score = song(melody="abcabc", drums="ababab", bass="aabbcc")
    for track in score.tracks:
        for note in track.notes:
            note.velocity = 127
    path = draw(score, tmp_path / "deep" / "song.png", "A song")
    assert imread(path).shape[1] == 1600
    assert all(shows(path, SIX[name]) for name in ("melody", "drums", "bass"))
    assert not shows(path, SIX["guitar"])
    assert [file.name for file in path.parent.iterdir()] == ["song.png"]  # nothing half-written is left


@pytest.mark.parametrize(
    "score",
    [
        Score(480),
        song(melody="a"),
        song(drums="ab"),
        song(melody="ab" * 150),
    ],
    ids=["nothing", "one bar", "drums alone", "300 bars"],
)
def test_every_song_can_be_drawn(score: Score, tmp_path: Path):
    assert draw(score, tmp_path / "a.png").stat().st_size > 5000


def test_other_metres_and_many_instruments(tmp_path: Path):
    score = Score(480)
    score.time_signatures.append(TimeSignatureTick(0, 3, 4))
    score.time_signatures.append(TimeSignatureTick(1440, 7, 8))
    for program in range(0, 128, 8):
        track = TrackTick("", program)
        for i in range(16 - program // 8):
            track.notes.append(NoteTick(i * 480, 400, 40 + program // 4, 90))
        score.tracks.append(track)
    assert draw(score, tmp_path / "a.png").exists()
    labels = [part.label for part in _parts(score)]
    assert labels == list(FAMILIES)
    colours = [part.colour for part in _parts(score)]
    assert len(set(colours)) == 8  # seven colours that can be told apart, and grey for the rest
    assert colours[0] == SIX["piano"]


def test_threads_may_draw_at_once(tmp_path: Path):
    score = song(melody="abcabc", drums="ababab")
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda path: draw(score, path, "A song"), paths))
    assert len({path.read_bytes() for path in paths}) == 1


def test_similarity_of_several_systems(tmp_path: Path):
    lines = {"human": np.linspace(0.3, 0.1, 40), "ours": [0.2, float("nan"), 0.1]}
    assert shows(draw_similarity(lines, tmp_path / "a.png"), "#D55E00")
    assert draw_similarity({}, tmp_path / "b.png").exists()


def test_costs_are_drawn_for_every_system(tmp_path: Path):
    figures = {"train_seconds": 1e-4, "train_bytes": 2e4, "write_seconds": 1e-3}
    heights = {str(i): {name: value * (i + 1) for name, value in figures.items()} for i in range(9)}
    costs = {system: {"512": found, "1024": found} for system, found in heights.items()}
    path = draw_costs(costs, tmp_path / "costs.png")
    assert all(shows(path, colour) for colour in MORE)
