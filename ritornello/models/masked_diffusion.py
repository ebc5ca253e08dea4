"""Masked diffusion of four voices: cells of a chorale are hidden, and a network says what they are.

What Coconet (Huang et al., ISMIR 2017) called an orderless NADE and a blocked Gibbs sampler is a discrete diffusion
whose noise hides (Austin et al., 2021, "absorbing state"). Training hides a random number of the cells x[voice, step]
and asks for all of them at once:

    L = E[ 1 / |hidden| Σ_{cells hidden} - log p(cell | the others) ]                                    (Eq. 9)

Playing starts from all cells hidden, fills them in, hides a share of them anew, and so on, the share falling from 0.9
to 0.1 (Yao et al., 2014): what was a bad guess is written again in view of the rest. A cell that is given is never
hidden, so the same few lines write a piece, harmonise a tune, and fill a gap.

A step of time is a token: its four voices, as far as known, in one vector; blocks attend over all steps. Behind
them a few convolutions look at the score as a picture, steps by pitches, as Coconet's do: what they learn of a turn in
one key they know in all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from pydantic import Field, field_validator
from torch import Tensor, nn

from ritornello.config import Config as Settings
from ritornello.data.rolls import BEAT, RollBatch, beats, collate
from ritornello.errors import ConfigError
from ritornello.layers.counterpoint import parallels
from ritornello.layers.plain import Block
from ritornello.layers.positions import rotary_angles
from ritornello.models.base import Controls as Wishes
from ritornello.models.base import RollModel
from ritornello.music.choir import VOICES
from ritornello.representations.base import HELD, ONSET, SILENT, Roll
from ritornello.sampling.noise import Noise

REST = 0  # class of a silent cell; class k > 0 is the pitch lowest + k - 1
BAR = 16  # steps


class Config(Settings):
    """Sizes, and what training hides."""

    steps: int = Field(128, ge=16)
    """Sixteenths of a training window."""
    lowest: int = Field(36, ge=0)
    pitches: int = Field(46, ge=12)
    """From `lowest` up: pitches that are told apart; what lies outside is moved by octaves."""
    width: int = 192
    heads: int = 4
    layers: int = 6
    feedforward: int = 512
    dropout: float = 0.1
    channels: int = Field(16, ge=0)
    """Of the convolutions over steps and pitches; 0 for none."""
    depth: int = Field(16, ge=0)
    """How many of them there are behind the first."""
    whole_steps: float = Field(0.5, ge=0, le=1)
    """Share of the training windows in which all voices of a step are hidden together, save in some of the steps."""
    whole_voices: float = Field(0.1, ge=0, le=1)
    """Share of those in which some voices are hidden from beginning to end: what harmonising asks for."""


class Controls(Wishes):
    """What to write anew, and what to keep."""

    bars: str | None = None
    """How many bars, by default 8; with a prompt, which of its bars to write anew, such as 5-8, by default all."""
    prompt: Path | None = None
    """A MIDI file in up to four parts: its bars and voices are kept where they are not written anew."""
    keep: tuple[Literal["soprano", "alto", "tenor", "bass"], ...] = ()
    """Voices of the prompt to keep throughout: `--keep soprano` harmonises a tune."""
    rounds: int = Field(96, ge=1, le=4096)
    """How often a share of the cells is hidden and written again."""
    temperature: float = Field(0.75, gt=0, le=2)
    """Below 1 surer, above 1 bolder."""
    keys: int = Field(1, ge=1, le=11)
    """In how many keys a piece is looked at: the mean of what is said there errs less, and takes longer."""
    polish: int = Field(24, ge=0, le=1024)
    """Rounds at the end in which notes that make parallel fifths or octaves get another pitch, if there are any."""

    @field_validator("bars")
    @classmethod
    def _is_bars(cls, bars: str | None) -> str | None:
        match = re.fullmatch(r"([1-9]\d{0,2})(?:-([1-9]\d{0,2}))?", bars or "1")
        if not match or int(match[2] or 999) < int(match[1]):
            raise ValueError("expected a number of bars such as 8, or the first and last of some, such as 5-8")
        return bars

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.prompt,) if self.prompt else ()

    @property
    def span(self) -> tuple[int, int | None]:
        """Without a "-": (bars, None); else the first and last bar, from 1."""
        first, _, last = (self.bars or "8").partition("-")
        return int(first), int(last) if last else None


Classes = Int[Tensor, "batch voices steps"]
Mask = Bool[Tensor, "batch voices steps"]


class Picture(nn.Module):
    """What may sound, by the score as a picture: convolutions that are the same at every step and every pitch.

    Four see an octave of pitches, the others a third; and three steps, then more, and every fourth half a bar to either
    side.
    """

    def __init__(self, voices: int, width: int, channels: int, depth: int) -> None:
        super().__init__()
        self.context = nn.Linear(width, channels)
        self.first = nn.Conv2d(2 * voices + 1, channels, (3, 13), padding=(1, 6))
        sizes = [(2 ** (i % 4), 6 if i < 4 else 2) for i in range(depth)]
        self.layers = nn.ModuleList(
            nn.Conv2d(channels, channels, (3, 2 * high + 1), padding=(far, high), dilation=(far, 1))
            for far, high in sizes
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in self.layers)
        self.last = nn.Conv2d(channels, voices, 1, bias=False)
        nn.init.normal_(self.last.weight, std=1e-3)  # so small that it can join a trained network

    def forward(
        self, cells: Classes, hidden: Mask, pitches: int, context: Float[Tensor, "batch steps width"]
    ) -> Float[Tensor, "batch voices steps classes"]:
        known = F.one_hot(torch.where(hidden, 0, cells), pitches + 1)[..., 1:]
        there = torch.ones_like(known[:, :1])  # a pitch: zero beyond the lowest and the highest
        planes = torch.cat([known, hidden[..., None].expand_as(known), there], 1).to(context.dtype)
        told = self.context(context).transpose(1, 2)[..., None]
        x = F.relu(self.first(planes.contiguous(memory_format=torch.channels_last)) + told)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + F.relu(layer(norm(x.movedim(1, -1)).movedim(-1, 1)))
        return F.pad(self.last(x), (1, 0))


class Model(RollModel):
    """The network, what it learns from, and how it plays."""

    hop = BEAT

    def __init__(self, config: Config, tracks: int) -> None:
        super().__init__()
        self.config, self.tracks, self.window = config, tracks, config.steps
        self.classes = config.pitches + 1
        self.pairs = [(a, b) for a in range(tracks) for b in range(a)]
        facts = tracks * (self.classes + 1) + tracks * 13 + len(self.pairs) * 13 + BEAT
        self.facts_in = nn.Linear(facts, config.width)
        self.around = nn.Conv1d(config.width, config.width, 5, padding=2)
        sizes = (config.width, config.heads, config.feedforward, config.dropout, config.layers)
        self.blocks = nn.ModuleList(Block(*sizes) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, tracks * self.classes)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.picture = Picture(tracks, config.width, config.channels, config.depth) if config.channels else None

    # ---- hearing -----------------------------------------------------------------------------------------------------

    def hear(self, batch: RollBatch) -> Classes:
        """The class of every cell; of several keys of a voice the highest."""
        sounds = batch.cells != SILENT
        pitch = 127 - sounds.flip(-1).to(torch.uint8).argmax(-1)
        lowest, highest = self.config.lowest, self.config.lowest + self.config.pitches - 1
        pitch = torch.where(pitch < lowest, lowest + (pitch - lowest) % 12, pitch)
        pitch = torch.where(pitch > highest, highest - (highest - pitch) % 12, pitch)
        return torch.where(sounds.any(-1), pitch - lowest + 1, REST)

    def logits(
        self, cells: Classes, hidden: Mask, beat: Int[Tensor, "batch steps"], keys: int = 1
    ) -> Float[Tensor, "batch voices steps classes"]:
        """What every cell may be, in view of those that are not hidden.

        beat:  the step's place in its beat.
        keys:  in how many the piece is looked at: its own, a semitone up, one down, two up … Of several, the mean of
               the log-probabilities in those keys in which it stays within the pitches.
        """
        if keys == 1:
            return self._logits(cells, hidden, beat)
        known, place = ~hidden & (cells > REST), torch.arange(1, self.classes, device=cells.device)
        total, count = torch.zeros(()), torch.zeros(())
        for key in range(keys):
            up = (key + 1) // 2 * (1 if key % 2 else -1)
            moved = cells + up * known
            inside = (moved > REST) & (moved < self.classes) | ~known
            said = self._logits(moved.clamp(0, self.classes - 1), hidden, beat).log_softmax(-1)
            said = torch.cat([said[..., :1], said[..., 1:].roll(-up, -1)], -1)
            there = F.pad((place + up > REST) & (place + up < self.classes), (1, 0), value=True)
            counts = there & inside.flatten(1).all(1)[:, None, None, None]
            total, count = total + torch.where(counts, said, 0), count + counts
        return total / count

    def _logits(
        self, cells: Classes, hidden: Mask, beat: Int[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch voices steps classes"]:
        """The same of the piece as it is."""
        x = self.facts_in(self._ones(cells, hidden, beat))
        x = x + F.gelu(self._around(x))
        batch, steps, _ = x.shape
        time = torch.arange(steps, device=x.device).repeat(batch)
        angles = rotary_angles(time // BAR, time % BAR, self.config.width // self.config.heads)
        for block in self.blocks:
            x = block(x, angles, causal=False)
        x = self.norm(x)
        logits = self.head(x).unflatten(-1, (self.tracks, self.classes)).transpose(1, 2)
        return logits if self.picture is None else logits + self.picture(cells, hidden, self.config.pitches, x)

    def _around(self, x: Float[Tensor, "batch steps width"]) -> Float[Tensor, "batch steps width"]:
        """The convolution over five steps, as one product of matrices: on a CPU training steps take a fifth less."""
        near = F.pad(x, (0, 0, 2, 2)).unfold(1, 5, 1).flatten(2)  # as the weights lie: channel by channel, five steps
        return F.linear(near, self.around.weight.flatten(1), self.around.bias)

    def _ones(self, cells: Classes, hidden: Mask, beat: Tensor) -> Float[Tensor, "batch steps facts"]:
        """What is known of every step, in ones and zeros: pitches, pitch classes, intervals between voices, beat."""
        known = ~hidden & (cells > REST)
        shown = torch.where(hidden, self.classes, cells)
        pitch_class = torch.where(known, (cells - 1) % 12, 12)
        intervals = [
            torch.where(known[:, a] & known[:, b], (cells[:, b] - cells[:, a]) % 12, 12) for a, b in self.pairs
        ]
        index = torch.stack([*shown.unbind(1), *pitch_class.unbind(1), *intervals, beat], -1)
        sizes = [self.classes + 1] * self.tracks + [13] * (self.tracks + len(self.pairs)) + [BEAT]
        starts = torch.tensor([sum(sizes[:i]) for i in range(len(sizes))], device=index.device)
        return torch.zeros(*index.shape[:2], sum(sizes), device=index.device).scatter_(2, index + starts, 1.0)

    # ---- learning ----------------------------------------------------------------------------------------------------

    def loss(self, batch: RollBatch, step: int = 0, player: str = "model") -> dict[str, Tensor]:
        """Nats a hidden cell: the mean over the hidden cells of a window, and of that over windows (Eq. 9)."""
        cells = self.hear(batch)
        real = self._real(batch)
        hidden = self.hide(cells.shape, cells.device) & real[:, None]
        logits = self.logits(cells, hidden, beats(batch))
        nats = F.cross_entropy(logits.flatten(0, 2).float(), cells.flatten(), reduction="none").view_as(cells)
        each = (nats * hidden).sum((1, 2)) / hidden.sum((1, 2)).clamp(min=1)
        return {"loss": each.mean()}

    def hide(self, shape: torch.Size, device: torch.device) -> Mask:
        """What training hides: of each window an even number of cells from 1 to all, as scattered cells, as whole
        steps, or as whole voices."""
        rows, voices, steps = shape
        kind = torch.rand(rows, 1, 1, device=device)
        count = torch.randint(1, voices * steps + 1, (rows, 1), device=device)
        order = torch.rand(rows, voices * steps, device=device).argsort(1).argsort(1)
        scattered = (order < count).view(shape)
        count = torch.randint(1, steps + 1, (rows, 1), device=device)
        whole = (torch.rand(rows, steps, device=device).argsort(1).argsort(1) < count)[:, None]
        # In a share of the hidden steps, from none to all, some voices are shown: so a step is filled voice by voice
        some = torch.rand(rows, 1, steps, device=device) < torch.rand(rows, 1, 1, device=device)
        known = torch.randint(1, max(voices, 2), (rows, 1, steps), device=device)
        shown = some & (torch.rand(shape, device=device).argsort(1).argsort(1) < known)
        whole = whole & ~shown
        silenced = torch.rand(rows, voices, 1, device=device) < 0.6
        config = self.config
        result = torch.where(kind < config.whole_steps, whole, scattered)
        voice = silenced & ((torch.rand(rows, 1, 1, device=device) < 0.5) | scattered)
        result = torch.where(kind > 1 - config.whole_voices, voice, result)
        empty = ~result.flatten(1).any(1)
        return result | empty[:, None, None]

    @staticmethod
    def _real(batch: RollBatch) -> Bool[Tensor, "batch steps"]:
        return torch.arange(batch.cells.shape[2], device=batch.cells.device) < batch.lengths[:, None]

    # ---- playing -----------------------------------------------------------------------------------------------------

    def sample(self, controls: Controls, noise: Noise, rolls: Sequence[Roll] = ()) -> Iterator[RollBatch]:
        """A draft every eighth round. Every cell that is written sounds; what is kept stays as it is."""
        first, last = controls.span
        if controls.prompt is None:
            if last is not None or controls.keep:
                raise ConfigError("bars = 5-8 and keep say what to write anew in a prompt: name its file with prompt.")
            bars = torch.arange(first * BAR, device=noise.device) // BAR
            given = RollBatch(
                torch.zeros(1, self.tracks, len(bars), 128, dtype=torch.uint8, device=noise.device),
                bars[None],
                torch.tensor([len(bars)], device=noise.device),
            )
            free = torch.ones(1, self.tracks, len(bars), dtype=torch.bool, device=noise.device)
        else:
            given = collate([rolls[0]]).to(noise.device)
            free = self._free(controls, given)
        cells = self.hear(given).expand(len(noise), -1, -1)
        free = free.expand_as(cells)
        for round in range(controls.rounds):
            progress = round / max(controls.rounds * 0.7, 1)
            share = max(0.1, 0.9 - 0.8 * progress)
            chosen = noise.uniform(*cells.shape[1:]) < share
            cells = self._rewrite(cells, free & (chosen if round else torch.ones_like(chosen)), given, controls, noise)
            if round % 8 == 7:
                yield self._batch(cells, free, given)
        for _ in range(controls.polish):
            cells = self._polish(cells, free, given, controls, noise)
        yield self._batch(cells, free, given)

    def _free(self, controls: Controls, given: RollBatch) -> Mask:
        """The cells of a prompt that are to be written anew."""
        bars, (first, last) = given.bars, controls.span
        named = controls.bars is not None
        if not named and not controls.keep:
            raise ConfigError("A prompt needs to know what of it to write anew: bars = 5-8, keep = soprano, or both.")
        last = last or first
        if named and last > int(bars.max()) + 1:
            raise ConfigError(f"bars = {controls.bars}: the prompt has {int(bars.max()) + 1} bars; choose among them.")
        anew = ((bars >= first - 1) & (bars <= last - 1)) if named else torch.ones_like(bars, dtype=torch.bool)
        kept = torch.tensor([name in controls.keep for name in VOICES[: self.tracks]], device=bars.device)
        return anew[:, None] & ~kept[:, None]

    def _rewrite(self, cells: Classes, hidden: Mask, given: RollBatch, controls: Controls, noise: Noise) -> Classes:
        """Draw the hidden cells, each by itself, in view of the others."""
        beat = beats(given).expand(len(cells), -1)
        logits = self.logits(cells, hidden, beat, controls.keys).float() / controls.temperature
        logits[..., REST] = -torch.inf
        drawn = (logits.softmax(-1).cumsum(-1) < noise.uniform(*cells.shape[1:])[..., None]).sum(-1)
        return torch.where(hidden, drawn.clamp(max=self.classes - 1), cells)

    def _polish(self, cells: Classes, free: Mask, given: RollBatch, controls: Controls, noise: Noise) -> Classes:
        """Another pitch for half of the notes that make parallels, where that leaves fewer: drawn from the product of
        what the network says of a note's steps, in view of all others. Notes that are kept in part stay."""
        wrong = parallels(cells)
        if not (wrong & free).any():
            return cells
        note = F.pad((cells[..., 1:] != cells[..., :-1]).long().cumsum(-1), (1, 0))
        within, stays = (torch.zeros_like(note).scatter_add_(2, note, x.long()) > 0 for x in (wrong, ~free))
        coin, thrown = noise.uniform(*cells.shape[1:]), noise.uniform(*cells.shape[1:])
        chosen = (within & ~stays & (coin < 0.5)).gather(2, note)
        beat = beats(given).expand(len(cells), -1)
        logits = self.logits(cells, chosen, beat, controls.keys).float() / controls.temperature
        logits[..., REST] = -torch.inf
        logits.scatter_(3, cells[..., None], -torch.inf)
        nats = torch.zeros_like(logits).scatter_add_(2, note[..., None].expand_as(logits), logits.log_softmax(-1))
        drawn = (nats.softmax(-1).cumsum(-1) < thrown[..., None]).sum(-1).clamp(max=self.classes - 1)
        other = torch.where(chosen, drawn.gather(2, note), cells)
        better = parallels(other).sum((1, 2)) < wrong.sum((1, 2))
        return torch.where(better[:, None, None], other, cells)

    def _batch(self, cells: Classes, free: Mask, given: RollBatch) -> RollBatch:
        """Classes → a roll: equal neighbours are one note; what was not free is as it was given."""
        same = F.pad(cells[..., 1:] == cells[..., :-1], (1, 0))
        state = torch.where(same, HELD, ONSET).to(torch.uint8)
        pitch = (cells - 1 + self.config.lowest).clamp(min=0)
        written = torch.zeros(*cells.shape, 128, dtype=torch.uint8, device=cells.device)
        written.scatter_(3, pitch[..., None], (state * (cells > REST))[..., None])
        roll = torch.where(free[..., None], written, given.cells.expand_as(written))
        rows = len(cells)
        return RollBatch(roll, given.bars.expand(rows, -1), given.lengths.expand(rows))
