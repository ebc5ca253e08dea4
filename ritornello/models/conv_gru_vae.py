"""A variational autoencoder of piano rolls (Kingma & Welling, 2014): short windows ⇄ points of a latent space.

Encoder: 1-D convolutions along time see what is local, a bidirectional GRU what surrounds it; mean and log-variance of
z follow. Decoder: Linear, ReLU, Linear, sigmoid: every cell at once, so that whatever it knows it knows from z. (With
`decoder = "gru"` a GRU writes step by step and hears its own past: it can do without z, and training lets it.)

    L = - Σ_t Σ_d [x log x̂ + (1 - x) log(1 - x̂)]  +  β Σ_i max(τ, KL_i)
    KL_i = - 1/2 (1 + log σ_i² - μ_i² - σ_i²)

x has two channels a key: an onset, and a note that goes on. β rises from 0 to 1 (warm-up); τ is what each dimension may
tell for free, in nats, its KL being the mean over the batch (Kingma et al., 2016, "free bits").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from pydantic import Field
from torch import Tensor, nn

from ritornello.config import Config as Settings
from ritornello.data.rolls import RollBatch, collate
from ritornello.data.rolls import window as window_of
from ritornello.errors import ConfigError
from ritornello.models.base import Controls as Wishes
from ritornello.models.base import RollModel
from ritornello.representations.base import HELD, ONSET, SILENT, Roll
from ritornello.sampling.noise import Noise

QUIET = 0.2  # keys: where fewer are expected to sound, it may be silent; so, windows of the prior rest as real ones do


class Config(Settings):
    """Sizes and the weights of the loss."""

    steps: int = Field(32, ge=4)
    """Sixteenths of a window."""
    lowest: int = Field(36, ge=0, le=127)
    """The lowest key that is heard."""
    keys: int = Field(48, ge=12, le=128)
    latent: int = Field(64, ge=1)
    hidden: int = 96
    """Of the encoder's GRU, each way."""
    channels: int = 128
    wide: int = 384
    """Of the decoder."""
    decoder: Literal["mlp", "gru"] = "mlp"
    beta: float = 0.5
    warmup: int = 1000
    """Steps in which β rises to its value."""
    free_nats: float = 0.5
    """τ, nats a dimension."""


class Controls(Wishes):
    """A walk through the latent space: each phrase is one window, on the way from one point to another."""

    phrases: int = Field(8, ge=1, le=256)
    """Windows, one after another."""
    start: Path | None = None
    """A MIDI file whose first window the piece starts from; by default a random point."""
    end: Path | None = None
    """A MIDI file whose first window it goes to; by default a random point."""
    density: float = Field(1.0, gt=0, le=4)
    """Notes that are played, as a multiple of how many the model expects."""

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.start, self.end) if path)


Cells = Float[Tensor, "batch cells steps"]  # cells: tracks × keys × (onset, held)
Chances = Float[Tensor, "batch tracks keys steps"]


class Model(RollModel):
    """The autoencoder."""

    hop = 4

    def __init__(self, config: Config, tracks: int) -> None:
        super().__init__()
        self.config, self.tracks, self.window = config, tracks, config.steps
        cells, hidden = tracks * config.keys * 2, config.hidden
        self.convolutions = nn.Sequential(
            nn.Conv1d(cells, config.channels, 5, padding=2),
            nn.ReLU(),
            nn.Conv1d(config.channels, config.channels, 3, padding=1),
            nn.ReLU(),
        )
        self.encoder = nn.GRU(config.channels, hidden, batch_first=True, bidirectional=True)
        self.posterior = nn.Linear(2 * hidden * config.steps, 2 * config.latent)
        if config.decoder == "mlp":
            self.decoder = nn.Sequential(
                nn.Linear(config.latent, config.wide), nn.ReLU(), nn.Linear(config.wide, cells * config.steps)
            )
            nn.init.constant_(self.decoder[-1].bias, -4.0)  # pyright: ignore[reportArgumentType]; most cells are silent
        else:
            self.first = nn.Linear(config.latent, config.wide)
            self.decoder = nn.GRU(cells + config.latent, config.wide, batch_first=True)
            self.head = nn.Linear(config.wide, cells)

    # ---- what is heard, and what it tells ----------------------------------------------------------------------------

    def hear(self, batch: RollBatch) -> Cells:
        """Onsets and held cells of the keys that there are, 0 or 1."""
        keys = slice(self.config.lowest, self.config.lowest + self.config.keys)
        cells = batch.cells[..., keys].transpose(2, 3)  # batch, tracks, keys, steps
        return torch.stack([cells == ONSET, cells == HELD], 2).flatten(1, 3).float()

    def encode(self, x: Cells) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, "batch latent"]]:
        """Mean and log-variance of q(z | x)."""
        heard, _ = self.encoder(self.convolutions(x).transpose(1, 2))
        mean, logvar = self.posterior(heard.flatten(1)).chunk(2, dim=-1)
        return mean, logvar

    def decode(self, z: Float[Tensor, "batch latent"], x: Cells | None = None) -> Cells:
        """Logits of every cell; the GRU needs the past `x` that it goes on from."""
        shape = (len(z), self.tracks * self.config.keys * 2, self.config.steps)
        if self.config.decoder == "mlp":
            return self.decoder(z).view(shape)
        assert x is not None
        past = F.pad(x, (1, -1)).transpose(1, 2)
        heard, _ = self.decoder(torch.cat([past, z[:, None].expand(-1, shape[2], -1)], -1), self.first(z)[None])
        return self.head(heard).transpose(1, 2)

    def loss(self, batch: RollBatch, step: int = 0, player: str = "model") -> dict[str, Tensor]:
        """Nats a window; "kl" is the true one, "bound" the evidence lower bound (β = 1, no free nats)."""
        x = self.hear(batch)
        mean, logvar = self.encode(x)
        z = mean + (logvar / 2).exp() * torch.randn_like(mean) if self.training else mean
        reconstruction = F.binary_cross_entropy_with_logits(self.decode(z, x), x, reduction="none").sum((1, 2)).mean()
        kl = -(1 + logvar - mean.square() - logvar.exp()).mean(0) / 2  # [latent]
        beta = self.config.beta * min(1.0, (step + 1) / max(1, self.config.warmup))
        loss = reconstruction + beta * kl.clamp(min=self.config.free_nats).sum()
        return {"loss": loss, "reconstruction": reconstruction, "kl": kl.sum(), "bound": reconstruction + kl.sum()}

    @torch.no_grad()
    def measure(self, batch: RollBatch) -> dict[str, Tensor]:
        """The terms of the loss, and

        note_f1, frame_f1:    of the reconstruction from the mean of q(z | x): notes that begin on the right key at the
                              right step; cells that sound
        active_units:         dimensions whose mean varies over the windows (variance > 0.01; Burda et al., 2016)
        silence, silence_real share of steps in which nothing sounds, in windows drawn from the prior and in real ones
        notes, notes_real     notes a window, likewise
        """
        x = self.hear(batch)
        mean, _ = self.encode(x)
        terms = self.loss(batch, 2**31)
        here = slice(self.config.lowest, self.config.lowest + self.config.keys)
        real, again = batch.cells[..., here], self.write(mean)[..., here]
        drawn = self.write(torch.randn_like(mean))[..., here]
        shares = {name: (~(c != 0).any(-1).any(1)).float().mean() for name, c in (("", drawn), ("_real", real))}
        notes = {name: (c == ONSET).float().sum((1, 2, 3)).mean() for name, c in (("", drawn), ("_real", real))}
        return {
            **{name: terms[name] for name in ("reconstruction", "kl", "bound")},
            "kl_a_unit": terms["kl"] / self.config.latent,
            "active_units": (mean.var(0) > 0.01).float().sum(),
            "note_f1": f1(again == ONSET, real == ONSET),
            "frame_f1": f1(again != 0, real != 0),
            **{f"silence{name}": value for name, value in shares.items()},
            **{f"notes{name}": value for name, value in notes.items()},
        }

    # ---- playing -----------------------------------------------------------------------------------------------------

    def sample(self, controls: Controls, noise: Noise, rolls: Sequence[Roll] = ()) -> Iterator[RollBatch]:
        """A draft after every phrase."""
        ends = [noise.normal(self.config.latent) for _ in range(2)]
        named = [i for i, path in enumerate((controls.start, controls.end)) if path]
        for place, roll in zip(named, rolls, strict=True):
            if len(roll) < self.config.steps:
                raise ConfigError(
                    f"A file has {len(roll)} sixteenths, and a window has {self.config.steps}; take another."
                )
            x = self.hear(collate([window_of(roll, 0, self.config.steps)]).to(noise.device))
            ends[place] = self.encode(x)[0].expand(len(noise), -1)
        parts = []
        for phrase in range(controls.phrases):
            z = between(ends[0], ends[1], phrase / max(1, controls.phrases - 1))
            parts.append(self.write(z, controls.density))
            cells = begun(torch.cat(parts, 2))
            bars = (torch.arange(cells.shape[2]) // 16).expand(len(noise), -1)
            yield RollBatch(cells, bars, torch.full((len(noise),), cells.shape[2]))

    def write(self, z: Float[Tensor, "batch latent"], density: float = 1.0) -> Tensor:
        """Cells uint8[batch, tracks, steps, 128] of latent points: the likeliest onsets, and what lasts.

        Between the windows that it knows the model is sure of nothing, but what it expects is as loud as music: so the
        likeliest onsets sound, as many as their probabilities add up to; at the first step also what comes over from
        before. What sounds goes on where that is likelier than not: a key that is held has sounded before, so
        p(held | it sounded) = p(held) / p(it sounded). Where nothing would sound, though sound is expected, what is
        likeliest to last does: music is unsure of its next note more often than it is silent.
        """
        onset, held = self._chances(z)
        sounds = onset + held
        may_begin = likeliest(onset, density)
        may_begin[..., 0] = likeliest(sounds[..., 0], density)
        lasts = F.pad(held[..., 1:] / sounds[..., :-1].clamp(min=1e-6), (1, 0))
        expected = sounds.sum((1, 2)) > QUIET  # batch, steps
        cells = torch.zeros(len(z), self.tracks, self.config.steps, 128, dtype=torch.uint8, device=z.device)
        written = cells[..., self.config.lowest : self.config.lowest + self.config.keys]
        sounding = torch.zeros_like(may_begin[..., 0])
        for step in range(self.config.steps):
            before = sounding if step else may_begin[..., 0]
            begins = may_begin[..., step] & (onset[..., step] >= held[..., step] * before)
            goes_on = before & ~begins & ((lasts[..., step] > 0.5) if step else before)
            silent = expected[:, step] & ~(begins | goes_on).flatten(1).any(1)
            last = (lasts[..., step] * sounding).flatten(1)
            longest = (last == last.amax(1, keepdim=True)).view_as(sounding) & sounding
            goes_on |= longest & silent[:, None, None]
            written[:, :, step] = torch.where(begins, ONSET, torch.where(goes_on, HELD, 0)).to(torch.uint8)
            sounding = begins | goes_on
        return cells

    def _chances(self, z: Float[Tensor, "batch latent"]) -> tuple[Chances, Chances]:
        """How likely an onset is of every key at every step, and that it is held."""
        if self.config.decoder == "mlp":
            likely = self.decode(z).sigmoid()
        else:
            likely = z.new_zeros(len(z), self.tracks * self.config.keys * 2, self.config.steps)
            for step in range(self.config.steps):
                likely[:, :, step] = self.decode(z, (likely > 0.5).float()).sigmoid()[:, :, step]
        onset, held = likely.view(len(z), self.tracks, 2, self.config.keys, self.config.steps).unbind(2)
        return onset, held


def begun(cells: UInt8[Tensor, "batch tracks steps 128"]) -> UInt8[Tensor, "batch tracks steps 128"]:
    """The same, but what is held without having sounded begins."""
    silent_before = F.pad(cells[:, :, :-1] == SILENT, (0, 0, 1, 0), value=True)
    return torch.where((cells == HELD) & silent_before, ONSET, cells)


def likeliest(chances: Float[Tensor, "batch ..."], density: float) -> Bool[Tensor, "batch ..."]:
    """In every row the likeliest cells, as many as are expected: `density` times the sum of their probabilities."""
    ranked = chances.flatten(1).sort(1, descending=True).values
    count = (density * ranked.sum(1)).round().long().clamp(max=ranked.shape[1])
    least = F.pad(ranked, (1, 0), value=2.0).gather(1, count[:, None])  # no cell is as likely as 2
    return chances >= least.view(-1, *[1] * (chances.ndim - 1))


def f1(found: Tensor, real: Tensor) -> Tensor:
    """Harmonic mean of precision and recall."""
    return 2 * (found & real).sum() / (found.sum() + real.sum()).clamp(min=1)


def between(
    a: Float[Tensor, "batch latent"], b: Float[Tensor, "batch latent"], share: float
) -> Float[Tensor, "batch latent"]:
    """A point on the way from a to b, on the great circle: as far from the origin as points of the prior are."""
    cosine = F.cosine_similarity(a, b, dim=-1).clamp(-1 + 1e-6, 1 - 1e-6)[:, None]
    angle = cosine.acos()
    return (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / angle.sin()
