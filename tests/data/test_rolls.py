"""Piano rolls on disk, their windows and batches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ritornello.cli import main
from ritornello.data.corpora import SOURCES, Entry
from ritornello.data.dataset import TokenDataset
from ritornello.data.encode import Encoded, Encoder, Filters
from ritornello.data.rolls import (
    RollDataset,
    Windows,
    collate,
    ranges,
    shifts,
    spread,
    starts,
    transpose,
    unbatch,
    window,
)
from ritornello.data.shards import load_shard, roll_of, save_shard
from ritornello.errors import MusicError
from ritornello.music.score import read, write
from ritornello.representations import build
from ritornello.representations.base import ONSET, Roll
from ritornello.run import RunConfig
from tests.families import make_config
from tests.rolls import make_chorale, make_roll


def write_chorales(folder: Path, count: int) -> None:
    for seed in range(count):
        write(build("chorale").decode(make_roll(seed, bars=10)), folder / f"{seed:02d}.mid")


def test_from_files_to_disk_and_back(tmp_path: Path):
    write_chorales(tmp_path / "mine", 40)
    write(make_chorale(voices=3), tmp_path / "mine" / "trio.mid")
    flags = ["--representation", "chorale", "--workers", "1", "-o", str(tmp_path / "rolls")]
    assert main(["prepare", str(tmp_path / "mine"), *flags]) == 0
    dataset = RollDataset(tmp_path / "rolls", None, "chorale")
    assert len(dataset) == 40
    for roll in dataset:
        seed = int(roll.meta["file"].removesuffix(".mid"))
        np.testing.assert_array_equal(roll.cells, make_roll(seed, bars=10).cells)
        np.testing.assert_array_equal(roll.bars, make_roll(seed, bars=10).bars)
    splits = [len(RollDataset(tmp_path / "rolls", split)) for split in ("train", "valid", "test")]
    assert sum(splits) == 40
    report = json.loads((tmp_path / "rolls" / "report.json").read_text())
    assert report["dropped"][0]["reason"] == "too few parts"
    assert "1.0 steps a note" in (tmp_path / "rolls" / "report.md").read_text()
    with pytest.raises(MusicError, match="prepared for 'chorale', and 'pianoroll' is expected"):
        RollDataset(tmp_path / "rolls", "train", "pianoroll")
    with pytest.raises(MusicError, match="holds piano rolls, where tokens are expected"):
        TokenDataset(tmp_path / "rolls", "train")


def test_from_ones_own_files_to_a_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """A model of rolls goes the same way from files to music as those of tokens."""
    monkeypatch.chdir(tmp_path)
    write_chorales(tmp_path / "mine", 12)
    splits = ["path,split", *(f"{i:02d}.mid,{'valid' if i < 2 else 'test' if i < 4 else 'train'}" for i in range(12))]
    (tmp_path / "mine" / "MANIFEST.csv").write_text("\n".join(splits))
    assert main(["prepare", "mine", "--representation", "chorale", "--workers", "1"]) == 0
    config = {
        **make_config("conv_gru_vae"),
        "data": {"folders": ["tokens/mine"]},
        "train": {"steps": 3, "stages": [[0, 32, 128]], "precision": "float32", "save_every": 1, "sample_every": 3},
    }
    (tmp_path / "small.toml").write_text(RunConfig.from_dict(config).to_toml())
    assert main(["train", "small.toml"]) == 0
    assert "valid_bound" in (tmp_path / "runs" / "small" / "metrics.jsonl").read_text()
    assert (tmp_path / "runs" / "small" / "samples" / "0000003.mid").exists()
    assert main(["train", "small.toml", "--resume", "--set", "train.steps=4"]) == 0
    flags = ["--density", "1.5", "--phrases", "2", "--start", "mine/03.mid"]
    assert main(["generate", "--run", "runs/small", *flags, "-o", "piece.mid"]) == 0
    assert read("piece.mid").note_num() > 0
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["generate", "--run", "runs/small", "--help"])
    assert "--phrases" in capsys.readouterr().out
    assert main(["evaluate", "--run", "runs/small", "--tokens", "tokens/mine", "--songs", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["measured"]["bound"] > 0
    assert told["harmony"]["held out"]["full_triads"]["value"] == 1
    assert told["harmony"]["small"]["pieces"] <= 2  # silent ones are left out
    assert main(["evaluate", "--run", "runs/small", "--tokens", "tokens/mine", "--songs", "2"]) == 0
    assert "dissonant pairs" in capsys.readouterr().out
    assert main(["train", "small.toml", "--set", "train.stages=[[0, 48, 96]]", "-o", "other"]) == 2
    assert "conv_gru_vae takes windows of 32 steps, not 48" in capsys.readouterr().err
    assert main(["train", "small.toml", "--set", "representation=museformer", "-o", "other"]) == 2
    assert "a conv_gru_vae learns from piano rolls" in capsys.readouterr().err


def test_only_the_files_asked_for(tmp_path: Path):
    encoder = Encoder("chorale", Filters.for_representation("chorale").override(["files=good/*"]))
    write(build("chorale").decode(make_roll(0, bars=10)), tmp_path / "x.mid")
    data = (tmp_path / "x.mid").read_bytes()
    assert isinstance(encoder(Entry("good/x.mid", data)), Encoded)
    assert getattr(encoder(Entry("other/x.mid", data)), "reason", None) == "not asked for"


def test_cello_suites_are_held_out_by_movement():
    held_out = SOURCES["bach_cello_suites"].held_out
    assert sorted(held_out.values()) == ["test"] * 3 + ["valid"] * 3
    assert len({name.split("/")[0] for name in held_out}) == 6  # one movement of every suite


def test_a_shard_of_rolls_holds_every_cell(tmp_path: Path):
    rng = np.random.default_rng(0)
    songs = [
        Roll(rng.choice(3, (2, n, 128), p=[0.9, 0.05, 0.05]).astype(np.uint8), np.arange(n, dtype=np.int32) // 16)
        for n in (5, 40, 17)
    ]
    save_shard(tmp_path / "00000", songs, [], {})
    shard = load_shard(tmp_path / "00000", ("cells", "bars", "cell_offsets", "step_offsets"))
    for row, song in enumerate(songs):
        back = roll_of(shard, row, {"tracks": 2})
        np.testing.assert_array_equal(back.cells, song.cells)
        np.testing.assert_array_equal(back.bars, song.bars)


def test_batches_hold_what_was_put_in():
    rolls = [make_roll(0, bars=2), make_roll(1, bars=3)]
    batch = collate(rolls)
    assert batch.cells.shape == (2, 4, 48, 128)
    assert batch.lengths.tolist() == [32, 48]
    assert batch.cells[0, :, 32:].sum() == 0
    assert batch.bars[0, 32:].unique().tolist() == [1]
    for before, after in zip(rolls, unbatch(batch), strict=True):
        np.testing.assert_array_equal(before.cells, after.cells)
        np.testing.assert_array_equal(before.bars, after.bars)
    with pytest.raises(ValueError, match="at least one roll"):
        collate([])


def barred(*lengths: int) -> Roll:
    bars = np.repeat(np.arange(len(lengths)), lengths).astype(np.int32)
    cells = np.zeros((1, len(bars), 128), np.uint8)
    cells[0, :, 60] = ONSET
    return Roll(cells, bars)


def test_where_windows_start():
    song = barred(4, 16, 16, 12, 16, 16, 9)  # a pickup, a short bar inside, a last bar broken off
    assert starts(song, 32).tolist() == [0, 4, 20, 36, 48]
    assert starts(song, 32, bar=16).tolist() == [4, 48]
    assert starts(song, 40, bar=16).tolist() == []  # 16 + 16 + 8, but the last bar is known to be of 9
    assert starts(song, 32, hop=4).tolist() == [0, *range(4, 58, 4)][: len(starts(song, 32, hop=4))]
    assert starts(barred(16, 16), 64).tolist() == [0]
    assert starts(barred(16, 16), 64, bar=16).tolist() == []


def test_a_window_is_a_piece_of_its_song():
    song = barred(4, 16, 16)
    found = window(song, 20, 16)
    assert found.bars.tolist() == [0] * 16
    assert found.meta["start"] == 20
    np.testing.assert_array_equal(found.cells, song.cells[:, 20:36])


def test_transposition_moves_every_note_and_can_be_taken_back():
    roll = make_roll(0, bars=2)
    up = transpose(roll, 5)
    np.testing.assert_array_equal(up.cells[:, :, 5:], roll.cells[:, :, :-5])
    before, after = build("chorale").decode(roll), build("chorale").decode(up)
    assert [list(t.notes) for t in before.tracks] == [list(t.notes) for t in after.tracks]


def test_shifts_keep_every_voice_in_range():
    roll = make_roll(0, bars=4)
    (low, high), *others = ranges([roll]).tolist()
    allowed = np.array([(low - 2, high + 3), *((a - 5, b + 5) for a, b in others)])
    assert shifts(roll, allowed) == [-2, -1, 0, 1, 2, 3]
    assert shifts(roll, ranges([roll])) == [0]
    wide = np.array([(0, 127)] * 4)
    assert shifts(roll, wide) == list(range(-5, 7))


def test_windows_follow_from_seed_and_step():
    songs = [make_roll(seed, bars=8) for seed in range(5)]
    once, again = Windows(songs, 32, 256, bar=16, seed=3), Windows(songs, 32, 256, bar=16, seed=3)
    again[7]  # what was drawn before does not matter
    for step in (0, 4, 9):
        for a, b in zip(once[step], again[step], strict=True):
            np.testing.assert_array_equal(a.cells, b.cells)
    other = Windows(songs, 32, 256, bar=16, seed=4)
    assert any((a.cells != b.cells).any() for a, b in zip(once[0], other[0], strict=True))


def test_an_epoch_takes_every_window_once_and_ranks_share_it():
    songs = [make_roll(seed, bars=8) for seed in range(4)]  # 7 windows of two bars each
    windows = Windows(songs, 32, 7 * 32, bar=16, transposed=False)
    assert len(windows) == 4
    seen = [roll.cells.tobytes() for step in range(4) for roll in windows[step]]
    assert len(set(seen)) == len(seen) == 28
    ranks = [Windows(songs, 32, 7 * 32, bar=16, transposed=False, rank=r, world_size=2)[1] for r in (0, 1)]
    assert [r.cells.tobytes() for r in windows[1]] == [ranks[i % 2][i // 2].cells.tobytes() for i in range(7)]


def test_spread_windows_do_not_overlap():
    songs = [make_roll(seed, bars=9) for seed in range(3)]
    found = spread(songs, 32, bar=16)
    assert [roll.meta["start"] for roll in found] == [0, 32, 64, 96] * 3
    assert [roll.meta["start"] for roll in spread(songs, 32, 3, bar=16)] == [0, 0, 0]


def test_nothing_to_learn_from_is_said():
    with pytest.raises(MusicError, match="no song of 32 steps with bars of 16"):
        Windows([barred(12, 12, 12)], 32, 64, bar=16)
    with pytest.raises(MusicError, match=r"set the stage's batch \(train.stages\) to 64"):
        Windows([barred(16, 16, 16)], 32, 32, world_size=2)


def test_a_noise_row_is_its_seeds_alone():
    from ritornello.sampling.noise import Noise

    together, alone = Noise([4, 5, 6]), Noise([5])
    torch.testing.assert_close(together.normal(3, 2)[1], alone.normal(3, 2)[0], atol=0, rtol=0)
    torch.testing.assert_close(together.uniform(7)[1], alone.uniform(7)[0], atol=0, rtol=0)
