"""Sound: as long as the music, equally loud whatever the score, never clipped."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile
from symusic.core import ControlChangeTick, NoteTick, TempoTick, TrackTick

from ritornello.errors import MusicError
from ritornello.music import audio
from ritornello.music.audio import (
    CEILING,
    LOUDNESS,
    RATE,
    TAIL,
    Synthesizer,
    find_synthesizer,
    loudness,
    master,
    render,
)
from ritornello.music.score import Score


def make(programs: list[int], quarters: int = 8) -> Score:
    """Every track plays quarter notes at 120 a minute, each track its own pitch; track 0 is the only drum track."""
    score = Score(480)
    score.tempos.append(TempoTick(0, 120))
    for k, program in enumerate(programs):
        track = TrackTick("", program, k == 0 and len(programs) > 1)
        for beat in range(quarters):
            track.notes.append(NoteTick(480 * beat, 480, 40 + k, 100))
        score.tracks.append(track)
    return score


@dataclass(frozen=True)
class Sine(Synthesizer):
    """A stand-in: a tone as loud as the square of the first channel's volume, at `level` of full scale for 127."""

    level: float = 0.5
    seen: Callable[[Score], None] = lambda score: None

    def play(self, midi: bytes) -> np.ndarray:
        score = Score.from_midi(midi)
        self.seen(score)
        volume = next(control.value for control in score.tracks[0].controls if control.number == 7) / 127
        time = np.arange(round(RATE * score.end() / score.ticks_per_quarter / 2)) / RATE
        tone = 32768 * self.level * volume**2 * np.sin(2 * np.pi * 440 * time)
        return np.clip(np.rint(np.stack([tone, tone], axis=1)), -32768, 32767).astype(np.int16)


def check(path: Path, seconds: float) -> np.ndarray:
    rate, sound = wavfile.read(path)
    assert rate == RATE
    assert sound.dtype == np.int16
    assert sound.shape == (round(seconds * RATE), 2)
    sound = sound / 32768
    assert np.abs(sound).max() <= CEILING + 1e-4
    assert loudness(sound) == pytest.approx(LOUDNESS, abs=0.2)
    return sound


# ---- loudness -------------------------------------------------------------------------------------------------------


def tone(seconds: float, level: float = 1.0) -> np.ndarray:
    wave = level * np.sin(2 * np.pi * 997 * np.arange(round(seconds * RATE)) / RATE)
    return np.stack([wave, np.zeros_like(wave)], axis=1)


def test_loudness_of_the_standard_tone() -> None:
    # ITU-R BS.1770: a 997 Hz sine at full scale in one front channel reads -3.01 LUFS
    assert loudness(tone(5)) == pytest.approx(-3.01, abs=0.02)
    assert loudness(tone(5, 0.1)) == pytest.approx(-23.01, abs=0.02)
    assert loudness(tone(0.2)) == pytest.approx(-3.01, abs=0.2)


def test_loudness_does_not_count_silence() -> None:
    with_rests = np.concatenate([tone(5), np.zeros((20 * RATE, 2)), tone(5)])
    assert loudness(with_rests) == pytest.approx(-3.01, abs=0.2)  # the blocks at the edges are half silent
    assert loudness(np.zeros((RATE, 2))) == float("-inf")


def test_mastering_reaches_the_loudness_under_the_ceiling() -> None:
    rng = np.random.default_rng(0)
    soft = tone(3, 0.01).astype(np.float32)
    clicks = soft * 0.1 + (rng.random(len(soft)) < 1e-4)[:, None] * rng.uniform(-1, 1, (len(soft), 1))
    for sound in (soft, soft * 500, clicks.astype(np.float32)):
        result = master(sound)
        assert result.dtype == np.float32
        assert result.shape == sound.shape
        assert np.abs(result).max() <= CEILING
        assert loudness(result) == pytest.approx(LOUDNESS, abs=0.5)
    assert not master(np.zeros((RATE, 2), np.float32)).any()


# ---- rendering ------------------------------------------------------------------------------------------------------


def test_length_loudness_and_peak(tmp_path: Path) -> None:
    result = render(make([0]), tmp_path / "a.wav", Sine(Path("x.sf2")))
    sound = check(tmp_path / "a.wav", 4 + TAIL)
    assert result.seconds == 4 + TAIL
    assert abs(sound[-1]).max() < 1e-3  # faded out
    assert "0:06" in str(result)
    assert "midirenderer with the SoundFont x.sf2" in str(result)


def test_what_clips_is_played_again_softer(tmp_path: Path) -> None:
    soft = audio.synthesise(make([0]), Sine(Path("x.sf2"), level=0.4))
    loud = audio.synthesise(make([0]), Sine(Path("x.sf2"), level=6.0))
    assert np.abs(loud).max() > 2  # of full scale: nothing was cut off
    np.testing.assert_allclose(loud / 15, soft, atol=2e-3)


def test_every_track_has_a_channel_of_its_own(tmp_path: Path) -> None:
    parts: list[Score] = []
    score = make(list(range(35)))
    score.tracks[1].controls.append(ControlChangeTick(10, 7, 50))
    render(score, tmp_path / "a.wav", Sine(Path("x.sf2"), seen=parts.append))
    assert [len(part.tracks) for part in parts] == [16, 15, 4]  # 15 and the drums, 15, 4
    assert sorted(track.program for part in parts for track in part.tracks if not track.is_drum) == list(range(1, 35))
    volumes = [control.value for control in parts[0].tracks[0].controls if control.number == 7]
    assert volumes == [70, 35]


def test_events_long_after_the_last_note_do_not_count(tmp_path: Path) -> None:
    score = make([0])
    score.tempos.append(TempoTick(10**9, 60))
    score.tracks[0].controls.append(ControlChangeTick(10**9, 64, 0))
    render(score, tmp_path / "a.wav", Sine(Path("x.sf2")))
    check(tmp_path / "a.wav", 4 + TAIL)


def test_nothing_and_too_much_are_refused(tmp_path: Path) -> None:
    endless = make([0])
    endless.tracks[0].notes.append(NoteTick(480 * 2 * 60 * 31, 480, 60, 100))
    for score, reason in ((Score(480), "no notes"), (endless, "31 minutes")):
        with pytest.raises(MusicError, match=reason):
            render(score, tmp_path / "a.wav", Sine(Path("x.sf2")))
    assert not list(tmp_path.iterdir())


# ---- finding a synthesizer ------------------------------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without FluidSynth or fonts, but for a folder of fonts and programs; only midirenderer is installed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("RITORNELLO_SOUNDFONT", raising=False)
    monkeypatch.setattr(audio, "FOLDERS", (str(tmp_path),))
    found = lambda name: object() if name == "midirenderer" else None  # noqa: E731
    monkeypatch.setattr(audio.importlib.util, "find_spec", found)
    return tmp_path


def stand_in(folder: Path) -> None:
    """Put a program named fluidsynth into `folder` that writes one second of noise to where -F says."""
    program = folder / "fluidsynth"
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys, numpy as np\n"
        "from scipy.io import wavfile\n"
        "if 'broken' in sys.argv[-2]: sys.exit(1)\n"
        "noise = np.random.default_rng(0).integers(-9999, 9999, (44100, 2)).astype(np.int16)\n"
        "wavfile.write(sys.argv[sys.argv.index('-F') + 1], 44100, noise)\n"
    )
    program.chmod(0o755)


def test_fonts_are_ranked_and_compressed_ones_are_for_fluidsynth(bare: Path) -> None:
    with pytest.raises(MusicError, match="no SoundFont"):
        find_synthesizer()
    for name in ("TimGM6mb.sf2", "FluidR3_GM.sf2", "MuseScore_General.sf3", "Trumpet.sf2", "readme.txt"):
        (bare / name).touch()
    assert str(find_synthesizer()) == "midirenderer with the SoundFont FluidR3_GM.sf2"


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a script")
def test_fluidsynth_is_preferred_and_run(bare: Path) -> None:
    stand_in(bare)
    (bare / "TimGM6mb.sf2").touch()
    (bare / "MuseScore_General.sf3").touch()
    synthesizer = find_synthesizer()
    assert str(synthesizer) == "FluidSynth with the SoundFont MuseScore_General.sf3"
    render(make([0], quarters=2), bare / "a.wav", synthesizer)
    check(bare / "a.wav", 1 + TAIL)
    with pytest.raises(MusicError, match=r"FluidSynth .* failed"):
        render(make([0]), bare / "b.wav", Synthesizer(bare / "broken.sf2", synthesizer.fluidsynth))
    assert not (bare / "b.wav").exists()


def test_the_named_font_comes_first(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FluidR3_GM.sf2", "mine.sf2", "mine.sf3"):
        (bare / name).touch()
    monkeypatch.setenv("RITORNELLO_SOUNDFONT", str(bare / "mine.sf2"))
    assert find_synthesizer().font.name == "mine.sf2"
    for name in ("missing.sf2", "mine.sf3"):
        monkeypatch.setenv("RITORNELLO_SOUNDFONT", str(bare / name))
        with pytest.raises(MusicError, match=name):
            find_synthesizer()


def test_no_synthesizer_at_all(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MusicError, match="pip install midirenderer"):
        find_synthesizer()


# ---- a real one -----------------------------------------------------------------------------------------------------


def test_real_sound(tmp_path: Path) -> None:
    try:
        synthesizer = find_synthesizer()
    except MusicError as error:
        pytest.skip(str(error))
    render(make([0, 80, 43, 25]), tmp_path / "a.wav", synthesizer)
    sound = check(tmp_path / "a.wav", 4 + TAIL)
    energy = (sound[: 4 * RATE].reshape(8, -1) ** 2).mean(axis=1)
    assert (energy > 1e-4).all()  # every half second sounds
    render(make([0, 33, 33, 33]), tmp_path / "b.wav", synthesizer)
    assert np.abs(check(tmp_path / "b.wav", 4 + TAIL) - sound).max() > 0.05  # programs matter


def test_a_font_that_is_none(tmp_path: Path) -> None:
    pytest.importorskip("midirenderer")
    (tmp_path / "none.sf2").write_bytes(b"no font")
    with pytest.raises(MusicError, match=r"none\.sf2 failed"):
        render(make([0]), tmp_path / "a.wav", Synthesizer(tmp_path / "none.sf2"))
