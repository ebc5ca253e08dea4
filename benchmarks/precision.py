"""What do int8 and bfloat16 cost while writing? Held-out nats a token of the shipped Museformer, through each step.

    python benchmarks/precision.py tokens/lmd_multitrack [--songs 16] [--tokens 2048]

The first tokens of test songs are fed one by one, as if they were being written, to PyTorch and to the compiled step.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from ritornello import load
from ritornello.data.batch import collate
from ritornello.data.dataset import TokenDataset, cut
from ritornello.evaluate.bootstrap import interval
from ritornello.layers.step import Precision
from ritornello.models.base import DecoderLM
from ritornello.sampling.autoregress import Token


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--run", default="museformer")
    parser.add_argument("--songs", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=2048)
    flags = parser.parse_args()
    model = load(flags.run).run.decoder
    dataset = TokenDataset([flags.folder], "test")
    long = [song for i in range(len(dataset)) if len((song := dataset[i]).ids) >= flags.tokens]
    songs = [cut(long[i], 0, flags.tokens) for i in np.linspace(0, len(long) - 1, flags.songs).astype(int)]
    plain = nats(model, songs, "plain")
    print(f"plain     {plain.mean():.4f} nats a token, {len(songs)} songs of {flags.tokens} tokens")
    for precision in get_args(Precision):
        more = nats(model, songs, precision) - plain
        low, high = interval([more, np.ones(len(more))], np.divide, 0)
        print(f"{precision:9} {more.mean():+.5f} [{low:+.5f}, {high:+.5f}]", flush=True)


@torch.inference_mode()
def nats(model: DecoderLM, songs: list, writing: str) -> np.ndarray:
    """The mean of every song's tokens after its first, float64[songs]."""
    model.writing = writing  # pyright: ignore[reportAttributeAccessIssue]
    batch, zeros = collate(songs), torch.zeros(len(songs), dtype=torch.long)
    first = collate([cut(song, 0, 1) for song in songs])
    cache, total = model.cache(len(songs)), np.zeros(len(songs))
    logits = model.prefill(first, cache)
    for t in range(1, batch.ids.shape[1]):
        ids = batch.ids[:, t]
        total -= logits.double().log_softmax(-1).gather(1, ids[:, None])[:, 0].numpy()
        logits = model.advance(Token(ids, batch.bars[:, t], batch.positions[:, t], zeros), cache)
    return total / (batch.ids.shape[1] - 1)


if __name__ == "__main__":
    main()
