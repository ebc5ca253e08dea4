"""What becomes of songs that pages send."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from scipy.io import wavfile

from ritornello.errors import MusicError
from ritornello.music.audio import RATE, find_synthesizer, synthesise
from ritornello.music.score import parse
from ritornello.music.sheet import Part, Sheet
from ritornello.studio import desk
from tests.songs import make_song


def sheet_bytes(bars: int = 4) -> bytes:
    return Sheet.of(make_song(1, bars)).model_dump_json().encode()


def stems(data: bytes) -> list[np.ndarray]:
    count = int(np.frombuffer(data[:4], "<u4")[0])
    frames = np.frombuffer(data[4 : 4 + 4 * count], "<u4")
    samples = np.frombuffer(data[4 + 4 * count :], "<i2").reshape(-1, 2)
    return np.split(samples, np.cumsum(frames)[:-1])


def ask_sound(*asked: dict) -> list[np.ndarray]:
    media, data = desk.sound(json.dumps({"stems": asked}).encode())
    assert media == "application/octet-stream"
    return stems(data)


def level(sound: np.ndarray, seconds: float = 2.0) -> np.ndarray:
    """The level of every 50 ms. A synthesizer begins notes at its next block of samples, so waves differ in phase."""
    samples = np.zeros((round(seconds * RATE), 2))
    samples[: len(sound)] += sound[: len(samples)]
    return np.sqrt((samples.reshape(-1, RATE // 20, 2) ** 2).mean(axis=(1, 2)))


def test_a_midi_file_becomes_a_sheet_and_the_same_file_again():
    midi = make_song(2, 3).dumps_midi()
    opened = json.loads(desk.open_midi(midi)[1])
    assert opened["facts"].startswith("3 bars of 4/4")
    assert desk.midi(json.dumps(opened["sheet"]).encode()) == ("audio/midi", parse(midi).dumps_midi())


def test_a_bad_midi_file_is_one_sentence():
    with pytest.raises(MusicError, match="cannot read this file: it is not a MIDI file"):
        desk.open_midi(b"rubbish")


@pytest.mark.parametrize(
    ("sheet", "words"),
    [
        (b"{", "Invalid JSON"),
        (b'{"paths": "/etc/passwd"}', "paths: Extra inputs"),
        (b'{"parts": [{"notes": [[0, 1, 200, 90]]}]}', "parts.0.notes.0.2"),
        (b'{"ticks": 0}', "ticks"),
        (b'{"metres": [[0, 4, 0]], "parts": [{"notes": [[0, 1, 60, 90]]}]}', "metre of 4/0"),
        (b'{"tempos": [[0, 1]], "parts": [{"notes": [[0, 1, 60, 90]]}]}', "tempo of 1 micro"),
        (b"{}", "no notes"),
    ],
)
def test_a_bad_sheet_is_one_sentence(sheet: bytes, words: str):
    with pytest.raises(MusicError, match=words):
        desk.midi(sheet)


def test_a_sheets_sound_is_a_wav_file():
    media, data = desk.wav(sheet_bytes(2))
    rate, samples = wavfile.read(io.BytesIO(data))
    assert (media, rate) == ("audio/wav", RATE)
    assert np.abs(samples).max() > 3000


def test_the_look_of_a_song():
    told = json.loads(desk.look(sheet_bytes(4))[1])
    similarity = np.frombuffer(base64.b64decode(told["similarity"]), np.uint8).reshape(4, 4)
    assert told["bars"] == 4
    assert (np.diag(similarity) == 254).all()
    assert (similarity == similarity.T).all()
    assert len(told["attributes"]["polyphony"]) == 4
    assert told["words"].startswith("4 bars of 4/4")


def test_stems_are_what_each_track_sounds_like_alone():
    """Played one after another in one go, each is what it is by itself."""
    piano = {"program": 0, "notes": [[0, 0.5, 60, 90], [0.5, 0.5, 64, 90]]}
    bass = {"program": 33, "notes": [[0.25, 0.5, 40, 100]]}
    drums = {"drums": True, "notes": [[0, 0.1, 36, 110]]}
    together = ask_sound(piano, bass, drums)
    for stem, asked in zip(together, (piano, bass, drums), strict=True):
        (alone,) = ask_sound(asked)
        assert level(alone, 1).max() > 200
        assert np.abs(level(stem, 1) - level(alone, 1)).max() < 0.15 * level(alone, 1).max()


def test_a_stem_begins_when_it_should():
    (late,) = ask_sound({"program": 0, "notes": [[1.0, 0.5, 60, 100]]})
    first = np.flatnonzero(np.abs(late).max(axis=1) > 200)[0] / RATE
    assert 0.99 < first < 1.05


def test_the_stretches_of_a_song_add_up_to_it():
    """What the page does: bars rendered apart, put where they belong and added, are the song rendered whole."""
    notes = [[0.0, 0.45, 60, 90], [0.5, 0.45, 64, 90], [1.0, 0.45, 67, 90], [1.5, 0.45, 72, 90]]
    (whole,) = ask_sound({"program": 0, "notes": notes})
    (first,) = ask_sound({"program": 0, "notes": notes[:2]})
    (second,) = ask_sound({"program": 0, "notes": [[time - 1.0, *rest] for time, *rest in notes[2:]]})
    total = np.zeros((RATE * 2, 2))
    total[: len(first)] += first[: RATE * 2]
    total[RATE : RATE + len(second)] += second[:RATE]
    assert np.abs(level(total) - level(whole)).max() < 0.15 * level(whole).max()


def test_empty_stems_and_none():
    assert ask_sound({"notes": []})[0].shape == (0, 2)
    assert desk.sound(b'{"stems": []}')[1] == b"\0\0\0\0"


def test_too_much_sound_is_refused():
    with pytest.raises(MusicError, match="ask for fewer bars"):
        ask_sound(*[{"notes": [[590, 5, 60, 90]]}] * 2)


def test_pages_of_a_score():
    told = json.loads(desk.engrave(sheet_bytes(4))[1])
    assert len(told["pages"]) == 1
    assert told["pages"][0].count('class="measure"') == 4


def test_a_job_carries_its_songs_as_midi():
    sheet = json.loads(sheet_bytes(2))
    told = json.loads(
        desk.job(json.dumps({"model": "m", "wishes": {"bars": 8}, "songs": {"prompt": sheet}}).encode())[1]
    )
    assert (told["model"], told["verb"], told["wishes"]) == ("m", "compose", {"bars": 8})
    assert base64.b64decode(told["songs"]["prompt"]) == Sheet(**sheet).score().dumps_midi()


def test_the_synthesizer_plays_alike_through_the_desk_and_alone():
    """One note of the desk, undone of its headroom, has the level that `synthesise` gives it."""
    (stem,) = ask_sound({"program": 0, "notes": [[0, 1, 60, 100]]})
    sheet = Sheet(ticks=480, tempos=[(0, 500_000)], parts=[Part(notes=[(0, 960, 60, 100)])])
    alone = synthesise(sheet.score(), find_synthesizer())
    assert np.abs(stem).max() * desk.HEADROOM / 32767 == pytest.approx(np.abs(alone).max(), rel=0.05)
