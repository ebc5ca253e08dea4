"""The autoencoder: its formulas, its windows, its walks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ritornello.data.rolls import collate
from ritornello.errors import ConfigError
from ritornello.models.conv_gru_vae import Controls, begun, between, f1, likeliest
from ritornello.representations.base import HELD, ONSET, SILENT
from ritornello.sampling.noise import Noise
from tests.families import make_model, make_rolls
from tests.rolls import make_roll


def test_the_loss_is_the_formula():
    """-Σ Σ [x log x̂ + (1 - x) log(1 - x̂)] + β Σ max(τ, KL_i), worked term by term."""
    model = make_model("conv_gru_vae", beta=2.0, warmup=4, free_nats=0.02).eval()
    batch = make_rolls()
    x = model.hear(batch)
    mean, logvar = model.encode(x)
    shown = model.decode(mean, x).sigmoid()
    reconstruction = -(x * shown.log() + (1 - x) * (1 - shown).log()).sum((1, 2)).mean()
    kl = (-0.5 * (1 + logvar - mean**2 - logvar.exp())).mean(0)
    expected = reconstruction + 2.0 * 0.5 * torch.maximum(kl, torch.tensor(0.02)).sum()  # half-way through the warm-up
    torch.testing.assert_close(model.loss(batch, step=1)["loss"], expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(model.loss(batch, step=1)["kl"], kl.sum())


def test_what_is_heard_can_be_written():
    """A decoder that is sure of what was heard writes it."""
    model, batch = make_model("conv_gru_vae"), make_rolls()
    x = model.hear(batch)
    model.decode = lambda z, _=None: 20 * x - 10
    torch.testing.assert_close(model.write(torch.zeros(len(x), 8)), batch.cells, atol=0, rtol=0)


def test_as_much_sounds_as_is_expected():
    """Unsure of every note, and yet not silent."""
    chances = torch.tensor([[0.4, 0.1, 0.3, 0.2], [0.0, 0.01, 0.02, 0.0], [1.0, 0.9, 0.0, 0.3]])
    assert likeliest(chances, 1.0).tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]]
    assert likeliest(chances, 2.0).tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]]


def test_nothing_is_held_that_did_not_begin():
    """In a window what comes over from before may be held; in a piece everything begins."""
    model = make_model("conv_gru_vae")
    cells = model.write(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)))
    held = cells[:, :, 1:] == HELD
    assert (cells[:, :, :-1][held] != SILENT).all()
    assert (cells == ONSET).any()
    piece = torch.zeros(1, 1, 4, 128, dtype=torch.uint8)
    piece[0, 0, :, 60] = torch.tensor([HELD, HELD, SILENT, HELD])
    assert begun(piece)[0, 0, :, 60].tolist() == [ONSET, HELD, SILENT, ONSET]


def test_a_note_fills_what_would_be_silent_and_is_not_meant_to_be():
    """One note; then sound is expected, but of no key in particular; then nothing is."""
    model = make_model("conv_gru_vae")
    x = model.hear(make_rolls())[:1]
    keys = model.config.keys
    chances = torch.full_like(x, 1e-6)
    chances[0, 24, 0] = 0.99  # the onset of key 24
    chances[0, keys : 2 * keys, 1:8] = 0.3 / keys
    model.decode = lambda z, _=None: chances.logit()
    written = model.write(torch.zeros(1, 8))[0, 0]
    assert (written[:, model.config.lowest + 24]).tolist() == [ONSET] + 7 * [HELD] + 24 * [SILENT]
    assert written.count_nonzero() == 8


@pytest.mark.parametrize("decoder", ["mlp", "gru"])
def test_only_the_gru_hears_its_past(decoder: str):
    """The switch: a decoder that is told what was can do without z."""
    model = make_model("conv_gru_vae", decoder=decoder)
    x = model.hear(make_rolls()).requires_grad_()
    z = torch.zeros(4, 8, requires_grad=True)
    shown = model.decode(z, x)[:, :, 10].sum()
    gradient = torch.autograd.grad(shown, x, allow_unused=True)[0]
    assert (gradient is not None) == (decoder == "gru")
    if gradient is not None:
        assert gradient[:, :, 9].abs().sum() > 0
        assert gradient[:, :, 10:].abs().sum() == 0


def test_the_way_between_two_points_keeps_their_distance_from_the_origin():
    a, b = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    torch.testing.assert_close(between(a, b, 0.0), a, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(between(a, b, 1.0), b, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(between(a, b, 0.3).norm(dim=1), torch.ones(3), atol=1e-5, rtol=1e-5)


def test_f1():
    found, real = torch.tensor([1, 1, 0, 0]).bool(), torch.tensor([1, 0, 1, 1]).bool()
    assert f1(found, real) == pytest.approx(2 * 1 / 5)


def test_a_walk_starts_where_it_is_asked_to():
    model = make_model("conv_gru_vae").eval()
    roll = make_roll(2, bars=3)
    controls = Controls(start=Path("a.mid"), phrases=3)
    *_, piece = model.sample(controls, Noise([1, 2]), [roll])
    x = model.hear(collate([make_roll(2, bars=3)]))[:, :, :32]
    first = begun(model.write(model.encode(x)[0]))
    for row in piece.cells[:, :, :32]:
        torch.testing.assert_close(row, first[0], atol=0, rtol=0)
    assert piece.cells.shape[2] == 96
    with pytest.raises(ConfigError, match="a window has 32"):
        list(model.sample(controls, Noise([1]), [make_roll(0, bars=1)]))
