from __future__ import annotations

import math

import torch

from ritornello.layers.latent import AutoregressivePrior, cyclical, gaussian_kl


def test_kl_by_hand():
    mean, log_variance = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, math.log(4.0)])
    expected = torch.tensor([0.0, 0.5, 0.5 * (4 - 1 - math.log(4))])
    torch.testing.assert_close(gaussian_kl(mean, log_variance), expected)


def test_kl_is_what_sampling_says():
    mean, log_variance = torch.tensor(0.7), torch.tensor(-1.1)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    drawn = posterior.sample((200_000,))
    estimate = (posterior.log_prob(drawn) - torch.distributions.Normal(0.0, 1.0).log_prob(drawn)).mean()
    assert abs(float(estimate) - float(gaussian_kl(mean, log_variance))) < 0.01


def test_the_weight_rises_and_stays_in_every_cycle():
    weights = [cyclical(step, begin=10, cycle=8) for step in range(26)]
    assert weights[:10] == [0.0] * 10
    assert weights[10:18] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0]
    assert weights[18:26] == weights[10:18]


def paths(songs: int, bars: int, seed: int = 0) -> list[torch.Tensor]:
    """Songs of a known autoregression: two numbers that follow the bar before, and a mean."""
    generator = torch.Generator().manual_seed(seed)
    carry, mean = torch.tensor([[0.8, 0.1], [0.0, 0.5]]), torch.tensor([3.0, -1.0])
    made = []
    for _ in range(songs):
        path = [torch.randn(2, generator=generator)]
        for _ in range(bars - 1):
            path.append(carry @ path[-1] + 0.6 * torch.randn(2, generator=generator))
        made.append(mean + torch.stack(path))
    return made


def test_the_prior_finds_an_autoregression_and_plays_it_again():
    prior = AutoregressivePrior(2)
    prior.fit([[(path, torch.full_like(path, 0.04)) for path in paths(200, 100)]])
    torch.testing.assert_close(prior.mean, torch.tensor([3.0, -1.0]), atol=0.1, rtol=0)
    torch.testing.assert_close(prior.carry, torch.tensor([[0.8, 0.1], [0.0, 0.5]]), atol=0.03, rtol=0)
    torch.testing.assert_close(prior.noise, torch.tensor([0.2, 0.2]), atol=1e-3, rtol=0)
    drawn = torch.cat([prior.draw(100, seed) for seed in range(200)])
    real = torch.cat(paths(200, 100, seed=1))
    torch.testing.assert_close(drawn.mean(0), real.mean(0), atol=0.1, rtol=0)
    torch.testing.assert_close(drawn.std(0), (real.var(0) + 0.04).sqrt(), atol=0.1, rtol=0)


def test_what_follows_starts_from_what_was_there():
    prior = AutoregressivePrior(2)
    prior.fit([[(path, 0 * path) for path in paths(200, 100)]])
    far = torch.tensor([[3.0, -1.0], [30.0, -1.0]])
    assert prior.draw(1, 0, far)[0, 0] > 20
    assert torch.equal(prior.draw(5, 7), prior.draw(5, 7))
    assert not torch.equal(prior.draw(5, 7), prior.draw(5, 8))
    assert prior.draw(0, 0).shape == (0, 2)


def test_before_it_is_fitted_bars_are_standard_normals():
    drawn = AutoregressivePrior(3).draw(4000, 0)
    torch.testing.assert_close(drawn.T.cov(), torch.eye(3), atol=0.08, rtol=0)
