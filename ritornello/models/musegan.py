"""MuseGAN on chorales (Dong et al., 2018): two bars of four voices from four kinds of noise, by two players.

What a phrase is made of, as in the paper: `chords` (what all voices share, bar by bar), `style` (what all share in both
bars), `melody` (a voice's own, bar by bar), `groove` (a voice's own in both bars). A generator of bars for every voice
is given all four.

How it writes here, so that a small network learns it in minutes: the chords say at every eighth how welcome each of the
twelve pitch classes is, the same for all voices; a voice says on what line it moves, where it begins something new, and
where it rests. It takes the key that is welcome and near its line, and holds it until it begins again: rests and held
notes are decisions of their own. Decisions are hard, their gradient is that of the softmax behind them
(straight-through). The piece is then moved to one of the twelve keys that keep the voices in their ranges, as the
chorales are in training.

The critic hears, beside the notes, what a musician would: the intervals between every two voices, the chords, the steps
of each voice, fifths and octaves in parallel. It learns by the Wasserstein distance with a gradient penalty (Gulrajani
et al., 2017). The generator also makes what is heard the same in the mean as in real phrases (feature matching, after
Salimans et al., 2016, with such relations as the features), and plays with the running mean of its weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from ritornello.config import Config as Settings
from ritornello.data.rolls import KEYS, RollBatch
from ritornello.layers.counterpoint import parallels
from ritornello.layers.ema import Ema
from ritornello.models.base import Controls as Wishes
from ritornello.models.base import RollModel
from ritornello.representations.base import HELD, ONSET, SILENT, Roll
from ritornello.sampling.noise import Noise

BARS, STEPS, VOICES = 2, 16, 4  # of a phrase, of a bar
NAMES = ("soprano", "alto", "tenor", "bass")
WINDOW = BARS * STEPS
RANGES = ((60, 81), (52, 74), (46, 69), (36, 66))  # lowest and highest key of soprano, alto, tenor, bass
CHORDS = ((0, 4, 7), (0, 3, 7), (0, 3, 6), (0, 4, 7, 10), (0, 3, 7, 10), (0, 4, 7, 11), (0, 3, 6, 10))
PAIRS = tuple((a, b) for a in range(VOICES) for b in range(a + 1, VOICES))


class Config(Settings):
    """Sizes and the weights of the losses."""

    lowest: int = Field(24, ge=0, le=44)
    """The lowest of the keys."""
    keys: int = Field(84, ge=60, le=128)
    latent: int = Field(32, ge=1)
    """Numbers in each piece of noise."""
    hidden: int = 144
    """Width of the generator."""
    channels: int = 128
    """Width of the critic."""
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
    """Of so many drafts of a phrase the one is kept that makes the fewest parallel fifths and octaves."""
    change: Literal["chords", "style", "melody", "groove"] | None = None
    """Draw this kind of noise anew and keep the others: a variation of what the same seed gives without it."""
    voice: Literal["soprano", "alto", "tenor", "bass"] | None = None
    """Change the melody or groove of this voice only."""


@dataclass(frozen=True)
class Latents:
    """What a phrase is made of."""

    chords: Float[Tensor, "batch latent"]
    style: Float[Tensor, "batch latent"]
    melody: Float[Tensor, "batch voices latent"]
    groove: Float[Tensor, "batch voices latent"]

    @staticmethod
    def of(numbers: Float[Tensor, "batch numbers"], latent: int) -> Latents:
        """From `Latents.size` numbers each."""
        chords, style, melody, groove = numbers.split([latent, latent, VOICES * latent, VOICES * latent], dim=-1)
        return Latents(chords, style, *(z.unflatten(-1, (VOICES, latent)) for z in (melody, groove)))

    @staticmethod
    def size(latent: int) -> int:
        return latent * (2 + 2 * VOICES)

    def changed(self, kind: str, other: Latents, voice: int | None = None) -> Latents:
        """With one kind of noise, or one voice's, taken from other latents."""
        new = getattr(other, kind)
        if voice is not None and kind in ("melody", "groove"):
            here = torch.arange(VOICES, device=new.device)[:, None] == voice
            new = torch.where(here, new, getattr(self, kind))
        return replace(self, **{kind: new})

    def __len__(self) -> int:
        return len(self.chords)

    def __getitem__(self, rows: Tensor) -> Latents:
        return Latents(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True)
class Phrase:
    """Two bars as the players see them."""

    keys: Float[Tensor, "batch voices steps keys_and_rest"]
    """1 for the key that sounds, or for the rest, which is the last place; held notes too."""
    onsets: Float[Tensor, "batch voices steps"]
    """1 where a note or rest begins."""

    def mix(self, other: Phrase, share: Tensor) -> Phrase:
        return Phrase(
            torch.lerp(self.keys, other.keys, share[:, None, None, None]),
            torch.lerp(self.onsets, other.onsets, share[:, None, None]),
        )


def differing(one: Phrase, other: Phrase) -> tuple[Tensor, Tensor]:
    """1 where two phrases have another key or rest, and where only one begins something: [batch, voices, steps]."""
    keys = (one.keys.argmax(-1) != other.keys.argmax(-1)).float()
    return keys, ((one.onsets > 0.5) != (other.onsets > 0.5)).float()


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard` with the gradient of `soft`."""
    return hard + soft - soft.detach()


def mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for into, out in pairwise(widths):
        layers += [nn.Linear(into, out), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers[:-1])


class Generator(nn.Module):
    """Four kinds of noise → a phrase."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        z, hidden = config.latent, config.hidden
        self.chords_in_time = mlp(z, hidden, BARS * z)  # the paper's temporal networks: a latent for every bar
        self.melody_in_time = nn.ModuleList(mlp(z, hidden, BARS * z) for _ in range(VOICES))
        self.harmony = mlp(2 * z, hidden, hidden, STEPS // 2 * 12)
        self.bar = nn.ModuleList(mlp(4 * z, hidden, hidden, STEPS // 4 + 2 * STEPS) for _ in range(VOICES))
        self.nearness = nn.Parameter(torch.full((VOICES, 1, 1), 0.1))
        self._begin_like_a_chorale()

    def _begin_like_a_chorale(self) -> None:
        """Quarters, on lines in the middle of each voice's range: what is left to learn is music."""
        keys = torch.arange(self.config.keys) + self.config.lowest
        middles = torch.tensor([(low + high) / 2 for low, high in RANGES])
        self.register_buffer("away", keys - middles[:, None, None], persistent=False)  # voices, 1, keys
        with torch.no_grad():
            for bar in self.bar:
                last = bar[-1]  # pyright: ignore[reportIndexIssue]
                last.weight[: STEPS // 4] *= 20
                last.weight[STEPS // 4 :] *= 4
                last.bias[STEPS // 4 :] = torch.cat(
                    [torch.where(torch.arange(STEPS) % 4 == 0, 1.5, -1.5), torch.full((STEPS,), -6.0)]
                )
            self.harmony[-1].weight.mul_(10)  # pyright: ignore[reportCallIssue]

    away: Tensor

    def forward(self, latents: Latents) -> Phrase:
        z = self.config.latent
        chords = self.chords_in_time(latents.chords).unflatten(-1, (BARS, z))
        style = latents.style[:, None].expand_as(chords)
        welcome = self.harmony(torch.cat([chords, style], -1)).view(len(latents), 1, WINDOW // 2, 12)
        classes = (torch.arange(self.config.keys, device=welcome.device) + self.config.lowest) % 12
        welcome = welcome.repeat_interleave(2, 2)[..., classes]  # batch, 1, steps, keys
        lines, begins, rests = [], [], []
        for voice in range(VOICES):
            melody = self.melody_in_time[voice](latents.melody[:, voice]).view_as(chords)
            groove = latents.groove[:, None, voice].expand_as(chords)
            bar = self.bar[voice](torch.cat([chords, style, melody, groove], -1))
            line, begin, rest = (x.flatten(1) for x in bar.split([STEPS // 4, STEPS, STEPS], dim=-1))
            lines.append(F.interpolate(line[:, None], WINDOW, mode="linear"))
            begins.append(begin)
            rests.append(rest)
        near = -self.nearness.abs() * (self.away - torch.cat(lines, 1)[..., None]).square()
        return self._decide(torch.cat([near + welcome, torch.stack(rests, 1)[..., None]], -1), torch.stack(begins, 1))

    def _decide(self, wishes: Tensor, begins: Tensor) -> Phrase:
        soft = wishes.softmax(-1)
        new = straight_through(F.one_hot(wishes.argmax(-1), wishes.shape[-1]).float(), soft)
        onsets = straight_through((begins > 0).float(), begins.sigmoid())
        onsets = torch.cat([torch.ones_like(onsets[..., :1]), onsets[..., 1:]], -1)
        sounding = [new[:, :, 0]]
        for step in range(1, WINDOW):
            begun = onsets[:, :, step, None]
            sounding.append(begun * new[:, :, step] + (1 - begun) * sounding[-1])
        return Phrase(torch.stack(sounding, 2), onsets)


class Critic(nn.Module):
    """A phrase → how real it sounds. It hears eighth by eighth."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        keys, channels, steps = config.keys + 1, config.channels, WINDOW // 2
        octaves = torch.arange(config.keys) + config.lowest
        shapes = torch.zeros(len(CHORDS), 12, 12)
        for shape, chord in zip(shapes, CHORDS, strict=True):
            for root in range(12):
                shape[root, [(root + tone) % 12 for tone in chord]] = 1
        self.register_buffer("heights", octaves[:, None] / 12, persistent=False)
        self.register_buffer("classes", F.one_hot(octaves % 12, 12).float(), persistent=False)
        self.register_buffer("chords", shapes.flatten(0, 1).T.contiguous(), persistent=False)
        self.register_buffer("turn", (torch.arange(12)[:, None] + torch.arange(12)) % 12, persistent=False)
        relations = 14 * len(PAIRS) + len(CHORDS) + VOICES * 14
        self.ear = nn.Linear(2 * VOICES * (keys + 1) + relations, channels // 2)
        self.place = nn.Parameter(torch.randn(steps, channels // 2) * 0.1)
        self.time = nn.Sequential(
            nn.Conv1d(channels // 2, channels, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv1d(channels, channels, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv1d(channels, channels, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(channels * steps // 4, channels),
            nn.LeakyReLU(0.2),
            nn.Linear(channels, 1, bias=False),  # only differences of verdicts count
        )

    heights: Tensor
    classes: Tensor
    chords: Tensor
    turn: Tensor

    def relations(self, phrase: Phrase) -> Float[Tensor, "batch eighths relations"]:
        """Intervals between voices, those kept in moving, chords that all voices fit in, steps of each voice."""
        eighths = phrase.keys[:, :, ::2, :-1]
        chroma = eighths @ self.classes  # batch, voices, eighths, 12
        turned = chroma[..., self.turn]  # ..., interval, class: the class that lies the interval above
        between = torch.stack([(turned[:, a] * chroma[:, b, :, None]).sum(-1) for a, b in PAIRS], 1)
        steps = (turned[:, :, :-1] * chroma[:, :, 1:, None]).sum(-1)  # ..., eighths - 1, 12: downwards
        moves = 1 - steps[:, [a for a, _ in PAIRS], :, :1]
        perfect = between[..., [0, 7]]
        kept = F.pad(perfect[:, :, :-1] * perfect[:, :, 1:] * moves, (0, 0, 1, 0))
        fits = (chroma @ self.chords).prod(1).unflatten(-1, (len(CHORDS), 12)).sum(-1, keepdim=True).transpose(1, 2)
        moved = (eighths @ self.heights).diff(dim=2)  # octaves up
        steps = F.pad(torch.cat([steps, moved, moved.abs()], -1), (0, 0, 1, 0))
        return torch.cat([x.movedim(2, 1).flatten(2) for x in (between, kept, fits, steps)], -1)

    def forward(self, phrase: Phrase) -> Float[Tensor, " batch"]:
        notes = torch.cat([phrase.keys, phrase.onsets[..., None]], -1).unflatten(2, (-1, 2)).movedim(2, 1).flatten(2)
        x = F.leaky_relu(self.ear(torch.cat([notes, self.relations(phrase)], -1)) + self.place, 0.2)
        return self.time(x.transpose(1, 2)).squeeze(-1)


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
        limits = torch.tensor(RANGES, device=keys.device)
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
        wrong = parallels(torch.where(keys.argmax(-1) == rest, 0, keys.argmax(-1) + 1)).sum((1, 2))
        best = wrong.view(rows, tries).argmin(1) + torch.arange(rows, device=wrong.device) * tries
        if controls.change is None:
            return Phrase(drafts.keys[best], drafts.onsets[best])
        voice = NAMES.index(controls.voice) if controls.voice else None
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
