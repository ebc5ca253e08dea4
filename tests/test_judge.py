"""Which candidate of a bar is played: the classes come first, likeness to the source decides among equals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ritornello.models.musemorphose import MuseMorphose
from ritornello.representations import build
from ritornello.representations.base import Tokens
from ritornello.restyle.judge import Judge
from ritornello.run import Run, RunConfig
from tests.families import SMALL
from tests.songs import make_piano

PIANO = build("musemorphose")
BAR = 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MuseMorphose:
    settings = RunConfig(family="musemorphose", representation="musemorphose", model=SMALL["musemorphose"])
    model = Run.create(settings, tmp_path_factory.mktemp("run")).model
    assert isinstance(model, MuseMorphose)
    model.begin([PIANO.encode(make_piano(seed, 30)) for seed in range(6)])
    return model


SOURCE = PIANO.encode(make_piano(4, 6))


def draft(song: Tokens) -> np.ndarray:
    """As the token loop has it, up to the end of the bar."""
    fields = np.stack([song.ids, song.bars, song.positions]).astype(np.int64)
    return fields[:, fields[1] <= BAR]


def changed(family: str, by: int) -> np.ndarray:
    """The source's bar with one kind of token moved by so many places of its range."""
    found = draft(SOURCE)
    ids = PIANO.vocabulary.range(family)
    of = (found[1] == BAR) & (found[0] >= ids.start) & (found[0] < ids.stop)
    found[0, of] = np.clip(found[0, of] + by, ids.start, ids.stop - 1)
    return found


def own_classes(model: MuseMorphose) -> np.ndarray:
    return (SOURCE.attributes[..., None] > model.bounds.numpy()).sum(-1)


def test_nothing_is_more_like_the_source_than_itself(model: MuseMorphose):
    judge = Judge(model, [SOURCE], [own_classes(model)])
    itself, octave, step = judge(0, BAR, [changed("Pitch", by) for by in (0, 12, 1)])
    assert itself == octave == pytest.approx(1)  # pitch classes are all there is to likeness
    assert 0.5 < step < 1  # its rhythm is the same


def test_a_class_weighs_more_than_any_likeness(model: MuseMorphose):
    """Short notes: the polyphony falls, and nothing else changes."""
    asked = own_classes(model)
    thin = draft(PIANO.encode(make_piano(5, 6)))
    own, other = (
        Judge(model, [SOURCE], [classes])(0, BAR, [draft(SOURCE), thin]) for classes in (asked, asked * 0 - 1)
    )
    assert own[0] > own[1]
    assert own[0] == other[0] == pytest.approx(1)
    short = changed("Duration", -40)
    missed = own_classes(model)[BAR, 1] - judged_class(model, short)
    assert missed > 0
    kept, lost = Judge(model, [SOURCE], [asked])(0, BAR, [draft(SOURCE), short])
    assert kept - lost == pytest.approx(missed)
    lower = asked - [0, missed]
    kept, lost = Judge(model, [SOURCE], [lower])(0, BAR, [draft(SOURCE), short])
    assert lost - kept == pytest.approx(missed)


def judged_class(model: MuseMorphose, found: np.ndarray) -> int:
    """By decoding, the slow way."""
    ids, bars, positions = found
    song = Tokens(ids.astype(np.int16), bars.astype(np.int32), positions.astype(np.int16), np.zeros((0, 0), np.int16))
    measured = PIANO.encode(PIANO.decode(replace(song, meta={"transposition": 0}))).attributes[BAR]
    return int((measured[1] > model.bounds.numpy()[1]).sum())


def test_a_source_without_notes_says_nothing(model: MuseMorphose):
    head = (SOURCE.positions == 0) & (SOURCE.ids > 2)
    silent = replace(SOURCE, ids=SOURCE.ids[head], bars=SOURCE.bars[head], positions=SOURCE.positions[head])
    asked = own_classes(model)
    found = Judge(model, [silent], [asked])(0, BAR, [draft(SOURCE), changed("Pitch", 1)])
    assert found.tolist() == [0, 0]
