"""Read and write MIDI files: symusic parses, a guard stands before and behind it.

A MIDI file may be broken, cut off or hostile. `read` ends in a `Score` or in one `MusicError`. Where a file is damaged
but its tracks can be told from the rest, it reads those and names what it left out in a `MusicWarning`. Before symusic
sees a byte, the chunks are walked and rebuilt, so that it meets only true lengths and the true number of tracks;
behind it, what was parsed is checked.

Why symusic 0.6.0 needs this guard: its ticks are int32 and wrap; it reads a few bytes past its input; it passes over
tracks and events in silence where a length or the number of tracks is wrong; it takes a tempo of 0 and a metre of 4/0.
What remains its own: a note that is never released is no note.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import symusic.core
from numpy.typing import NDArray

from ritornello.errors import MusicError

Score = symusic.core.ScoreTick  # the type of symusic.Score(480): times are integers, in ticks

MICROSECONDS_A_QUARTER = 500_000  # the tempo of a MIDI file that names none: 120 quarters a minute
END_OF_TRACK = b"\xff\x2f\x00"


class MusicWarning(UserWarning):
    """Something of a file was left out; the message names the file, what, and why."""


@dataclass(frozen=True)
class Limits:
    """More than any music we know needs, little enough that reading stays far under 5 s and 512 MB."""

    bytes: int = 4 * 1024 * 1024
    tracks: int = 256
    notes: int = 100_000
    notes_at_once: int = 256  # onsets at one tick
    changes: int = 5_000  # of tempo; of metre
    quarters: int = 50_000
    hours: float = 3.0
    tempo: tuple[float, float] = (1.0, 2_000.0)  # quarters a minute


LIMITS = Limits()


def read(path: str | os.PathLike[str]) -> Score:
    """Read a MIDI file as a tick-based `Score`: tracks in the file's order, notes sorted by (time, duration, pitch).

    RIFF containers (.rmi), a little junk before the header, wrong chunk lengths that can be mended for certain, and key
    signatures that do not exist (dropped) are taken in stride.

    Raises:
        MusicError: the file is missing, not MIDI, damaged beyond telling its tracks, without notes, or over `LIMITS`.
    Warns:
        MusicWarning: a damaged part of the file was left out.
    """
    return parse(_load(Path(path)), str(path))


def parse(data: bytes, name: str = "the MIDI data") -> Score:
    """The same as `read`, from bytes; `name` is what errors and warnings call them."""
    try:
        if len(data) > LIMITS.bytes:
            raise MusicError(f"it holds more than {LIMITS.bytes:,} bytes, the most that is read; split it")
        container, left_out = _container(data)
        score = _symusic(container + bytes(16))  # symusic looks past the last event: give it bytes of ours to look at
        _check(score)
    except MusicError as error:
        raise MusicError(f"cannot read {name}: {error}") from None
    for what in left_out:
        warnings.warn(f"{name}: {what}", MusicWarning, stacklevel=3)
    score.key_signatures.filter(lambda key: abs(key.key) <= 7 and key.tonality in (0, 1), inplace=True)
    score.sort(inplace=True)
    return score


def write(score: Score, path: str | os.PathLike[str]) -> None:
    """Write a MIDI file, whole or not at all.

    Raises:
        MusicError: the place cannot be written to, or the score has negative times.
    """
    try:
        _check_times(score)
    except MusicError as error:
        raise MusicError(f"cannot write {path}: {error}") from None
    write_bytes(score.dumps_midi(), path)


def write_bytes(data: bytes, path: str | os.PathLike[str]) -> None:
    """Put `data` at `path` at one stroke: written under a temporary name in the same folder (made if need be), renamed.

    Raises:
        MusicError: the place cannot be written to.
    """
    path = Path(path)
    temporary = path.parent / f".{path.name[:64]}-{secrets.token_hex(4)}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
        os.replace(temporary, path)
    except (OSError, ValueError) as error:
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink()
        raise MusicError(f"cannot write {path}: {_reason(error)}; choose another place for it") from None


def _load(path: Path) -> bytes:
    """The bytes of a regular file (a pipe would block for ever), never more than the limit and one."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise MusicError(f"cannot read {path}: it is not a file; give a MIDI file (.mid)")
        with path.open("rb") as file:
            return file.read(LIMITS.bytes + 1)
    except (OSError, ValueError) as error:
        raise MusicError(f"cannot read {path}: {_reason(error)}; check its name and permissions") from None


def _reason(error: OSError | ValueError) -> str:
    """Why a file could not be opened; ValueError is what a zero byte in its name raises."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


# ---- before symusic: the chunks -------------------------------------------------------------------------------------


def _container(data: bytes) -> tuple[bytes, list[str]]:
    """Walk the chunks; the file rebuilt of a plain header and its tracks with true lengths, and what was left out.

    Raises:
        MusicError: no header; a kind of MIDI file that is not one song on a grid of quarters; tracks missing, cut off
            or too many; ticks that would wrap.
    """
    start = data.find(b"MThd", 0, 4096)  # not at 0: a .rmi container, or junk that a mail or archive program left
    if start < 0 or len(data) < start + 14:
        raise MusicError("it is not a MIDI file (no whole MThd header); export it again as a Standard MIDI File")
    length, form, declared, division = struct.unpack_from(">IHHH", data, start + 4)
    if not 6 <= length <= 1024:
        raise MusicError(f"its header gives its own length as {length:,}, where 6 is expected; the file is damaged")
    if form > 2 or (form == 2 and declared > 1):
        raise MusicError(f"it is of format {form}, where one song (format 0 or 1) is expected; export it as format 1")
    if not 1 <= division < 0x8000:
        kind = "SMPTE frames" if division else "0 ticks a quarter note"
        raise MusicError(f"its time is in {kind}, where 1 to 32,767 ticks a quarter note are expected; export it again")
    if declared > LIMITS.tracks:
        raise MusicError(f"it declares {declared:,} tracks, and at most {LIMITS.tracks} are read; merge some")
    tracks, left_out = _tracks(data, start + 8 + length, declared)
    header = struct.pack(">4sIHHH", b"MThd", 6, int(len(tracks) > 1), len(tracks), division)
    return header + b"".join(struct.pack(">4sI", b"MTrk", len(track)) + track for track in tracks), left_out


def _tracks(data: bytes, place: int, declared: int) -> tuple[list[bytes], list[str]]:
    """The bodies of the declared number of track chunks, and what was left out; other chunks are stepped over.

    The header's number is the truth: tracks beyond it are as a rule the tail of an older file that a shorter one was
    written over, or a second file (in 70 such songs of the Lakh dataset).
    """
    tracks: list[bytes] = []
    left_out: list[str] = []
    while len(tracks) < declared and _is_tag(data, place) and not data.startswith(b"MThd", place):
        tag, length = struct.unpack_from(">4sI", data, place)
        start, place = place + 8, place + 8 + length
        if tag == b"MTrk":
            end = _track_end(data, start, place)
            if end is None:
                break
            body, lost = _track(data[start:end], len(tracks) + 1)
            tracks.append(body)
            if lost:
                left_out.append(f"its track {len(tracks)} goes on for {lost:,} bytes after its end; they are left out")
            place = end
    if len(tracks) < max(declared, 1):
        raise MusicError(
            f"its header declares {declared} {'track' if declared == 1 else 'tracks'}, and {len(tracks)} can be read; "
            "the file is cut off or damaged, fetch it again"
        )
    if b"MTrk" in data[place:]:
        left_out.append(
            f"more tracks follow the {declared} it declares; their {len(data) - place:,} bytes are left out"
        )
    return tracks, left_out


def _is_tag(data: bytes, place: int) -> bool:
    """Whether a chunk may begin here: eight bytes, the first four of them letters or the like."""
    return place + 8 <= len(data) and all(32 <= byte < 127 for byte in data[place : place + 4])


def _track_end(data: bytes, start: int, end: int) -> int | None:
    """Where the track that starts at `start` ends; a wrong length is mended where the true end is plain to see.

    Plain is: the declared `end`, if the file ends or a chunk follows there; else an end-of-track event with a track, or
    the end of the file, right behind it. None where it is not plain: the track is cut off or damaged.
    """
    if end == len(data) or _is_tag(data, end):
        return end
    if end < len(data) and data[start:end].endswith(END_OF_TRACK) and b"MTrk" not in data[end:]:
        return end  # padding behind the last track
    following = data.find(END_OF_TRACK + b"MTrk", start)
    if following >= 0:
        return following + len(END_OF_TRACK)
    if data.endswith(END_OF_TRACK) and b"MTrk" not in data[start:]:
        return len(data)
    return None


def _track(body: bytes, number: int) -> tuple[bytes, int]:
    """A track up to its end-of-track event, and how many bytes that could hold notes were cut off behind it.

    symusic would stop there in silence, and wrap ticks past 2^31. Stepping through events is slow in Python, so it is
    done only where a pass of numpy cannot rule both out.
    """
    first_end = body.find(END_OF_TRACK)
    if not (first_end >= 0 and _may_hold_notes(body[first_end + 3 :])) and _most_ticks(body) < 2**31:
        return body, 0
    ticks, end = _walk(body)
    if ticks >= 2**31:
        raise MusicError(f"its track {number} lasts {ticks:,} ticks, longer than any song; the file is damaged")
    return body[:end], len(body) - end if _may_hold_notes(body[end:]) else 0


def _may_hold_notes(tail: bytes) -> bool:
    """Whether a note-on could be among these bytes; a second end of track, zeros and the like are harmless."""
    return any(0x90 <= byte < 0xA0 for byte in tail)


def _most_ticks(body: bytes) -> int:
    """An upper bound on the sum of a track's delta times: the sum of every run of bytes that could be one."""
    byte = np.frombuffer(body, np.uint8)
    high, value = byte >= 0x80, (byte & 0x7F).astype(np.int64)
    run = ~high
    total = int(value[run].sum())
    for back in (1, 2, 3):  # a delta time of up to four bytes ends in a low byte; those before it are high
        run = run[1:] & high[: max(len(high) - back, 0)]
        total += int((value[: len(run)][run] << (7 * back)).sum())
    return total


def _walk(body: bytes) -> tuple[int, int]:
    """Step through a track's events: (the sum of delta times in ticks, where its end-of-track event ends).

    Stops where the bytes end or make no sense; symusic then says what is wrong with them.
    """
    place = ticks = status = 0
    try:
        while place < len(body):
            delta, place = _number(body, place)
            ticks += delta
            if body[place] >= 0x80:
                status = body[place]
                place += 1
            if status == 0xFF:
                kind = body[place]
                length, place = _number(body, place + 1)
                place += length
                if kind == 0x2F:
                    return ticks, place
            elif status in (0xF0, 0xF7):
                length, place = _number(body, place)
                place += length
            else:
                place += 1 if 0xC0 <= status < 0xE0 else 2
    except IndexError:
        pass
    return ticks, len(body)


def _number(body: bytes, place: int) -> tuple[int, int]:
    """A variable-length number of at most four bytes: (value, place after it)."""
    value = 0
    for _ in range(4):
        value = value << 7 | body[place] & 0x7F
        place += 1
        if body[place - 1] < 0x80:
            break
    return value, place


# ---- symusic, and behind it -----------------------------------------------------------------------------------------


def _symusic(data: bytes) -> Score:
    try:
        return Score.from_midi(data)
    except (RuntimeError, ValueError, MemoryError) as error:  # ValueError: text in no known encoding is one
        reason = str(error).replace(": iostream error", "").replace("MiniMidi: ", "")
        raise MusicError(f"its events are damaged ({' '.join(reason.split())}); fetch or export it again") from None


def _check(score: Score) -> None:
    """Refuse what is no music: nothing, too much, time that runs backwards, stands still or never ends."""
    if len(score.tracks) > LIMITS.tracks:  # one track of a file may hold 16 channels of many programs
        raise MusicError(f"it holds {len(score.tracks):,} parts, and at most {LIMITS.tracks} are read; merge some")
    notes = score.note_num()
    if notes == 0:
        raise MusicError("it holds no notes; choose another file")
    if notes > LIMITS.notes:
        raise MusicError(f"it holds {notes:,} notes, and at most {LIMITS.notes:,} are read; split it")
    for what, count in (("tempo", len(score.tempos)), ("metre", len(score.time_signatures))):
        if count > LIMITS.changes:
            raise MusicError(f"it holds {count:,} changes of {what}, and at most {LIMITS.changes:,} are read; thin it")
    _check_times(score)
    _check_tempo_and_metre(score)
    columns = [track.notes.numpy() for track in score.tracks]
    onsets = np.concatenate([column["time"] for column in columns]).astype(np.int64)
    crowd = int(np.unique(onsets, return_counts=True)[1].max())
    if crowd > LIMITS.notes_at_once:
        raise MusicError(f"{crowd:,} of its notes begin at once, and at most {LIMITS.notes_at_once} may; thin them out")
    last = int((onsets + np.concatenate([column["duration"] for column in columns])).max())
    quarters = last / score.ticks_per_quarter
    if quarters > LIMITS.quarters:
        raise MusicError(f"it lasts {quarters:,.0f} quarter notes, and at most {LIMITS.quarters:,} are read; cut it")
    hours = seconds(score, last).item() / 3600
    if hours > LIMITS.hours:
        raise MusicError(f"it lasts {hours:,.1f} hours, and at most {LIMITS.hours:g} are read; cut it")


def _check_times(score: Score) -> None:
    """Nothing before tick 0 and no negative duration: symusic would read out of bounds in any conversion of them."""
    for events in [score.tempos, score.time_signatures, score.key_signatures, *(track.notes for track in score.tracks)]:
        columns = events.numpy()
        if len(columns["time"]) and min(columns["time"].min(), columns.get("duration", columns["time"]).min()) < 0:
            raise MusicError("it has events before its start; the music is damaged")


def _check_tempo_and_metre(score: Score) -> None:
    low, high = (60e6 / tempo for tempo in reversed(LIMITS.tempo))
    for tempo in score.tempos.numpy()["mspq"].tolist():
        if not low <= tempo <= high:
            raise MusicError(
                f"it has a tempo of {tempo:,} microseconds a quarter, where {low:,.0f} is the least; mend it"
            )
    columns = score.time_signatures.numpy()
    for numerator, denominator in zip(columns["numerator"].tolist(), columns["denominator"].tolist(), strict=True):
        if numerator < 1 or denominator not in (1, 2, 4, 8, 16, 32, 64):
            raise MusicError(f"it has a metre of {numerator}/{denominator}, where one such as 4/4 is expected; mend it")


# ---- time -----------------------------------------------------------------------------------------------------------


def tempo_map(score: Score) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ticks and tempos (microseconds a quarter), each int64[m], m >= 1: sorted, from tick 0 on.

    Of several tempo events at one tick the last counts; before the first, the MIDI default of 120 a minute.
    """
    columns = score.tempos.numpy()
    ticks = np.concatenate([[0], columns["time"].astype(np.int64)])
    tempos = np.concatenate([[MICROSECONDS_A_QUARTER], columns["mspq"].astype(np.int64)])
    order = np.argsort(ticks, kind="stable")
    ticks, tempos = ticks[order], tempos[order]
    last = np.append(ticks[1:] != ticks[:-1], True)
    return ticks[last], tempos[last]


def seconds(score: Score, ticks: NDArray[np.integer] | int) -> NDArray[np.float64]:
    """The time of each tick in seconds by the score's tempo map, same shape as `ticks`."""
    starts, tempos = tempo_map(score)
    a_tick = tempos / (1e6 * score.ticks_per_quarter)
    at_start = np.concatenate([[0.0], np.cumsum(np.diff(starts) * a_tick[:-1])])
    ticks = np.asarray(ticks, np.int64)
    index = np.searchsorted(starts, ticks, "right") - 1
    return at_start[index] + (ticks - starts[index]) * a_tick[index]
