"""The compiled decoding step: `step.cpp`, built when it is first needed, and its weights in fewer bits.

Building takes some seconds and any C++ compiler; the library is kept in the user's cache folder. Without a compiler a
notice is given once, and models write with PyTorch alone: the same songs up to rounding, several times slower.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ritornello.layers.transformer import PreNormBlock

Precision = Literal["float32", "bfloat16", "int8"]
"""Of weights, keys and values while writing."""

_KINDS = get_args(Precision)  # as the kernel counts them
_SOURCE = Path(__file__).with_name("step.cpp")
_FLAGS = ("-O3", "-std=gnu++17", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC")
_HEAD_SIZES = (16, 32, 64, 128)
_LANES = 16
_PANEL = 64  # outputs that are computed together


class _Linear(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weight", "scale", "bias")),
        *((name, ctypes.c_int64) for name in ("out", "in_", "kind")),
    )


class _Norm(ctypes.Structure):
    _fields_ = (("weight", ctypes.c_void_p), ("bias", ctypes.c_void_p))


class _Block(ctypes.Structure):
    _fields_ = (
        *(("attention_norm", _Norm), ("joined", _Linear), ("out", _Linear)),
        *(("feedforward_norm", _Norm), ("expand", _Linear), ("contract", _Linear)),
    )


class _Window(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("sources", "scales")),
        *((name, ctypes.c_int64) for name in ("capacity", "filled")),
    )


class Sources(Protocol):
    """One song's keys and values: `filled` in `sources` [layers, 2, heads, capacity, size], and room for one more.

    `scales` [layers, 2, heads, capacity, 1] are those of int8.
    """

    sources: Tensor
    scales: Tensor
    filled: int


class Step:
    """All blocks, the last norm and the head, for one token of each of a few songs.

    blocks, norm, head:  of the model.
    heads:               of the attention.
    precision:           of the weights.

    Raises ValueError where a size is not one that the kernel knows, or no library can be built: see `available`.
    """

    def __init__(
        self, blocks: Sequence[PreNormBlock], norm: nn.LayerNorm, head: nn.Linear, heads: int, precision: Precision
    ) -> None:
        library = _library()
        width, feedforward = head.in_features, blocks[0].expand.out_features
        if library is None or not supports(width, heads, feedforward):
            raise ValueError(f"no compiled step for width {width}, {heads} heads, feedforward {feedforward}")
        self.width, self.heads, self.layers = width, heads, len(blocks)
        self.per_row = 3 * width + 2 * max(feedforward, width)
        self.cache_dtype: torch.dtype = getattr(torch, precision)
        self.kind = _KINDS.index(precision)
        self.held: list[Tensor] = []  # what the structs point to
        self.scratch = torch.empty(0)
        self.run = library.step
        self.blocks = (_Block * len(blocks))()
        for place, block in zip(self.blocks, blocks, strict=True):
            place.attention_norm = self._norm(block.attention_norm)
            place.joined = self._linear(block.attention.joined(), None, precision)
            place.out = self._linear(block.attention.out.weight, None, precision)
            place.feedforward_norm = self._norm(block.feedforward_norm)
            place.expand = self._linear(block.expand.weight, block.expand.bias, precision)
            place.contract = self._linear(block.contract.weight, block.contract.bias, precision)
        self.norm = self._norm(norm)
        self.head = self._linear(head.weight, head.bias, precision)

    def __call__(
        self,
        x: Float[Tensor, "rows width"],
        songs: Sequence[Sources],
        angles: tuple[Float[Tensor, "rows half"], Float[Tensor, "rows half"]] | None = None,
        added: Float[Tensor, "rows width"] | None = None,
    ) -> Float[Tensor, "rows vocabulary"]:
        """Logits after one token in each song; its keys and values are kept behind the last of the song's sources.

        x:       the token's embedding; changed in place.
        songs:   a song for each row; `filled` is left for the caller to raise.
        angles:  cosine and sine of rotary positions.
        added:   what is added to every block's input (in-attention conditioning).
        """
        rows = len(x)
        windows = (_Window * rows)(
            *((song.sources.data_ptr(), song.scales.data_ptr(), song.sources.shape[3], song.filled) for song in songs)
        )
        room = rows * self.per_row + max(song.filled for song in songs) + 2 * _LANES
        if len(self.scratch) < room:
            self.scratch = torch.empty(2 * room)
        logits = torch.empty(rows, self.head.out)
        # Held by name until the kernel is done; x is changed in place
        inputs = [None if t is None else t.float().contiguous() for t in (x, added, *(angles or (None, None)))]
        x_, added_, cosine, sine = (None if t is None else t.data_ptr() for t in inputs)
        self.run(
            *(self.blocks, self.layers, ctypes.byref(self.norm), ctypes.byref(self.head), x_, added_),
            *(rows, self.width, self.heads, windows, self.kind, cosine, sine),
            *(logits.data_ptr(), self.scratch.data_ptr()),
        )
        return logits

    def _hold(self, tensor: Tensor) -> int:
        self.held.append(tensor.detach().contiguous().clone())
        return self.held[-1].data_ptr()

    def _norm(self, norm: nn.LayerNorm) -> _Norm:
        return _Norm(self._hold(norm.weight.float()), self._hold(norm.bias.float()))

    def _linear(self, weight: Tensor, bias: Tensor | None, precision: Precision) -> _Linear:
        out, width = weight.shape
        kept, scale = shortened(F.pad(weight.detach().float(), (0, 0, 0, -out % _PANEL)), self.cache_dtype)
        bias = None if bias is None else F.pad(bias.float(), (0, -out % _PANEL))
        return _Linear(
            self._hold(_panels(kept)),
            self._hold(scale),
            None if bias is None else self._hold(bias),
            out,
            width,
            self.kind,
        )


def shortened(x: Float[Tensor, "*n size"], dtype: torch.dtype) -> tuple[Tensor, Float[Tensor, "*n 1"]]:
    """Numbers in fewer bits, and the scale of each row: with int8 its largest number is 127, else all scales are 1."""
    if dtype != torch.int8:
        return x.to(dtype), x.new_ones((*x.shape[:-1], 1), dtype=torch.float32)
    scale = x.abs().amax(-1, keepdim=True).float().clamp(min=1e-12) / 127
    return (x / scale).round().to(torch.int8), scale


def _panels(weight: Float[Tensor, "out width"]) -> Float[Tensor, "panels groups outputs numbers"]:
    """Weights in the order in which the kernel reads them: 64 outputs side by side, four bytes of each in turn."""
    if weight.dtype == torch.int8:
        weight = (weight.to(torch.int16) + 128).to(torch.uint8)  # unsigned, as the processor wants one factor
    numbers = 4 // weight.element_size()
    return weight.view(-1, _PANEL, weight.shape[1] // numbers, numbers).transpose(1, 2)


def supports(width: int, heads: int, feedforward: int) -> bool:
    """Whether the kernel knows these sizes."""
    return width % _LANES == 0 and feedforward % _LANES == 0 and width // heads in _HEAD_SIZES


def available() -> bool:
    """Whether this machine has the compiled step; builds it, and gives a notice if that fails."""
    return _library() is not None


@cache
def _library() -> Any:
    """The library, or None where it cannot be had."""
    path = _folder() / f"step-{_fingerprint()}.so"
    try:
        if not path.exists():
            _build(path)
        library = ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as error:
        reason = str(getattr(error, "stderr", "") or error).strip().splitlines()
        warnings.warn(
            "songs are written with PyTorch alone, which is several times slower: the fast step cannot be compiled "
            f"({reason[0] if reason else error}); a C++ compiler such as g++ or clang++ is needed.",
            UserWarning,
            stacklevel=2,
        )
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    library.step.argtypes = [
        *(pointer, number, pointer, pointer, pointer, pointer, number, number, number),
        *(pointer, number, pointer, pointer, pointer, pointer),
    ]
    library.step.restype = None
    return library


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ritornello"


def _fingerprint() -> str:
    """Of the source, the flags and the processor: a cache folder may be shared by unlike machines."""
    try:
        processor = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        processor = platform.processor()
    sources = [_SOURCE.read_text(), _SOURCE.with_name("lanes.h").read_text()]
    said = [*sources, *_FLAGS, platform.platform(), platform.machine(), processor]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]


def _build(path: Path) -> None:
    """Compile beside, then rename: two processes may build at once, and one may be killed."""
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++", "c++")), None)
    if compiler is None:
        raise OSError("there is no compiler")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder, path.name)
        command = [*compiler.split(), *_FLAGS, "-march=native", str(_SOURCE), "-o", str(made)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        os.replace(made, path)
