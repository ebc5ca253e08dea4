from __future__ import annotations

import json
import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ritornello.data.dataset import BarBatches, Batches, TokenDataset, crop, evenly, whole_songs
from ritornello.data.shards import save_shard
from ritornello.errors import MusicError
from ritornello.representations.base import Tokens

BOS, EOS, BAR = 1, 2, 3


def a_song(seed: int, bars: int) -> Tokens:
    """BOS, then in every bar Bar and up to nine other tokens, then EOS."""
    rng = np.random.default_rng(seed)
    ids, at = [BOS], [0]
    for bar in range(bars):
        inside = rng.integers(4, 100, rng.integers(1, 10)).tolist()
        ids += [BAR, *inside]
        at += [bar] * (1 + len(inside))
    ids.append(EOS)
    at.append(bars - 1)
    positions = np.where(np.isin(ids, (BOS, EOS, BAR)), 0, 1)
    attributes = np.arange(bars, dtype=np.int16)[:, None]
    return Tokens(
        np.array(ids, np.int16), np.array(at, np.int32), positions.astype(np.int16), attributes, {"key": seed}
    )


def write_corpus(folder: Path, songs: list[Tokens], vocabulary: str = "{}", per_shard: int = 3) -> Path:
    lines = []
    for begin in range(0, len(songs), per_shard):
        part, name = songs[begin : begin + per_shard], f"{begin:05d}"
        save_shard(folder / "shards" / name, part, [], {})
        for row, song in enumerate(part):
            lines.append(
                {
                    "file": f"{begin + row}.mid",
                    "shard": name,
                    "row": row,
                    "tokens": len(song.ids),
                    "bars": len(song.attributes),
                    "notes": 1,
                    "split": "valid" if (begin + row) % 4 == 3 else "train",
                    "cluster": "",
                    "meta": song.meta,
                }
            )
    (folder / "songs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "vocabulary.json").write_text(vocabulary)
    return folder


@pytest.fixture(scope="module")
def songs() -> list[Tokens]:
    return [a_song(seed, bars) for seed, bars in enumerate((40, 3, 80, 12, 25, 8, 60, 33, 9, 5))]


@pytest.fixture
def folder(tmp_path: Path, songs: list[Tokens]) -> Path:
    return write_corpus(tmp_path / "corpus", songs)


def same(one: Tokens, other: Tokens) -> bool:
    return all(np.array_equal(getattr(one, n), getattr(other, n)) for n in ("ids", "bars", "positions", "attributes"))


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_songs_come_back_as_they_were_written(folder: Path, songs: list[Tokens]):
    dataset = TokenDataset(folder, None)
    assert len(dataset) == len(songs)
    for read, song in zip(dataset, songs, strict=True):
        assert same(read, song)
        assert read.bars.dtype == np.int32
        assert read.meta["bars"] == len(song.attributes)
        assert read.meta["key"] == song.meta["key"]


def test_splits_and_several_folders(folder: Path, tmp_path: Path, songs: list[Tokens]):
    assert [t.meta["key"] for t in TokenDataset(folder, "valid")] == [3, 7]
    other = write_corpus(tmp_path / "other", songs[:2])
    assert len(TokenDataset([folder, other], "train")) == 8 + 2
    with pytest.raises(MusicError, match="no split called 'dev'"):
        TokenDataset(folder, "dev")


def test_songs_at_even_distances(folder: Path):
    assert evenly(10, 4) == [0, 2, 5, 7]
    assert evenly(3, 100) == [0, 1, 2]
    assert evenly(0, 5) == evenly(5, 0) == []
    every = TokenDataset(folder, None)
    assert [song.meta["file"] for song in every.spread(2)] == [every[i].meta["file"] for i in (0, len(every) // 2)]


def test_folders_of_two_vocabularies_do_not_mix(folder: Path, tmp_path: Path, songs: list[Tokens]):
    other = write_corpus(tmp_path / "other", songs[:2], vocabulary='{"x": 1}')
    with pytest.raises(MusicError, match="different vocabularies"):
        TokenDataset([folder, other])


def test_what_is_not_a_prepared_corpus_is_named(tmp_path: Path, folder: Path):
    with pytest.raises(MusicError, match=r"not a prepared corpus: .*ritornello prepare"):
        TokenDataset(tmp_path)
    next(folder.glob("shards/*.ids.npy")).unlink()
    with pytest.raises(MusicError, match=r"ids\.npy cannot be read"):
        list(TokenDataset(folder, None))


def test_arrays_are_mapped_and_survive_pickling(folder: Path, songs: list[Tokens]):
    dataset = TokenDataset(folder, None)
    base = dataset[0].ids
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    assert type(base).__name__ == "mmap"
    assert same(pickle.loads(pickle.dumps(dataset))[4], songs[4])


# ---- crops -----------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 50), bars=st.integers(1, 30), length=st.integers(1, 200), draw=st.integers(0, 1000))
def test_crops_begin_at_a_bar_and_know_the_whole_song(seed: int, bars: int, length: int, draw: int):
    song = a_song(seed, bars)
    part = crop(song, length, np.random.default_rng(draw))
    begin = part.meta["crop"]
    assert part.meta["bars"] == bars
    assert part.ids[0] == (BOS if begin == 0 else BAR)
    assert np.array_equal(part.ids, song.ids[begin : begin + length])
    assert np.array_equal(part.bars, song.bars[begin : begin + length])
    assert np.array_equal(part.past, song.ids[:begin])
    assert len(part.ids) <= length
    if len(song.ids) <= length:
        assert same(part, song)
    elif begin:  # full, or short by less than the bar before it, to end where the song ends
        assert len(part.ids) > length - 11


def test_a_quarter_of_crops_is_the_start_and_endings_are_seen():
    song = a_song(0, 100)
    parts = [crop(song, 64, np.random.default_rng(draw)) for draw in range(4000)]
    starts = Counter(part.meta["crop"] for part in parts)
    assert 0.22 < starts[0] / 4000 < 0.28
    others = [count for begin, count in starts.items() if begin]
    assert min(others) > 10  # the other bars evenly
    assert any(part.ids[-1] == EOS for part in parts)
    assert all(crop(song, 64, np.random.default_rng(d), from_start=1.0).ids[0] == BOS for d in range(20))


# ---- batches ---------------------------------------------------------------------------------------------------------


def key(batch: list[Tokens]) -> list[tuple[int, int, int]]:
    return [(t.meta["key"], t.meta["crop"], len(t.ids)) for t in batch]


def test_a_batch_depends_on_seed_and_step_alone(folder: Path):
    def batches(seed: int) -> Batches:
        return Batches(TokenDataset(folder, "train"), 256, 64, seed=seed)

    whole_run = [key(batch) for _, batch in zip(range(40), batches(1).since(), strict=False)]
    assert len(batches(1)) < 30  # so that the run goes on into later epochs
    for step in (39, 0, 17, 28):  # a process that starts anywhere, and jumps
        assert key(batches(1)[step]) == whole_run[step]
    assert [key(batches(2)[step]) for step in range(40)] != whole_run
    epoch = len(batches(1))
    assert whole_run[:5] != whole_run[epoch : epoch + 5]


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_ranks_share_the_batch_of_one_process(folder: Path, world_size: int):
    dataset = TokenDataset(folder, "train")
    alone = Batches(dataset, 256, 64, seed=5)
    ranks = [Batches(dataset, 256, 64, seed=5, rank=rank, world_size=world_size) for rank in range(world_size)]
    for step in range(2 * len(alone)):
        parts = [key(rank[step]) for rank in ranks]
        assert all(parts)
        assert sorted(one for part in parts for one in part) == sorted(key(alone[step]))


def test_batches_are_full_of_like_lengths(folder: Path):
    batches = Batches(TokenDataset(folder, None), 512, 64, seed=0)
    padding = tokens = 0
    for step in range(len(batches)):
        lengths = [len(t.ids) for t in batches[step]]
        assert len(lengths) * max(lengths) <= 512
        assert len(lengths) >= 8
        tokens += sum(lengths)
        padding += len(lengths) * max(lengths) - sum(lengths)
    assert padding < 0.15 * tokens


def test_an_epoch_visits_songs_in_proportion_to_their_length(folder: Path):
    dataset = TokenDataset(folder, None)
    batches = Batches(dataset, 256, 64, seed=0)
    visits = Counter(t.meta["key"] for step in range(len(batches)) for t in batches[step])
    wanted = {t.meta["key"]: -(-len(t.ids) // 64) for t in dataset}
    assert sum(visits.values()) >= sum(wanted.values())
    for song, count in wanted.items():
        assert count <= visits[song] <= count + 3  # the last batch is filled up


def test_few_songs_fill_a_batch_by_repetition(tmp_path: Path):
    dataset = TokenDataset(write_corpus(tmp_path, [a_song(0, 50)]), "train")
    batches = Batches(dataset, 4096, 64)
    assert len(batches) == 1
    assert len(batches[0]) == 64


def test_impossible_batches_are_refused(folder: Path):
    dataset = TokenDataset(folder, "train")
    with pytest.raises(MusicError, match="256 or more"):
        Batches(dataset, 255, 64, world_size=4)
    with pytest.raises(MusicError, match="training split is empty"):
        Batches([], 255, 64)


def test_whole_songs_are_the_same_every_time(folder: Path, songs: list[Tokens]):
    dataset = TokenDataset(folder, None)
    batches = whole_songs(dataset, 400, 200)
    assert [key(batch) for batch in batches] == [key(batch) for batch in whole_songs(dataset, 400, 200)]
    flat = [t for batch in batches for t in batch]
    assert sorted(t.meta["key"] for t in flat) == list(range(10))
    for part in flat:
        song = songs[part.meta["key"]]
        assert np.array_equal(part.ids, song.ids[:200])
        assert part.meta["bars"] == len(song.attributes)
    assert all(len(batch) == 1 or len(batch) * max(len(t.ids) for t in batch) <= 400 for batch in batches)
    assert len([t for batch in whole_songs(dataset, 400, 200, songs=4) for t in batch]) == 4


# Crops of whole bars


def bars_of(crop: Tokens) -> tuple[int, int]:
    return int(crop.bars[0]), int(crop.bars[-1]) + 1


def test_crops_are_whole_bars_from_anywhere(songs: list[Tokens]):
    batches = BarBatches(songs, bars_per_batch=12, crop_bars=4, from_start=0.0)
    seen = set()
    for part in (part for step in range(3 * len(batches)) for part in batches[step]):
        song = songs[part.meta["key"]]
        first, last = bars_of(part)
        assert last - first == min(4, len(song.attributes))
        assert np.array_equal(part.ids, song.ids[(song.bars >= first) & (song.bars < last)])
        assert part.meta["bars"] == len(song.attributes)
        seen.add((first, last == len(song.attributes)))
    assert len({first for first, _ in seen}) > 3
    assert any(ends for _, ends in seen)  # endings are seen


def test_some_crops_are_the_beginning(songs: list[Tokens]):
    batches = BarBatches(songs, 40, 2, from_start=1.0)
    assert all(crop.ids[0] == BOS for crop in batches[0])


def test_batches_of_bars_depend_on_seed_and_step_alone(songs: list[Tokens]):
    one, other = (BarBatches(songs, 12, 4, seed=seed) for seed in (1, 2))
    later = one[7]
    assert key(one[7]) == key(later) == key(BarBatches(songs, 12, 4, seed=1)[7])
    assert key(other[7]) != key(later)
    ranks = [BarBatches(songs, 12, 4, 1, rank, 3)[7] for rank in range(3)]
    assert sorted(key([crop for rank in ranks for crop in rank])) == sorted(key(later))


def test_an_epoch_of_bars_visits_songs_in_proportion_to_their_bars(songs: list[Tokens]):
    batches = BarBatches(songs, 4, 4)
    visits = Counter(crop.meta["key"] for step in range(len(batches)) for crop in batches[step])
    assert visits == {i: -(-len(song.attributes) // 4) for i, song in enumerate(songs)}


def test_crops_are_changed_by_a_generator_of_their_own(songs: list[Tokens]):
    def change(tokens: Tokens, rng: np.random.Generator) -> Tokens:
        return replace(tokens, meta={**tokens.meta, "drawn": int(rng.integers(1 << 30))})

    batches = BarBatches(songs, 12, 4, change=change)
    drawn = [crop.meta["drawn"] for step in range(4) for crop in batches[step]]
    assert len(set(drawn)) == len(drawn)
    assert drawn == [crop.meta["drawn"] for step in range(4) for crop in batches[step]]


def test_impossible_batches_of_bars_are_refused(songs: list[Tokens]):
    with pytest.raises(MusicError, match=r"4 bars; set the stage's batch \(train.stages\) to 8"):
        BarBatches(songs, 7, 4, world_size=2)
    with pytest.raises(MusicError, match="training split is empty"):
        BarBatches([], 8, 4)
