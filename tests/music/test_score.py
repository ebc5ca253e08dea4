"""Reading ends in the whole music, in a warning of what is missing, or in one sentence: never in anything else."""

from __future__ import annotations

import csv
import json
import os
import struct
import subprocess
import sys
import tarfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from symusic.core import NoteTick, TempoTick, TimeSignatureTick, TrackTick

from ritornello.errors import MusicError
from ritornello.music import score as score_module
from ritornello.music.score import LIMITS, MusicWarning, Score, parse, read, seconds, tempo_map, write

END = b"\x00\xff\x2f\x00"
NOTES = b"".join(b"\x00\x90%c\x64\x81\x70\x80%c\x00" % (pitch, pitch) for pitch in range(60, 68))  # 8 of 240 ticks


def vlq(value: int) -> bytes:
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(value & 0x7F | 0x80)
    return bytes(reversed(parts))


def chunk(body: bytes, length: int | None = None, tag: bytes = b"MTrk") -> bytes:
    return tag + struct.pack(">I", len(body) if length is None else length) + body


def header(tracks: int = 1, form: int = 1, division: int = 480) -> bytes:
    return b"MThd" + struct.pack(">IHHH", 6, form, tracks, division)


def meta(kind: int, data: bytes, delta: int = 0) -> bytes:
    return vlq(delta) + bytes([0xFF, kind]) + vlq(len(data)) + data


def with_events(*events: bytes) -> bytes:
    return header() + chunk(b"".join(events) + NOTES + END)


PLAIN = with_events()

REFUSED = {
    "empty file": (b"", "no whole MThd header"),
    "cut in the header": (PLAIN[:9], "no whole MThd header"),
    "a web page": (b"<!DOCTYPE html><title>404</title>" * 9, "not a MIDI file"),
    "sixty-four thousand zeros": (bytes(65536), "not a MIDI file"),
    "little-endian header": (b"MThd\x06\0\0\0\x01\0\x01\0\xe0\x01" + PLAIN[14:], "its own length"),
    "format 2": (header(2, form=2) + 2 * chunk(NOTES + END), "format 2"),
    "format 255": (header(form=255) + PLAIN[14:], "format 255"),
    "no ticks a quarter": (header(division=0) + PLAIN[14:], "0 ticks a quarter"),
    "SMPTE time": (header(division=0xE728) + PLAIN[14:], "SMPTE"),
    "header only": (header(), "declares 1 track, and 0"),
    "no tracks": (header(0), "declares 0 tracks"),
    "a track too few": (header(3) + 2 * chunk(NOTES + END), "declares 3 tracks, and 2"),
    "65,535 tracks": (header(65535) + chunk(NOTES + END), "65,535 tracks"),
    "cut in the notes": (PLAIN[:-20], "cut off"),
    "chunk that claims 2 GB": (header() + chunk(b"", 2**31 - 1, b"XFIH") + PLAIN[14:], "cut off"),
    "empty track": (header() + chunk(b""), "no notes"),
    "notes never released": (header() + chunk(b"\x00\x90\x3c\x64" * 50 + END), "no notes"),
    "only controls": (header() + chunk(b"\x00\xb0\x07\x64" * 5000 + END), "no notes"),
    "pitch 253": (header() + chunk(b"\x00\x90\xfd\x64" + NOTES + END), "damaged"),
    "running status from nowhere": (header() + chunk(b"\x00\x3c\x64" + NOTES + END), "damaged"),
    "sysex longer than the file": (header() + chunk(b"\x00\xf0\xff\xff\xff\x7f" + NOTES + END), "damaged"),
    "tempo 0": (with_events(meta(0x51, b"\0\0\0")), "tempo of 0"),
    "metre 0/4": (with_events(meta(0x58, b"\x00\x02\x18\x08")), "metre of 0/4"),
    "metre 4/2^255": (with_events(meta(0x58, b"\x04\xff\x18\x08")), "metre of 4/0"),
    "10,000 tempos": (with_events(meta(0x51, b"\x07\xa1\x20", 1) * 10_000), "10,000 changes of tempo"),
    "6,000 metres": (with_events(meta(0x58, b"\x04\x02\x18\x08", 1) * 6_000), "6,000 changes of metre"),
    "one note in four years": (header(division=1) + chunk(meta(1, b"", 2**28 - 1) + NOTES + END), "quarter notes"),
    "ticks over 2^31": (header() + chunk(meta(1, b"x", 2**28 - 1) * 9 + NOTES + END), "2,415,9"),
    "ticks over 2^32": (header() + chunk(meta(1, b"x", 2**28 - 1) * 17 + NOTES + END), "4,563,4"),
    "ticks over 2^31 in small steps": (header() + chunk(meta(1, b"", 2**21 - 1) * 1100 + NOTES + END), "2,306,8"),
    "five hours": (header() + chunk(meta(0x51, b"\xff\xff\xff") + meta(1, b"", 480 * 1200) + NOTES + END), "hours"),
    "too many notes": (header() + chunk(b"\x00\x90\x3c\x64\x01\x80\x3c\x00" * 100_001 + END), "100,001 notes"),
    "a thousand notes at once": (header() + chunk(b"\x00\x90\x3c\x64" * 999 + b"\x01\x80\x3c\x00" * 999 + END), "999"),
    "larger than 4 MiB": (PLAIN + bytes(LIMITS.bytes), "bytes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_files_end_in_one_sentence(name: str, tmp_path: Path) -> None:
    data, reason = REFUSED[name]
    path = tmp_path / "bad.mid"
    path.write_bytes(data)
    start = time.perf_counter()
    with pytest.raises(MusicError, match=reason) as caught:
        read(path)
    assert time.perf_counter() - start < 5
    message = str(caught.value)
    assert message.startswith(f"cannot read {path}: ")
    assert "\n" not in message
    assert len(message) < 400


TAKEN = {
    "plain": PLAIN,
    "format 0": header(form=0) + PLAIN[14:],
    "longer header": b"MThd\0\0\0\x08" + PLAIN[8:14] + b"\0\0" + PLAIN[14:],
    "RIFF container": b"RIFF"
    + struct.pack("<I", len(PLAIN) + 12)
    + b"RMIDdata"
    + struct.pack("<I", len(PLAIN))
    + PLAIN,
    "128 bytes of junk before": bytes(range(128)) + PLAIN,
    "zeros behind": PLAIN + bytes(100),
    "an alien chunk": header() + chunk(b"hello", tag=b"XFKM") + PLAIN[14:],
    "an alien chunk cut off at the end": PLAIN + chunk(b"hello", 500, b"XFKM"),
    "length too long": header() + chunk(NOTES + END, 9999),
    "length of 4 GB": header() + chunk(NOTES + END, 2**32 - 1),
    "length too short": header() + chunk(NOTES + END, 21),
    "no end of track": header() + chunk(NOTES),
    "two ends of track": header() + chunk(NOTES + END + END),
    "end of track in a text": with_events(meta(1, END + b"\x90\x3c\x40")),
    "end of track far behind": header() + chunk(NOTES + vlq(2**28 - 1) + END[1:]),
    "a name in no encoding": with_events(meta(3, b"\xc0\xaf\x00\xff<script>%s%n")),
    "unknown metas": with_events(*(meta(kind, b"x") for kind in range(0x60, 0x70))),
}


@pytest.mark.parametrize("name", TAKEN)
def test_odd_files_give_all_their_music(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score = parse(TAKEN[name])
    assert [(note.time, note.duration, note.pitch) for note in score.tracks[0].notes] == [
        (240 * k, 240, 60 + k) for k in range(8)
    ]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (header() + chunk(NOTES + END + NOTES + END), "goes on for"),
        (PLAIN + PLAIN, "more tracks follow"),
        (header() + 3 * chunk(NOTES + END), "more tracks follow"),
    ],
)
def test_what_is_left_out_is_told(data: bytes, what: str) -> None:
    with pytest.warns(MusicWarning, match=rf"song\.mid: .*{what}.*left out"):
        assert parse(data, "song.mid").note_num() == 8


def test_second_track_survives_a_wrong_length_of_the_first() -> None:
    for wrong in (3, 5000):
        score = parse(header(2) + chunk(NOTES + END, wrong) + chunk(b"\x00\xc0\x20" + NOTES + END))
        assert [(track.program, len(track.notes)) for track in score.tracks] == [(0, 8), (32, 8)]


def test_key_signatures_that_do_not_exist_are_dropped() -> None:
    score = parse(with_events(meta(0x59, b"\x02\x00"), meta(0x59, b"\x20\x00"), meta(0x59, b"\x00\x09")))
    assert [(key.key, key.tonality) for key in score.key_signatures] == [(2, 0)]


def test_places_that_are_no_files(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.mid", "a\0b.mid"):
        with pytest.raises(MusicError, match="cannot read"):
            read(path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.mid")
        with pytest.raises(MusicError, match="not a file"):
            read(tmp_path / "pipe.mid")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_change_of_bytes_ends_in_a_score_or_a_sentence(data: st.DataObject) -> None:
    body = meta(0x51, b"\x07\xa1\x20") + meta(0x58, b"\x03\x02\x18\x08") + meta(3, b"name") + NOTES + END
    song = bytearray(header(2) + chunk(body) + chunk(b"\x00\xc1\x20\x00\x91\x40\x40\x30\x40\x00" + END))
    for place in data.draw(st.lists(st.integers(0, len(song) - 1), max_size=6)):
        song[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(song)) | st.just(len(song)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MusicWarning)
        try:
            score = parse(bytes(song[:cut]))
        except MusicError:
            return
    times = seconds(score, np.concatenate([track.notes.numpy()["time"] for track in score.tracks]))
    assert np.isfinite(times).all()
    assert (times >= 0).all()


# ---- writing --------------------------------------------------------------------------------------------------------


@st.composite
def scores(draw: st.DrawFn) -> Score:
    """Scores of up to three tracks; notes of one pitch in one track do not overlap, as MIDI cannot say which ends."""
    score = Score(draw(st.sampled_from([1, 24, 96, 480, 32767])))
    score.tempos.append(TempoTick(0, mspq=draw(st.integers(30_000, 2**24 - 1))))
    score.time_signatures.append(TimeSignatureTick(0, draw(st.integers(1, 12)), draw(st.sampled_from([2, 4, 8]))))
    for _ in range(draw(st.integers(1, 3))):
        drums = draw(st.booleans())
        track = TrackTick("", 0 if drums else draw(st.integers(0, 127)), drums)
        for pitch in draw(st.sets(st.integers(0, 127), min_size=1, max_size=4)):
            time = 0
            for rest, duration in draw(
                st.lists(st.tuples(st.integers(1, 99), st.integers(1, 99)), min_size=1, max_size=4)
            ):
                track.notes.append(NoteTick(time + rest, duration, pitch, draw(st.integers(1, 127))))
                time += rest + duration
        score.tracks.append(track)
    return score


@settings(max_examples=60, deadline=None)
@given(score=scores())
def test_what_is_written_is_read(score: Score, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("written") / "song.mid"
    write(score, path)
    again = read(path)
    assert again.ticks_per_quarter == score.ticks_per_quarter
    assert [(track.program, track.is_drum) for track in again.tracks] == [
        (track.program, track.is_drum) for track in score.tracks
    ]
    for ours, theirs in zip(score.tracks, again.tracks, strict=True):
        assert ours.notes.sort(inplace=False) == theirs.notes
    assert again.tempos == score.tempos
    assert again.time_signatures == score.time_signatures


def test_writing_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score = parse(PLAIN)
    path = tmp_path / "deep" / "song.mid"
    write(score, path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(score_module.os, "replace", fail)
    with pytest.raises(MusicError, match="No space left"):
        write(score, path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["song.mid"]
    with pytest.raises(MusicError, match="cannot write"):
        write(score, path / "below-a-file.mid")


def test_a_score_before_time_is_not_written(tmp_path: Path) -> None:
    score = parse(PLAIN)
    score.tracks[0].notes[0].time = -5
    with pytest.raises(MusicError, match="before its start"):
        write(score, tmp_path / "song.mid")
    assert not list(tmp_path.iterdir())


# ---- time -----------------------------------------------------------------------------------------------------------


def test_seconds_by_hand() -> None:
    score = Score(100)
    for tick, tempo in ((200, 1_000_000), (200, 250_000), (400, 500_000)):
        score.tempos.append(TempoTick(tick, mspq=tempo))
    assert [part.tolist() for part in tempo_map(score)] == [[0, 200, 400], [500_000, 250_000, 500_000]]
    # 2 quarters at 120, 2 at 240, then 120 again
    np.testing.assert_allclose(seconds(score, np.array([0, 100, 200, 300, 400, 500])), [0, 0.5, 1, 1.25, 1.5, 2])
    assert seconds(score, 500).item() == 2


# ---- real files -----------------------------------------------------------------------------------------------------

READ_ALL = """
import json, sys, time, warnings
from ritornello.errors import MusicError
from ritornello.music.bars import bars, tempo_by_bar
from ritornello.music.score import read
warnings.simplefilter("ignore")
ends, slowest = {}, 0
for path in sys.stdin.read().splitlines():
    start = time.perf_counter()
    try:
        score = read(path)
        grid = bars(score)
        tempo_by_bar(score, grid)
        ends[path] = "ok"
    except MusicError:
        ends[path] = "error"
    slowest = max(slowest, time.perf_counter() - start)
peak = 0
if sys.platform == "linux":  # not ru_maxrss, which begins at what the process that started this one has
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    peak = int(line.split()[1]) / 1024
print(json.dumps({"ends": ends, "slowest": slowest, "peak": peak}))
"""


def read_all(files: list[Path]) -> dict[str, str]:
    """Read every file in one fresh process: how each ended; fails on a crash, on 5 s for one, on 512 MB."""
    names = "\n".join(map(str, files))
    done = subprocess.run([sys.executable, "-c", READ_ALL], input=names, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["slowest"] < 5
    assert result["peak"] < 512
    assert len(result["ends"]) == len(files)
    return result["ends"]


def test_hostile_midi_as_its_manifest_expects(corpus) -> None:
    files = corpus("hostile_midi", 1000)
    with tarfile.open(Path(os.environ.get("RITORNELLO_DATA", "../shared/data"), "hostile_midi.tar.xz")) as tar:
        manifest = next(member for member in tar if member.name.endswith("MANIFEST.csv"))
        text = tar.extractfile(manifest).read().decode()  # pyright: ignore[reportOptionalMemberAccess]
    expected = {row["file"]: row["expect"] for row in csv.DictReader(text.splitlines())}
    allowed = {"ok": {"ok"}, "error": {"error"}, "limit": {"error"}, "either": {"ok", "error"}}
    ends = {Path(path).name: end for path, end in read_all(files).items()}
    assert ends.keys() == expected.keys()
    assert {name: end for name, end in ends.items() if end not in allowed[expected[name]]} == {}


def test_bad_midi_ends_in_a_score_or_a_sentence(corpus) -> None:
    ends = list(read_all(corpus("bad_midi", 1000)).values())
    assert ends.count("ok") > len(ends) / 2
