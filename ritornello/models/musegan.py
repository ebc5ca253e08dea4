"""MuseGAN on chorales (Dong et al., 2018): two bars of four voices from four kinds of noise, by two players.

What a phrase is made of, as in the paper: `chords` (what all voices share, bar by bar), `style` (what all share in both
bars), `melody` (a voice's own, bar by bar), `groove` (a voice's own in both bars). A generator of bars for every voice
is given all four.

How the two players write and hear stands in `players`. A phrase is moved to one of the twelve keys that keep the voices
in their ranges, as the chorales are in training. The critic learns by the Wasserstein distance with a gradient penalty
(Gulrajani et al., 2017). The generator also makes what is heard the same in the mean as in real phrases (feature
matching, after Salimans et al., 2016, with the relations of the voices as the features), and plays with the running
mean of its weights. Of what it writes the better drafts are kept (`Controls.tries`): that part is a rule, not learned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from ritornello.data.rolls import KEYS, RollBatch
from ritornello.layers.counterpoint import faults
from ritornello.layers.ema import Ema
from ritornello.models.base import Controls as Wishes
from ritornello.models.base import RollModel
from ritornello.models.players import (
    BARS,
    CHORDS,
    PAIRS,
    STEPS,
    VOICES,
    WINDOW,
    Critic,
    Generator,
    Latents,
    Phrase,
    Sizes,
    differing,
)
from ritornello.music import choir
from ritornello.representations.base import HELD, ONSET, SILENT, Roll
from ritornello.sampling.noise import Noise


class Config(Sizes):
    """Sizes of the players and the weights of the losses."""

    penalty: float = 10.0
    """Weight of the gradient penalty."""
    matching: float = 3.0
    """Weight of feature matching."""
    decay: float = Field(0.99, ge=0, lt=1)
    """Of the running mean of the generator's weights."""


class Controls(Wishes):
    """A piece of phrases of two bars each."""

    phrases: int = Field(4, ge=1, le=64)
    """How many, one after another."""
    tries: int = Field(8, ge=1, le=256)
    """Of so many drafts of a phrase the one is kept that has the fewest faults: parallels, leaps, dissonances."""
    change: Literal["chords", "style", "melody", "groove"] | None = None
    """Draw this kind of noise anew and keep the others: a variation of what the same seed gives without it."""
    voice: Literal["soprano", "alto", "tenor", "bass"] | None = None
    """Change the melody or groove of this voice only."""


class Model(RollModel):
    """The two players."""

    players: ClassVar[dict[str, int]] = {"critic": 5, "generator": 1}
    window = WINDOW
    bar = STEPS

    def __init__(self, config: Config, tracks: int) -> None:
        super().__init__()
        if tracks != VOICES:
            raise ValueError(f"a MuseGAN of chorales has {VOICES} voices, not {tracks}")
        self.config = config
        self.generator = Generator(config)
        self.critic = Critic(config)
        self.mean = Ema(self.generator, config.decay)
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))
        figures = 14 * len(PAIRS) + len(CHORDS) + VOICES * (14 + config.keys + 1 + STEPS) + 12
        self.register_buffer("known", torch.zeros(figures))

    # ---- learning ----------------------------------------------------------------------------------------------------

    def loss(self, batch: RollBatch, step: int = 0, player: str = "generator") -> dict[str, Tensor]:
        """The critic: mean verdict on what is made less that on what is real, and the penalty. "gap" is that difference
        the other way round, an estimate of the Wasserstein distance. The generator: to please, and to match."""
        real = self.hear(batch)
        self.critic.requires_grad_(player == "critic")
        if player == "critic":
            with torch.no_grad():
                fake = self.draw(len(batch), batch.cells.device)
            gap = self.critic(real).mean() - self.critic(fake).mean()
            penalty = self._penalty(real, fake)
            return {"loss": self.config.penalty * penalty - gap, "gap": gap, "penalty": penalty}
        fake = self.draw(2 * len(batch), batch.cells.device)
        please = -self.critic(fake).mean()
        known, made = self._known(real), self.heard(fake).mean(0)
        match = ((made - known).square() / (known.abs() + 0.01)).sum()
        return {"loss": please + self.config.matching * match, "match": match}

    def heard(self, phrase: Phrase) -> Float[Tensor, "batch figures"]:
        """What is to be the same in the mean of real phrases and of made ones: the relations of the voices, how much of
        each interval lies between the pitch classes of the whole phrase (its scale), keys, and beginnings by beat."""
        classes = (phrase.keys[..., :-1] @ self.critic.classes).mean((1, 2))
        scale = 4 * (classes[:, self.critic.turn] * classes[:, None]).sum(-1)
        onsets = phrase.onsets.unflatten(-1, (BARS, STEPS)).mean(2)
        return torch.cat(
            [self.critic.relations(phrase).mean(1), scale, phrase.keys.mean(2).flatten(1), onsets.flatten(1)], -1
        )

    @torch.no_grad()
    def _known(self, real: Phrase) -> Float[Tensor, " figures"]:
        """The mean of what is heard in real phrases, over the batches so far (the last hundred or so)."""
        heard = self.heard(real).mean(0)
        if self.training:
            self.batches += 1
            self.known.lerp_(heard, max(1 / int(self.batches), 0.01))
        return self.known if self.training else heard

    known: Tensor
    batches: Tensor

    def _penalty(self, real: Phrase, fake: Phrase) -> Tensor:
        """How far the critic's slope between real and made phrases is from 1."""
        mixed = real.mix(fake, torch.rand(len(real.keys), device=real.keys.device))
        keys, onsets = mixed.keys.requires_grad_(), mixed.onsets.requires_grad_()
        verdict = self.critic(Phrase(keys, onsets)).sum()
        slopes = torch.autograd.grad(verdict, (keys, onsets), create_graph=True)
        norm = sum(slope.flatten(1).square().sum(1) for slope in slopes)
        assert isinstance(norm, Tensor)
        return ((norm + 1e-12).sqrt() - 1).square().mean()

    def after(self, step: int) -> None:
        self.mean.update(self.generator)

    @torch.no_grad()
    def measure(self, batch: RollBatch) -> dict[str, Tensor]:
        """gap: the critic's, on held-out phrases, which it was never tuned on.
        alike, alike_real: share of cells that two phrases have in common.
        For each kind of noise, when it alone is drawn anew (melody and groove: the alto's alone): the share of cells of
        these voices with another key, and of those where only one of the two phrases begins something; alone_melody,
        alone_groove: the share of cells with another key in the other three voices."""
        device, size, latent = batch.cells.device, Latents.size(self.config.latent), self.config.latent
        real, play = self.hear(batch), self.mean.mean
        first, other = (Latents.of(torch.randn(len(batch), size, device=device), latent) for _ in range(2))
        made = play(first)
        figures = {
            "gap": self.critic(real).mean() - self.critic(self.draw(len(batch), device, mean=True)).mean(),
            "alike": 1 - differing(made, Phrase(made.keys.roll(1, 0), made.onsets.roll(1, 0)))[0].mean(),
            "alike_real": 1 - differing(real, Phrase(real.keys.roll(1, 0), real.onsets.roll(1, 0)))[0].mean(),
        }
        for kind in ("chords", "style", "melody", "groove"):
            alto = 1 if kind in ("melody", "groove") else None
            keys, onsets = differing(made, play(first.changed(kind, other, alto)))
            own = keys if alto is None else keys[:, alto]
            figures[f"{kind}_moves_keys"] = own.mean()
            figures[f"{kind}_moves_onsets"] = (onsets if alto is None else onsets[:, alto]).mean()
            if alto is not None:
                figures[f"alone_{kind}"] = keys[:, [v for v in range(VOICES) if v != alto]].mean()
        return figures

    def hear(self, batch: RollBatch) -> Phrase:
        """Real phrases. What sounds on at the first step begins there."""
        cells = batch.cells[..., self.config.lowest : self.config.lowest + self.config.keys]
        sounding = (cells != SILENT).float()
        rest = 1 - sounding.amax(-1, keepdim=True)
        onsets = (cells == ONSET).any(-1).float()
        onsets[..., 0] = 1
        onsets[..., 1:] += rest[..., 1:, 0] * (1 - rest[..., :-1, 0])  # a rest begins where a note ends
        return Phrase(torch.cat([sounding, rest], -1), onsets)

    def draw(self, count: int, device: torch.device, mean: bool = False) -> Phrase:
        """So many phrases, each in one of the keys that keep its voices in their ranges."""
        latents = Latents.of(torch.randn(count, Latents.size(self.config.latent), device=device), self.config.latent)
        phrase = (self.mean.mean if mean else self.generator)(latents)
        return self.shifted(phrase, self.shift_of(phrase.keys, torch.rand(count, device=device)))

    def shift_of(self, keys: Tensor, choice: Float[Tensor, " batch"]) -> Tensor:
        """Semitones for each piece, int64[batch], drawn by numbers in [0, 1) from those that keep it in range."""
        used = keys[..., :-1].detach().amax(2) > 0.5  # batch, voices, keys
        low = used.int().argmax(-1) + self.config.lowest
        high = self.config.keys - 1 - used.flip(-1).int().argmax(-1) + self.config.lowest
        limits = torch.tensor(choir.RANGES, device=keys.device)
        silent = ~used.any(-1)
        down = (limits[:, 0] - low).masked_fill(silent, -127).amax(1).clamp(min=KEYS[0])
        up = (limits[:, 1] - high).masked_fill(silent, 127).amin(1).clamp(max=KEYS[-1])
        middle = (down + up) // 2  # where nothing fits: what fits best
        down, up = torch.where(down > up, middle, down), torch.where(down > up, middle, up)
        return down + ((up - down + 1) * choice).long()

    def shifted(self, phrase: Phrase, shift: Tensor) -> Phrase:
        """The same, so many semitones higher."""
        count = self.config.keys
        source = torch.arange(count, device=shift.device) - shift[:, None]  # batch, keys
        inside = (source >= 0) & (source < count)
        source = source.clamp(0, count - 1)[:, None, None].expand(*phrase.keys.shape[:-1], -1)
        keys = phrase.keys[..., :-1].gather(-1, source) * inside[:, None, None]
        return Phrase(torch.cat([keys, phrase.keys[..., -1:]], -1), phrase.onsets)

    # ---- playing -----------------------------------------------------------------------------------------------------

    def sample(self, controls: Controls, noise: Noise, rolls: Sequence[Roll] = ()) -> Iterator[RollBatch]:
        """A draft after every phrase."""
        piece: list[Phrase] = []
        choice = noise.uniform()
        for _ in range(controls.phrases):
            phrase = self.phrase(controls, noise, piece[-1] if piece else None)
            piece.append(phrase)
            whole = Phrase(torch.cat([p.keys for p in piece], 2), torch.cat([p.onsets for p in piece], 2))
            yield self.write(self.shifted(whole, self.shift_of(whole.keys, choice)))

    def phrase(self, controls: Controls, noise: Noise, before: Phrase | None) -> Phrase:
        """The phrase that comes next: the best of some drafts, or a variation of that one."""
        size, rows, tries = Latents.size(self.config.latent), len(noise), controls.tries
        first, other = (noise.normal(tries, size).flatten(0, 1) for _ in range(2))
        latents = Latents.of(first, self.config.latent)
        drafts = self.mean.mean(latents)
        keys = drafts.keys
        if before is not None:  # the seam counts
            keys = torch.cat([before.keys[:, :, -1:].repeat_interleave(tries, 0), keys], 2)
        rest = self.config.keys
        wrong = faults(torch.where(keys.argmax(-1) == rest, 0, keys.argmax(-1) + 1))
        best = wrong.view(rows, tries).argmin(1) + torch.arange(rows, device=wrong.device) * tries
        if controls.change is None:
            return Phrase(drafts.keys[best], drafts.onsets[best])
        voice = choir.VOICES.index(controls.voice) if controls.voice else None
        return self.mean.mean(
            latents[best].changed(controls.change, Latents.of(other[best], self.config.latent), voice)
        )

    def write(self, phrase: Phrase) -> RollBatch:
        """Cells of what sounds."""
        count, _, steps = phrase.onsets.shape
        cells = torch.zeros(count, VOICES, steps, 128, dtype=torch.uint8, device=phrase.keys.device)
        state = torch.where(phrase.onsets > 0.5, ONSET, HELD)[..., None]
        here = slice(self.config.lowest, self.config.lowest + self.config.keys)
        cells[..., here] = torch.where(phrase.keys[..., :-1] > 0.5, state, SILENT).to(torch.uint8)
        bars = (torch.arange(steps, device=cells.device) // STEPS).expand(count, -1)
        return RollBatch(cells, bars, torch.full((count,), steps, device=cells.device))
