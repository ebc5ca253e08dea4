"""Linear Transformer (Katharopoulos et al. 2020): attention by a kernel, whose past is one matrix a head.

With the feature map elu(x) + 1 (Eq. 7), causal attention is a running sum of keys times values (Eqs. 9 to 12): in
training by chunks, a product inside each and a sum before it; in writing a state that does not grow (Eqs. 16 to 20).
The kernel knows no places, so the input says where a token stands: bar and position embeddings, as Museformer's.
Nothing else depends on a song's length: beyond the trained length the sums go on.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ritornello.layers.transformer import CausalAttention, segments
from ritornello.models.sequence import SequenceConfig, SequenceLM

CHUNK = 64  # tokens of a chunk: any number gives the same values
LEAST = 1e-6  # what a sum of weights is at least


class Config(SequenceConfig):
    """What a Linear Transformer is: sizes alone."""


class LinearAttention(CausalAttention):
    """Kernel attention. Sums over a song are kept in float32, whatever the rest is computed in."""

    def __init__(self, config: Config) -> None:
        super().__init__(config.width, config.heads)

    def mix(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        time = queries.shape[2]
        with torch.autocast(queries.device.type, enabled=False):
            q, k, v = features(queries), features(keys), with_one(values)
            q, k, v = (segments(x, min(CHUNK, time)) for x in (q, k, v))
            before = F.pad((k.mT @ v)[:, :, :-1], (0, 0, 0, 0, 1, 0)).cumsum(2)  # of all earlier chunks
            sums = q @ before + (q @ k.mT).tril() @ v
            return normalised(sums).flatten(2, 3)[:, :, :time].to(queries.dtype)

    def recall(self, query: Tensor, key: Tensor, value: Tensor, layer: int, memory: LinearMemory) -> Tensor:
        state = memory.state[layer]
        state += features(key)[..., None] * with_one(value)[..., None, :]
        return normalised((features(query)[:, :, None] @ state)[:, :, 0]).to(query.dtype)


def features(x: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
    """The feature map: elu(x) + 1."""
    return F.elu(x.float()) + 1


def with_one(values: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size_and_one"]:
    """Values with a 1 behind, whose weighted sum is the sum of the weights."""
    return F.pad(values.float(), (0, 1), value=1.0)


def normalised(sums: Float[Tensor, "*batch size_and_one"]) -> Float[Tensor, "*batch size"]:
    return sums[..., :-1] / sums[..., -1:].clamp(min=LEAST)


class LinearMemory:
    """The running sums of every layer: keys times values, and keys."""

    def __init__(self, rows: int, layers: int, heads: int, size: int, like: Tensor) -> None:
        self.state: Float[Tensor, "layers rows heads size size_and_one"] = torch.zeros(
            layers, rows, heads, size, size + 1, device=like.device
        )

    def fill(self, layer: int, keys: Tensor, values: Tensor, lengths: Int[Tensor, " rows"]) -> None:
        real = torch.arange(keys.shape[2], device=keys.device) < lengths[:, None]
        self.state[layer] = (features(keys) * real[:, None, :, None]).mT @ with_one(values)

    def step(self) -> None:
        """The sums are all there is."""

    def keep(self, rows: list[int]) -> None:
        self.state = self.state[:, rows]


class LinearTransformer(SequenceLM):
    """Linear Transformer: see the module's docstring."""

    config: Config

    def attention(self) -> CausalAttention:
        return LinearAttention(self.config)

    def memory(self, rows: int, layers: int, heads: int, size: int, like: Tensor) -> LinearMemory:
        return LinearMemory(rows, layers, heads, size, like)
