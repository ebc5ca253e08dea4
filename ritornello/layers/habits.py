"""What every instrument of a song is in the habit of: a cache language model (Kuhn and De Mori 1990).

A note is a pitch (or drum), then its duration and its velocity. Each of the three is looked for among what followed the
last times that its instrument stood in the same context, such as the same position or the same last two pitches. What
was counted there moves the model's own prediction, in logarithms and by learned weights; how likely it is that a pitch
(a duration, a velocity) comes at all stays as the model says. Counts are of past tokens alone.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from ritornello.representations.vocabulary import Vocabulary

MOST = 64  # followers of a context that are remembered, the most recent ones
ORDER = 4  # the longest context: so many of an instrument's last pitches, durations or velocities
CONTEXTS = ORDER + 3
BUCKETS = 7  # weights differ by how many followers were counted: 0, 1-2, 3-6, 7-14, 15-30, 31-62, 63-64
SMOOTH = 0.15  # times √events: how many followers there seem to have been before the first, one as often as another

_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # any odd number with many ones: contexts are hashed by a polynomial in it

Ints = NDArray[np.int64]


class Events:
    """The three kinds of events that make a note, in their order, and what else a context is made of.

    Raises MusicError for a vocabulary that lacks any of them.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        pitches, drums = vocabulary.range("Pitch"), vocabulary.range("Drum")
        durations, velocities = vocabulary.range("Duration"), vocabulary.range("Velocity")
        self.members = (range(pitches.start, drums.stop), durations, velocities)  # drums stand right behind the pitches
        self.kind = np.full(vocabulary.size, -1)  # of every event
        self.line, self.position = np.zeros((2, vocabulary.size), bool)
        for kind, members in enumerate(self.members):
            self.kind[members.start : members.stop] = kind
        for name, those in (("Instrument", self.line), ("Position", self.position)):
            those[vocabulary.range(name).start : vocabulary.range(name).stop] = True
        self.next = (self.kind + 1) % len(self.members)  # the kind that may follow: pitches, where it is not known


@dataclass(frozen=True)
class Heard:
    """What was counted for one kind of event: for every token that it may follow, in every context."""

    places: Ints  # [n]: those tokens
    counts: NDArray[np.float32]  # [n, CONTEXTS, events of the kind]


def habits(ids: Ints, events: Events, since: int = 0) -> list[Heard]:
    """What a song [time] has heard up to each of its tokens from `since` on, for each kind of event."""
    time = np.arange(len(ids))
    kind = events.kind[ids]
    line, position = (_latest(ids, those[ids]) for those in (events.line, events.position))
    own = [_own(ids, kind == k, line, ORDER) for k in range(len(events.members))]
    found = []
    for k, members in enumerate(events.members):
        places = time[events.next[ids] == k]
        start = (kind[places], line[places])
        spot, note, said = position[places], own[0][0, places], own[k][:, places]
        contexts = [said[:n] for n in range(ORDER + 1)] + [spot[None], np.stack([spot, note])]
        follower = np.append(ids, 0)[places + 1] - members.start
        follower[follower >= len(members)] = -1
        first = int(np.searchsorted(places, since))
        counted = [_count(_hash(*start, *context), follower, len(members), first) for context in contexts]
        found.append(Heard(places[first:], np.stack(counted, axis=1)))
    return found


def _latest(ids: Ints, those: NDArray[np.bool_]) -> Ints:
    """The last of those tokens up to every token; 0 before the first."""
    place = np.maximum.accumulate(np.where(those, np.arange(1, len(ids) + 1), 0))
    return np.append(0, ids)[place]


def _own(ids: Ints, those: NDArray[np.bool_], line: Ints, count: int) -> Ints:
    """Of those tokens the last `count` in every token's own line up to it, newest first [count, time]; 0 for none."""
    places = np.flatnonzero(those)
    places = places[np.argsort(line[places], kind="stable")]
    key = line * len(ids) + np.arange(len(ids))
    newest = np.searchsorted(key[places], key, side="right")  # counted from 1
    found = np.zeros((count, len(ids)), np.int64)
    padded, of = np.append(0, ids[places]), np.append(-1, line[places])
    for back in range(count):
        at = np.maximum(newest - back, 0)
        found[back] = np.where(of[at] == line, padded[at], 0)
    return found


def _hash(*parts: Ints) -> NDArray[np.uint64]:
    """One number for each column; equal for equal columns."""
    total = np.zeros(len(parts[0]), np.uint64)
    for part in parts:
        total = (total + (part + 2).astype(np.uint64)) * _FACTOR
    return total


def _count(keys: NDArray[np.uint64], follower: Ints, events: int, since: int) -> NDArray[np.float32]:
    """How often each event (not -1) followed at the last MOST places before, of those with the same key [n, events]."""
    order = np.argsort(keys, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    first = np.searchsorted(keys[order], keys[since:])
    back = place[since:, None] - np.arange(1, MOST + 1)
    row, column = np.nonzero(back >= first[:, None])
    followed = follower[order][back[row, column]]
    flat = np.bincount((row * events + followed)[followed >= 0], minlength=len(first) * events)
    return flat.reshape(-1, events).astype(np.float32)


_NOTHING: tuple[tuple[int, ...], dict[int, int]] = ((), {})


class Memory:
    """The same for a song that is being written, a token at a time."""

    def __init__(self, events: Events, ids: Ints | tuple[int, ...] = ()) -> None:
        self.events = events
        self._kinds, self._next = events.kind.tolist(), events.next.tolist()
        self._line = self._position = self.kind = 0
        self._own: dict[tuple[int, int], tuple[int, ...]] = {}  # (line, kind) → its last events, newest first
        self._keys: list[tuple[int, ...]] = []  # the contexts that the song stands in
        # context → what followed, and how often each did. Neither is ever changed: copies of a song share them
        self._followed: dict[tuple[int, ...], tuple[tuple[int, ...], dict[int, int]]] = {}
        for id in ids:
            self.add(int(id))

    def add(self, id: int) -> None:
        """One more token."""
        kind = self._kinds[id]
        if kind == self.kind:
            for key in self._keys:
                followed, counts = self._followed.get(key, _NOTHING)
                counts = {**counts, id: counts.get(id, 0) + 1}
                if len(followed) == MOST:
                    counts[followed[0]] -= 1
                    followed = followed[1:]
                self._followed[key] = ((*followed, id), counts)
        if kind >= 0:
            self._own[self._line, kind] = (id, *self._own.get((self._line, kind), ())[: ORDER - 1])
        elif self.events.line[id]:
            self._line = id
        elif self.events.position[id]:
            self._position = id
        self.kind = self._next[id]
        said, note = (self._own.get((self._line, k), ()) for k in (self.kind, 0))
        start = (kind, self._line)
        self._keys = [(n, *start, *said[:n]) for n in range(ORDER + 1)]
        self._keys += [(-1, *start, self._position), (-2, *start, self._position, *note[:1])]

    def counts(self) -> list[tuple[tuple[int, ...], dict[int, int]]]:
        """Of every context: the events of `kind`, which may follow next, that followed before; how often each did."""
        return [self._followed.get(key, _NOTHING) for key in self._keys]

    def copy(self) -> Memory:
        other = copy(self)
        other._own, other._followed = dict(self._own), dict(self._followed)
        return other


class Habits(nn.Module):
    """Moves logits towards what was counted. Fresh, it changes nothing, so it can join a trained model.

    An event's logit becomes a times itself, plus in every context w log(1 + c / s), where c is its count, and a and w
    depend on how much was counted. Then the logits of its kind are shifted, so that the kind is as likely as before.
    """

    _inside: Tensor  # [kinds, vocabulary]: which events are of a kind

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.events = Events(vocabulary)
        kinds = len(self.events.members)
        self.weight = nn.Parameter(torch.zeros(kinds, CONTEXTS, BUCKETS))
        self.own = nn.Parameter(torch.ones(kinds, BUCKETS))  # by what was counted in the line as a whole
        self._logs = [np.log1p(np.arange(MOST + 1) / _smooth(those)).tolist() for those in self.events.members]
        inside = torch.from_numpy(self.events.kind) == torch.arange(kinds)[:, None]
        self.register_buffer("_inside", inside, persistent=False)

    def forward(
        self, logits: Float[Tensor, "tokens vocabulary"], songs: list[tuple[Ints, Ints]]
    ) -> Float[Tensor, "tokens vocabulary"]:
        """Logits of what follows each token of packed songs, of each the ids before its tokens and its own."""
        heard: list[list[Heard]] = [[] for _ in self.events.members]
        start = 0
        for past, ids in songs:
            for kind, found in enumerate(habits(np.concatenate([past, ids]), self.events, len(past))):
                heard[kind].append(Heard(found.places - len(past) + start, found.counts))
            start += len(ids)
        logits = logits.clone()
        for kind, (parts, those) in enumerate(zip(heard, self.events.members, strict=True)):
            rows = torch.from_numpy(np.concatenate([part.places for part in parts])).to(logits.device)
            counts = torch.from_numpy(np.concatenate([part.counts for part in parts])).to(logits.device)
            bucket = (counts.sum(-1) + 1).log2().floor().long()
            weight = self.weight[kind].gather(1, bucket.T).T
            push = (weight[:, None] @ (counts / _smooth(those)).log1p())[:, 0]
            inside = slice(those.start, those.stop)
            moved = _moved(logits[rows, inside].float(), self.own[kind, bucket[:, :1]], push)
            logits[rows, inside] = moved.to(logits.dtype)
        return logits

    def following(
        self, logits: Float[Tensor, "rows vocabulary"], memories: list[Memory]
    ) -> Float[Tensor, "rows vocabulary"]:
        """`forward` for the next token of every song."""
        weight, own = self.weight.tolist(), self.own.tolist()
        places: list[int] = []
        pushes: list[float] = []
        factors: list[float] = []
        for row, memory in enumerate(memories):
            start, logs, counted = row * logits.shape[1], self._logs[memory.kind], memory.counts()
            for (followed, counts), weights in zip(counted, weight[memory.kind], strict=True):
                by_total = weights[_bucket(followed)]
                places += [start + id for id in counts]
                pushes += [by_total * logs[count] for count in counts.values()]
            factors.append(own[memory.kind][_bucket(counted[0][0])])
        push = np.bincount(np.array(places, np.int64), pushes, logits.numel()).reshape(logits.shape)
        told = torch.from_numpy(push.astype(np.float32)).to(logits.device)
        factor = torch.tensor(factors, device=logits.device)[:, None]
        inside = self._inside[[memory.kind for memory in memories]]
        return torch.where(inside, _moved(logits.where(inside, -torch.inf), factor, told), logits)


def _bucket(followed: tuple[int, ...]) -> int:
    return (len(followed) + 1).bit_length() - 1


def _smooth(those: range) -> float:
    """What counts are measured by: SMOOTH √events, spread evenly over the events."""
    return SMOOTH * len(those) ** -0.5


def _moved(own: Tensor, factor: Tensor, push: Tensor) -> Tensor:
    """own * factor + push, shifted so that all together are as likely as they were."""
    return torch.log_softmax(own * factor + push, -1) + (own - torch.log_softmax(own, -1))  # logsumexp is slow here
