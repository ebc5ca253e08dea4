"""How fast are songs written on one core, sampling and grammar included? The paper's size: 4 layers, 512, 8 heads.

    python benchmarks/decode.py                        1 k and 15 k tokens of context, one song and eight at once
    python benchmarks/decode.py --json --pictures docs/pictures

Beside ours: the same model with full attention and a cache, through the same kernel; and GPT-2 of Hugging Face's
transformers (where it is installed) of the same size with its cache, drawing from its eight likeliest tokens. `floor`
is how many tokens a second memory allows: every weight, and every key and value attended to, is read once a token, at
the speed with which this machine copies. A bar begins once in the 160 tokens timed. A whole song has 97 bars and some
15,000 tokens, and is timed from its first to its last, with all that comes with a bar's end. Seconds are of the
processor.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import torch
from growth import arguments, in_own_process, measured, plot, show, song_bars

from ritornello.data.batch import TokenBatch
from ritornello.layers.barwise import BarPlan
from ritornello.layers.cache import BarCache
from ritornello.models.museformer import Config, Museformer
from ritornello.representations import build
from ritornello.representations.vocabulary import Vocabulary
from ritornello.sampling.autoregress import autoregress
from ritornello.sampling.grammar import Grammar
from ritornello.sampling.logits import Processor, seeded, top_k

LENGTHS = (1024, 15360)
WRITTEN = 160  # tokens that are timed
BAR = 158  # tokens of a bar, as in Lakh songs on average
SONG_BARS = 97


def main() -> None:
    chosen = arguments(__doc__, LENGTHS)
    if chosen.case:
        print(json.dumps(case(**json.loads(chosen.case))))
        return
    bandwidth = copying()
    last = max(n for n in chosen.lengths if n <= 15360)
    wanted: list[dict[str, Any]] = [
        {"writing": w, "tokens": n, "songs": s} for w in ("bfloat16", "int8") for n in chosen.lengths for s in (1, 8)
    ]
    wanted += [{"writing": w, "tokens": n, "songs": 1} for w in ("plain", "float32") for n in {chosen.lengths[0], last}]
    wanted += [{"writing": "bfloat16", "tokens": n, "songs": 1, "full": True} for n in chosen.lengths if n <= last]
    if find_spec("transformers"):
        wanted += [{"writing": "transformers", "tokens": n, "songs": 1} for n in (chosen.lengths[0], last)]
    rows = []
    for want in sorted(wanted, key=lambda w: (w["writing"], w["songs"], "full" in w, w["tokens"])):
        found = in_own_process(__file__, want)
        floor = bandwidth / found["bytes"] * want["songs"]
        rows.append(
            {
                **{"attention": "full" if want.get("full") or want["writing"] == "transformers" else "bar-wise"},
                **{k: want[k] for k in ("writing", "songs", "tokens")},
                **{"tokens a second": found["rate"], "ms a step": 1000 * want["songs"] / found["rate"]},
                **{"of the floor": found["rate"] / floor},
            }
        )
        if not chosen.json:
            print("   ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in rows[-1].items()))
    songs = [{"writing": w, **in_own_process(__file__, {"writing": w, "whole": True})} for w in ("bfloat16", "int8")]
    if chosen.json:
        print(json.dumps({"copy GB/s": bandwidth / 1e9, "rows": rows, "whole songs": songs}))
    else:
        show(f"Writing on one core; memory copies at {bandwidth / 1e9:.0f} GB/s", rows)
        show("A whole song, from its first token to its last", songs)
    if chosen.pictures:
        lines: dict[str, dict[int, float]] = {}
        for r in rows:
            if r["songs"] == 1 and r["writing"] in ("bfloat16", "transformers"):
                lines.setdefault(f"{r['attention']} {r['writing']}", {})[r["tokens"]] = r["ms a step"]
        plot(chosen.pictures / "decode.png", "writing one song", lines, "ms a token")


def copying() -> float:
    """Bytes a second that one thread reads and writes."""
    torch.set_num_threads(1)
    source = torch.ones(64 * 2**20)
    target = torch.empty_like(source)
    return 2 * 4 * len(source) / measured(lambda: target.copy_(source), 4)["seconds"]


def case(writing: str, tokens: int = 0, songs: int = 1, full: bool = False, whole: bool = False) -> dict[str, float]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if whole:
        return whole_song(writing)
    return peer(tokens) if writing == "transformers" else ours(writing, tokens, songs, full)


def ours(writing: Any, tokens: int, songs: int, full: bool) -> dict[str, float]:
    """The token loop itself, going on from made-up songs of so many tokens; what it reads a step, in bytes."""
    wide = {"offsets": tuple(range(1, 1000)), "coarse": False} if full else {}
    representation = build("museformer-paper")
    model = Museformer(Config(**wide), representation.vocabulary).eval()
    model.writing = writing
    timed = Timed(model)
    bars = song_bars(tokens).expand(songs, -1)
    ids = torch.randint(*_notes(representation.vocabulary), (songs, tokens))
    ids[bars.diff(dim=1, prepend=bars[:, :1]) > 0] = representation.vocabulary.id("Bar")
    ids[:, 0], ids[:, 1] = 1, representation.vocabulary.id("Bar")
    zeros = torch.zeros_like(ids)
    prompt = TokenBatch(ids, bars, zeros, zeros, torch.full((songs,), tokens))
    grammar = Grammar(representation.vocabulary, songs, max_tokens=tokens + 2 * WRITTEN)
    processors = [until(WRITTEN), paced(representation.vocabulary, songs, WRITTEN // 2), top_k(8)]
    with suppress(Enough):
        for _ in autoregress(timed, prompt, grammar, processors, seeded(range(songs))):
            pass
    written = float(grammar.length.sum() - songs * tokens)
    size = {"plain": 4, "float32": 4, "bfloat16": 2, "int8": 1}[writing]
    kept = timed.sources * 2 * 4 * 512 * size
    blocks = sum(p.numel() for block in model.layers for p in block.parameters())
    return {"rate": written / timed.seconds(), "bytes": (blocks + model.head.weight.numel()) * size + kept}


def whole_song(writing: Any) -> dict[str, float]:
    """A song from nothing to its end."""
    representation = build("museformer-paper")
    model = Museformer(Config(), representation.vocabulary).eval()
    model.writing = writing
    one, zero = torch.ones(1, 1, dtype=torch.long), torch.zeros(1, 1, dtype=torch.long)
    prompt = TokenBatch(one, zero, zero, zero, one[0])  # BOS
    grammar = Grammar(representation.vocabulary, 1, bars=SONG_BARS, max_tokens=20_480)
    processors = [paced(representation.vocabulary, 1, BAR), top_k(8)]
    begun = time.process_time()
    *_, song = autoregress(model, prompt, grammar, processors, seeded([0]))
    return {"tokens": float(song.lengths[0]), "bars": float(song.complete), "seconds": time.process_time() - begun}


class Enough(Exception):
    """All tokens that are timed are written."""


def paced(vocabulary: Vocabulary, songs: int, first: int) -> Processor:
    """Have a bar begin after `first` tokens and then every BAR, and otherwise time pass slowly: weights that were never
    trained would begin one every few tokens, or end."""
    bar, end, positions = vocabulary.id("Bar"), vocabulary.id("EOS"), vocabulary.range("Position")
    near = torch.zeros(vocabulary.size)
    near[positions.start : positions.stop] = -20.0 * torch.arange(len(positions))
    near[[bar, end]] = -1e4
    left = torch.full((songs,), first)

    def lean(logits: torch.Tensor) -> torch.Tensor:
        left.sub_(1)
        due = (left <= 0) & (logits[:, bar] > -torch.inf)
        logits = logits + near
        logits[due, bar] = 1e4
        left[due] = BAR
        return logits

    return lean


def until(steps: int) -> Processor:
    """Stop the loop after so many."""
    left = steps

    def count(logits: torch.Tensor) -> torch.Tensor:
        nonlocal left
        if not left:
            raise Enough
        left -= 1
        return logits

    return count


def _notes(vocabulary: Vocabulary) -> tuple[int, int]:
    pitches = vocabulary.range("Pitch")
    return pitches.start, pitches.stop


class Timed:
    """A model that does not read its prompt but makes up what it would remember of it, then notes the time and how many
    sources its songs attend to. What a step costs does not depend on the numbers."""

    def __init__(self, model: Museformer) -> None:
        self.model, self.cache, self.advance = model, model.cache, model.advance

    def prefill(self, batch: TokenBatch, cache: Any) -> torch.Tensor:
        config, vocabulary = self.model.config, self.model.vocabulary
        bars = batch.bars[0]
        plan = BarPlan.make(torch.zeros_like(bars), bars, config.offsets, config.coarse)
        sizes = (config.layers, 2, config.heads, len(bars), config.width // config.heads)
        tokens = torch.randn(sizes)
        summaries = tokens[:, :, :, : len(plan.steps)] if config.coarse else None
        for song in cache.songs:
            BarCache([song], {}, [], None).read(plan, tokens, summaries)
        logits = torch.randn(len(cache.songs), vocabulary.size)
        self.sources = sum(song.filled for song in cache.songs)
        self.begun = time.process_time()
        return logits

    def seconds(self) -> float:
        return time.process_time() - self.begun


def peer(tokens: int) -> dict[str, float]:
    """GPT-2 of the same size."""
    from transformers import GPT2Config, GPT2LMHeadModel  # pyright: ignore[reportMissingImports]

    sizes: dict[str, Any] = {
        "n_layer": 4,
        "n_embd": 512,
        "n_head": 8,
        "vocab_size": build("museformer-paper").vocabulary.size,
    }
    model = GPT2LMHeadModel(GPT2Config(**sizes, n_positions=tokens + WRITTEN, bos_token_id=1, eos_token_id=2)).eval()
    with torch.inference_mode():
        out = model(torch.randint(3, 800, (1, tokens)), use_cache=True, logits_to_keep=1)
        begun = time.process_time()
        for _ in range(WRITTEN // 4):
            likeliest = out.logits[:, -1].topk(8)
            token = likeliest.indices.gather(1, likeliest.values.softmax(-1).multinomial(1))
            out = model(token, past_key_values=out.past_key_values, use_cache=True)
    rate = WRITTEN // 4 / (time.process_time() - begun)
    return {
        "rate": rate,
        "bytes": 4 * (sum(p.numel() for p in model.transformer.h.parameters()) + 2 * 4 * 512 * tokens),
    }


if __name__ == "__main__":
    main()
