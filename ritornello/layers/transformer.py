"""What plain Transformers share: the pre-norm block, and the frame of an attention that looks back along a sequence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

PIECE = 256  # queries that meet their keys at a time


class Memory(Protocol):
    """What an attention needs of earlier tokens while a song is being written, for all layers."""

    def fill(
        self,
        layer: int,
        keys: Float[Tensor, "rows heads time size"],
        values: Float[Tensor, "rows heads time size"],
        lengths: Int[Tensor, " rows"],
    ) -> None:
        """Take in prompts, padded on the right; the memory was empty."""
        ...

    def step(self) -> None:
        """Every layer has taken in its token: the next one follows."""
        ...

    def keep(self, rows: list[int]) -> None:
        """Go on with these rows only, in this order."""
        ...


class Heads(nn.Module):
    """Projections of an attention: to queries, keys and values of each head, and from the heads back."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in "qkvo")

    def joined(self) -> Float[Tensor, "three_widths width"]:
        """The weights of queries, keys and values as one matrix: one product is faster than three."""
        return torch.cat([self.query.weight, self.key.weight, self.value.weight])

    def project(self, x: Float[Tensor, "*batch width"], joined: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, [..., heads, size] each; `joined` where it is at hand already."""
        joined = self.joined() if joined is None else joined
        q, k, v = F.linear(x, joined).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        return q, k, v


class CausalAttention(Heads):
    """An attention along a sequence; a family says how queries meet keys, for whole songs and for one more token.

    Padding lies on the right, where no real token looks: it needs no mask.
    """

    def mix(
        self,
        queries: Float[Tensor, "rows heads time size"],
        keys: Float[Tensor, "rows heads time size"],
        values: Float[Tensor, "rows heads time size"],
    ) -> Float[Tensor, "rows heads time size"]:
        """Attention of all tokens at once."""
        raise NotImplementedError

    def recall(
        self,
        query: Float[Tensor, "rows heads size"],
        key: Float[Tensor, "rows heads size"],
        value: Float[Tensor, "rows heads size"],
        layer: int,
        memory: Any,
    ) -> Float[Tensor, "rows heads size"]:
        """Attention of one new token a row, which the family's own memory takes in."""
        raise NotImplementedError

    def forward(self, x: Float[Tensor, "rows time width"]) -> Float[Tensor, "rows time width"]:
        return self.join(self.mix(*map(self.split, self.project(x))))

    def read(
        self, x: Float[Tensor, "rows time width"], lengths: Int[Tensor, " rows"], layer: int, memory: Memory
    ) -> Float[Tensor, "rows time width"]:
        """`forward`, and the memory takes in what was read."""
        q, k, v = map(self.split, self.project(x))
        memory.fill(layer, k, v, lengths)
        return self.join(self.mix(q, k, v))

    def write(self, x: Float[Tensor, "rows width"], layer: int, memory: Memory) -> Float[Tensor, "rows width"]:
        """`forward` of one more token a row."""
        return self.out(self.recall(*self.project(x), layer, memory).flatten(1))

    @staticmethod
    def split(x: Float[Tensor, "rows time heads size"]) -> Float[Tensor, "rows heads time size"]:
        return x.transpose(1, 2)

    def join(self, x: Float[Tensor, "rows heads time size"]) -> Float[Tensor, "rows time width"]:
        return self.out(x.transpose(1, 2).flatten(2))


class PreNormBlock(nn.Module):
    """Attention, then a feed-forward network, each on a normalised residual; subclasses call the attention."""

    def __init__(self, attention: Heads, width: int, feedforward: int, dropout: float, layers: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = attention
        self.feedforward_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, feedforward)
        self.contract = nn.Linear(feedforward, width)
        self.dropout = nn.Dropout(dropout)
        for last in (attention.out, self.contract):  # the residual keeps its scale however deep the model
            nn.init.normal_(last.weight, std=0.5 * last.in_features**-0.5 / layers**0.5)

    def feedforward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return self.dropout(self.contract(F.gelu(self.expand(self.feedforward_norm(x)))))


def deepened(weights: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a model, for the same model with more blocks: `like` has its names. It computes what the other did,
    where blocks do nothing but add to a residual.

    The old blocks are spread among the new, each of which is a copy of the one below it that adds nothing yet: its last
    projections are zero (Wu et al. 2024, LLaMA Pro, section 3.2). Where there are no more blocks, nothing changes.
    """
    old, new = _blocks(weights), _blocks(like)
    if not 0 < old < new:
        return dict(weights)
    grown = {name: tensor for name, tensor in weights.items() if not name.startswith("blocks.")}
    homes = [i * new // old for i in range(old)]
    for block in range(new):
        source = sum(home <= block for home in homes) - 1
        for name, tensor in weights.items():
            if name.startswith(f"blocks.{source}."):
                rest = name.split(".", 2)[2]
                silent = block not in homes and rest.startswith(("attention.out.", "out.", "contract."))
                grown[f"blocks.{block}.{rest}"] = torch.zeros_like(tensor) if silent else tensor
    return grown


def _blocks(names: Iterable[str]) -> int:
    return len({name.split(".")[1] for name in names if name.startswith("blocks.")})


class Block(PreNormBlock):
    """A block around a `CausalAttention`."""

    attention: CausalAttention

    def forward(self, x: Float[Tensor, "rows time width"]) -> Float[Tensor, "rows time width"]:
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        return x + self.feedforward(x)

    def read(
        self, x: Float[Tensor, "rows time width"], lengths: Int[Tensor, " rows"], layer: int, memory: Memory
    ) -> Float[Tensor, "rows time width"]:
        """`forward` of prompts, which the memory takes in."""
        x = x + self.attention.read(self.attention_norm(x), lengths, layer, memory)
        return x + self.feedforward(x)

    def write(self, x: Float[Tensor, "rows width"], layer: int, memory: Memory) -> Float[Tensor, "rows width"]:
        """`forward` of one more token a row."""
        x = x + self.attention.write(self.attention_norm(x), layer, memory)
        return x + self.feedforward(x)


def segments(x: Float[Tensor, "rows heads time size"], length: int) -> Float[Tensor, "rows heads segments length size"]:
    """Cut the time axis into segments; the last one is padded with zeros."""
    return F.pad(x, (0, 0, 0, -x.shape[2] % length)).unflatten(2, (-1, length))


def with_previous(
    x: Float[Tensor, "rows heads segments length size"], previous: Float[Tensor, "rows heads segments length size"]
) -> Float[Tensor, "rows heads segments twice size"]:
    """Every segment behind the one before it, out of `previous`; zeros before the first."""
    return torch.cat([F.pad(previous[:, :, :-1], (0, 0, 0, 0, 1, 0)), x], dim=3)


def pieces(length: int) -> list[slice]:
    """Queries in pieces, each with the keys it can see: less is computed for nothing, and memory stays small."""
    return [slice(start, min(start + PIECE, length)) for start in range(0, length, PIECE)]


def relative_scores(
    content: Float[Tensor, "*batch targets size"],
    position: Float[Tensor, "*batch targets size"],
    keys: Float[Tensor, "*batch sources size"],
    distances: Float[Tensor, "*batch sources size"],
) -> Float[Tensor, "*batch targets sources"]:
    """Scores of keys and of their distances, -inf for the future; the last target stands on the last source.

    content, position:  queries for the keys and for the distances, scaled.
    distances:          the keys of distances 0, 1, ...
    """
    targets = content.shape[-2]
    scores = (content @ keys.mT).add_(skew(position @ distances.flip(-2).mT))
    future = torch.ones(targets, targets, dtype=torch.bool, device=scores.device).triu(1)
    scores[..., -targets:].masked_fill_(future, float("-inf"))
    return scores


def skew(scores: Float[Tensor, "*batch targets distances"]) -> Float[Tensor, "*batch targets sources"]:
    """Scores by distance, largest first and 0 last, to scores by source (Huang et al. 2018, section 3.4.1).

    The last target stands on the last source, so row i moves left by targets - 1 - i. What then lies right of a
    target's own place is no score of its: mask it.
    """
    targets, distances = scores.shape[-2:]
    turned = F.pad(scores, (1, 0)).unflatten(-1, (distances + 1,)).flatten(-2)[..., targets:]
    return turned.unflatten(-1, (targets, distances))
