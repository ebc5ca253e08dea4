from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import symusic

from ritornello.data import prepare as module
from ritornello.data.corpora import Entry, open_corpus
from ritornello.data.dataset import TokenDataset
from ritornello.data.encode import Encoder, Filters
from ritornello.data.prepare import prepare
from ritornello.data.workers import run
from ritornello.errors import MusicError
from ritornello.music.score import parse
from ritornello.representations import build

Song = Callable[..., Any]
KIND = "museformer"


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "FILES_PER_SHARD", 4)


@pytest.fixture(scope="session")
def music(song: Song, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ten songs, a transposed copy, and nine files that are not to be learned from."""
    folder = tmp_path_factory.mktemp("music")
    for seed in range(10):
        path = folder / f"{'ab'[seed % 2]}" / f"{seed}.mid"
        path.parent.mkdir(exist_ok=True)
        song(seed, bars=24).dump_midi(path)
    song(3, bars=24, transpose=2, qpm=70.0).dump_midi(folder / "z-copy-of-3.mid")
    song(20, bars=4).dump_midi(folder / "short.mid")
    song(21, bars=600).dump_midi(folder / "long.mid")
    (folder / "broken.mid").write_bytes(song(1).dumps_midi()[:100])
    (folder / "text.mid").write_text("not music")
    (folder / "empty.mid").write_bytes(b"")
    (folder / "big.mid").write_bytes(bytes(5 * 2**20))
    os.symlink("/etc/passwd", folder / "link.mid")
    (folder / "notes.txt").write_text("not looked at")
    free = song(22, bars=24)
    for track in free.tracks:
        track.notes = symusic.Note.from_numpy(
            **{**track.notes.numpy(), "time": (track.notes.numpy()["time"] * 1.037 + 31).astype(np.int32)}, ttype="tick"
        )
    free.dump_midi(folder / "free.mid")
    waltz = song(23, bars=24)
    waltz.time_signatures = [symusic.TimeSignature(0, 3, 4)]
    waltz.dump_midi(folder / "waltz.mid")
    return folder


REASONS = {
    "z-copy-of-3.mid": "a copy",
    "short.mid": "too short",
    "long.mid": "too long",
    "broken.mid": "cannot be read",
    "text.mid": "cannot be read",
    "empty.mid": "cannot be read",
    "big.mid": "cannot be read",
    "link.mid": "cannot be read",
    "free.mid": "played off the grid",
    "waltz.mid": "in another metre",
}


def content(folder: Path) -> dict[str, str]:
    """A hash of every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def make(corpus: Path | str, out: Path, workers: int = 1, **options: Any):
    return prepare(corpus, out, KIND, workers=workers, progress=False, **options)


@pytest.fixture(scope="session")
def prepared(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "tokens"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FILES_PER_SHARD", 4)
        make(music, out)
    return out


# ---- what comes out --------------------------------------------------------------------------------------------------


def test_every_dropped_file_is_named_with_its_reason(prepared: Path):
    report = json.loads((prepared / "report.json").read_text())
    assert {drop["file"]: drop["reason"] for drop in report["dropped"]} == REASONS
    assert all(drop["detail"] for drop in report["dropped"])
    assert (report["files"], report["songs"]) == (20, 10)
    page = (prepared / "report.md").read_text()
    assert "10 of 20 files accepted" in page
    assert all(name in page for name in REASONS)


def test_songs_are_what_the_representation_makes_of_them(prepared: Path, music: Path):
    songs = TokenDataset(prepared, None)
    representation = build(KIND)
    for song in songs:
        name = song.meta["file"]
        expected = representation.encode(parse((music / name).read_bytes(), name))
        assert np.array_equal(song.ids, expected.ids)
        assert np.array_equal(song.bars, expected.bars)
        assert np.array_equal(song.positions, expected.positions)
        assert song.meta["bars"] == int(expected.bars[-1]) + 1


def test_statistics_add_up(prepared: Path):
    corpus = json.loads((prepared / "corpus.json").read_text())
    songs = [json.loads(line) for line in (prepared / "songs.jsonl").read_text().splitlines()]
    splits = corpus["splits"].values()
    for name in ("tokens", "bars", "notes"):
        assert sum(split[name] for split in splits) == sum(song[name] for song in songs)
    assert sum(split["songs"] for split in splits) == len(songs) == corpus["songs"] == 10
    assert sum(corpus["families"].values()) == pytest.approx(1, abs=1e-4)
    assert {"file", "shard", "row", "tokens", "bars", "notes", "split", "cluster", "meta"} == set(songs[0])
    total = sum(song["tokens"] for song in songs)
    assert corpus["tokens"]["a note"] == pytest.approx(total / sum(song["notes"] for song in songs), abs=0.01)


def test_workers_and_machines_do_not_change_a_byte(prepared: Path, music: Path, tmp_path: Path):
    make(music, tmp_path / "two", workers=2)
    assert content(tmp_path / "two") == content(prepared)
    halves = [make(music, tmp_path / "halves", shard=(part, 2)) for part in (1, 0)]
    assert [half.complete for half in halves] == [False, True]
    assert content(tmp_path / "halves") == content(prepared)


def test_a_finished_corpus_is_left_alone(prepared: Path, music: Path, tmp_path: Path):
    shutil.copytree(prepared, tmp_path / "again")
    shards = sorted((tmp_path / "again" / "shards").iterdir())
    times = [path.stat().st_mtime_ns for path in shards]
    report = make(music, tmp_path / "again")
    assert report.songs == 10
    assert content(tmp_path / "again") == content(prepared)
    assert [path.stat().st_mtime_ns for path in shards] == times


def test_damaged_shards_are_made_again(prepared: Path, music: Path, tmp_path: Path):
    out = tmp_path / "damaged"
    shutil.copytree(prepared, out)
    (out / "shards" / "00000.json").write_text("{")
    (out / "shards" / "00001.ids.npy").unlink()
    (out / "shards" / "00099.ids.npy").write_bytes(b"left over")
    make(music, out)
    assert content(out) == content(prepared)


def test_other_settings_do_not_mix(prepared: Path, music: Path, tmp_path: Path):
    shutil.copytree(prepared, tmp_path / "out")
    with pytest.raises(MusicError, match="prepared with other settings"):
        make(music, tmp_path / "out", filters=Filters(fewest_bars=2))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("…")
    with pytest.raises(MusicError, match="holds something else"):
        make(music, tmp_path / "mine")


def test_limit_and_impossible_parts(music: Path, tmp_path: Path):
    assert make(music, tmp_path / "few", limit=5).files == 5
    with pytest.raises(MusicError, match="no part 2 of 2"):
        make(music, tmp_path / "part", shard=(2, 2))
    with pytest.raises(MusicError, match="0 workers"):
        make(music, tmp_path / "none", workers=0)


def test_an_unclear_melody_is_a_reason(music: Path, tmp_path: Path):
    report = make(music, tmp_path / "all", filters=Filters(metre="4/4", drop_copies=False))
    sure = [song.meta["melody_confidence"] for song in TokenDataset(report.out, None)]
    limit = sorted(sure)[len(sure) // 2]
    filters = Filters(metre="4/4", least_melody=limit, drop_copies=False)
    report = make(music, tmp_path / "sure", filters=filters)
    assert report.reasons.get("melody unclear", 0) == sum(value < limit for value in sure)
    assert all(song.meta["melody_confidence"] >= limit for song in TokenDataset(report.out, None))


def test_a_folder_without_one_good_song(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.mid").write_bytes(b"no")
    report = make(tmp_path / "in", tmp_path / "out")
    assert (report.songs, report.files) == (0, 1)
    assert len(TokenDataset(tmp_path / "out", None)) == 0


# ---- crashes ---------------------------------------------------------------------------------------------------------


class Deadly(Encoder):
    """Meets one file that kills its worker, one that never ends, one that wants all memory, and a defect."""

    def __call__(self, entry: Entry) -> Any:
        if entry.name.endswith("0.mid"):
            os.kill(os.getpid(), signal.SIGKILL)
        if entry.name.endswith("1.mid"):
            time.sleep(60)
        if entry.name.endswith("2.mid"):
            bytes(2**40)
        if entry.name.endswith("4.mid"):
            raise ZeroDivisionError("oh")
        return super().__call__(entry)


def test_files_that_end_their_worker_cost_only_themselves(music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "Encoder", Deadly)
    monkeypatch.setattr(module, "SECONDS_PER_FILE", 3.0)
    report = make(music, tmp_path / "out", workers=2)
    reasons = {drop["file"]: drop["reason"] for drop in report.dropped}
    details = {drop["file"]: drop["detail"] for drop in report.dropped}
    assert reasons["a/0.mid"] == "ends its worker"
    assert "SIGKILL" in details["a/0.mid"]
    assert reasons["b/1.mid"] == "takes too long"
    assert reasons["a/2.mid"] == "needs too much memory"
    assert reasons["a/4.mid"] == "fails unexpectedly"
    assert "ZeroDivisionError" in details["a/4.mid"]
    assert {song.meta["file"] for song in TokenDataset(tmp_path / "out", None)} == {
        f"{'ab'[seed % 2]}/{seed}.mid" for seed in (3, 5, 6, 7, 8, 9)
    }


def die_once(job: tuple[str, int]) -> int:
    """Kills its worker the first time that it meets an odd number; a file remembers."""
    path, number = job
    mark = Path(path, str(number))
    if number % 2 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_worker_killed_from_outside_costs_nothing(tmp_path: Path):
    jobs = [(str(tmp_path), number) for number in range(6)]
    assert list(run(die_once, jobs, workers=2)) == list(range(6))


def double(number: int) -> int:
    return 2 * number


def test_results_keep_the_order_of_the_jobs():
    assert list(run(double, range(100), workers=3)) == list(range(0, 200, 2))
    assert list(run(double, [], workers=1)) == []


def test_workers_that_cannot_start_are_an_error():
    with pytest.raises(RuntimeError, match="end as soon as they start"):
        list(run(_Unloadable(), [1], workers=1))


class _Unloadable:
    def __reduce__(self) -> Any:
        return _explode, ()

    def __call__(self, job: Any) -> Any: ...


def _explode() -> None:
    os._exit(7)


SCRIPT = """
import sys
from ritornello.data import prepare
prepare.FILES_PER_SHARD = 2
prepare.prepare(sys.argv[1], sys.argv[2], sys.argv[3], workers=2, progress=False)
"""


def test_killed_runs_go_on_to_the_same_bytes(music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "FILES_PER_SHARD", 2)
    make(music, tmp_path / "whole")
    out = tmp_path / "killed"
    for wanted in (1, 4, 8):  # kill it as soon as so many shards are there
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(music), str(out), KIND])
        while process.poll() is None and len(list(out.glob("shards/*.json"))) < wanted:
            time.sleep(0.002)
        process.kill()
        process.wait()
    assert not (out / "songs.jsonl").exists()
    make(music, out)
    left = {name for name in content(out) if name.endswith(".part")}
    assert {k: v for k, v in content(out).items() if k not in left} == content(tmp_path / "whole")


# ---- corpora ---------------------------------------------------------------------------------------------------------


def packed(folder: Path, archive: Path) -> Path:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path in sorted(folder.rglob("*.mid")):
                if not path.is_symlink():
                    file.write(path, f"{folder.name}/{path.relative_to(folder)}")
        return archive
    with tarfile.open(archive, "w:xz") as file:
        file.add(folder, archive.name.removesuffix(".tar.xz"))
    return archive


@pytest.mark.parametrize("ending", [".zip", ".tar.xz"])
def test_an_archive_gives_what_its_folder_gives(music: Path, tmp_path: Path, ending: str):
    archive = packed(music, tmp_path / f"songs{ending}")
    there = {entry.name: entry.data for entry in open_corpus(archive)}
    here = {entry.name: entry.data for entry in open_corpus(music)}
    if ending == ".zip":
        here.pop("link.mid")
    assert there == here


def test_manifests_give_clusters_and_splits(music: Path, tmp_path: Path):
    folder = tmp_path / "mine"
    shutil.copytree(music / "a", folder)
    (folder / "MANIFEST.csv").write_text("path,cluster,split\n0.mid,x,test\n2.mid,x,\n")
    entries = {entry.name: entry for entry in open_corpus(folder)}
    assert (entries["0.mid"].cluster, entries["0.mid"].split) == ("mine:x", "test")
    assert entries["2.mid"].cluster == "mine:x"
    assert entries["4.mid"].cluster is None
    (folder / "MANIFEST.csv").write_text("path,split\n0.mid,dev\n")
    with pytest.raises(MusicError, match="'dev': use train, valid or test"):
        list(open_corpus(folder))


def test_hostile_archives(song: Song, tmp_path: Path):
    good = song(1).dumps_midi()
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in (("../../up.mid", good), ("/abs.mid", good), ("._x.mid", good), ("a\nb\x1b[2J.mid", good)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link.mid")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        big = tarfile.TarInfo("big.mid")
        big.size = 5 * 2**20
        tar.addfile(big, io.BytesIO(bytes(big.size)))
    entries = {entry.name: entry for entry in open_corpus(path)}
    assert set(entries) == {"../../up.mid", "abs.mid", "a\\nb\\x1b[2J.mid", "link.mid", "big.mid"}
    assert entries["link.mid"].data is None
    assert "links are not followed" in (entries["link.mid"].problem or "")
    assert "5,242,880 bytes" in (entries["big.mid"].problem or "")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.tar"]  # nothing was unpacked
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(MusicError, match="cannot be read to its end"):
        list(open_corpus(path))


def test_what_is_no_corpus_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RITORNELLO_DATA", str(tmp_path))
    with pytest.raises(MusicError, match="set RITORNELLO_DATA"):
        open_corpus("pop909")
    with pytest.raises(MusicError, match="the named corpora are lmd_multitrack"):
        open_corpus("nothing")
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(MusicError, match="neither a folder nor an archive"):
        open_corpus(tmp_path / "x.txt")


def test_filters_of_the_six_track_representations():
    assert Filters.for_representation("museformer").metre == "4/4"
    assert Filters.for_representation("museformer-paper").metre == "4/4"
    assert Filters.for_representation("remi").metre is None


def test_named_corpora(corpus: Callable[..., list[Path]]):
    corpus("jsb_chorales", 1)
    chorales = open_corpus("jsb_chorales")
    assert len(chorales) == 363
    assert [entry.split for entry in chorales].count("train") == 229
    songs = open_corpus("pop909"), open_corpus("pop909_cl")
    assert next(iter(songs[0])).cluster == next(iter(songs[1])).cluster == "pop909:001.mid"
    assert "MIT" in songs[0].licence


def test_hostile_files_end_in_a_sentence(corpus: Callable[..., list[Path]], tmp_path: Path):
    files = corpus("hostile_midi", 1000)
    report = prepare(files[0].parent, tmp_path / "out", KIND, workers=2, progress=False)
    assert report.files == len(files)
    assert report.songs + len(report.dropped) == report.files
    assert not {"fails unexpectedly", "ends its worker", "takes too long"} & set(report.reasons)
