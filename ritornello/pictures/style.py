"""What all pictures share: colours, sizes, plain axes, and a file that is whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

WIDTH, DPI = 16.0, 100  # inches and dots an inch: 1,600 pixels wide

# Colours that the colour-blind tell apart (Okabe and Ito 2008), fixed for the six instruments.
SIX = {
    "melody": "#D55E00",
    "piano": "#0072B2",
    "guitar": "#009E73",
    "strings": "#56B4E9",
    "bass": "#8A3FA0",
    "drums": "#444444",
}
MORE = ("#D55E00", "#0072B2", "#009E73", "#E69F00", "#8A3FA0", "#56B4E9", "#CC79A7")
OTHERS = "#999999"
FAMILIES = (
    "piano", "mallets", "organ", "guitar", "bass", "strings", "ensemble", "brass",
    "reeds", "pipes", "synth lead", "synth pad", "synth effects", "world", "percussion", "sound effects",
)  # fmt: skip  # General MIDI, eight programs each

# Lanes of the drum kit, from below, and the General MIDI drum keys of each.
KIT = {
    "kick": (35, 36),
    "snare": (37, 38, 39, 40),
    "tom": (41, 43, 45, 47, 48, 50),
    "hi-hat": (42, 44, 46),
    "cymbal": (49, 51, 52, 53, 55, 57, 59),
}
LANES = (*KIT, "other")

INK, PAPER, GRID, FAINT = "#222222", "#FFFFFF", "#D0D4DA", "#ECEEF1"
BLUES = ["#FFFFFF", "#CFE3F2", "#6AAED6", "#2070B4", "#08305F"]
HEAT = LinearSegmentedColormap.from_list("paper", BLUES).with_extremes(bad=FAINT)  # two empty bars: no similarity
STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def interval_axes(axes: Axes, longest: int) -> None:
    axes.set_xlim(0.4, longest + 0.6)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MultipleLocator(4 if longest > 12 else 1))
    axes.xaxis.set_minor_locator(MultipleLocator(1))
    axes.yaxis.set_major_formatter(lambda value, _: f"{round(100 * value, 1):g}%")
    axes.grid(axis="y", color=FAINT, lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("interval t in bars", color=INK, fontsize=10)
    plain(axes)
    axes.spines["bottom"].set_visible(True)
    axes.spines["bottom"].set_color("#AEB4BD")


def plain(axes: Axes, frame: bool = False) -> None:
    axes.tick_params(length=0, labelsize=9, colors="#555B63", which="both")
    for spine in axes.spines.values():
        spine.set_visible(frame)
        spine.set_color("#AEB4BD")


def step(count: int, most: int) -> int:
    """The least step of 4, 8, 16 ... (1 or 2 for very few bars) that numbers at most `most` bars of `count`."""
    return next((step for step in STEPS if count / step <= most), STEPS[-1])


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a PNG beside, then rename: a reader never meets half a picture."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        FigureCanvasAgg(figure).print_png(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path
