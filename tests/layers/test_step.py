"""The compiled step against the same computation by PyTorch, and what happens where it cannot be compiled."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ritornello.layers import step
from ritornello.sampling.autoregress import Token
from tests.families import make_batch, make_model

needs_compiler = pytest.mark.skipif(not step.available(), reason="no C++ compiler")


def logits(writing: str, tokens: int = 60, variant: str = "museformer-shipped", rows: tuple[int, ...] = (0, 1)):
    """Logits [tokens, rows, vocabulary] of a small model that reads these rows of a batch one token at a time."""
    model, batch = make_model(variant).eval(), make_batch((tokens, tokens))
    model.writing = writing
    cache = model.cache(len(rows))
    fields = [getattr(batch, name)[list(rows)] for name in ("ids", "bars", "positions", "countdown")]
    return torch.stack([model.advance(Token(*(field[:, t] for field in fields)), cache) for t in range(tokens)])


@needs_compiler
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.05), ("int8", 0.1)])
def test_equals_pytorch(precision: str, tolerance: float):
    plain, compiled = logits("plain"), logits(precision)
    assert plain.std() > 0.1  # so that the tolerance says something
    assert (plain - compiled).abs().max() < tolerance * plain.std()


@needs_compiler
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_a_song_does_not_depend_on_what_is_written_beside_it(precision: str):
    together = logits(precision)
    assert torch.equal(together[:, 1:], logits(precision, rows=(1,)))


@needs_compiler
def test_long_windows_many_rows_and_conditions_added_to_every_block():
    """Windows of unequal length, more rows than are computed at once, head sizes with and without pairs."""
    torch.manual_seed(0)
    for width, heads in ((32, 2), (64, 1)):
        model = make_model("museformer", width=width, heads=heads).eval()
        model.writing = "float32"
        cache = model.cache(13)
        for i, song in enumerate(cache.songs):
            song.extend_own(torch.randn(2, 2, heads, 1 + 37 * i, width // heads))
        model.writing = "plain"
        slow = model.cache(13)
        for song, filled in zip(slow.songs, cache.songs, strict=True):
            song.extend_own(filled.own_bar())
        x, added = torch.randn(13, width), torch.randn(13, width)
        angles = (torch.randn(13, width // heads // 2).cos(), torch.randn(13, width // heads // 2).sin())
        assert cache.step is not None
        fast = cache.step(x.clone(), cache.songs, angles, added)
        with torch.no_grad():
            torch.testing.assert_close(fast, model.plain_step(x, slow, angles, added), atol=1e-4, rtol=1e-4)


def test_int8_keeps_each_weight_to_half_a_step():
    weight = torch.tensor([[1.27, -0.5, 0.004], [0.0, 0.0, 0.0]])
    kept, scale = step.shortened(weight, torch.int8)
    assert kept.tolist() == [[127, -50, 0], [0, 0, 0]]
    assert scale[0].item() == pytest.approx(0.01)


def test_without_a_compiler_a_notice_and_the_same_songs(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    step._library.cache_clear()
    try:
        with pytest.warns(UserWarning, match="written with PyTorch alone"):
            assert not step.available()
        assert torch.equal(logits("bfloat16", 20), logits("plain", 20))
        assert list(tmp_path.rglob("*.so")) == []
    finally:
        step._library.cache_clear()


@needs_compiler
def test_a_library_that_cannot_be_loaded_is_a_notice(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "ritornello").mkdir()
    (tmp_path / "ritornello" / f"step-{step._fingerprint()}.so").write_bytes(b"half a library")
    step._library.cache_clear()
    try:
        with pytest.warns(UserWarning, match="written with PyTorch alone"):
            assert not step.available()
    finally:
        step._library.cache_clear()


@needs_compiler
def test_rows_that_leave_change_nothing_for_the_others():
    model, batch = make_model("museformer-shipped").eval(), make_batch((60, 60))
    for model.writing in ("plain", "float32"):
        expected, cache = logits(model.writing), model.cache(2)
        rows = [0, 1]
        for t in range(60):
            if t == 30:
                cache.keep([1])
                rows = [1]
            here = replace(batch, ids=batch.ids[rows], bars=batch.bars[rows], positions=batch.positions[rows])
            countdown = batch.countdown[rows]
            found = model.advance(Token(here.ids[:, t], here.bars[:, t], here.positions[:, t], countdown[:, t]), cache)
            torch.testing.assert_close(found, expected[t, rows], atol=1e-5, rtol=1e-5)
