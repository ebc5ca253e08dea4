"""What a form asks for, while a song is written: music that comes again, and music that is new, if the model agrees."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ritornello.representations.vocabulary import EOS, Vocabulary
from ritornello.sampling.form import FREE, Origin
from ritornello.sampling.page import QUARTER, STAGES, VARIED, Bar, Page, Pages, Place, labelled

RECENT = 8  # bars from which new music is to differ
STALE = 1.7  # how many times as much it loses by being as in all of them as music gains by coming again
COPIED = 3.0  # and, of all music, by going on as an earlier bar does of which it is more of a copy so far than asked
FOREIGN = 2.0  # and for pitch classes that are not in the harmony
OFFBEAT = 1.0  # and for places of the bar where an instrument does not begin notes
OUTSIDE = 2.0  # and for keys below its lowest or above its highest
LOST = 0.2  # of the changes that are asked for, those that come of themselves
LENGTHS = 0.5  # and, of the others, those of how long a note is
CORE = 3.0  # the power of how often a note has come, or has been as long, with which it rather is so again
SELDOM = 0.005  # the least share of its notes that come again, or do not
RESTING = 2.0  # and for instruments that do not play in a bar
AWAITED = 2.0  # and, as a gain, for those with new music that have not begun to


@dataclass
class _Part:
    """What an instrument has played in a bar: how many notes, and how many of them each earlier bar has as well."""

    notes: int = 0
    shared: Counter[int] = field(default_factory=Counter)


@dataclass
class _Row:
    """A song's form, its bars so far, where in its bar it stands, and what this bar is to have again."""

    form: Sequence[Origin]
    guests: Collection[int]
    """Instrument tokens that play although the form has no place for them."""
    bars: list[Bar] = field(default_factory=list)
    place: Place = (0, -1, -1, 0)
    played: dict[int, _Part] = field(default_factory=dict)
    """Of Instrument tokens of this bar so far."""
    heard: dict[tuple[int, int], dict[int, list[int]]] = field(default_factory=dict)
    """What each instrument has played at a position: the notes, and in which bars."""
    lengths: dict[tuple[int, int, int], Counter[int]] = field(default_factory=dict)
    """How long (Duration tokens) a note of an instrument has been at a position."""
    page: Page = field(default_factory=Page)
    core: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    """Of the page's notes of instruments that are to change, how much rather each comes again, and is as long."""
    passed: Place = (0, -1, -1, 0)
    """The last note that it has played another for, wherever that stands: it does not come any more."""

    @property
    def behind(self) -> int:
        """The index of what comes next in the page."""
        return bisect_right(self.page.places, max(self.place, self.passed))

    def copy(self) -> _Row:
        bars = [(places.copy(), ids.copy()) for places, ids in self.bars]
        heard = {place: {id: bars.copy() for id, bars in notes.items()} for place, notes in self.heard.items()}
        return replace(self, bars=bars, heard=heard, played=deepcopy(self.played), lengths=deepcopy(self.lengths))


@dataclass
class _Cache:
    inner: Any
    rows: list[_Row]

    def keep(self, rows: list[int]) -> None:
        self.inner.keep(rows)
        self.rows = [self.rows[row].copy() if row in rows[:i] else self.rows[row] for i, row in enumerate(rows)]

    def part(self, rows: list[int]) -> _Cache:
        return _Cache(self.inner.part(rows), [self.rows[row] for row in rows])

    def join(self, other: _Cache) -> None:
        self.inner.join(other.inner)
        self.rows = [*self.rows, *other.rows]


class Returning:
    """A player (`autoregress.Player`) that lets bars come again: what stood next where they were first gains `nats`.

    "Next" is the first token behind the place that the song has come to, so that a song which has left its origin comes
    back to it. What instruments whose music does not come again may play before the next token gains as much, so that
    they are as likely as ever. Where music is to be new, the keys that its instrument has played in the same place of
    the last bars lose; and, where it is not to be the same again, what would go on as an earlier bar of which it is too
    much of a copy by now: so songs do not run in circles where people's do not. Where a harmony comes again, keys lose
    the more, the less they are in it in that quarter. All this leaves it to the model how many notes a new chord has.
    Instruments lose in bars in which they rest, and gain where they have new music until they begin; and notes lose at
    places of the bar and at keys where their instrument has none in the song whose form it is. The grammar and what the
    model is sure of decide all the same: bars come again with changes. How many, where an instrument is to be as it was
    but in part, is seen to note by note: the next is the same as often as those left still have to be, and rather so,
    the more bars have had it. Half of the changes are of how long notes are; and about as many notes are new as are
    lost.

    vocabulary:  one with positions.
    forms:       of every song where each bar comes from; bars beyond are free.
    asked:       Instrument tokens that may play even where a form never has them.
    """

    def __init__(
        self,
        player: Any,
        vocabulary: Vocabulary,
        forms: Sequence[Sequence[Origin]],
        nats: float,
        asked: Collection[int] = (),
    ) -> None:
        self.player, self.forms, self.nats, self.asked = player, forms, nats, set(asked)
        families = {name: vocabulary.range(name) for name in vocabulary.families}
        self.stages = [STAGES.get(vocabulary.families[family], 0) for family in vocabulary.family_of.tolist()]
        self.note = [0] * vocabulary.size
        self.notes = [id for name in ("Pitch", "Drum") for id in families.get(name, ())]
        for name in ("Pitch", "Drum"):
            for i, id in enumerate(families.get(name, ())):
                self.note[id] = 127 - i
        is_note = torch.zeros(vocabulary.size)
        is_note[self.notes] = 1.0
        self.kinds = torch.stack([1.0 - is_note, is_note], 1)
        self.pitches = slice(families["Pitch"].start, families["Pitch"].stop)
        self.keys = torch.tensor([int(key) for _, key in labelled(vocabulary, "Pitch")])
        self.pages = Pages(vocabulary)
        self.positions, self.instruments = self.pages.positions, self.pages.instruments
        self.bar = vocabulary.id("Bar")

    def cache(self, rows: int) -> _Cache:
        return _Cache(self.player.cache(rows), [self._row(form) for form in self.forms[:rows]])

    def _row(self, form: Sequence[Origin]) -> _Row:
        return _Row(form, self.asked.difference(*(origin.own for origin in form)))

    def prefill(self, batch: Any, cache: _Cache) -> Float[Tensor, "rows vocabulary"]:
        fields = torch.stack([batch.ids, batch.bars, batch.positions], -1).tolist()
        for row, tokens, length in zip(cache.rows, fields, batch.lengths.tolist(), strict=True):
            for token in tokens[:length]:
                self._read(row, *token)
        return self._pushed(self.player.prefill(batch, cache.inner), cache)

    def advance(self, token: Any, cache: _Cache) -> Float[Tensor, "rows vocabulary"]:
        fields = torch.stack([token.ids, token.bars, token.positions], -1).tolist()
        for row, one in zip(cache.rows, fields, strict=True):
            self._read(row, *one)
        return self._pushed(self.player.advance(token, cache.inner), cache)

    def _read(self, row: _Row, id: int, bar: int, position: int) -> None:
        stage = self.stages[id]
        _, instrument, note, _ = row.place
        if stage <= STAGES["Chord"]:
            instrument = note = -1
        elif stage == STAGES["Instrument"]:
            instrument, note = id, -1
            row.played.setdefault(id, _Part())
        elif stage == STAGES["Pitch"]:
            note = self.note[id]
            due = self._due(row)
            self._hear(row, id, bar, position)
            if due and due[0] != id:
                self._pass(row)
        elif stage == STAGES["Duration"]:
            row.lengths.setdefault(row.place[:3], Counter())[id] += 1
        row.place = (position, instrument, note, stage)
        if len(row.bars) <= bar:
            row.played, row.passed = {}, (0, -1, -1, 0)
            row.bars += [([], []) for _ in range(len(row.bars), bar + 1)]
            row.page = self.pages.of(row.bars, row.form[bar] if bar < len(row.form) else FREE, row.guests)
            row.core = self._core(row)
        places, ids = row.bars[bar]
        places.append(row.place)
        ids.append(id)

    def _pushed(self, logits: Tensor, cache: _Cache) -> Float[Tensor, "rows vocabulary"]:
        push, loss = torch.zeros_like(logits), torch.zeros_like(logits)
        for i, row in enumerate(cache.rows):
            page, behind = row.page, row.behind
            if behind < len(page.ids):
                alike, ids = page.alike[behind], [page.ids[behind]]
            else:
                alike, ids = page.end, [self.bar, EOS]
            if alike:
                push[i, [*ids, *self._before(row, page, behind)]] = self.nats * alike
            push[i, page.resting] -= RESTING * self.nats
            if page.closed is not None:
                push[i, self.positions.start : self.positions.stop] += self._moved(logits[i], page.closed)
            push[i, [one for one, places in page.grid.items() if row.place[0] not in places]] -= OFFBEAT * self.nats
            push[i, [*(page.awaited - row.played.keys())]] += AWAITED * self.nats
            if page.foreign is not None and (row.place[1] in page.free or row.place[1] in row.core):
                foreign = page.foreign[max(row.place[0] - 1, 0) // QUARTER].to(push.device)
                loss[i, self.pitches] += FOREIGN * self.nats * foreign
            if keys := page.ambitus.get(row.place[1]):
                outside = (self.keys < keys.start) | (self.keys >= keys.stop)
                loss[i, self.pitches] += OUTSIDE * self.nats * outside.to(push)
            for id, lost in self._stale(row):
                loss[i, id] += lost * self.nats
        pushed = logits + push
        pushed = self._as_full(logits, pushed, pushed - loss, cache)
        for i, row in enumerate(cache.rows):
            if due := self._due(row):
                pushed[i] = self._varied(logits[i], pushed[i], *due)
        return pushed

    def _varied(
        self, logits: Float[Tensor, " vocabulary"], pushed: Float[Tensor, " vocabulary"], id: int, share: float
    ) -> Float[Tensor, " vocabulary"]:
        """The same note as often as it still has to be; else, as the model would without it, another one or none."""
        both = torch.stack([logits, pushed])
        both[:, id] = -torch.inf
        wanted, odds = self._odds_of_a_note(both)
        rest = both[1]
        rest[self.notes] += wanted - odds
        rest += math.log(1 - share) - rest.logsumexp(0)
        rest[id] = math.log(share)
        return rest

    def _due(self, row: _Row) -> tuple[int, float] | None:
        """The note that comes next where the music that is playing is from, if it is to change, or how long that one
        is; and how likely it is to come again: of a note, the share of those left that still have to."""
        if (behind := row.behind) == len(row.page.places) or not self.nats:
            return None
        place, playing = row.page.places[behind], row.place[1]
        part = row.page.own.get(playing)
        if part is None or part.alike > VARIED or place[:2] != row.place[:2]:
            return None
        notes, (same, kept) = row.page.notes[playing], _kept(part.alike)
        left = row.core[playing][bisect_left(notes, (*place[:3], STAGES["Pitch"])) :]
        if place[3] == STAGES["Pitch"]:
            share = chance([rather for rather, _ in left], kept * len(notes) - row.played[playing].shared[part.bar])
        elif place[3] == STAGES["Duration"]:
            share = chance([rather for _, rather in left], same / kept * len(left))
        else:
            return None
        return row.page.ids[behind], min(max(share, SELDOM), 1 - SELDOM)

    def _core(self, row: _Row) -> dict[int, list[tuple[float, float]]]:
        """The weights of the notes of a new page: as often as bars have had them, and of those, as long."""
        page, core = row.page, {}
        for one, part in page.own.items():
            if part and part.alike <= VARIED:
                core[one] = []
                for place in page.notes[one]:
                    i, known = bisect_left(page.places, place), row.lengths[place[:3]]
                    heard, as_long = known.total(), known[page.ids[i + 1]]
                    core[one].append((heard**CORE, (as_long / heard) ** CORE))
        return core

    def _pass(self, row: _Row) -> None:
        """Another note than was due: in its stead, unless it makes up for one that has not come."""
        place, playing = row.page.places[row.behind], row.place[1]
        if row.played[playing].notes > bisect_left(row.page.notes[playing], place):
            row.passed = (*place[:3], STAGES["Velocity"])

    def _moved(
        self, logits: Float[Tensor, " vocabulary"], closed: Float[Tensor, " positions"]
    ) -> Float[Tensor, " positions"]:
        """Notes that would begin where nobody does begin elsewhere: a Position is as likely as ever to come at all."""
        loss = OFFBEAT * self.nats * closed.to(logits)
        shares = logits[self.positions.start : self.positions.stop].softmax(-1)
        return -loss - (shares @ (-loss).exp()).log()

    def _as_full(self, logits: Tensor, pushed: Tensor, lost: Tensor, cache: _Cache) -> Float[Tensor, "rows vocabulary"]:
        """What keys have lost, changed so that a chord is as likely as before to have another note; what is of one's
        own, as without a form."""
        free = torch.tensor([row.place[1] in row.page.free for row in cache.rows], device=logits.device)
        before = torch.where(free[:, None], logits, pushed)
        more = self._odds_of_a_note(before) - self._odds_of_a_note(lost)
        lost[:, self.notes] += more[:, None]
        return lost

    def _odds_of_a_note(self, logits: Tensor) -> Tensor:
        shares = (logits - logits.amax(-1, keepdim=True)).exp() @ self.kinds.to(logits)  # logsumexp is slow here
        return shares.clamp(min=1e-30).log().diff(dim=-1)[:, 0]

    def _hear(self, row: _Row, id: int, bar: int, position: int) -> None:
        """A note of the instrument that is playing."""
        instrument = row.place[1]
        bars = row.heard.setdefault((position, instrument), {}).setdefault(id, [])
        part = row.played.setdefault(instrument, _Part())
        part.notes += 1
        part.shared.update(bars)
        bars.append(bar)

    def _stale(self, row: _Row) -> Iterator[tuple[int, float]]:
        """What an instrument has played in this place before, and what each note is to lose."""
        here, playing, *_ = row.place
        if playing not in row.page.own:
            return
        now, part, asked = len(row.bars) - 1, row.played[playing], row.page.asked(playing)
        for id, bars in row.heard.get((here, playing), {}).items():
            if bars[-1] == now:  # it stands in the chord already
                continue
            lately = 0 if asked else (len(bars) - bisect_left(bars, now - RECENT)) / min(RECENT, now)
            copied = max(part.shared[bar] for bar in bars) / (part.notes + 1)
            yield id, STALE * lately + COPIED * max(copied - asked, 0.0) / max(1.0 - asked, 0.01)

    def _before(self, row: _Row, page: Page, behind: int) -> Iterator[int]:
        """What the other instruments may play before the next token that comes again, and those that are to change."""
        free = {*page.free, *self._open(row, page)}
        if not free:
            return
        here, playing, *_ = row.place
        there, next_, *_ = page.places[behind] if behind < len(page.places) else (len(self.positions) + 1, -1)
        yield from self.positions[here : max(here, there - 1)]
        last = next_ if there == here else self.instruments.stop
        yield from (instrument for instrument in free if playing < instrument < last)
        if playing in free:
            yield from self.notes

    def _open(self, row: _Row, page: Page) -> Iterator[int]:
        """Instruments that are to change and may have a note more: as many are new by now as are to be lost."""
        for one in row.core:
            had, has = bisect_right(page.notes[one], row.place), row.played[one].notes if one in row.played else 0
            if has + 1 <= had * (2 - _kept(page.asked(one))[1]):
                yield one


def _kept(alike: float) -> tuple[float, float]:
    """Shares of an instrument's notes that are to be the same, and to be as high though not all as long."""
    alike += LOST * (1 - alike)
    same = 2 * alike / (1 + alike)
    return same, same + LENGTHS * (1 - same)


def chance(weights: Sequence[float], count: float) -> float:
    """How likely the first of some things is taken, if `count` of them are: in proportion to weights, at most 1."""
    total = sum(weights)
    for weight in sorted(weights, reverse=True):
        if count * weight < total:
            return weights[0] * count / total if weights[0] <= weight else 1.0
        count, total = count - 1, total - weight
    return 1.0
