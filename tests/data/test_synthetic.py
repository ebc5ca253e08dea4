"""Songs made here: different ones, in which passages come back, and which a corpus can be made of."""

from __future__ import annotations

from pathlib import Path

from ritornello.data.synthetic import make_song, write_songs
from ritornello.music.bars import bars
from ritornello.music.similarity import bar_similarity


def test_the_same_seed_is_the_same_song(tmp_path: Path):
    write_songs(tmp_path, 3, bars=16)
    songs = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert len(set(songs)) == 3
    (tmp_path / "0001.mid").unlink()
    write_songs(tmp_path, 3, bars=16)
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == songs


def test_phrases_come_back_but_for_their_last_bar():
    for seed in range(5):
        song = make_song(seed, bars=32)
        alike = bar_similarity(song)
        assert len(bars(song)) == 32
        assert [alike[bar, bar + 4] == 1 for bar in range(4)] == [True, True, True, False]
        assert (alike[1:4, 0] < 1).all()
