"""The noise that is trained on is the noise that is played from; the parts against their formulas."""

from __future__ import annotations

import pytest
import torch

from ritornello.errors import ConfigError
from ritornello.models.roll_diffusion import Attention, Config, Controls, Model, cumulative_alphas
from ritornello.representations.base import HELD, ONSET
from ritornello.sampling.noise import Noise
from tests.families import make_model
from tests.rolls import make_roll


def model(**settings) -> Model:
    torch.manual_seed(0)
    return Model(Config(steps=32, channels=(8, 16, 16), **settings), 1)


def heard_by(model: Model, controls: Controls) -> list[int]:
    """The time steps at which the network is asked while it plays."""
    asked: list[int] = []
    model.mean_net.register_forward_pre_hook(lambda _, inputs: asked.extend(inputs[1].tolist()))
    list(model.eval().sample(controls, Noise([0])))
    return asked


@pytest.mark.parametrize("schedule", ["linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("solver", ["ddim", "dpm", "ddpm"])
def test_all_steps_are_trained_and_no_others_played(schedule, solver):
    made = model(timesteps=50, schedule=schedule)
    trained = torch.cat([made.timesteps(64, torch.device("cpu")) for _ in range(100)])
    share = trained.bincount() / len(trained)
    assert len(share) == 50  # no step is left out, none is added
    assert share.min() > 0.5 / 50  # and none is rare
    played = heard_by(made, Controls(solver=solver, rounds=50))
    assert played[0] == 49  # from the noisiest
    assert set(played) <= set(trained.tolist())
    assert played == sorted(played, reverse=True)
    if solver == "ddpm":
        assert played == list(range(49, -1, -1))


def test_a_network_that_was_trained_on_few_steps_is_caught():
    """The check above would have found a curriculum that stops at 60 % of the noise."""
    made = model(timesteps=50)
    trained = {t % 30 for t in made.timesteps(2000, torch.device("cpu")).tolist()}
    assert not set(heard_by(made, Controls(solver="ddim", rounds=50))) <= trained


@pytest.mark.parametrize("schedule", ["linear", "squaredcos_cap_v2"])
def test_the_noise_is_the_solvers(schedule):
    made = model(schedule=schedule)
    torch.testing.assert_close(
        made.scheduler(Controls(solver="ddim")).alphas_cumprod, made.alphas, atol=1e-5, rtol=1e-4
    )


def test_noising_by_hand():
    made = model()
    x, noise = torch.ones(1, 2, 32, 48), torch.full((1, 2, 32, 48), 3.0)
    alpha = cumulative_alphas(Config())[500].item()
    noised = made.noised(x, noise, torch.tensor([500]))
    assert noised[0, 0, 0, 0].item() == pytest.approx(alpha**0.5 + 3 * (1 - alpha) ** 0.5, rel=1e-5)
    assert cumulative_alphas(Config())[-1] < 1e-3  # of the music nothing is left


@pytest.mark.parametrize("says", ["noise", "velocity"])
def test_with_the_truth_every_solver_finds_the_music(says):
    """A network that knows x_0 leads each solver to it, whatever it starts from."""
    from ritornello.data.rolls import collate
    from ritornello.representations.base import Roll

    roll = make_roll(0, 2)
    batch = collate([Roll(roll.cells.max(axis=0, keepdims=True), roll.bars)])
    for solver in ("ddim", "dpm", "ddpm"):
        made = model(says=says)
        x = made.hear(batch)

        class Oracle(torch.nn.Module):
            def forward(self, noised, t, x=x, made=made):
                alpha = made.alphas[t][:, None, None, None]
                return made.target(x, (noised - alpha.sqrt() * x) / (1 - alpha).sqrt(), t)

        made.mean_net = Oracle()  # pyright: ignore[reportAttributeAccessIssue]
        *_, last = made.sample(Controls(solver=solver, rounds=100), Noise([1]))
        assert ((last.cells == ONSET) == (batch.cells == ONSET)).float().mean() > 0.999
        assert ((last.cells == HELD) == (batch.cells == HELD)).float().mean() > 0.999


def test_what_is_said_gives_back_the_music():
    """x_0 = √ᾱ x_t - √(1 - ᾱ) v."""
    made, t = model(), torch.tensor([0, 500, 999])
    x, noise = torch.randn(2, 3, 2, 32, 48)
    alpha = made.alphas[t][:, None, None, None]
    back = alpha.sqrt() * made.noised(x, noise, t) - (1 - alpha).sqrt() * made.target(x, noise, t)
    torch.testing.assert_close(back, x, atol=1e-5, rtol=1e-5)


def test_attention_by_its_formula():
    """Of every place: the values of all, in the shares that its products with their keys say."""
    torch.manual_seed(0)
    attention, x = Attention(16, heads=2), torch.randn(1, 16, 3, 5)
    with torch.no_grad():
        places = attention.norm(x)[0].flatten(1).T
        weight, bias = attention.asked.weight[:, :, 0, 0], attention.asked.bias
        found = torch.zeros(15, 16)
        for head in range(2):
            own = slice(8 * head, 8 * head + 8)
            queries, keys, values = ((places @ weight.T + bias)[:, 16 * i : 16 * i + 16][:, own] for i in range(3))
            for place in range(15):
                shares = (keys @ queries[place] / 8**0.5).softmax(0)
                found[place, own] = shares @ values
        expected = x + attention.found(found.T.reshape(x.shape))
        torch.testing.assert_close(attention(x), expected, atol=1e-5, rtol=1e-5)


def test_the_network_hears_which_sixteenth_of_its_bar_a_column_is():
    """A picture moved by a bar is painted alike in the middle; moved by less than a bar it is not."""
    torch.manual_seed(0)
    net = model().net.eval()
    x, t = torch.zeros(1, 2, 128, 48), torch.tensor([10])
    with torch.no_grad():
        said = net(x, t)
    torch.testing.assert_close(said[:, :, 48:64], said[:, :, 64:80], atol=1e-4, rtol=1e-3)
    for less in (4, 8):
        assert (said[:, :, 48:64] - said[:, :, 48 + less : 64 + less]).abs().max() > 1e-3


def test_the_mean_follows_the_weights():
    made = model(average=0.9)
    first = made.mean_net.last.weight.clone()
    with torch.no_grad():
        made.net.last.weight += 1
    made.after(10_000)
    torch.testing.assert_close(made.mean_net.last.weight, first + 0.1, atol=1e-5, rtol=0)


def test_four_tracks_are_refused():
    with pytest.raises(ConfigError, match="4 tracks"):
        Model(Config(), 4)


def test_windows_follow_each_other():
    made = make_model("roll_diffusion").eval()
    *_, last = made.sample(Controls(windows=3, rounds=2), Noise([3, 4]))
    assert last.cells.shape == (2, 1, 96, 128)
    assert last.bars[0, -1] == 5
