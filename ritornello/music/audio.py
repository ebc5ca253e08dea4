"""Score to sound: a synthesizer plays it through a SoundFont, every song comes out equally loud and nothing clips.

Two synthesizers are known, the better first: FluidSynth, where its program is installed, and midirenderer (RustySynth),
a wheel that pip installs. Of SoundFonts, the one that `RITORNELLO_SOUNDFONT` names comes first, then those in the usual
folders of a system, then TimGM6mb, which the package pretty_midi brings. `find_synthesizer` says what was found.
"""

from __future__ import annotations

import importlib.util
import io
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal
from scipy.io import wavfile
from symusic.core import ControlChangeTick, TempoTick, TextMetaTick, TrackTick

from ritornello.errors import MusicError
from ritornello.music.score import Score, seconds, tempo_map, write_bytes

RATE = 44_100  # samples a second
TAIL = 2.0  # seconds for the last notes to ring, faded out
LOUDNESS = -16.0  # LUFS: what streamed music is commonly brought to
CEILING = 10 ** (-1 / 20)  # the highest sample, -1 dB of full scale
LONGEST = 30 * 60  # seconds that are played at most; 30 minutes take about 2.5 GB of memory

FOLDERS = (
    "/usr/share/sounds/sf2",
    "/usr/share/sounds/sf3",
    "/usr/share/soundfonts",
    "/usr/local/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
    "~/.local/share/soundfonts",
    "~/Library/Audio/Sounds/Banks",
    "C:/soundfonts",
)
# General MIDI fonts by their names' beginnings, in lower case, the best sounding first; others only by the variable
FONTS = ("musescore_general", "ms basic", "generaluser", "fluidr3_gm", "fluidr3", "default", "timgm6mb")


@dataclass(frozen=True)
class Synthesizer:
    """A program and the SoundFont it plays through."""

    font: Path
    fluidsynth: str | None = None  # FluidSynth's program; without it, midirenderer

    def __str__(self) -> str:
        return f"{'FluidSynth' if self.fluidsynth else 'midirenderer'} with the SoundFont {self.font.name}"

    def play(self, midi: bytes) -> NDArray[np.int16]:
        """The sound of a MIDI file, int16[n, 2] at RATE.

        Raises:
            MusicError: the synthesizer failed, most likely on its font.
        """
        try:
            rate, sound = wavfile.read(
                io.BytesIO(self._fluidsynth(midi) if self.fluidsynth else self._midirenderer(midi))
            )
        except (OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
            raise MusicError(f"{self} failed ({error}); name another font in RITORNELLO_SOUNDFONT") from None
        if rate != RATE:
            common = math.gcd(rate, RATE)
            sound = signal.resample_poly(sound.astype(np.float32), RATE // common, rate // common)
            sound = np.clip(np.rint(sound), -32768, 32767).astype(np.int16)
        return sound

    def _fluidsynth(self, midi: bytes) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            song, out = Path(folder, "song.mid"), Path(folder, "song.wav")
            song.write_bytes(midi)
            options = ["-ni", "-q", "-g", "0.4", "-r", str(RATE), "-T", "wav", "-O", "s16", "-F", str(out)]
            command = [str(self.fluidsynth), *options, str(self.font), str(song)]
            subprocess.run(command, check=True, timeout=900, capture_output=True, stdin=subprocess.DEVNULL)
            return out.read_bytes()

    def _midirenderer(self, midi: bytes) -> bytes:
        import midirenderer

        return midirenderer.render_wave_from(self.font.read_bytes(), midi)


def find_synthesizer() -> Synthesizer:
    """The best synthesizer and SoundFont on this machine.

    Raises:
        MusicError: there is none, or `RITORNELLO_SOUNDFONT` names a font that cannot be played.
    """
    fluidsynth = shutil.which("fluidsynth")
    if not fluidsynth and importlib.util.find_spec("midirenderer") is None:
        raise MusicError("cannot make sound: there is no synthesizer; pip install midirenderer, or install FluidSynth")
    kinds = (".sf2", ".sf3") if fluidsynth else (".sf2",)  # midirenderer plays no compressed fonts
    if named := os.environ.get("RITORNELLO_SOUNDFONT"):
        if Path(named).suffix.lower() not in kinds or not Path(named).is_file():
            expected = " or ".join(kinds)
            raise MusicError(f"cannot make sound: RITORNELLO_SOUNDFONT is {named}, where a {expected} file is expected")
        return Synthesizer(Path(named), fluidsynth)
    for font in _fonts():
        if font.suffix.lower() in kinds:
            return Synthesizer(font, fluidsynth)
    raise MusicError("cannot make sound: there is no SoundFont; pip install pretty_midi, or set RITORNELLO_SOUNDFONT")


def _fonts() -> Iterator[Path]:
    """The SoundFonts of this machine, best first."""
    folders = [Path(folder).expanduser() for folder in FOLDERS]
    files = sorted(file for folder in folders if folder.is_dir() for file in folder.iterdir() if file.is_file())
    for name in FONTS:
        yield from (file for file in files if file.name.lower().startswith(name))
    package = importlib.util.find_spec("pretty_midi")  # found, not imported: only its font is wanted
    for folder in (package.submodule_search_locations or []) if package else []:
        yield from Path(folder).glob("TimGM6mb.sf2")


@dataclass(frozen=True)
class Rendering:
    """What `render` made; as a string, a sentence about it."""

    path: Path
    seconds: float
    loudness: float  # LUFS
    peak: float  # of full scale
    synthesizer: Synthesizer

    def __str__(self) -> str:
        minutes, rest = divmod(round(self.seconds), 60)
        return f"{self.path}: {minutes}:{rest:02d} of sound at {self.loudness:.1f} LUFS, played by {self.synthesizer}"


def render(score: Score, path: str | os.PathLike[str], synthesizer: Synthesizer | None = None) -> Rendering:
    """Play a score into a WAV file: 44.1 kHz, stereo, 16 bit, at LOUDNESS, no sample above CEILING, TAIL at its end.

    Raises:
        MusicError: nothing to play, longer than LONGEST, no synthesizer or font, or the place cannot be written to.
    """
    synthesizer = synthesizer or find_synthesizer()
    sound = master(synthesise(score, synthesizer))
    file = io.BytesIO()
    wavfile.write(file, RATE, np.rint(sound * 32767).astype(np.int16))
    write_bytes(file.getvalue(), path)
    return Rendering(Path(path), len(sound) / RATE, loudness(sound), float(np.abs(sound).max()), synthesizer)


# ---- a score's sound ------------------------------------------------------------------------------------------------


def synthesise(score: Score, synthesizer: Synthesizer) -> NDArray[np.float32]:
    """The sound of a score, float32[n, 2] at RATE, at the synthesizer's own level; raises as `render` does."""
    columns = [track.notes.numpy() for track in score.tracks]
    end = max((int((notes["time"] + notes["duration"]).max()) for notes in columns if len(notes["time"])), default=0)
    if end == 0:
        raise MusicError("cannot make sound: the score holds no notes; choose another")
    length = seconds(score, end).item() + TAIL
    if length > LONGEST:
        limit = LONGEST // 60
        raise MusicError(
            f"cannot make sound: the score lasts {length / 60:.0f} minutes, at most {limit} are played; cut it"
        )
    sound = np.zeros((round(length * RATE), 2), np.float32)
    for tracks in _parts(score):
        played = _play(score, tracks, end, synthesizer)[: len(sound)]
        sound[: len(played)] += played
    fade = np.cos(np.linspace(0, np.pi / 2, RATE, dtype=np.float32)) ** 2
    sound[-RATE:] *= fade[:, None]
    return sound


def _parts(score: Score) -> Iterator[list[TrackTick]]:
    """Tracks that fit the 16 channels of one MIDI file: all drums share one, every other track has its own."""
    drums = [track for track in score.tracks if track.is_drum and len(track.notes)]
    others = [track for track in score.tracks if not track.is_drum and len(track.notes)]
    for start in range(0, max(len(others), 1), 15):
        yield others[start : start + 15] + (drums if start == 0 else [])


def _play(score: Score, tracks: list[TrackTick], end: int, synthesizer: Synthesizer) -> NDArray[np.float32]:
    """Play some tracks of a score, float32[n, 2]: softer and softer until nothing clips, then back at its level."""
    sound, volume = np.zeros((0, 2), np.int16), 1.0
    for volume in (0.7, 0.35, 0.17):  # of the channels; synthesizers square it
        sound = synthesizer.play(_midi(score, tracks, end, volume))
        if np.abs(sound, dtype=np.int32).max(initial=0) < 32767:
            break
    return np.divide(sound, 32768 * volume**2, dtype=np.float32)


def _midi(score: Score, tracks: list[TrackTick], end: int, volume: float) -> bytes:
    """A MIDI file of these tracks that ends TAIL seconds after tick `end`, its channels' volumes times `volume`."""
    starts, tempos = tempo_map(score)
    before = starts <= end
    a_tick = tempos[before][-1] / (1e6 * score.ticks_per_quarter)
    song = Score(score.ticks_per_quarter)
    for tick, tempo in zip(starts[before].tolist(), tempos[before].tolist(), strict=True):
        song.tempos.append(TempoTick(tick, mspq=tempo))
    for track in tracks:
        copy = TrackTick(track.name, track.program, track.is_drum)
        copy.notes = track.notes
        copy.pitch_bends = track.pitch_bends.filter(lambda bend: bend.time <= end, inplace=False)
        copy.controls.append(ControlChangeTick(0, 7, round(100 * volume)))  # 100 is the default volume
        for control in track.controls:
            if control.time <= end:
                value = round(control.value * volume) if control.number == 7 else control.value
                copy.controls.append(ControlChangeTick(control.time, control.number, value))
        song.tracks.append(copy)
    song.markers.append(TextMetaTick(end + math.ceil(TAIL / a_tick), "end"))
    return song.dumps_midi()


# ---- loudness -------------------------------------------------------------------------------------------------------


def loudness(sound: NDArray[np.floating]) -> float:
    """Integrated loudness of float[n, 2] at RATE in LUFS (ITU-R BS.1770-4: K weighting, 400 ms blocks, two gates).

    -inf where all is below the absolute gate of -70 LUFS. Less than 400 ms counts as one block.
    """
    hop = min(RATE // 10, len(sound))
    count = len(sound) // hop
    powers, state = [], np.zeros((2, 2, sound.shape[1]))
    for chunk in np.array_split(sound[: count * hop].reshape(count, hop, -1), max(count // 100, 1)):
        weighted, state = signal.sosfilt(_K_WEIGHTING, chunk.reshape(-1, sound.shape[1]), axis=0, zi=state)
        powers.append(np.square(weighted).reshape(len(chunk), -1).sum(axis=1) / hop)
    power = np.concatenate(powers)  # of every 100 ms
    blocks = np.convolve(power, np.full(min(4, count), 1 / min(4, count)), "valid")
    gate = 10 ** ((-70 + 0.691) / 10)
    if not (blocks > gate).any():
        return float("-inf")
    gate = max(gate, blocks[blocks > gate].mean() / 10)  # 10 LU below the mean of what passed the first gate
    return float(-0.691 + 10 * np.log10(blocks[blocks > gate].mean()))


def _biquad(kind: str, frequency: float, q: float, gain: float = 0.0) -> NDArray[np.float64]:
    """One section of the K weighting at RATE, float64[6] = b0 b1 b2 1 a1 a2, from its analogue values."""
    k = math.tan(math.pi * frequency / RATE)
    high = 10 ** (gain / 20)
    band = high**0.4996667741545416
    norm = 1 + k / q + k * k
    a = [1.0, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm]
    if kind == "highpass":
        return np.array([1.0, -2.0, 1.0, *a])
    b = [high + band * k / q + k * k, 2 * (k * k - high), high - band * k / q + k * k]
    return np.array([*(value / norm for value in b), *a])


_K_WEIGHTING = np.stack(
    [
        _biquad("shelf", 1681.974450955533, 0.7071752369554196, 3.999843853973347),
        _biquad("highpass", 38.13547087602444, 0.5003270373238773),
    ]
)


def master(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring float32[n, 2] to LOUDNESS, to within 0.1, under CEILING; silence stays silence.

    A gain, then a limiter; as the limiter takes some loudness away, a little more gain, a few times.
    """
    result, gain, level = sound, 0.0, loudness(sound)
    for _ in range(4):
        if level == float("-inf") or abs(LOUDNESS - level) < 0.1:
            break
        gain += LOUDNESS - level
        louder = sound * np.float32(10 ** (gain / 20))
        result = _limit(louder)
        level = LOUDNESS if result is louder else loudness(result)
    return result


def _limit(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn down around every sample above CEILING, smoothly, over 5 ms on either side; no sample stays above it."""
    peak = np.maximum(np.abs(sound[:, 0]), np.abs(sound[:, 1]))
    if peak.max() <= CEILING:
        return sound
    gain = np.minimum(1, CEILING / np.maximum(peak, CEILING)).astype(np.float32)
    reach = RATE // 100
    # The least gain within reach, averaged over the same reach: never above the gain at its middle
    gain = ndimage.uniform_filter1d(ndimage.minimum_filter1d(gain, reach), reach)
    return np.clip(sound * gain[:, None], -CEILING, CEILING).astype(np.float32)  # clip: the last bit of rounding
