"""What a model's training and writing cost, token by token, as songs get longer (Museformer paper, Figure 4)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ritornello.data.batch import TokenBatch, collate
from ritornello.data.dataset import cut
from ritornello.models.base import DecoderLM
from ritornello.representations.base import Tokens
from ritornello.sampling.autoregress import Token

WRITTEN = 64  # tokens that are written after a prompt of each length


def costs(
    model: DecoderLM, song: Tokens, lengths: Sequence[int], device: str = "cpu", precision: str = "float32"
) -> dict[str, dict[str, float]]:
    """Cost at each length: {"1024": {train_seconds, train_bytes, write_seconds}, ...}, each by token.

    train_seconds:  of a loss and its gradients on one song: CPU seconds, or seconds of the GPU's time.
    train_bytes:    tensors alive at once while doing so, at most, without the weights.
    write_seconds:  of one more token, when `length` tokens are written.

    `song` is taken from its beginning, and begins anew where it is too short.
    """
    model.to(device)
    found = {}
    for length in lengths:
        batch = collate([_as_long(song, length)]).to(device)

        def learn(batch: TokenBatch = batch) -> None:
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bfloat16"):
                loss = model.loss(batch)["loss"]
            loss.backward()
            model.zero_grad(set_to_none=True)

        model.train()
        learn()  # kernels and caches are made ready
        seconds = min(_seconds(learn, device) for _ in range(3))  # the least disturbed
        found[str(length)] = {
            "train_seconds": seconds / length,
            "train_bytes": _peak_bytes(learn, device) / length,
            "write_seconds": _write_seconds(model, batch, device),
        }
    return found


def _as_long(song: Tokens, length: int) -> Tokens:
    """Exactly `length` tokens: the song, again and again, its bars counted on."""
    bars = int(song.bars[-1]) + 1
    times = -(-length // len(song))
    longer = replace(
        song,
        ids=np.tile(song.ids, times),
        bars=np.concatenate([song.bars + i * bars for i in range(times)]),
        positions=np.tile(song.positions, times),
        attributes=np.zeros((bars * times, 0), np.int16),
        meta={},
    )
    return cut(longer, 0, length)


@torch.no_grad()
def _write_seconds(model: DecoderLM, batch: TokenBatch, device: str) -> float:
    """The song's last tokens, which are known, are written one by one after the others."""
    model.eval()
    fields = (batch.ids, batch.bars, batch.positions, torch.zeros_like(batch.ids))
    ids, bars, positions, countdown = (f[:, :-WRITTEN] for f in fields)
    prompt = TokenBatch(ids, bars, positions, countdown, batch.lengths - WRITTEN)
    cache = model.cache(1)
    model.prefill(prompt, cache)
    tokens = [Token(*(f[:, i] for f in fields)) for i in range(-WRITTEN, 0)]

    def write() -> None:
        for token in tokens:
            model.advance(token, cache)

    return _seconds(write, device) / WRITTEN


def _seconds(work: Callable[[], None], device: str) -> float:
    """CPU seconds of all threads: other programs on the machine do not count. On a GPU, seconds until it is done."""
    if torch.device(device).type != "cuda":
        began = time.process_time()
        work()
        return time.process_time() - began
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _peak_bytes(work: Callable[[], None], device: str) -> int:
    """Bytes of tensors alive at once at most, beyond those there are already."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler talks otherwise
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    # Every allocation and release in turn: what torch.cuda.max_memory_allocated counts, for the CPU.
    recorded: Any = profiler.profiler
    changes = [event.nbytes() for event in recorded.kineto_results.events() if event.name() == "[memory]"]
    return int(np.cumsum([0, *changes]).max())
