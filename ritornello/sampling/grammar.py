"""Only well-formed songs: which tokens may come next in each row, as a mask on the logits.

    song := BOS bar+ EOS
    bar  := Bar [Metre] Tempo { Position { Instrument { Pitch|Drum Duration Velocity }+ }+ }*
    bar  := Bar [Metre] Tempo { Position [Chord] { Pitch Duration Velocity }* }*

The first where the vocabulary has instruments, the second where it has chords. Beyond this context-free skeleton (a
table: family of the last token -> tokens) a row has bounds on the ids of each family: positions rise within a bar and
stay inside it, instruments rise within a position, pitches fall within an instrument, chords stand at beats. Families
are ranges of ids in musical order, so all of that is `low <= id < high`; and no chord follows itself.

A song asked to have N bars has exactly N, its last one is never empty, none of its notes outlasts it, and it fits the
budget of tokens: a bar that has used up its share is closed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ritornello.errors import ConfigError
from ritornello.representations.grid import beat_length
from ritornello.representations.vocabulary import Label, Vocabulary

NOTE = 5  # tokens of the first note at a position: Position, Instrument or Chord, Pitch, Duration, Velocity
BAR = 3 + NOTE  # tokens of the shortest bar that sounds, Metre included
SHARE = 1.5  # a bar may use this many times the tokens that are left for it on average
FAMILIES = (
    *("PAD", "BOS", "EOS", "Bar", "Metre", "Tempo", "Position"),
    *("Chord", "Instrument", "Pitch", "Drum", "Duration", "Velocity"),
)
PADDING, START, END, NEW_BAR, METRE, TEMPO, POSITION, CHORD, INSTRUMENT, PITCH, DRUM, DURATION, VELOCITY = range(13)
CLOSE = 13  # two states more: a complete note or chord that only Bar or EOS may follow,
SOUND = 14  # and a chord that only a note may follow, since its bar must have one and then be closed

_FOLLOWS = {
    PADDING: [START],  # nothing written yet
    START: [NEW_BAR],
    END: [PADDING],
    NEW_BAR: [METRE, TEMPO],
    METRE: [TEMPO],
    TEMPO: [NEW_BAR, POSITION],
    POSITION: [CHORD, INSTRUMENT, PITCH],
    CHORD: [PITCH, POSITION, NEW_BAR, END],
    INSTRUMENT: [PITCH, DRUM],
    PITCH: [DURATION],
    DRUM: [DURATION],
    DURATION: [VELOCITY],
    VELOCITY: [PITCH, DRUM, INSTRUMENT, POSITION, NEW_BAR, END],
    CLOSE: [NEW_BAR, END],
    SOUND: [PITCH],
}


def place(bars: np.ndarray, positions: np.ndarray, total: int | None) -> np.ndarray:
    """Int64[3, rows]: bar, position and countdown (0 where no `total` of bars is asked for), as in a TokenBatch."""
    bars = np.maximum(bars, 0)
    countdown = np.zeros_like(bars) if total is None else np.maximum(total - bars, 0)
    return np.array([bars, positions, countdown])


class Grammar:
    """Where each of `rows` songs stands in the grammar, and what may come next.

    vocabulary:   of a representation of remi.py, of any kind.
    bars:         exact number of bars of every song; None: each ends where it wants to.
    max_tokens:   tokens of a song at most, BOS and EOS included.
    tempo, metre: the only Tempo (Metre) token allowed, None for any.
    instruments:  the Instrument tokens allowed, None for all.
    ranges:       Instrument token -> lowest and highest key (0..127) it may play.
    keys:         lowest and highest key, where the vocabulary has no instruments.
    empty_bars:   bars without a note allowed in a row (and none before the first note), None for any number.

    A prompt of any content is followed; only what `mask` allows is bound by all this.

    Raises: ConfigError, if `max_tokens` cannot hold the bars, or no instrument or no key of one is allowed.
    """

    _STATE = (
        *("phase", "length", "bars", "positions", "low", "high", "bar_length", "beat", "chord", "silent"),
        "close_at",
    )  # what there is of each row

    def __init__(
        self,
        vocabulary: Vocabulary,
        rows: int = 1,
        *,
        bars: int | None = None,
        max_tokens: int = 20_480,
        tempo: int | None = None,
        metre: int | None = None,
        instruments: Sequence[int] | None = None,
        ranges: Mapping[int, tuple[int, int]] | None = None,
        keys: tuple[int, int] = (0, 127),
        empty_bars: int | None = None,
    ) -> None:
        self.rows, self.total, self.max_tokens, self.empty_bars = rows, bars, max_tokens, empty_bars
        self._read_vocabulary(vocabulary)
        self._restrict({TEMPO: tempo, METRE: metre}, instruments, ranges or {})
        self._check_keys(*keys)
        self.keys = self.starts[PITCH] + np.array([keys[0], keys[1] + 1], np.int16)

        self.phase = np.full(rows, PADDING)  # family of the last token
        self.length = np.zeros(rows, np.int64)  # tokens so far
        self.bars = np.full(rows, -1)  # bars begun, less one
        self.positions = np.zeros(rows, np.int64)  # 0 for what belongs to the bar, else the onset's position + 1
        self.low = np.tile(self.starts, (rows, 1))  # ids allowed of each family: low <= id < high
        self.high = np.tile(self.stops, (rows, 1))
        self.bar_length = np.full(rows, len(vocabulary.range("Position")))  # in positions; a Metre token changes it
        self.beat = np.full(rows, beat_length((4, 4)))  # in positions
        self.chord = np.zeros(rows, np.int64)  # the chord in force, 0 before the first
        self.silent = np.full(rows, empty_bars or 0)  # bars without a note so far, in a row, this one included
        self.close_at = np.full(rows, max_tokens - 1 - NOTE)  # a longer song gets no more notes in this bar
        self._after = {
            NEW_BAR: self._after_bar,
            METRE: self._after_metre,
            POSITION: self._after_position,
            CHORD: self._after_chord,
            INSTRUMENT: self._after_instrument,
            PITCH: self._after_pitch,
            DRUM: self._after_drum,
            END: self._after_end,
        }
        self._check_budget()

    def read(self, prompt: np.ndarray) -> None:
        """Follow a prompt, Int[rows, time], padded on the right.

        Raises: ConfigError, if what is left of `max_tokens` cannot hold the bars still to come.
        """
        for ids in prompt.T:
            self.advance(ids)
        self._check_budget()

    def advance(self, ids: np.ndarray) -> None:
        """Follow one token of each row, Int[rows]; PAD (0) leaves a row as it is."""
        families = self.family[ids]
        moved = families != PADDING
        self.length += moved
        self.phase = np.where(moved, families, self.phase)
        present = set(families.tolist())
        for family in present & self._after.keys():
            rows = slice(None) if len(present) == 1 else np.flatnonzero(families == family)
            self._after[family](rows, ids[rows])

    def end(self, rows: np.ndarray) -> None:
        """These rows are written no further."""
        self.phase[rows] = END

    def follow(self, origins: np.ndarray) -> None:
        """Every row stands where row origins[row] stood."""
        for name in self._STATE:
            setattr(self, name, getattr(self, name)[origins])

    def mask(self) -> np.ndarray:
        """Bool[rows, vocabulary]: True where a token may come next. A row that has ended may only be padded."""
        if self.total is None:
            more = self.length + BAR + 1 <= self.max_tokens
            end = True
        else:
            more = self.bars < self.total - 1
            end = ~more
        if self.empty_bars is not None:
            more = more & (self.silent <= self.empty_bars)
        sounding = self.silent == 0  # a song's last bar must be
        self.high[:, NEW_BAR] = self.starts[NEW_BAR] + more
        self.high[:, END] = self.starts[END] + (sounding & end)
        full = self.length > self.close_at
        state = np.where(full & (self.phase == VELOCITY), CLOSE, self.phase)
        if self.chords:
            state = np.where(full & (self.phase == CHORD), np.where(sounding, CLOSE, SOUND), state)
        legal = self.table.take(state, 0)
        legal &= np.repeat(self.low, self.sizes, 1) <= self.ids
        legal &= self.ids < np.repeat(self.high, self.sizes, 1)
        if self.chords:
            legal[np.arange(self.rows), self.chord] &= self.chord == 0
        return legal

    @property
    def done(self) -> np.ndarray:
        """Bool[rows]: which songs have ended."""
        return self.phase == END

    def place(self) -> np.ndarray:
        """Int64[3, rows]: bar, position and countdown of each row's last token, as in a TokenBatch."""
        return place(self.bars, self.positions, self.total)

    # What each family of tokens changes, in the rows that have just received one.

    def _after_bar(self, rows, ids: np.ndarray) -> None:
        self.bars[rows] += 1
        self.silent[rows] += 1
        self.positions[rows] = 0
        self.low[rows, POSITION] = self.starts[POSITION]
        if self.total is not None:
            before = self.length[rows] - 1
            budget = self.max_tokens - 1 - before  # without EOS, with this Bar
            left = np.maximum(self.total - self.bars[rows], 1)
            share = np.minimum(SHARE * budget / left, budget - BAR * (left - 1))
            self.close_at[rows] = before + share - NOTE

    def _after_metre(self, rows, ids: np.ndarray) -> None:
        self.bar_length[rows] = self.metre_length[ids]
        self.beat[rows] = self.metre_beat[ids]
        self.high[rows, POSITION] = self.starts[POSITION] + self.metre_length[ids]

    def _after_position(self, rows, ids: np.ndarray) -> None:
        position = ids - self.starts[POSITION]
        self.positions[rows] = position + 1
        self.low[rows, POSITION] = ids + 1
        if self.chords:
            self.high[rows, CHORD] = np.where(position % self.beat[rows] == 0, self.stops[CHORD], self.starts[CHORD])
            self.low[rows, PITCH], self.high[rows, PITCH] = self.keys
        else:
            self.low[rows, INSTRUMENT] = self.starts[INSTRUMENT]
        if self.total is not None:  # bars to come are taken to be as long as this one
            rest = self.bar_length[rows] * np.maximum(self.total - self.bars[rows], 1) - position
            self.high[rows, DURATION] = self.duration_stop[np.minimum(rest, len(self.duration_stop) - 1)]

    def _after_chord(self, rows, ids: np.ndarray) -> None:
        self.chord[rows] = ids

    def _after_instrument(self, rows, ids: np.ndarray) -> None:
        self.low[rows, INSTRUMENT] = ids + 1
        self.low[rows, PITCH : DRUM + 1] = self.key_low[ids]
        self.high[rows, PITCH : DRUM + 1] = self.key_high[ids]

    def _after_pitch(self, rows, ids: np.ndarray) -> None:
        self.silent[rows] = 0
        self.high[rows, PITCH] = ids

    def _after_drum(self, rows, ids: np.ndarray) -> None:
        self.silent[rows] = 0
        self.high[rows, DRUM] = ids

    def _after_end(self, rows, ids: np.ndarray) -> None:
        self.positions[rows] = 0

    # Tables, made once.

    def _read_vocabulary(self, vocabulary: Vocabulary) -> None:
        """The families of the ids, what follows what, and what Metre, Duration and Instrument tokens stand for."""
        ranges = [vocabulary.range(name) if name in vocabulary.families else range(0) for name in FAMILIES]
        if vocabulary.families != tuple(name for name in FAMILIES if name in vocabulary.families):
            raise ConfigError(f"the grammar is one of {', '.join(FAMILIES)}, in this order; not of {vocabulary!r}.")
        self.bar = ranges[NEW_BAR].start  # the token that begins a bar
        self.ids = np.arange(vocabulary.size, dtype=np.int16)  # as wide as an id can be: masks are made at every step
        self.sizes = np.array([len(ids) for ids in ranges])
        self.family = np.repeat(np.arange(len(ranges)), self.sizes)
        self.starts = np.array([ids.start for ids in ranges], np.int16)
        self.stops = np.array([ids.stop for ids in ranges], np.int16)
        self.table = np.stack([np.isin(self.family, _FOLLOWS[state]) for state in range(SOUND + 1)])
        if ranges[METRE]:
            self.table[NEW_BAR] = self.family == METRE

        self.chords = bool(ranges[CHORD])
        if not self.chords:
            self.table[POSITION] = self.family == INSTRUMENT
        self.metre_length, self.metre_beat = np.zeros((2, vocabulary.size), np.int64)
        for id, metre in zip(ranges[METRE], vocabulary.labels("Metre") if ranges[METRE] else (), strict=True):
            self.metre_length[id], self.metre_beat[id] = _bar_and_beat(metre)
        durations = np.array(vocabulary.labels("Duration"), np.int64)
        rest = np.arange(durations.max() + 1)  # positions until the song ends -> the first Duration id that is too long
        self.duration_stop = ranges[DURATION].start + np.searchsorted(durations, rest, side="right")
        # Per Instrument token, the bounds on Pitch and on Drum: one of the two families is empty.
        drums = self.ids == (vocabulary.id("Instrument", "drums") if ranges[INSTRUMENT] else -1)
        low, high = self.starts[PITCH : DRUM + 1], self.stops[PITCH : DRUM + 1]
        self.key_low = np.tile(low, (vocabulary.size, 1))
        self.key_high = np.where(np.stack([drums, ~drums], 1), low, high)

    def _restrict(
        self,
        only: Mapping[int, int | None],
        instruments: Sequence[int] | None,
        ranges: Mapping[int, tuple[int, int]],
    ) -> None:
        """Take from the tables what this song may not have."""
        for family, id in only.items():
            if id is not None:
                self.table[:, (self.family == family) & (self.ids != id)] = False
        if instruments is not None:
            if not len(instruments):
                raise ConfigError("instruments: at least one is needed, none is given.")
            self.table[:, (self.family == INSTRUMENT) & ~np.isin(self.ids, instruments)] = False
        for id, (lowest, highest) in ranges.items():
            self._check_keys(lowest, highest)
            sounding = self.key_high[id] > self.key_low[id]
            self.key_high[id] = self.key_low[id] + sounding * (highest + 1)
            self.key_low[id] += sounding * lowest

    @staticmethod
    def _check_keys(lowest: int, highest: int) -> None:
        if not 0 <= lowest <= highest <= 127:
            raise ConfigError(f"the range {lowest} to {highest} of an instrument should be two keys in 0..127.")

    def _check_budget(self) -> None:
        """There must be tokens for a note in this bar and in each that is still to come, and for EOS."""
        left = 1 if self.total is None else max(self.total - max(int(self.bars.min()), 0), 1)
        least = max(int(self.length.max()), 1) + BAR * left + 1
        if self.max_tokens < least:
            raise ConfigError(f"max_tokens = {self.max_tokens} is too few: this song needs at least {least:,}.")


def _bar_and_beat(metre: Label) -> tuple[int, int]:
    """Positions of a bar, 12 a quarter: 36 of "6/8"; the shorter number where bars take turns (3/32 has 5 and 4). And
    positions of its beat."""
    numerator, denominator = map(int, str(metre).split("/"))
    return 48 * numerator // denominator, beat_length((numerator, denominator))
