"""How much faster is Museformer's attention than full attention, in training? Both in the same run, on one thread.

    python benchmarks/attention.py                     tables of ratios, 1 k to 15 k tokens, float32 and bfloat16
    python benchmarks/attention.py --json --pictures docs/pictures

`attention` is one layer's, forward and backward, of the paper's size (8 heads of 64), against torch's fused causal
attention. `step` is a whole training step of the four-layer model with AdamW, against the same model with full
attention. Seconds are of the processor, the quicker of two rounds (of one for full attention beyond 5,120 tokens); MB
is what the process grew by.
"""

from __future__ import annotations

import json
from typing import Any

import torch
import torch.nn.functional as F
from growth import arguments, exponent, in_own_process, measured, plot, show, song_bars

from ritornello.data.batch import TokenBatch
from ritornello.layers.barwise import BarPlan, aggregate
from ritornello.models.museformer import Config, FineCoarseAttention, Museformer
from ritornello.representations import build

LENGTHS = (1024, 5120, 15360)
OFFSETS = Config().offsets


def main() -> None:
    chosen = arguments(__doc__, LENGTHS)
    if chosen.case:
        print(json.dumps(case(**json.loads(chosen.case))))
        return
    rows: list[dict[str, Any]] = []
    for what in ("attention", "step"):
        for dtype in ("float32", "bfloat16"):
            for tokens in chosen.lengths:
                found = {
                    which: in_own_process(__file__, {"what": what, "dtype": dtype, "tokens": tokens, "full": full})
                    for which, full in (("ours", False), ("full", True))
                }
                rows.append(row(what, dtype, tokens, found))
                if not chosen.json:
                    print("   ".join(f"{k} {v:.3g}" if isinstance(v, float) else str(v) for k, v in rows[-1].items()))
    if chosen.json:
        print(json.dumps(rows))
    else:
        show("Fine- and coarse-grained against full causal attention", rows)
    for what in ("attention", "step") if len(chosen.lengths) > 1 else ():
        for unit in ("s", "MB"):
            lines = {
                f"{which} {dtype}": {r["tokens"]: max(r[f"{which} {unit}"], 1e-3) for r in rows if of(r, what, dtype)}
                for which in ("ours", "full")
                for dtype in ("float32", "bfloat16")
            }
            if chosen.pictures:
                plot(chosen.pictures / f"{what}-{unit}.png".lower(), f"{what}, forward and backward", lines, unit)
            elif not chosen.json:
                grown = "  ".join(f"{n}: n^{exponent(list(p), list(p.values())):.2f}" for n, p in lines.items())
                print(f"{what}, {unit}: {grown}")


def of(row: dict[str, Any], what: str, dtype: str) -> bool:
    return (row["what"], row["dtype"]) == (what, dtype)


def row(what: str, dtype: str, tokens: int, found: dict[str, dict[str, float]]) -> dict[str, Any]:
    ours, full = found["ours"], found["full"]
    return {
        **{"what": what, "dtype": dtype, "tokens": tokens, "ours s": ours["seconds"], "full s": full["seconds"]},
        **{"times as fast": full["seconds"] / ours["seconds"], "ours MB": ours["MB"], "full MB": full["MB"]},
    }


def case(what: str, dtype: str, tokens: int, full: bool) -> dict[str, float]:
    """One measurement: processor seconds and MB."""
    torch.manual_seed(0)
    work = (attention if what == "attention" else step)(tokens, getattr(torch, dtype), full)
    return measured(work, 1 if full and tokens > 5120 else 2)  # the first round also builds the kernels of every shape


def attention(tokens: int, dtype: torch.dtype, full: bool) -> Any:
    """Forward and backward of one layer's attention."""
    bars = song_bars(tokens)
    plan = BarPlan.make(torch.zeros_like(bars), bars, OFFSETS)
    counts = (tokens, tokens, tokens, len(plan.steps), len(plan.steps))
    inputs = [torch.randn(n, 8, 64, dtype=dtype, requires_grad=True) for n in counts]
    q, k, v, sk, sv = inputs
    upstream = torch.randn(tokens, 8, 64, dtype=dtype)

    def work() -> None:
        for tensor in inputs:
            tensor.grad = None
        out = full_attention(q, k, v) if full else aggregate(q, k, v, sk, sv, plan)
        out.backward(upstream)

    return work


def step(tokens: int, dtype: torch.dtype, full: bool) -> Any:
    """A training step of the paper's model on one song."""
    model = Museformer(Config(coarse=not full, dropout=0.0), build("museformer-paper").vocabulary)
    if full:
        for block in model.layers:
            block.attention.__class__ = FullAttention
    bars = song_bars(tokens)
    ids = torch.randint(3, model.vocabulary.size, (1, tokens))
    batch = TokenBatch(ids, bars[None], torch.zeros_like(ids), torch.zeros_like(ids), torch.tensor([tokens]))
    optimizer = torch.optim.AdamW(model.parameters())

    def work() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = model.loss(batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return work


class FullAttention(FineCoarseAttention):
    """The same projections, and every token sees every earlier one."""

    def _aggregate(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *_: Any) -> torch.Tensor:
        return full_attention(q, k, v)


def full_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)[0].transpose(0, 1)


if __name__ == "__main__":
    main()
