from __future__ import annotations

import numpy as np
import pytest

from ritornello.errors import MusicError
from ritornello.representations import build
from ritornello.representations.remi import CONFIGS
from ritornello.representations.vocabulary import BOS, EOS, PAD, Vocabulary


@pytest.fixture
def small() -> Vocabulary:
    return Vocabulary({"Bar": (), "Metre": ("3/4", "4/4"), "Pitch": range(128)})


def test_ids_follow_the_order_of_families_and_labels(small: Vocabulary):
    assert (PAD, BOS, EOS) == (0, 1, 2)
    assert " ".join(map(small.name, range(8))) == "PAD BOS EOS Bar Metre_3/4 Metre_4/4 Pitch_0 Pitch_1"
    assert small.range("Pitch") == range(6, 134)
    assert small.size == len(small) == 134
    assert small.id("Bar") == 3
    assert small.id("Pitch", 60) == 66
    assert small.labels("Metre") == ("3/4", "4/4")
    assert small.families == ("PAD", "BOS", "EOS", "Bar", "Metre", "Pitch")


def test_family_of_every_id(small: Vocabulary):
    assert small.family_of.dtype == np.int8
    assert small.family_of.tolist() == [0, 1, 2, 3, 4, 4, *[5] * 128]


@pytest.mark.parametrize("name", CONFIGS)
def test_name_and_id_are_inverse(name: str):
    vocabulary = build(name).vocabulary
    for family in vocabulary.families:
        for i, label in zip(vocabulary.range(family), vocabulary.labels(family) or (None,), strict=True):
            assert vocabulary.id(family, label) == i
            assert vocabulary.name(i) == (family if label is None else f"{family}_{label}")


@pytest.mark.parametrize("name", CONFIGS)
def test_json_there_and_back(name: str):
    vocabulary = build(name).vocabulary
    again = Vocabulary.from_json(vocabulary.to_json())
    assert again == vocabulary
    assert hash(again) == hash(vocabulary)
    assert again.labels("Tempo") == vocabulary.labels("Tempo")


def test_equality_sees_every_label(small: Vocabulary):
    assert small != Vocabulary({"Bar": (), "Metre": ("3/4", "4/4"), "Pitch": range(127)})
    assert small != Vocabulary({"Bar": (), "Metre": ("4/4", "3/4"), "Pitch": range(128)})


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"Bar": []}', '{"PAD": [], "BOS": [], "EOS": [], "Pitch": 3}', '{"PAD": [[1]]}', '"PAD"']
)
def test_what_is_no_vocabulary_is_refused(text: str):
    with pytest.raises(MusicError, match="is not a vocabulary"):
        Vocabulary.from_json(text)


def test_errors_name_what_is_there(small: Vocabulary):
    with pytest.raises(MusicError, match="no event 'Pitch_128'; choose from Pitch_0 … Pitch_127"):
        small.id("Pitch", 128)
    with pytest.raises(MusicError, match="no events called 'Drum'; it has PAD"):
        small.range("Drum")
    with pytest.raises(MusicError, match="no id 134"):
        small.name(134)
    with pytest.raises(MusicError, match="no id -1"):
        small.name(-1)


def test_ambiguous_or_endless_vocabularies_are_refused():
    with pytest.raises(MusicError, match="1 of them named like another"):
        Vocabulary({"Pitch": (1, 1)})
    with pytest.raises(MusicError, match="at most 32767"):
        Vocabulary({"Pitch": range(40_000)})


def test_the_shipped_vocabularies():
    """Ids are frozen: weights are trained on them."""
    six, general = build("museformer").vocabulary, build("remi").vocabulary
    assert six.size == 723
    assert "Metre" not in six.families
    assert six.labels("Instrument") == ("melody", "drums", "bass", "guitar", "piano", "strings")
    assert [len(six.range(family)) for family in ("Position", "Duration", "Velocity")] == [48, 32, 16]
    assert [six.range(family).start for family in ("Tempo", "Position", "Pitch", "Drum")] == [4, 365, 419, 547]
    assert len(general.range("Instrument")) == 129
    assert {"5/4", "7/8", "12/8", "3/32", "7/48"} <= set(general.labels("Metre"))


def test_the_piano_s_vocabulary():
    piano = build("musemorphose").vocabulary
    assert piano.families == (
        *("PAD", "BOS", "EOS", "Bar", "Metre", "Tempo", "Position", "Chord", "Pitch", "Duration", "Velocity"),
    )
    assert [len(piano.range(family)) for family in ("Chord", "Pitch", "Duration", "Velocity")] == [133, 128, 32, 32]
    assert (piano.labels("Chord")[0], piano.labels("Chord")[1], piano.labels("Chord")[-1]) == ("N", "C", "Bm7b5")
