"""Figures of many songs: similarity distributions (Figure 3), what a token costs (Figure 4)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ritornello.pictures.style import DPI, FAINT, INK, MORE, PAPER, WIDTH, interval_axes, plain, save


def draw_similarity(
    distributions: Mapping[str, Sequence[float] | NDArray[np.float64]], path: str | os.PathLike[str]
) -> Path:
    """Write the paper's Figure 3 for one system or several: L_t (0 to 1) for t = 1, 2, ..., one line each, by name."""
    many = len(distributions) > 4  # their names then have lines of their own, below the title
    height = 5.9 if many else 5.2
    figure = Figure(figsize=(11, height), dpi=DPI, facecolor=PAPER)
    axes = figure.add_axes((0.08, 0.68 / height, 0.895, 3.85 / height))
    longest = 1
    for i, (name, values) in enumerate(distributions.items()):
        line = np.asarray(values, np.float64)
        longest = max(longest, len(line))
        colour = INK if i == 0 else MORE[(i - 1) % len(MORE)]
        style = "-" if i <= len(MORE) else "--"
        width = 2.0 if i == 0 else 1.6
        axes.plot(np.arange(1, len(line) + 1), line, style, color=colour, lw=width, marker="o", ms=3.2, label=name)
    interval_axes(axes, longest)
    axes.set_ylabel("mean similarity $L_t$", color=INK, fontsize=11)
    title = "Similarity of bars that are t bars apart"
    figure.text(0.08, 1 - 0.37 / height, title, fontsize=14, weight="bold", color=INK)
    if distributions:
        columns = -(-len(distributions) // (2 if many else 1))
        place = {"loc": "center right", "bbox_to_anchor": (0.98, 1 - 0.34 / height)}
        if many:
            place = {"loc": "upper left", "bbox_to_anchor": (0.075, 1 - 0.45 / height)}
        figure.legend(frameon=False, fontsize=10, ncols=columns, labelcolor=INK, columnspacing=1.2, **place)
    return save(figure, path)


COSTS = {  # figure: what it is called, and what one of its unit is worth
    "train_seconds": ("training: ms a token", 1e3),
    "train_bytes": ("training: KiB a token", 1 / 1024),
    "write_seconds": ("writing: ms a token", 1e3),
}


def draw_costs(costs: Mapping[str, Mapping[str, Mapping[str, float]]], path: str | os.PathLike[str]) -> Path:
    """Write the paper's Figure 4: time and memory by length, a line a system: {system: {length: {figure: value}}}."""
    figure = Figure(figsize=(WIDTH, 5.4), dpi=DPI, facecolor=PAPER)
    for panel, (name, (title, scale)) in enumerate(COSTS.items()):
        axes = figure.add_axes((0.045 + panel * 0.325, 0.11, 0.285, 0.64))
        for i, (system, by_length) in enumerate(costs.items()):
            lengths = [int(length) for length in by_length]
            values = [found[name] * scale for found in by_length.values()]
            style, colour = "-" if i < len(MORE) else "--", MORE[i % len(MORE)]
            axes.plot(lengths, values, style, color=colour, marker="o", ms=3.5, lw=1.6, label=system)
        axes.set_xscale("log", base=2)
        axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=FAINT, lw=0.8)
        axes.set_axisbelow(True)
        axes.set_title(title, loc="left", fontsize=12, weight="bold", color=INK)
        axes.set_xlabel("tokens of the song", color=INK, fontsize=10)
        plain(axes)
    figure.text(0.045, 0.94, "What a token costs as songs get longer", fontsize=14, weight="bold", color=INK)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="upper left", bbox_to_anchor=(0.04, 0.93), frameon=False, fontsize=10, ncols=9,
        labelcolor=INK, columnspacing=1.2,
    )  # fmt: skip
    return save(figure, path)
