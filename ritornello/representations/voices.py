"""Four voices as tokens (`voices`): at every sixteenth what soprano, bass, alto and tenor do, in this order.

    song := BOS Key Metre Upbeat bar+ EOS
    bar  := Bar { voice voice voice voice }*          one group a step: 16 of them in a bar of 4/4, fewer in an upbeat
    voice := Hold | Rest | Pitch                      Hold: the note (or rest) before it goes on

The outer voices come first: the tune, then the bass that it stands on, then what fills the middle. Every token may look
at all before it, so the likelihood of a song is exact. Bars are counted back from the end, because the last bar of a
chorale is full while its first is often an upbeat: a song of 16 n + 4 steps begins with an upbeat of four.

Key and metre are told once, at the beginning, and cost the likelihood what it costs to say them. Velocities are not
kept, tempo is not written. A note that is struck again on the same pitch is a Pitch after a Pitch; where a corpus does
not tell the two apart (the JSB chorales' grid), all equal neighbours are one held note.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ritornello.errors import MusicError
from ritornello.music import choir
from ritornello.music.keys import Key, best_key
from ritornello.music.score import Score
from ritornello.representations.base import HELD, ONSET, SILENT, Roll, Tokens
from ritornello.representations.pianoroll import ROLLS, PianoRoll
from ritornello.representations.vocabulary import BOS, EOS, Vocabulary

METRES = {"4/4": 16, "3/4": 12, "3/2": 24}  # steps of a bar
ALIKE = {"2/2": "4/4", "2/4": "4/4"}  # written as
ORDER = (0, 3, 1, 2)  # the voices (soprano, alto, tenor, bass) in the order in which a step is written
RANGES = tuple(choir.RANGES[voice] for voice in ORDER)
LOW, HIGH = 34, 85  # pitches that there are tokens for: low <= pitch < high
REST, HOLD = -1, -2  # in a grid of pitches

KEYS = tuple(str(Key(tonic, mode)) for mode in ("major", "minor") for tonic in range(12))
VOCABULARY = Vocabulary(
    {
        **{"Key": KEYS, "Metre": tuple(METRES), "Upbeat": range(max(METRES.values()))},
        **{"Bar": (), "Hold": (), "Rest": (), "Pitch": range(LOW, HIGH)},
    }
)
Grid = NDArray[np.int64]  # [steps, 4]: what soprano, alto, tenor and bass do at every step: a pitch, REST or HOLD


class Voices:
    """Score ⇄ Tokens. What is rounded, and which track is which voice: as in a piano roll of four voices."""

    name = "voices"
    vocabulary = VOCABULARY
    rolls = PianoRoll(ROLLS["chorale"])

    def encode(self, score: Score) -> Tokens:
        """Score → Tokens, with in `meta`: bars, notes, key, tempo, transposition (0).

        Raises: MusicError, if there are no notes or more than four parts, for metres other than `METRES` and pitches
        that no choir sings.
        """
        roll = self.rolls.encode(score)
        metre = ALIKE.get(roll.meta["metre"], roll.meta["metre"])
        if metre not in METRES:
            raise MusicError(f"The song is in {metre}, and {self.name!r} holds {', '.join(METRES)}; choose another.")
        grid = of_roll(roll)
        pitches = grid[grid >= 0]
        if pitches.min() < LOW or pitches.max() >= HIGH:
            raise MusicError(
                f"The song has pitches from {pitches.min()} to {pitches.max()}, and {self.name!r} holds {LOW} to "
                f"{HIGH - 1}, what a choir sings; transpose it."
            )
        return write(grid, metre, {"notes": roll.meta["notes"], "tempo": roll.meta["tempo"], "transposition": 0})

    def decode(self, tokens: Tokens) -> Score:
        """Tokens → Score at 4 ticks a quarter, a track a voice. A draft will do: what is no whole step is left out.

        Raises: MusicError, if the tokens do not follow the grammar; it names the first that does not.
        """
        grid, upbeat, metre = read(tokens.ids)
        length = METRES[metre]
        bars = ((np.arange(len(grid)) + -upbeat % length) // length).astype(np.int32)
        meta = {"tempo": tokens.meta.get("tempo", 80.0), "metre": metre}
        return self.rolls.decode(Roll(to_cells(grid), bars, meta))

    def normalise(self, score: Score) -> Score:
        """What is kept of a score. Raises MusicError where `encode` does."""
        return self.decode(self.encode(score))


def write(grid: Grid, metre: str = "4/4", meta: dict[str, Any] | None = None) -> Tokens:
    """A grid → Tokens."""
    steps, length = len(grid), METRES[metre]
    upbeat = steps % length
    first = {family: VOCABULARY.range(family).start for family in VOCABULARY.families}
    key = find_key(grid)
    ordered = np.asarray(grid)[:, ORDER]
    cells = np.where(ordered == REST, first["Rest"], np.where(ordered == HOLD, first["Hold"], 0))
    cells = np.where(ordered >= 0, ordered - LOW + first["Pitch"], cells)
    place = np.arange(steps) + -upbeat % length  # as if the upbeat were a whole bar
    bar = place // length
    starts = np.flatnonzero(np.append(True, np.diff(bar) > 0))
    before = 4 * starts  # cells before each bar line
    ids = np.insert(cells.reshape(-1), before, first["Bar"])
    bars = np.insert(np.repeat(bar, 4), before, bar[starts])
    positions = np.insert(np.repeat(place % length + 1, 4), before, 0)
    header = [BOS, VOCABULARY.id("Key", str(key)), VOCABULARY.id("Metre", metre), first["Upbeat"] + upbeat]
    count = int(bar[-1]) + 1
    return Tokens(
        ids=np.concatenate([header, ids, [EOS]]).astype(np.int16),
        bars=np.concatenate([[0, 0, 0, 0], bars, [count - 1]]).astype(np.int32),
        positions=np.concatenate([[0, 0, 0, 0], positions, [0]]).astype(np.int16),
        attributes=np.zeros((count, 0), np.int16),
        meta={**(meta or {}), "bars": count, "key": str(key), "metre": metre},
    )


def read(ids: NDArray[np.integer]) -> tuple[Grid, int, str]:
    """Token ids → the grid of whole steps, the steps of the upbeat, the metre. Raises MusicError for tokens out of
    place."""
    ids = np.trim_zeros(np.asarray(ids, np.int64), "b")  # PAD is 0
    family = [VOCABULARY.families[f] for f in VOCABULARY.family_of[ids]]
    expected: tuple[str, ...] = ("BOS",)
    in_step, steps, upbeat, metre, cells = 0, 0, 0, "4/4", []
    for place, (id, name) in enumerate(zip(ids.tolist(), family, strict=True)):
        if name not in expected:
            raise MusicError(
                f"Token {place} ({VOCABULARY.name(id)}) is out of place: expected {' or '.join(expected)}."
            )
        if name in VOICE:
            cells.append({"Rest": REST, "Hold": HOLD}.get(name, id - VOCABULARY.range("Pitch").start + LOW))
            in_step = (in_step + 1) % 4
            steps += in_step == 0
        upbeat = id - VOCABULARY.range("Upbeat").start if name == "Upbeat" else upbeat
        metre = str(VOCABULARY.labels("Metre")[id - VOCABULARY.range("Metre").start]) if name == "Metre" else metre
        at_line = name != "Bar" and in_step == 0 and (steps - upbeat) % METRES[metre] == 0
        expected = AFTER.get(name) or (("Bar", "EOS") if at_line else VOICE)
    grid = np.array(cells[: len(cells) // 4 * 4], np.int64).reshape(-1, 4)
    if not len(grid):
        raise MusicError("There is no step among the tokens; generate or encode the song again.")
    result = np.empty_like(grid)
    result[:, ORDER] = grid
    return result, upbeat, metre


VOICE = ("Hold", "Rest", "Pitch")
AFTER = {"BOS": ("Key",), "Key": ("Metre",), "Metre": ("Upbeat",), "Upbeat": ("Bar",), "Bar": VOICE, "EOS": ()}


def of_roll(roll: Roll) -> Grid:
    """A roll of four voices → what they do."""
    cells = np.moveaxis(roll.cells, 0, 1)  # steps, voices, 128
    pitch, state = cells.argmax(axis=2), cells.max(axis=2)
    begins = np.where(state == ONSET, pitch, np.where(state == SILENT, REST, HOLD)).astype(np.int64)
    rests = begins == REST
    rests[1:] &= begins[:-1] == REST
    rests[0] = False
    return np.where(rests, HOLD, begins)  # a rest that goes on is held, as a note is


def to_cells(grid: Grid) -> NDArray[np.uint8]:
    """The inverse of `of_roll`, UInt8[4, steps, 128]."""
    sounds = sounding(grid)
    cells = np.zeros((len(grid), 4, 128), np.uint8)
    step, voice = np.nonzero(sounds >= 0)
    cells[step, voice, sounds[step, voice]] = np.where(grid[step, voice] == HOLD, HELD, ONSET)
    return np.moveaxis(cells, 0, 1)


def held(pitches: NDArray[np.integer]) -> Grid:
    """Pitches (or REST) at every step → what the voices do, if all equal neighbours are one note."""
    pitches = np.asarray(pitches, np.int64)
    same = np.append(np.zeros((1, pitches.shape[1]), bool), pitches[1:] == pitches[:-1], axis=0)
    return np.where(same, HOLD, pitches)


def sounding(grid: Grid) -> NDArray[np.int64]:
    """The pitch (or REST) that sounds at every step, Int[steps, 4]; a HOLD without anything before is a rest."""
    last = np.maximum.accumulate(np.where(grid == HOLD, -1, np.arange(len(grid))[:, None]), axis=0)
    return np.where(last < 0, REST, np.take_along_axis(grid, np.maximum(last, 0), axis=0))


def find_key(grid: Grid) -> Key:
    """The key of the whole song, from how long each pitch class sounds."""
    pitches = sounding(grid)
    shares = np.bincount(pitches[pitches >= 0] % 12, minlength=12).astype(float)
    return best_key(shares / max(shares.sum(), 1))
