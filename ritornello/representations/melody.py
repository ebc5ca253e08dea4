"""One voice as (pitch, duration) pairs: the cello suites' form.

    song := BOS Key Metre bar+ EOS
    bar  := Bar { Pitch|Rest Duration }*            an event belongs to the bar that it begins in

A Duration comes after its Pitch and is conditioned on it; together they say where the next event begins, so that a
song is one exact sequence of events without gaps: silence is a Rest. Key and metre are told once, at the beginning.

Of several notes the top line is kept: of those that begin together the highest; a lower note that begins under a
higher one that still sounds is left out, and a higher one that begins cuts what sounds. A held note thus stays one
note, however much moves below it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from symusic.core import NoteTick, TempoTick, TimeSignatureTick, TrackTick

from ritornello.errors import MusicError
from ritornello.music.bars import bars, tempo_by_bar
from ritornello.music.keys import Key, best_key
from ritornello.music.score import Score
from ritornello.representations.base import Tokens
from ritornello.representations.vocabulary import BOS, EOS, Vocabulary

STEPS = 24  # of a quarter: sixteenths, 32nds and triplets of both
LONGEST = 8 * STEPS  # of one event; longer rests are several, longer notes are cut
CELLO = 42  # General MIDI's program
VELOCITY = 80
METRES = ("2/2", "3/2", "2/4", "3/4", "4/4", "5/4", "6/4", "3/8", "6/8", "9/8", "12/8")
KEYS = tuple(str(Key(tonic, mode)) for mode in ("major", "minor") for tonic in range(12))
VOCABULARY = Vocabulary(
    {"Key": KEYS, "Metre": METRES, "Bar": (), "Rest": (), "Pitch": range(128), "Duration": range(1, LONGEST + 1)}
)
REST = -1
Line = NDArray[np.int64]  # [events, 2]: pitch (or REST) and duration in steps, one behind the other


def bar_length(metre: str) -> int:
    """Steps of a bar of a metre such as "3/4"."""
    beats, unit = map(int, metre.split("/"))
    return 4 * STEPS * beats // unit


class Melody:
    """Score ⇄ Tokens. Onsets and ends are rounded to 1/24 of a quarter, ties up; velocities are not kept."""

    name = "melody"
    vocabulary = VOCABULARY

    def encode(self, score: Score) -> Tokens:
        """Score → Tokens, with in `meta`: bars, notes, tempo, key, metre, program, transposition (0), left_out (notes
        below the top line).

        Raises: MusicError, if there are no notes, for metres that change or are not of METRES.
        """
        grid = bars(score)
        metre = "{}/{}".format(*grid.metres[0])
        if (grid.metres != grid.metres[0]).any() or metre not in METRES:
            other = next(("{}/{}".format(*m) for m in grid.metres if (m != grid.metres[0]).any()), metre)
            raise MusicError(
                f"The song is in {metre}{f' and in {other}' if other != metre else ''}, and {self.name!r} holds one of "
                f"{', '.join(METRES)} throughout; choose another."
            )
        tracks = [track for track in score.tracks if not track.is_drum and len(track.notes)]
        if not tracks:
            raise MusicError(f"The song has no notes that {self.name!r} can hold; choose another file.")
        line, left_out = top_line(tracks, score.ticks_per_quarter)
        first = int(line[0, 1]) // bar_length(metre) if line[0, 0] == REST else 0
        if first:  # empty bars before the first note
            line = _without_silence(line, first * bar_length(metre))
        meta = {
            "notes": int((line[:, 0] >= 0).sum()),
            "tempo": round(float(tempo_by_bar(score, grid)[0]), 3),
            "program": tracks[0].program,
            "transposition": 0,
            "left_out": left_out,
            "leading_bars": first,
        }
        return write(line, metre, meta)

    def decode(self, tokens: Tokens) -> Score:
        """Tokens → Score at 24 ticks a quarter, one track. A draft will do.

        Raises: MusicError, if the tokens do not follow the grammar; it names the first that does not.
        """
        line, metre = read(tokens.ids)
        score = Score(STEPS)
        score.tempos.append(TempoTick(0, qpm=float(tokens.meta.get("tempo", 80.0))))
        score.time_signatures.append(TimeSignatureTick(0, *map(int, metre.split("/"))))
        track = TrackTick("Cello", int(tokens.meta.get("program", CELLO)), False)
        onset = 0
        for pitch, duration in line.tolist():
            if pitch >= 0:
                track.notes.append(NoteTick(onset, duration, pitch, VELOCITY))
            onset += duration
        score.tracks.append(track)
        return score

    def normalise(self, score: Score) -> Score:
        """What is kept of a score. Raises MusicError where `encode` does."""
        return self.decode(self.encode(score))


def top_line(tracks: list[TrackTick], ticks_per_quarter: int) -> tuple[Line, int]:
    """The highest voice, from tick 0 to the end of its last note, and how many notes were left out."""
    columns = [track.notes.numpy() for track in tracks]
    time, length, pitch = (
        np.concatenate([c[name] for c in columns]).astype(np.int64) for name in ("time", "duration", "pitch")
    )
    onset, end = ((2 * STEPS * t + ticks_per_quarter) // (2 * ticks_per_quarter) for t in (time, time + length))
    kept: list[list[int]] = []  # onset, end, pitch
    for i in np.lexsort((-pitch, onset)).tolist():
        begins, stops, key = int(onset[i]), max(int(end[i]), int(onset[i]) + 1), int(pitch[i])
        if kept and begins < kept[-1][1]:
            if key <= kept[-1][2] or begins == kept[-1][0]:
                continue
            kept[-1][1] = begins
        kept.append([begins, stops, key])
    line: list[tuple[int, int]] = []
    now = 0
    for begins, stops, key in kept:
        line += _rest(begins - now)
        line.append((key, min(stops - begins, LONGEST)))
        line += _rest(stops - begins - LONGEST)
        now = stops
    return np.array(line, np.int64).reshape(-1, 2), len(onset) - len(kept)


def _rest(steps: int) -> list[tuple[int, int]]:
    """Silence of so many steps (none where negative) as events."""
    whole, rest = divmod(max(steps, 0), LONGEST)
    return [(REST, LONGEST)] * whole + ([(REST, rest)] if rest else [])


def _without_silence(line: Line, steps: int) -> Line:
    """A line without its first `steps` steps, which are silent."""
    first = int(np.argmax(line[:, 0] >= 0))
    silent = int(line[:first, 1].sum()) - steps
    return np.concatenate([np.array(_rest(silent), np.int64).reshape(-1, 2), line[first:]])


def find_key(line: Line) -> Key:
    """The key of the whole song, from how long each pitch class sounds; a note counts for two quarters at most."""
    notes = line[line[:, 0] >= 0]
    shares = np.bincount(notes[:, 0] % 12, np.minimum(notes[:, 1], 2 * STEPS), 12)
    return best_key(shares / max(shares.sum(), 1))


def write(line: Line, metre: str, meta: dict[str, Any] | None = None) -> Tokens:
    """A line and its metre → Tokens. Every bar line before an event's onset is written before it."""
    first = {family: VOCABULARY.range(family).start for family in VOCABULARY.families}
    length, key = bar_length(metre), str(find_key(line))
    onsets = np.cumsum(line[:, 1]) - line[:, 1]
    bar, position = np.divmod(onsets, length)
    events = np.where(line[:, 0] >= 0, line[:, 0] + first["Pitch"], first["Rest"])
    count = int(bar[-1]) + 1
    lines = 2 * np.searchsorted(bar, np.arange(count))  # tokens of events before each bar line
    ids = np.insert(np.stack([events, line[:, 1] - 1 + first["Duration"]], 1).reshape(-1), lines, first["Bar"])
    bars_of = np.insert(np.repeat(bar, 2), lines, np.arange(count))
    positions = np.insert(np.repeat(position + 1, 2), lines, 0)
    header = [BOS, VOCABULARY.id("Key", key), VOCABULARY.id("Metre", metre)]
    return Tokens(
        ids=np.concatenate([header, ids, [EOS]]).astype(np.int16),
        bars=np.concatenate([[0, 0, 0], bars_of, [count - 1]]).astype(np.int32),
        positions=np.concatenate([[0, 0, 0], positions, [0]]).astype(np.int16),
        attributes=np.zeros((count, 0), np.int16),
        meta={**(meta or {}), "bars": count, "key": key, "metre": metre},
    )


AFTER = {
    "BOS": ("Key",),
    "Key": ("Metre",),
    "Metre": ("Bar",),
    "Pitch": ("Duration",),
    "Rest": ("Duration",),
    "EOS": (),
}


def read(ids: NDArray[np.integer]) -> tuple[Line, str]:
    """Token ids → the line of complete events, and the metre. Raises MusicError for tokens out of place."""
    ids = np.trim_zeros(np.asarray(ids, np.int64), "b")  # PAD is 0
    family = [VOCABULARY.families[f] for f in VOCABULARY.family_of[ids]]
    expected: tuple[str, ...] = ("BOS",)
    now, bar, length, metre = 0, -1, 1, METRES[4]
    pitch, line = REST, []
    for place, (id, name) in enumerate(zip(ids.tolist(), family, strict=True)):
        if name not in expected:
            raise MusicError(
                f"Token {place} ({VOCABULARY.name(id)}) is out of place: expected {' or '.join(expected) or 'the end'}."
            )
        label = id - VOCABULARY.range(name).start
        if name == "Metre":
            metre, length = METRES[label], bar_length(METRES[label])
        elif name == "Bar":
            bar += 1
        elif name in ("Pitch", "Rest"):
            pitch = label if name == "Pitch" else REST
        elif name == "Duration":
            line.append((pitch, label + 1))
            now += label + 1
        inside = now < (bar + 1) * length
        expected = AFTER.get(name) or (("Pitch", "Rest") if inside else ("Bar",)) + (() if name == "Bar" else ("EOS",))
    if not line:
        raise MusicError("There is no event among the tokens; generate or encode the song again.")
    return np.array(line, np.int64), metre
