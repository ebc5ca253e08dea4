"""The forms that ship: they are forms, there are many, and the seed chooses one that is long enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from ritornello.representations import build
from ritornello.sampling.form import Origin, Return
from ritornello.sampling.forms import FILE, drawn, fits, load, pack, save, unpack

VOCABULARY = build("museformer").vocabulary
MELODY, DRUMS = (VOCABULARY.id("Instrument", name) for name in ("melody", "drums"))


def test_what_is_kept_is_what_was_there(tmp_path: Path):
    grid = {MELODY: frozenset({1, 13, 48}), DRUMS: frozenset({25})}
    ambitus = {MELODY: range(60, 61)}
    forms = [
        [
            Origin(grid=grid, ambitus=ambitus),
            Origin(Return(0, 0.5), {MELODY: None, DRUMS: Return(0)}, grid=grid, ambitus=ambitus),
            Origin(None, {DRUMS: Return(1, 0.31)}, Return(0, 0.95), grid, ambitus),
        ],
        [Origin(None, {MELODY: None})],
    ]
    save(tmp_path / "forms.npz", [pack(form, VOCABULARY) for form in forms])
    assert [unpack(packed, VOCABULARY) for packed in load(tmp_path / "forms.npz")] == forms


def test_forms_point_back_to_what_plays():
    forms = [unpack(packed, VOCABULARY) for packed in load(FILE)]
    assert len(forms) == 96
    for form in forms:
        assert 64 <= len(form) <= 128
        for bar, origin in enumerate(form):
            for part in (origin.whole, origin.harmony, *origin.own.values()):
                assert part is None or (0 <= part.bar < bar and 0.3 <= part.alike <= 1)
            for instrument, part in origin.own.items():
                assert part is None or instrument in form[part.bar].own
            assert set(origin.own) <= set(origin.grid)
        assert any(MELODY in origin.own for origin in form)
        assert all(places and places <= set(range(1, 49)) for places in form[0].grid.values())
        assert set(form[0].ambitus) == set(form[0].grid) - {DRUMS}
        assert all(keys and 0 <= keys[0] <= keys[-1] <= 127 for keys in form[0].ambitus.values())


@pytest.mark.parametrize("bars", [None, 1, 64, 100, 128, 300])
def test_the_seed_chooses_a_form_that_is_long_enough(bars: int | None):
    chosen = [drawn(seed, bars, VOCABULARY) for seed in range(40)]
    lengths = {len(form) for form in chosen}
    assert lengths == {min(bars, 128)} if bars else len(lengths) > 5
    assert chosen[7] == drawn(7, bars, VOCABULARY)
    if bars != 1:
        assert len({str(form) for form in chosen}) > (4 if bars == 300 else 10)
    if bars == 64:
        assert len({str(form) for form in chosen}) == 40  # seeds that follow each other choose different ones


def test_only_songs_of_the_same_instruments_have_them():
    assert [name for name in ("museformer", "remi", "melody", "voices") if fits(build(name).vocabulary)] == [
        "museformer"
    ]
