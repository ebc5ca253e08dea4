"""What a training leaves to read: a line of JSON a record, and a line on the console."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console


class Log:
    """Appends records to `metrics.jsonl`, and prints the mean of the steps since the last line."""

    def __init__(self, path: Path, steps: int, start: int = 0) -> None:
        self.path, self.steps = path, steps
        self.console = Console(highlight=False)
        self.since: list[dict[str, float]] = []
        self._forget_after(start)

    def _forget_after(self, step: int) -> None:
        """A run that goes on from a checkpoint drops the records of steps that it will take again."""
        if not self.path.exists():
            return
        records = [line for line in self.path.read_text().splitlines() if line.endswith("}")]
        kept = [line for line in records if json.loads(line)["step"] <= step]
        self.path.write_text("".join(line + "\n" for line in kept))

    def write(self, record: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"time": round(time.time(), 1), **record}) + "\n")

    def step(self, measured: dict[str, float], every: int) -> None:
        """Collect one step; write and print their mean once in `every` steps."""
        self.since.append(measured)
        step = int(measured["step"])
        if step % every and step != self.steps:
            return
        seconds = sum(m["seconds"] for m in self.since)
        tokens = sum(m["tokens"] for m in self.since)
        mean = {k: sum(m[k] for m in self.since) / len(self.since) for k in measured if k not in ("step", "tokens")}
        self.since = []
        record = {"step": step, **{k: round(v, 6) for k, v in mean.items()}, "tokens": int(tokens)}
        self.write(record)
        left = (self.steps - step) * mean["seconds"]
        self.console.print(
            f"[bold]{step:>7,}[/] / {self.steps:,}  loss {mean['loss']:.4f}  lr {mean['lr']:.2e}  "
            f"norm {mean['norm']:.2f}  {tokens / seconds:,.0f} tokens/s  {_clock(left)} left",
            soft_wrap=True,
        )

    def note(self, step: int, record: dict[str, Any]) -> None:
        """Write and print something that is measured now and then, such as the validation loss."""
        self.write({"step": step, **record})
        told = "  ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in record.items())
        self.console.print(f"[bold]{step:>7,}[/]  [cyan]{told}[/]", soft_wrap=True)


def _clock(seconds: float) -> str:
    return f"{int(seconds // 3600)}:{int(seconds % 3600 // 60):02d}:{int(seconds % 60):02d}"
