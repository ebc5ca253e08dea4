"""What every instrument of a song is in the habit of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ritornello.layers.habits import CONTEXTS, MOST, ORDER, Events, Habits, Memory, habits
from ritornello.representations.vocabulary import BOS, Vocabulary

NAMES = Vocabulary(
    {
        "Bar": (),
        "Position": range(2),
        "Instrument": ("melody", "drums"),
        "Pitch": range(3),
        "Drum": range(2),
        "Duration": range(2),
        "Velocity": range(2),
    }
)
EVENTS = Events(NAMES)
# Mostly notes, since few follow by chance
notes = st.tuples(st.integers(0, 4), st.integers(0, 1), st.integers(0, 1)).map(
    lambda n: [NAMES.range("Pitch").start + n[0], NAMES.range("Duration")[n[1]], NAMES.range("Velocity")[n[2]]]
)
others = st.sampled_from([[i] for i in range(3, NAMES.range("Pitch").start)])
songs = st.lists(st.one_of(notes, notes, others), max_size=40).map(lambda parts: [BOS, *(i for p in parts for i in p)])


def slow(ids: list[int]) -> dict[int, np.ndarray]:
    """By comparing every token's contexts with those of each earlier one."""

    def contexts(t: int) -> list[tuple]:
        line, spot = 0, 0
        own: dict[tuple[int, int], list[int]] = {}
        for id in ids[: t + 1]:
            family = NAMES.families[NAMES.family_of[id]]
            line = id if family == "Instrument" else line
            spot = id if family == "Position" else spot
            if EVENTS.kind[id] >= 0:
                own.setdefault((line, EVENTS.kind[id]), []).append(id)
        said = own.get((line, asked[t]), [])
        note = own.get((line, 0), [0])[-1]
        contexts = [tuple(said[-n:] if n else ()) for n in range(ORDER + 1)] + [(spot,), (spot, note)]
        return [(EVENTS.kind[ids[t]], line, *context) for context in contexts]

    asked = [int(EVENTS.next[id]) for id in ids]
    known = [contexts(t) for t in range(len(ids))]
    found = {}
    for t, kind in enumerate(asked):
        members = EVENTS.members[kind]
        found[t] = np.zeros((CONTEXTS, len(members)))
        for i in range(CONTEXTS):
            for earlier in range(t):
                if asked[earlier] == kind and known[earlier][i] == known[t][i] and ids[earlier + 1] in members:
                    found[t][i, ids[earlier + 1] - members.start] += 1
    return found


@settings(max_examples=40, deadline=None)
@given(songs)
def test_habits_are_what_comparing_every_place_gives(ids: list[int]):
    expected, found = slow(ids), habits(np.array(ids), EVENTS)
    assert sorted(t for heard in found for t in heard.places) == list(range(len(ids)))
    for heard in found:
        for t, counts in zip(heard.places, heard.counts, strict=True):
            np.testing.assert_array_equal(counts, expected[t])


@settings(max_examples=40, deadline=None)
@given(songs)
def test_a_song_being_written_has_the_same(ids: list[int]):
    found = habits(np.array(ids), EVENTS)
    expected = {t: counts for heard in found for t, counts in zip(heard.places, heard.counts, strict=True)}
    memory = Memory(EVENTS)
    for t, id in enumerate(ids):
        memory.add(id)
        np.testing.assert_array_equal(dense(memory), expected[t])
    np.testing.assert_array_equal(dense(Memory(EVENTS, np.array(ids))), expected[len(ids) - 1])


def dense(memory: Memory) -> np.ndarray:
    return np.array([[counts.get(id, 0) for id in EVENTS.members[memory.kind]] for _, counts in memory.counts()])


def test_the_most_recent_count():
    """Of a hundred notes, the first thirty of another pitch, only the last 64 are remembered."""
    pitch, duration, velocity = (NAMES.range(f).start for f in ("Pitch", "Duration", "Velocity"))
    ids = np.array([BOS, *([pitch + 1, duration, velocity] * 30 + [pitch, duration, velocity] * 70)])
    memory = Memory(EVENTS, ids)
    for counts in (habits(ids, EVENTS)[0].counts[-1], dense(memory)):
        assert counts[0].tolist() == [MOST, 0, 0, 0, 0]


def test_what_was_counted_becomes_likelier_and_no_kind_does():
    torch.manual_seed(0)
    leaning, logits = Habits(NAMES), torch.randn(1, NAMES.size)
    pitch, duration, velocity = (NAMES.range(f).start for f in ("Pitch", "Duration", "Velocity"))
    memory = Memory(EVENTS, (BOS, *[pitch + 1, duration, velocity] * 5))
    torch.testing.assert_close(leaning.following(logits, [memory]), logits)  # fresh, it changes nothing
    with torch.no_grad():
        leaning.weight.add_(0.5)
        leaned = leaning.following(logits, [memory])
    before, after = logits.softmax(-1)[0].numpy(), leaned.softmax(-1)[0].numpy()
    assert after[pitch + 1] > 2 * before[pitch + 1]
    for members in EVENTS.members:
        part = slice(members.start, members.stop)
        assert after[part].sum() == pytest.approx(before[part].sum(), rel=1e-5)


def test_a_crop_has_the_habits_of_what_stands_before_it():
    torch.manual_seed(0)
    pitch, duration, velocity = (NAMES.range(f).start for f in ("Pitch", "Duration", "Velocity"))
    ids = np.array([BOS, *[pitch + 1, duration, velocity, pitch, duration + 1, velocity] * 5])
    leaning, logits = Habits(NAMES), torch.randn(len(ids), NAMES.size)
    torch.nn.init.normal_(leaning.weight)
    with torch.no_grad():
        whole, crop = leaning(logits, [(ids[:0], ids)])[20:], leaning(logits[20:], [(ids[:20], ids[20:])])
        alone = leaning(logits[20:], [(ids[:0], ids[20:])])
    torch.testing.assert_close(crop, whole)
    assert not torch.allclose(alone, whole)
