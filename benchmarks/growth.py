"""What the benchmarks of attention and decoding share: made-up songs, a process a case, lines through points."""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table


def song_bars(tokens: int, seed: int = 0) -> torch.Tensor:
    """The bar of every token of a made-up song: bars as long as those of Lakh songs (mean 158, deviation 55)."""
    rng = np.random.default_rng(seed)
    lengths: list[int] = []
    while sum(lengths) < tokens:
        lengths.append(max(8, int(rng.gamma(158**2 / 55**2, 55**2 / 158))))
    return torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)[:tokens])


def measured(work: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Processor seconds of the quickest round, and by how many MB the process grew over all of them."""
    before, times = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return {"seconds": min(times), "MB": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}


def in_own_process(script: str, case: dict[str, Any], minutes: float = 5) -> dict[str, float]:
    """Run one case of a benchmark alone, on one thread: memory is then its own, and nothing is warm but by its work."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, script, "--case", json.dumps(case)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60 * minutes)
    if done.returncode:
        raise SystemExit(f"{case}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def exponent(lengths: Sequence[int], values: Sequence[float]) -> float:
    """The power of n by which values grow, from the line through their logarithms."""
    return float(np.polyfit(np.log(lengths), np.log(values), 1)[0])


def show(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=150).print(table)


def plot(path: Path, title: str, lines: dict[str, dict[int, float]], unit: str) -> None:
    """Values against length, both logarithmic (the paper's Figure 4)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, points in lines.items():
        label = f"{name}, n^{exponent(list(points), list(points.values())):.2f}" if len(points) > 1 else name
        axes.loglog(list(points), list(points.values()), marker="o", label=label)
    axes.set(title=title, xlabel="tokens", ylabel=unit)
    axes.legend(frameon=False)
    axes.grid(alpha=0.3, which="both")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def arguments(description: str | None, lengths: Sequence[int]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=list(lengths))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--pictures", type=Path, help="a folder for the plots")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser.parse_args()
