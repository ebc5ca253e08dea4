"""The two players of `musegan`, and what passes between them: noise in, a phrase out, a verdict on it.

The generator: the chords say at every eighth how welcome each of the twelve pitch classes is, the same for all voices;
a voice says on what line it moves, where it begins something new, and where it rests. It takes the key that is welcome
and near its line, and holds it until it begins again: rests and held notes are decisions of their own. Decisions are
hard, their gradient is that of the softmax behind them (straight-through).

The critic hears, beside the notes, what a musician would: the intervals between every two voices, the chords, the steps
of each voice, fifths and octaves in parallel.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from ritornello.config import Config as Settings
from ritornello.music.choir import RANGES

BARS, STEPS, VOICES = 2, 16, 4  # of a phrase, of a bar
WINDOW = BARS * STEPS
CHORDS = ((0, 4, 7), (0, 3, 7), (0, 3, 6), (0, 4, 7, 10), (0, 3, 7, 10), (0, 4, 7, 11), (0, 3, 6, 10))
PAIRS = tuple((a, b) for a in range(VOICES) for b in range(a + 1, VOICES))


class Sizes(Settings):
    """Of the players, and the keys that they know."""

    lowest: int = Field(24, ge=0, le=44)
    """The lowest of the keys."""
    keys: int = Field(84, ge=60, le=128)
    latent: int = Field(32, ge=1)
    """Numbers in each piece of noise."""
    hidden: int = 144
    """Width of the generator."""
    channels: int = 128
    """Width of the critic."""


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

    def __init__(self, config: Sizes) -> None:
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

    def __init__(self, config: Sizes) -> None:
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
