"""How a listening test is made: clips that differ in nothing but the music, and a balanced, blind design."""

from __future__ import annotations

import itertools
import json
import os
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.io import wavfile

from ritornello.cli import main
from ritornello.errors import ConfigError, ListeningError
from ritornello.music.audio import find_synthesizer, loudness
from ritornello.music.score import write
from ritornello.studio import clips
from ritornello.studio.ballots import Ballot, Ballots, Mark
from ritornello.studio.clips import Stretch
from ritornello.studio.listening import Clip, ListeningTest, scores, williams
from tests.songs import make_song, write_songs
from tests.studio.tones import RATE, SYSTEMS, make_test, write_systems, write_tone


def design(systems: int = 3, pieces: int = 7, groups: int = 5, seed: int = 1) -> ListeningTest:
    """A test without sound."""
    names = [f"s{i}" for i in range(systems)]
    made = [Clip(name=f"{name}-{i}", system=name, piece=f"{i}.mid") for name in names for i in range(pieces)]
    return ListeningTest(
        title="", systems=tuple(names), groups=groups, stretch="", seconds=1, heard=0, seed=seed, clips=tuple(made)
    )


# The design


@pytest.mark.parametrize("size", range(2, 9))
def test_williams_squares_are_latin_and_balance_what_follows_what(size: int):
    follows: Counter[tuple[int, int]] = Counter()
    for square in williams(size):
        for line in [*square, *zip(*square, strict=True)]:
            assert sorted(line) == list(range(size))
        follows.update(pair for row in square for pair in itertools.pairwise(row))
    assert len(follows) == size * (size - 1)
    assert len(set(follows.values())) == 1


def test_a_group_holds_one_piece_of_every_system_and_no_piece_comes_twice():
    test = design()
    for listener in range(30):
        plan = test.plan(listener)
        assert [sorted(clip.system for clip in group) for group in plan] == [list(test.systems)] * 5
        assert len({clip.name for group in plan for clip in group}) == 15


def test_every_piece_is_heard_equally_often():
    for pieces, listeners in ((7, 7), (7, 10), (5, 3), (12, 4)):
        test = design(pieces=pieces)
        plans = [test.plan(listener) for listener in range(listeners)]
        heard = Counter(clip.name for plan in plans for group in plan for clip in group)
        counts = [heard[clip.name] for clip in test.clips]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("systems", [2, 3, 4, 5])
def test_every_system_is_heard_in_every_position_equally_often(systems: int):
    test = design(systems=systems, groups=systems)  # then each listener alone has a whole Latin square
    for listener in range(6):
        for heard in zip(*test.plan(listener), strict=True):
            assert sorted(clip.system for clip in heard) == list(test.systems)


@pytest.mark.parametrize("systems", [3, 4, 5])
def test_every_system_follows_every_other_equally_often(systems: int):
    test = design(systems=systems, groups=systems)
    follows = Counter(
        (a.system, b.system) for k in range(2) for group in test.plan(k) for a, b in itertools.pairwise(group)
    )
    assert len(follows) == systems * (systems - 1)
    assert set(follows.values()) == {2}


def test_groups_are_mixed_at_random_and_the_design_follows_from_its_seed():
    test = design(systems=2, pieces=6, groups=6)
    together = {tuple(sorted(clip.name for clip in group)) for k in range(20) for group in test.plan(k)}
    assert len(together) > 25  # of 36: not always the same two
    assert test.plan(3) == design(systems=2, pieces=6, groups=6).plan(3)
    assert test.plan(3) != design(systems=2, pieces=6, groups=6, seed=2).plan(3)


# Clips


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ListeningTest, Path]:
    folder = tmp_path_factory.mktemp("made")
    return make_test(folder), folder / "test"


def test_nothing_about_a_clip_but_its_sound_tells_its_system(made: tuple[ListeningTest, Path]):
    test, folder = made
    files = [folder / "clips" / f"{clip.name}.mp3" for clip in test.clips]
    assert {path.name for path in (folder / "clips").iterdir()} == {file.name for file in files}
    assert len({(file.stat().st_size, file.stat().st_mtime_ns, file.stat().st_mode) for file in files}) == 1
    sounds = [soundfile.SoundFile(file) for file in files]
    assert {(sound.format, sound.samplerate, sound.channels) for sound in sounds} == {("MP3", RATE, 2)}
    assert len({sound.frames for sound in sounds}) == 1
    assert not any(sound.copy_metadata() for sound in sounds)
    levels = [loudness(np.asarray(sound.read(), np.float32)) for sound in sounds]
    assert max(levels) - min(levels) < clips.MATCHED + 0.05
    names = [clip.name for clip in test.clips]
    assert all(len(name) == 24 and int(name, 16) >= 0 for name in names)
    again = make_test(folder.parent / "again")  # with the same seed
    assert not set(names) & {clip.name for clip in again.clips}
    for system in SYSTEMS:
        assert not any(system.encode() in file.read_bytes() for file in files)


def test_a_clip_is_small_for_who_fetches_it_and_sounds_as_it_did(tmp_path: Path):
    synthesizer, stretch = find_synthesizer(), Stretch.parse("seconds", "0-8")
    write(make_song(bars=8), tmp_path / "song.mid")
    clips.make(tmp_path / "song.mid", stretch, 8.0, tmp_path / "song.wav", synthesizer)
    clips.encode(tmp_path / "song.wav", tmp_path / "song.mp3")
    small = (tmp_path / "song.mp3").stat().st_size
    assert small < 8 * clips.BITRATE * 125 * 1.02
    assert small < (tmp_path / "song.wav").stat().st_size / 7
    before, after = (clips._read_wav(tmp_path / f"song.{kind}") for kind in ("wav", "mp3"))
    assert after.shape == before.shape  # no silence of the encoder's before it or after it
    gain = np.sum(after * before) / np.sum(before**2)
    assert gain == pytest.approx(0.97, abs=0.01)  # LAME's own at this bitrate: all clips are as much softer
    assert loudness(after / gain) == pytest.approx(loudness(before), abs=0.05)
    error = np.sqrt(np.mean((after / gain - before) ** 2) / np.mean(before**2))
    assert error < 0.1  # 20 dB under the music, where it is masked


def test_clips_that_mastering_cannot_match_are_brought_to_the_quietest(tmp_path: Path):
    click = np.zeros((RATE * 2, 2), np.float32)
    click[::4410] = 1.0  # so peaked that no limiter makes it loud
    wavfile.write(tmp_path / "click.wav", RATE, click)
    write_tone(tmp_path / "tone.wav", 440)
    files = [tmp_path / "a.wav", tmp_path / "b.wav"]
    for source, file in zip(("click", "tone"), files, strict=True):
        clips.make(tmp_path / f"{source}.wav", Stretch("seconds", 0, 2), 2.0, file, None)
    before = [loudness(clips._read_wav(file)) for file in files]
    assert before[1] - before[0] > 1
    found = clips.level(files)
    assert abs(found[0] - found[1]) < clips.MATCHED


def test_midi_and_wav_are_cut_to_the_same_stretch(tmp_path: Path):
    song = make_song(bars=8)
    write(song, tmp_path / "song.mid")
    stretch = Stretch.parse("bars", "3-4")
    start, end = stretch.of(song)
    assert end - start == pytest.approx(clips.length(tmp_path / "song.mid", stretch))
    assert end - start == pytest.approx(start)  # two bars, and two before them
    clips.make(tmp_path / "song.mid", stretch, end - start, tmp_path / "out.wav", find_synthesizer())
    rate, sound = wavfile.read(tmp_path / "out.wav")
    assert (rate, sound.shape) == (RATE, (round((end - start) * RATE), 2))
    assert loudness(sound / 32768) == pytest.approx(-16, abs=0.15)
    assert clips.length(tmp_path / "song.mid", Stretch.parse("bars", "7-99")) == pytest.approx(start)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_wav_of_every_kind_is_read(tmp_path: Path, kind: type, channels: int):
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000)
    sound = np.repeat(wave[:, None], channels, axis=1)
    if np.issubdtype(kind, np.integer):
        sound = np.rint(sound * np.iinfo(np.int32 if kind is np.int32 else np.int16).max)
        sound = np.rint(sound / 256 + 128) if kind is np.uint8 else sound
    wavfile.write(tmp_path / "x.wav", 24_000, sound.astype(kind))
    read = clips._read_wav(tmp_path / "x.wav")
    assert (read.shape, read.dtype) == ((RATE, 2), np.float32)
    assert np.abs(read[1000:-1000]).max() == pytest.approx(0.5, abs=0.01)
    assert abs(read.mean()) < 0.01


def test_wav_of_24_bit_with_notes_beside_the_sound_is_read(tmp_path: Path, recwarn: pytest.WarningsRecorder):
    """What audio workstations write: three bytes a sample, and chunks of their own."""
    wave = np.rint(0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE) * (2**23 - 1)).astype("<i4")
    data = wave[:, None].view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    form = struct.pack("<HHIIHH", 1, 1, RATE, 3 * RATE, 3, 24)
    chunks = [
        (b"bext", bytes(602)),
        (b"fmt ", form),
        (b"data", data),
        (b"LIST", b"INFOISFT" + struct.pack("<I", 4) + b"abc" + bytes(1)),
    ]
    body = b"WAVE" + b"".join(tag + struct.pack("<I", len(chunk)) + chunk for tag, chunk in chunks)
    (tmp_path / "x.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    read = clips._read_wav(tmp_path / "x.wav")
    assert read.shape == (RATE, 2)
    assert np.abs(read - (wave / 2**23)[:, None]).max() < 1e-6
    assert len(recwarn) == 0


def test_silence_follows_a_piece_that_ends_early(tmp_path: Path):
    write_tone(tmp_path / "short.wav", 440, seconds=2)
    clips.make(tmp_path / "short.wav", Stretch("seconds", 0, 60), 3.0, tmp_path / "out.wav", None)
    sound = wavfile.read(tmp_path / "out.wav")[1]
    assert len(sound) == 3 * RATE
    assert np.abs(sound[2 * RATE :]).max() == 0
    assert np.abs(sound[int(1.95 * RATE) : 2 * RATE]).max() < np.abs(sound[: RATE // 2]).max() / 5


def test_what_may_tell_systems_apart_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for folder, seconds in (("long", (4, 4)), ("mixed", (4, 1.5))):
        for i, duration in enumerate(seconds):
            write_tone(tmp_path / folder / f"{i}.wav", 440, seconds=duration)
    said = ["--groups", "1", "--systems", str(tmp_path / "long"), str(tmp_path / "mixed")]
    assert main(["listen", "new", *said, "-o", str(tmp_path / "test")]) == 0
    assert "note: mixed: 1 of 2 pieces end before the clip of 4 s does" in capsys.readouterr().err
    write_songs(tmp_path / "midi", 1, bars=2)
    said = ["--groups", "1", "--systems", str(tmp_path / "long"), str(tmp_path / "midi"), "--seconds", "3"]
    assert main(["listen", "new", *said, "-o", str(tmp_path / "other")]) == 0
    assert "note: some systems are MIDI and some are sound" in capsys.readouterr().err


# What goes wrong is said


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (["--systems", "ours"], "two or more"),
        (["--systems", "ours", "nowhere"], "nowhere is no folder"),
        (["--systems", "ours", "empty"], "empty holds no MIDI or WAV"),
        (["--systems", "ours", "ours"], "two systems are called ours"),
        (["--systems", "ours", "theirs", "--groups", "9"], "hears 9 groups, for which 4 pieces"),
        (["--systems", "ours", "theirs", "--groups", "2", "--pieces", "8"], "holds 4 pieces, and 8"),
        (["--systems", "ours", "theirs", "--groups", "0"], "groups = 0 should be greater than 0"),
        (["--systems", "ours", "theirs", "--groups", "2", "--heard", "2"], "heard = 2"),
        (["--systems", "ours", "theirs", "--groups", "2", "--bars", "1-4"], "bars are not marked"),
        (["--systems", "ours", "theirs", "--groups", "2", "--bars", "4-1"], "--bars 4-1 is no stretch"),
        (["--systems", "ours", "theirs", "--groups", "2", "--seconds", "x"], "--seconds x is no stretch"),
        (["--systems", "ours", "theirs", "--groups", "2", "--seconds", "50-60"], "0.0 s of music in seconds 50 to 60"),
        (["--systems", "ours", "theirs", "--groups", "2", "--seconds", "1-2", "--bars", "1-2"], "give one of them"),
        (["--systems", "ours", "silent", "--groups", "2"], "is silent"),
        (["--systems", "ours", "broken", "--groups", "1"], "cannot be read as a WAV file"),
        (["--systems", "ours", "theirs", "--groups", "2", "-o", "ours"], "ours is there already"),
    ],
)
def test_what_cannot_be_made_is_one_sentence_and_leaves_no_test(
    tmp_path: Path, said: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    write_systems(tmp_path)
    (tmp_path / "empty").mkdir()
    for piece in range(2):
        write_tone(tmp_path / "silent" / f"{piece}.wav", 440, level=0)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.wav").write_bytes(b"RIFF but no more")
    assert main(["listen", "new", *said, *(() if "-o" in said else ("-o", "test"))]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "test").exists()


def test_making_can_be_stopped_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole, times = clips.make, []

    def stopping(*args) -> None:
        times.append(args)
        if len(times) == 5:
            raise KeyboardInterrupt
        whole(*args)

    monkeypatch.setattr(clips, "make", stopping)
    with pytest.raises(KeyboardInterrupt):
        make_test(tmp_path)
    assert not (tmp_path / "test").exists()
    kept = {path.stem: clips._read_wav(path) for path in (tmp_path / "test.part" / "sound").iterdir()}
    assert len(kept) == 4
    test = make_test(tmp_path)
    assert len(times) == 5 + len(test.clips) - 4
    assert not (tmp_path / "test.part").exists()
    assert sorted(os.listdir(tmp_path / "test")) == ["ballots.db", "clips", "test.json"]
    assert kept.keys() < {path.stem for path in (tmp_path / "test" / "clips").iterdir()}


def test_another_order_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(clips, "make", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        make_test(tmp_path)
    monkeypatch.undo()
    assert make_test(tmp_path, groups=3).groups == 3


def test_what_lies_in_the_way_is_not_cleared_away(tmp_path: Path):
    (tmp_path / "test.part").mkdir()
    (tmp_path / "test.part" / "mine.txt").write_text("mine")
    with pytest.raises(ListeningError, match="in the way"):
        make_test(tmp_path)
    assert (tmp_path / "test.part" / "mine.txt").read_text() == "mine"


def test_a_damaged_test_is_one_sentence(tmp_path: Path):
    with pytest.raises(ListeningError, match="holds no listening test"):
        ListeningTest.open(tmp_path)
    (tmp_path / "test.json").write_text("{")
    with pytest.raises(ListeningError, match="cannot be read"):
        ListeningTest.open(tmp_path)
    (tmp_path / "test.json").write_text(json.dumps({"title": "x"}))
    with pytest.raises(ConfigError, match="systems is missing"):
        ListeningTest.open(tmp_path)


# Counting, and the verb


def give(folder: Path, listeners: int = 4) -> dict[str, list[int]]:
    """Cast ballots: `ours` gets 8 and 9 in turn, `theirs` 5, `human` the listener's number and 4. What was given."""
    test, ballots = ListeningTest.open(folder), Ballots(folder / "ballots.db")
    given: dict[str, list[int]] = {system: [] for system in SYSTEMS}
    for listener in range(listeners):
        ballots.join(trained=listener % 2 == 0)
        for number, group in enumerate(test.plan(listener)):
            marks = []
            for clip in group:
                score = {"ours": 8 + number % 2, "theirs": 5, "human": 4 + listener}[clip.system]
                given[clip.system].append(score)
                marks.append(Mark(clip.name, 1.0, (score,) * 4))
            ballots.cast(listener, number, tuple(marks))
    return given


def test_the_report_turns_clips_into_systems_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    make_test(tmp_path)
    given = give(tmp_path / "test")
    assert main(["listen", "report", str(tmp_path / "test"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["joined"], found["trained"], found["listeners"], found["groups"]) == (4, 2, 4, 8)
    for system, values in given.items():
        assert found["systems"][system]["overall"]["mean"] == pytest.approx(np.mean(values))
    assert found["systems"]["ours"]["preference"]["value"] == 1
    ours = found["pairs"][0]
    assert (ours["system"], ours["against"], ours["wins"], ours["p"]) == ("ours", "theirs", 8, 2 / 2**8)


def test_the_report_as_text_markdown_and_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    make_test(tmp_path)
    assert main(["listen", "report", str(tmp_path / "test")]) == 2
    assert "there is no ballot yet" in capsys.readouterr().err
    give(tmp_path / "test")
    assert main(["listen", "report", str(tmp_path / "test"), "--of", "human"]) == 0
    text = capsys.readouterr().out
    assert "4 listeners began, 2 of them have learned music; 4 finished" in text
    assert "human vs ours" in text
    assert "ours vs theirs" not in text
    assert main(["listen", "report", str(tmp_path / "test"), "--md"]) == 0
    assert "| ours | 8.50 ± 0.50 |" in capsys.readouterr().out
    assert main(["listen", "report", str(tmp_path / "test"), "--csv"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("listener,group,position,system,piece,heard,musicality")
    assert len(rows) == 4 * 2 * 3
    assert all(row.split(",")[4].startswith(row.split(",")[3]) for row in rows)  # a piece is its system's
    assert main(["listen", "report", str(tmp_path / "test"), "--json", "--md"]) == 2


def test_ballots_of_another_test_are_not_counted(made: tuple[ListeningTest, Path]):
    test, _ = made
    with pytest.raises(ListeningError, match="not of this test"):
        scores(test, [Ballot(0, 0, "", tuple(Mark(name, 1.0, (5,) * 4) for name in "abc"))])


def test_new_takes_midi_as_one_types_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_songs(tmp_path / "a", 2, bars=4)
    write_songs(tmp_path / "b", 2, bars=4)
    said = ["--systems", "a", "model=b/", "--groups", "1", "--bars", "1-2", "--pieces", "1", "-o", "out/test"]
    assert main(["listen", "new", *said]) == 0
    assert "2 clips of 2 systems" in capsys.readouterr().out
    test = ListeningTest.open(Path("out/test"))
    assert (test.systems, test.stretch) == (("a", "model"), "bars 1 to 2")
