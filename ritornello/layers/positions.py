"""Where a token stands: rotary angles over (bar, position in the bar), and the sinusoidal embeddings of the paper."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor


def rotary_angles(
    bars: Int[Tensor, " tokens"], positions: Int[Tensor, " tokens"], head_size: int, longest_bar: float = 512.0
) -> tuple[Float[Tensor, "tokens half"], Float[Tensor, "tokens half"]]:
    """Cosine and sine of two-dimensional rotary positions: half of the pairs turn with the bar, half with the position.

    Wavelengths are geometric, from 2 bars to `longest_bar` bars and from 2 to 192 positions: attention then sees only
    how many bars and positions two tokens lie apart, so a crop from the middle of a song looks like its beginning.
    """
    pairs = head_size // 2
    of_bars, of_positions = pairs // 2, pairs - pairs // 2
    bar_frequency = _frequencies(of_bars, 2.0, longest_bar, bars.device)
    position_frequency = _frequencies(of_positions, 2.0, 192.0, bars.device)
    angles = torch.cat([bars[:, None] * bar_frequency, positions[:, None] * position_frequency], dim=1)
    return angles.cos(), angles.sin()


def angles_at(
    bars: list[int], positions: list[int], head_size: int, device: torch.device
) -> tuple[Float[Tensor, "tokens half"], Float[Tensor, "tokens half"]]:
    """`rotary_angles` of a few tokens, of which many stand where one has stood before: these are remembered."""
    places = zip(bars, positions, strict=True)
    cosine, sine = torch.stack([_angle_at(*place, head_size, device) for place in places], dim=1)
    return cosine, sine


@lru_cache(maxsize=8192)
def _angle_at(bar: int, position: int, head_size: int, device: torch.device) -> Float[Tensor, "2 half"]:
    place = torch.tensor([bar, position], device=device)
    return torch.stack(rotary_angles(place[:1], place[1:], head_size))[:, 0]


@lru_cache(maxsize=64)
def _frequencies(count: int, shortest: float, longest: float, device: torch.device) -> Float[Tensor, " count"]:
    steps = torch.arange(count, device=device) / max(count - 1, 1)
    return 2 * math.pi / (shortest * (longest / shortest) ** steps)


def rotate(
    x: Float[Tensor, "tokens heads size"], cosine: Float[Tensor, "tokens half"], sine: Float[Tensor, "tokens half"]
) -> Float[Tensor, "tokens heads size"]:
    """Turn each pair (x[j], x[j + size/2]) of every head by the token's angle j. The result has x's dtype."""
    first, second = x.chunk(2, dim=-1)
    cosine, sine = cosine[:, None].to(x.dtype), sine[:, None].to(x.dtype)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


def sinusoids(places: Int[Tensor, " tokens"], size: int) -> Float[Tensor, "tokens size"]:
    """Fixed sinusoidal embeddings (Vaswani et al. 2017, section 3.5) of bar or position numbers."""
    frequency = torch.exp(torch.arange(0, size, 2, device=places.device) * (-math.log(10_000.0) / size))
    angles = places[:, None] * frequency
    return torch.cat([angles.sin(), angles.cos()], dim=1)
