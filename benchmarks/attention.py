"""How much faster is Museformer's attention than full attention, in training? Both in the same run, on one thread.

    python benchmarks/attention.py                     tables of ratios, 1 k to 15 k tokens, float32 and bfloat16
    python benchmarks/attention.py --json --pictures docs/pictures

    python benchmarks/attention.py --device cuda       on a GPU: FlexAttention against the fused kernel, 5 k to 40 k

`attention` is one layer's, forward and backward, of the paper's size (8 heads of 64), against torch's fused causal
attention. `step` is a whole training step of the four-layer model with AdamW, against the same model with full
attention. Seconds are of the processor, the quicker of two rounds (of one for full attention beyond 5,120 tokens); MB
is what the process grew by. A whole step in bfloat16 takes minutes where the processor has no instructions for it: it
is left out there. On a GPU seconds are of its clock, MB is the peak of its memory, in bfloat16; `TFLOP/s` counts the
products of pairs that see each other, `k tokens/s` a whole step; the first line is what matrices reach.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from growth import arguments, exponent, in_own_process, measured, plot, show, song_bars

from ritornello.data.batch import TokenBatch
from ritornello.layers.barwise import BarPlan, aggregate
from ritornello.layers.flexible import attend, block_mask
from ritornello.models.museformer import Config, FineCoarseAttention, Museformer
from ritornello.representations import build
from ritornello.train.loop import multiplies_bfloat16

LENGTHS = (1024, 5120, 15360)
GPU_LENGTHS = (5120, 10240, 20480, 40960)
OFFSETS = Config().offsets


def main() -> None:
    chosen = arguments(__doc__, LENGTHS)
    if chosen.case:
        print(json.dumps(case(**json.loads(chosen.case))))
        return
    if chosen.device == "cuda":
        on_gpu(chosen.lengths if chosen.lengths != list(LENGTHS) else GPU_LENGTHS, chosen.json)
        return
    rows: list[dict[str, Any]] = []
    for what in ("attention", "step"):
        for dtype in ("float32", "bfloat16") if what == "attention" or multiplies_bfloat16() else ("float32",):
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
                for dtype in sorted({r["dtype"] for r in rows if r["what"] == what})
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


def on_gpu(lengths: Sequence[int], as_json: bool) -> None:
    """The same in bfloat16 on a GPU; there is one process, since its memory is counted by PyTorch."""
    square = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    most = 2 * 8192**3 / on_its_clock(lambda: square @ square)["seconds"]
    rows: list[dict[str, Any]] = []
    for what, work in (("attention", attention), ("step", step)):
        for tokens in lengths:
            found = {
                which: on_its_clock(work(tokens, torch.bfloat16, full, "cuda"))
                for which, full in (("ours", False), ("full", True))
            }
            measured = row(what, "bfloat16", tokens, found)
            for which, full in (("ours", False), ("full", True)):
                done = (
                    14 * 512 * pairs(tokens, full) / found[which]["seconds"] / 1e12
                )  # seven products of 2 · 512 a pair
                rate = tokens / found[which]["seconds"] / 1e3
                measured |= {f"{which} TFLOP/s": done if what == "attention" else "", f"{which} k tokens/s": rate}
            rows.append(measured)
    if as_json:
        print(json.dumps({"TFLOP/s of matrices": most / 1e12, "rows": rows}))
    else:
        show(f"{torch.cuda.get_device_name()}: matrices reach {most / 1e12:.0f} TFLOP/s", rows)


def on_its_clock(work: Callable[[], Any]) -> dict[str, float]:
    """Seconds of the quickest of ten rounds after three that compile, and the peak of the GPU's memory."""
    for _ in range(3):
        work()
    torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(10):
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun.record()
        work()
        ended.record()
        torch.cuda.synchronize()
        times.append(begun.elapsed_time(ended) / 1000)
    return {"seconds": min(times), "MB": torch.cuda.max_memory_allocated() / 2**20}


def pairs(tokens: int, full: bool) -> int:
    """How many pairs of a target and a source there are in one song."""
    if full:
        return tokens * (tokens + 1) // 2
    bars = song_bars(tokens)
    plan = BarPlan.make(torch.zeros_like(bars), bars, OFFSETS)
    lengths = [(bar.stop - bar.start, bar.others) for bar in plan.steps]
    return sum(length * others + length * (length + 1) // 2 for length, others in lengths)


def attention(tokens: int, dtype: torch.dtype, full: bool, device: str = "cpu") -> Any:
    """Forward and backward of one layer's attention."""
    bars = song_bars(tokens).to(device)
    rows = torch.zeros_like(bars)
    plan = BarPlan.make(rows, bars, OFFSETS)
    blocks = block_mask(plan, rows, bars, OFFSETS) if device == "cuda" else None
    counts = (tokens, tokens, tokens, len(plan.steps), len(plan.steps))
    inputs = [torch.randn(n, 8, 64, dtype=dtype, device=device, requires_grad=True) for n in counts]
    q, k, v, sk, sv = inputs
    upstream = torch.randn(tokens, 8, 64, dtype=dtype, device=device)

    def work() -> None:
        for tensor in inputs:
            tensor.grad = None
        if full:
            out = full_attention(q, k, v)
        else:
            out = attend(q, k, v, sk, sv, blocks) if blocks is not None else aggregate(q, k, v, sk, sv, plan)
        out.backward(upstream)

    return work


def step(tokens: int, dtype: torch.dtype, full: bool, device: str = "cpu") -> Any:
    """A training step of the paper's model on one song."""
    model = Museformer(Config(coarse=not full, dropout=0.0), build("museformer-paper").vocabulary).to(device)
    if full:
        for block in model.layers:
            block.attention.__class__ = FullAttention
    bars = song_bars(tokens)
    ids = torch.randint(3, model.vocabulary.size, (1, tokens))
    fields = (ids, bars[None], torch.zeros_like(ids), torch.zeros_like(ids), torch.tensor([tokens]))
    batch = TokenBatch(*(field.to(device) for field in fields))
    optimizer = torch.optim.AdamW(model.parameters())

    def work() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16):
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
