"""The Museformer paper's Table 1 and Figure 4 as Markdown, from the figures of an experiment (see `reproduce`).

date, machine, device               when and where
songs       {"train", "held_out", "human"}
rows        {row: {title, family, parameters, seeds, tokens, cpu_seconds, wall_seconds, perplexity, nats_per_note}}
            perplexity {"1024": {value, interval, seeds}, ...}: means over seeds; seeds: the lowest and highest
yardsticks  {name: figures of `likelihood`}
structure   of `report.evaluate`, by title
costs       {row: figures of `cost.costs`}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ritornello.evaluate.tables import Cells, markdown

Line = list[str]


def average(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One {value, interval} a seed → their means, and the lowest and highest value of a seed."""
    values = [figure["value"] for figure in figures]
    interval = [sum(figure["interval"][end] for figure in figures) / len(figures) for end in (0, 1)]
    return {"value": sum(values) / len(values), "interval": interval, "seeds": [min(values), max(values)]}


def table1(result: Mapping[str, Any]) -> str:
    """Likelihood and similarity error of every row, what it was given, and what it costs, as Markdown tables."""
    rows, structure = result["rows"], result["structure"]
    cuts = list(next(iter(rows.values()))["perplexity"])
    head = ["", *(f"PPL ({int(cut):,})" for cut in cuts), "nats a note", "SE, melody (%)", "SE, all tracks (%)"]
    lines: list[Line] = []
    for row in rows.values():
        errors = [_between(structure[row["title"]][tracks]["similarity_error"], 100) for tracks in ("melody", "all")]
        lines.append([row["title"], *_likelihood(row, cuts), *errors])
    for name, figures in result["yardsticks"].items():
        lines.append([f"*{name}*", *_likelihood(figures, cuts), "", ""])
    of = next(iter(structure.values()))
    blank = [""] * (len(cuts) + 1)
    lines.append(["*human songs*", *blank, *(_between(of[tracks]["human_error"], 100) for tracks in ("melody", "all"))])
    free = [f"{100 * of[tracks]['repetition_free']:.2f}" for tracks in ("melody", "all")]
    lines.append(["*music that repeats nothing*", *blank, *free])
    title = "Perplexity, nats a note and similarity error, each with its interval"
    return markdown([(title, head, lines), _budget(rows), *_costs(result["costs"])])


def _likelihood(figures: Mapping[str, Any], cuts: Sequence[str]) -> Line:
    return [*(_between(figures["perplexity"][cut]) for cut in cuts), _between(figures["nats_per_note"])]


def _budget(rows: Mapping[str, Mapping[str, Any]]) -> Cells:
    head = ["", "parameters", "seeds", "tokens seen", "CPU seconds", "seconds"]
    lines = [
        [
            row["title"],
            f"{row['parameters']:,}",
            str(row["seeds"]),
            f"{row['tokens']:,.0f}",
            f"{row['cpu_seconds']:,.0f}",
            f"{row['wall_seconds']:,.0f}",
        ]
        for row in rows.values()
    ]
    return "What each row was given", head, lines


def _costs(costs: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[Cells]:
    lengths = list(next(iter(costs.values())))
    head = ["tokens of the song", *(f"{int(length):,}" for length in lengths)]
    figures = (
        ("Training, ms a token", "train_seconds", 1e3),
        ("Training, KiB a token", "train_bytes", 1 / 1024),
        ("Writing, ms a token", "write_seconds", 1e3),
    )
    tables = []
    for title, name, scale in figures:
        lines = [[row, *(f"{found[n][name] * scale:.3g}" for n in lengths)] for row, found in costs.items()]
        tables.append((title, head, lines))
    return tables


def _between(figure: Mapping[str, Any], scale: float = 1) -> str:
    """`value [low, high]`; of several seeds, the lowest and highest behind it."""
    low, high = figure["interval"]
    if figure["value"] is None:
        return "–"
    text = f"{scale * figure['value']:.2f}"
    text += f" [{scale * low:.2f}, {scale * high:.2f}]" if low is not None else ""
    lowest, highest = figure.get("seeds", (0, 0))
    return text if lowest == highest else f"{text} ({scale * lowest:.2f} to {scale * highest:.2f})"
