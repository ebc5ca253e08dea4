"""What an experiment has found by now, as JSON, Markdown and pictures."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import __version__ as torch_version

from ritornello.errors import ConfigError
from ritornello.evaluate.likelihood import CUTS
from ritornello.evaluate.report import evaluate, markdown
from ritornello.music.bars import first_bars
from ritornello.pictures import draw_costs
from ritornello.reproduce.experiment import Experiment, write
from ritornello.reproduce.scales import FULL, ROWS, TITLES
from ritornello.reproduce.table import average, table1
from ritornello.run import Run


def report(experiment: Experiment) -> dict[str, Any]:
    """Everything that is done by now, as report.json, report.md and figures. Raises ConfigError where no row is."""
    scale, folder = experiment.scale, experiment.folder
    seeds = {row: experiment.finished(row) for row in ROWS}
    done = {row: found for row, found in seeds.items() if found}
    if not done:
        raise ConfigError(f"{folder} has no row that is done.")
    run = Run.create(experiment.config("museformer"), folder)
    people = experiment.songs_of("train").spread(scale.human)
    measured = evaluate(
        systems={ROWS[row].title: experiment.scores(row, found) for row, found in done.items()},
        human=(first_bars(run.representation.decode(song), scale.bars) for song in people),
        pictures=folder / "figures",
    )
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, PyTorch {torch_version}",
        "device": experiment.device,
        "scale": scale.model_dump(mode="json"),
        "corpus": {split: len(experiment.songs_of(split)) for split in ("train", "test")},
        "rows": {row: _figures(experiment, row, found) for row, found in done.items()},
        "yardsticks": experiment.yardsticks(),
        "costs": {TITLES[row]: experiment.costs(row) for row in (*done, FULL)},
        **measured,
    }
    draw_costs(result["costs"], folder / "figures" / "costs.png")
    write(folder / "report.json", json.dumps(result))
    write(folder / "report.md", _markdown(result))
    return result


def _markdown(result: dict[str, Any]) -> str:
    figures = "\n\n".join(
        f"![{title}](figures/{name}.png)"
        for title, name in (
            ("Figure 3, melody", "similarity-melody"),
            ("Figure 3, all tracks", "similarity-all"),
            ("Figure 4", "costs"),
        )
    )
    about = (
        f"{result['date']}, {result['machine']}, on {result['device']}. {result['corpus']['train']:,} training songs; "
        "every row has seen the same tokens. Intervals are 5 to 95 % of bootstrap resamples of songs. A similarity "
        "error means little unless it is well below that of music that repeats nothing; human songs are held against "
        "other human songs."
    )
    return f"# Table 1\n\n{about}\n\n{table1(result)}\n{figures}\n\n{markdown(result)}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _figures(experiment: Experiment, row: str, seeds: Sequence[int]) -> dict[str, Any]:
    """What the table says of a row: see `table`."""
    found = [experiment.likelihood(row, seed) for seed in seeds]
    config, spent = experiment.config(row), [_spent(experiment.run_folder(row, seed)) for seed in seeds]
    model = Run.create(config, experiment.folder).model
    return {
        "title": ROWS[row].title,
        "family": config.family,
        "model": config.model,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seeds": len(seeds),
        **{name: sum(of[name] for of in spent) / len(spent) for name in spent[0]},
        "perplexity": {str(at): average([of["perplexity"][str(at)] for of in found]) for at in CUTS},
        "nats_per_note": average([of["nats_per_note"] for of in found]),
        "likelihood": found,
    }


def _spent(run: Path) -> dict[str, float]:
    """Tokens seen, CPU seconds and seconds of a training, from its log (each line is the mean of its steps)."""
    total, last = {"tokens": 0.0, "cpu_seconds": 0.0, "wall_seconds": 0.0}, 0
    for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if "tokens" in record:
            steps, last = record["step"] - last, record["step"]
            total["tokens"] += record["tokens"]
            total["cpu_seconds"] += steps * record["cpu_seconds"]
            total["wall_seconds"] += steps * record["seconds"]
    return total
