"""Denoising diffusion of piano rolls (Ho et al., 2020): noise becomes a window of music, a little at every step.

A window is a picture of two channels, onsets and notes that go on, with a key a row and a sixteenth a column; a cell
that is on is 1 and one that is off -1. Over T steps noise is mixed in,

    x_t = √ᾱ_t x_0 + √(1 - ᾱ_t) ε,        L = E_{t, x_0, ε} |ε - ε_θ(x_t, t)|²                          (Eq. 14)

By default the network says not ε but v = √ᾱ_t ε - √(1 - ᾱ_t) x_0 (Salimans & Ho, 2022): where nearly all is noise, ε
tells nothing about x_0 (its error is divided by √ᾱ_t, and cells come on at random), and v is then -x_0 itself.
t is drawn evenly from *all* T steps, since playing starts from the noisiest and goes through to the cleanest: a network
that has not learned some of them is lost when it comes there (a test holds the two ranges together). Playing uses the
weights' running mean (EMA) and, by a faster solver, few of the T steps: DDIM (Song et al., 2021) or DPM-Solver++ (Lu et
al., 2022), from the library `diffusers`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from ritornello.config import Config as Settings
from ritornello.data.rolls import RollBatch
from ritornello.errors import ConfigError
from ritornello.models.base import Controls as Wishes
from ritornello.models.base import RollModel
from ritornello.representations.base import HELD, ONSET, Roll
from ritornello.sampling.noise import Noise

BAR = 16  # steps, of the bars that are written


class Config(Settings):
    """The picture, the network and the noise."""

    steps: int = Field(64, ge=16, multiple_of=4)
    """Sixteenths of a window."""
    lowest: int = Field(36, ge=0, le=127)
    keys: int = Field(48, ge=12, multiple_of=4)
    channels: tuple[int, int, int] = (32, 64, 96)
    """Of the U-Net at full, half and quarter size."""
    dropout: float = 0.1
    timesteps: int = Field(1000, ge=2)
    """T."""
    schedule: Literal["linear", "squaredcos_cap_v2"] = "squaredcos_cap_v2"
    """How the noise grows: as in Ho et al. (1e-4 to 0.02), or by a cosine (Nichol & Dhariwal, 2021)."""
    says: Literal["velocity", "noise"] = "velocity"
    """What the network says of a noisy picture: v, or ε as in Ho et al."""
    average: float = Field(0.995, ge=0, lt=1)
    """The running mean of the weights forgets 1 - average of itself at every training step."""


class Controls(Wishes):
    """How the noise is taken away."""

    windows: int = Field(1, ge=1, le=64)
    """Windows one after another; each is a piece of its own."""
    solver: Literal["ddim", "dpm", "ddpm"] = "dpm"
    """dpm and ddim need few steps; ddpm is the chain as it was learned."""
    rounds: int = Field(24, ge=2, le=1000)
    """Steps of the solver."""


Picture = Float[Tensor, "batch channels steps keys"]


class Model(RollModel):
    """The network, the noise, and how it plays."""

    def __init__(self, config: Config, tracks: int) -> None:
        super().__init__()
        if tracks != 1:
            raise ConfigError(f"roll_diffusion paints all instruments as one; a representation has {tracks} tracks.")
        self.config, self.window = config, config.steps
        self.net = UNet(2, config.channels, config.dropout)
        self.mean_net = copy.deepcopy(self.net).requires_grad_(False)
        self.alphas: Tensor
        self.register_buffer("alphas", cumulative_alphas(config), persistent=False)

    def hear(self, batch: RollBatch) -> Picture:
        """Onsets and held cells, 1 or -1."""
        keys = slice(self.config.lowest, self.config.lowest + self.config.keys)
        cells = batch.cells[:, 0, :, keys]
        return torch.stack([cells == ONSET, cells == HELD], 1).float() * 2 - 1

    def timesteps(self, rows: int, device: torch.device) -> Int[Tensor, " rows"]:
        """What training draws: any step of the chain, all equally likely."""
        return torch.randint(0, self.config.timesteps, (rows,), device=device)

    def noised(self, x: Picture, noise: Picture, t: Int[Tensor, " batch"]) -> Picture:
        """x_t."""
        alpha = self.alphas[t][:, None, None, None]
        return alpha.sqrt() * x + (1 - alpha).sqrt() * noise

    def target(self, x: Picture, noise: Picture, t: Int[Tensor, " batch"]) -> Picture:
        """What the network is to say of x_t."""
        alpha = self.alphas[t][:, None, None, None]
        return noise if self.config.says == "noise" else alpha.sqrt() * noise - (1 - alpha).sqrt() * x

    def loss(self, batch: RollBatch, step: int = 0, player: str = "model") -> dict[str, Tensor]:
        """Mean squared error of what is said (Eq. 14)."""
        x = self.hear(batch)
        noise, t = torch.randn_like(x), self.timesteps(len(x), x.device)
        net = self.net if self.training else self.mean_net
        return {"loss": F.mse_loss(net(self.noised(x, noise, t), t).float(), self.target(x, noise, t))}

    @torch.no_grad()
    def measure(self, batch: RollBatch) -> dict[str, Tensor]:
        """The loss; of as many windows of its own and of real ones the share of cells that are on, the onsets a
        sixteenth, and the share of sixteenths in which nothing sounds."""
        terms = self.loss(batch)
        *_, own = self.sample(Controls(), Noise(range(len(batch)), batch.cells.device))
        here = slice(self.config.lowest, self.config.lowest + self.config.keys)
        for name, cells in (("", own.cells[:, 0, :, here]), ("_real", batch.cells[:, 0, :, here])):
            terms[f"on{name}"] = (cells != 0).float().mean()
            terms[f"onsets{name}"] = (cells == ONSET).float().sum(-1).mean()
            terms[f"silence{name}"] = (cells == 0).all(-1).float().mean()
        return terms

    @torch.no_grad()
    def after(self, step: int) -> None:
        """Move the mean towards the weights; in the first steps faster, so that it forgets how it began."""
        forget = 1 - min(self.config.average, (step + 1) / (step + 10))
        for mean, weight in zip(self.mean_net.parameters(), self.net.parameters(), strict=True):
            mean.lerp_(weight, forget)

    # ---- playing -----------------------------------------------------------------------------------------------------

    def scheduler(self, controls: Controls) -> Any:
        """The solver, over the noise that was learned. Raises ConfigError where `diffusers` is not installed."""
        try:
            from diffusers.schedulers.scheduling_ddim import DDIMScheduler
            from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
            from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
        except ImportError as error:
            raise ConfigError(
                "This model plays with the library diffusers: pip install 'ritornello[diffusion]'."
            ) from error
        solvers = {"ddim": DDIMScheduler, "dpm": DPMSolverMultistepScheduler, "ddpm": DDPMScheduler}
        solver: Any = solvers[controls.solver]
        wishes: dict[str, Any] = {} if controls.solver == "dpm" else {"clip_sample": True}
        wishes["prediction_type"] = "epsilon" if self.config.says == "noise" else "v_prediction"
        made = solver(self.config.timesteps, beta_schedule=self.config.schedule, timestep_spacing="trailing", **wishes)
        made.set_timesteps(min(controls.rounds, self.config.timesteps))
        return made

    def sample(self, controls: Controls, noise: Noise, rolls: Sequence[Roll] = ()) -> Iterator[RollBatch]:
        """A draft after every step of the solver."""
        config = self.config
        steps = config.steps
        x = torch.cat([noise.normal(2, steps, config.keys) for _ in range(controls.windows)])
        generators = noise.generators * controls.windows
        scheduler = self.scheduler(controls)
        for t in scheduler.timesteps:
            said = self.mean_net(x, t.repeat(len(x)).to(x.device)).float()
            draws = {} if controls.solver == "ddim" else {"generator": generators}
            x = scheduler.step(said, t, x, **draws).prev_sample
            yield self._batch(torch.cat(x.chunk(controls.windows), 2))

    def _batch(self, x: Picture) -> RollBatch:
        """A picture → a roll: what is nearer to on than to off sounds; what goes on must have begun."""
        onset, held = x[:, 0] > 0, x[:, 1] > 0
        keys = slice(self.config.lowest, self.config.lowest + self.config.keys)
        cells = torch.zeros(len(x), 1, x.shape[2], 128, dtype=torch.uint8, device=x.device)
        sounds = torch.zeros_like(onset[:, 0])
        for step in range(x.shape[2]):
            sounds = onset[:, step] | (held[:, step] & sounds)
            state = torch.where(onset[:, step], ONSET, HELD)
            cells[:, 0, step, keys] = (state * sounds).to(torch.uint8)
        bars = (torch.arange(x.shape[2], device=x.device) // BAR).expand(len(x), -1)
        return RollBatch(cells, bars, torch.full((len(x),), x.shape[2], device=x.device))


def cumulative_alphas(config: Config) -> Float[Tensor, " timesteps"]:
    """ᾱ_t for t = 0 … T - 1: the share of the picture that is left."""
    steps = config.timesteps
    if config.schedule == "linear":
        betas = torch.linspace(1e-4, 0.02, steps, dtype=torch.float64)
    else:
        place = torch.arange(steps + 1, dtype=torch.float64) / steps
        left = ((place + 0.008) / 1.008 * math.pi / 2).cos().square()
        betas = (1 - left[1:] / left[:-1]).clamp(max=0.999)
    return (1 - betas).cumprod(0).float()


class UNet(nn.Module):
    """Down to a quarter of the size and up again, each level with the same level's picture from the way down.

    At the quarter every place attends to all: which key sounds decides that another does not, however far it lies.
    """

    def __init__(self, picture: int, channels: tuple[int, int, int], dropout: float) -> None:
        super().__init__()
        full, half, quarter = channels
        self.time = nn.Sequential(nn.Linear(64, 128), nn.SiLU(), nn.Linear(128, 128))
        self.key = nn.Parameter(torch.zeros(1, 8, 1, 128))  # which key a row is: a low note is not a high one
        self.place = nn.Parameter(torch.zeros(1, 8, BAR, 1))  # which sixteenth of its bar a column is
        self.first = nn.Conv2d(picture + 16, full, 3, padding=1)
        self.down = nn.ModuleList([Residual(full, full, dropout), Residual(full, half, dropout)])
        self.middle = nn.ModuleList([Residual(half, quarter, dropout), Residual(quarter, quarter, dropout)])
        self.attention = Attention(quarter)
        self.up = nn.ModuleList([Residual(quarter + half, half, dropout), Residual(half + full, full, dropout)])
        self.norm = nn.GroupNorm(8, full)
        self.last = nn.Conv2d(full, picture, 3, padding=1)
        nn.init.normal_(self.key, std=0.1)
        nn.init.normal_(self.place, std=0.1)

    def forward(self, x: Picture, t: Int[Tensor, " batch"]) -> Picture:
        """The noise in x_t. Steps and keys are multiples of 4."""
        time = self.time(_waves(t))
        key = self.key[..., : x.shape[-1]].expand(len(x), -1, x.shape[2], -1)
        place = self.place[:, :, torch.arange(x.shape[2], device=x.device) % BAR].expand(len(x), -1, -1, x.shape[3])
        x = torch.cat([x, key, place], 1).contiguous(memory_format=torch.channels_last)  # a quarter faster on a CPU
        x = self.first(x)
        kept = []
        for block in self.down:
            x = block(x, time)
            kept.append(x)
            x = F.avg_pool2d(x, 2)
        before, behind = self.middle
        x = behind(self.attention(before(x, time)), time)
        for block in self.up:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, kept.pop()], 1), time)
        return self.last(F.silu(self.norm(x)))


class Residual(nn.Module):
    """Two convolutions beside a shortcut; the time step scales and shifts what is between them."""

    def __init__(self, before: int, after: int, dropout: float) -> None:
        super().__init__()
        self.first_norm, self.second_norm = nn.GroupNorm(8, before), nn.GroupNorm(8, after)
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.time = nn.Linear(128, 2 * after)
        self.dropout = nn.Dropout2d(dropout)
        self.shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Picture, time: Float[Tensor, "batch 128"]) -> Picture:
        scale, shift = self.time(time)[:, :, None, None].chunk(2, 1)
        y = self.first(F.silu(self.first_norm(x)))
        y = self.second(self.dropout(F.silu(self.second_norm(y) * (1 + scale) + shift)))
        return self.shortcut(x) + y


class Attention(nn.Module):
    """Self-attention over all places of a picture, beside a shortcut (Ho et al., appendix B)."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, channels)
        self.asked = nn.Conv2d(channels, 3 * channels, 1)
        self.found = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Picture) -> Picture:
        parts = self.asked(self.norm(x)).flatten(2).transpose(1, 2).unflatten(-1, (3, self.heads, -1))
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(queries, keys, values)
        return x + self.found(found.transpose(2, 3).reshape(x.shape))


def _waves(t: Int[Tensor, " batch"]) -> Float[Tensor, "batch 64"]:
    """Sines and cosines of the time step."""
    rates = torch.exp(torch.arange(32, device=t.device) * (-math.log(10_000.0) / 32))
    angles = t[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)
