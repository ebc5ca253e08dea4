"""Pictures of songs: a piano roll with the similarity of its bars; several songs one under another."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import PowerNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ritornello.music.bars import Bars, bars
from ritornello.music.score import Score, seconds
from ritornello.music.similarity import bar_similarity, interval_sums
from ritornello.pictures.style import (
    DPI,
    FAINT,
    FAMILIES,
    GRID,
    HEAT,
    INK,
    KIT,
    LANES,
    MORE,
    OTHERS,
    PAPER,
    SIX,
    WIDTH,
    interval_axes,
    plain,
    save,
    step,
)


@dataclass(frozen=True)
class Part:
    """What is drawn in one colour: the notes of one instrument, in quarters from the start."""

    label: str
    colour: str
    drums: bool
    onset: NDArray[np.float64]
    length: NDArray[np.float64]
    pitch: NDArray[np.int64]
    velocity: NDArray[np.int64]


def draw(score: Score, path: str | os.PathLike[str], title: str = "") -> Path:
    """Write a picture of a song: its piano roll with bars, instruments and drums; below, how alike its bars are.

    The square shows the similarity (Equation 4) of every two bars over all tracks: lines beside the diagonal are
    passages that come back. The curve beside it is the mean by interval (Equation 5) of this song. 1,600 pixels wide.
    """
    grid, parts = bars(score), _parts(score)
    edges = grid.starts / score.ticks_per_quarter
    height = 11.2
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor=PAPER)

    def axes(left: float, bottom: float, width: float, tall: float) -> Axes:
        return figure.add_axes((left / WIDTH, bottom / height, width / WIDTH, tall / height))

    _heading(figure, height, title or Path(path).stem, _summary(score, grid), parts)
    drums = [part for part in parts if part.drums]
    lane = 1.0 if drums else 0.0
    _roll(axes(0.75, 5.45 + lane, 14.9, 4.55 - lane), edges, [p for p in parts if not p.drums], labels=not drums)
    if drums:
        _drum_lane(axes(0.75, 5.35, 14.9, 1.0), edges, drums)
    similarity = bar_similarity(score)
    _square(axes(0.75, 0.6, 4.05, 4.05), axes(4.92, 0.6, 0.14, 4.05), similarity)
    _own_distribution(axes(6.55, 0.6, 9.1, 4.05), similarity)
    return save(figure, path)


@dataclass(frozen=True)
class Take:
    """One song of a comparison: what was asked of its bars and what was measured, [bars] by attribute, in classes."""

    name: str
    score: Score
    asked: Mapping[str, NDArray[np.float64]]
    measured: Mapping[str, NDArray[np.float64]]


def draw_takes(takes: Sequence[Take], path: str | os.PathLike[str], title: str = "", most: int = 8) -> Path:
    """Write a picture of songs with the same bars, the first of them the source: piano rolls one under another, then a
    panel for each attribute with what was asked (broken lines) and measured (points). At most `most` rolls are drawn.
    """
    shown, attributes = takes[:most], list(takes[0].measured)
    roll, panel = 1.15, 2.2
    height = 1.1 + (roll + 0.12) * len(shown) + (panel + 0.45) * len(attributes)
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor=PAPER)
    figure.text(0.75 / WIDTH, 1 - 0.42 / height, title or Path(path).stem, fontsize=19, weight="bold", color=INK)
    top = height - 0.75
    colours = [INK, *(MORE[i % len(MORE)] for i in range(len(shown)))]
    edges = bars(takes[0].score).starts / takes[0].score.ticks_per_quarter
    for take, colour in zip(shown, colours, strict=False):
        axes = figure.add_axes((1.6 / WIDTH, (top - roll) / height, 14.05 / WIDTH, roll / height))
        _roll(axes, edges, [replace(part, colour=colour) for part in _parts(take.score) if not part.drums], False)
        figure.text(
            0.2 / WIDTH, (top - roll / 2) / height, take.name, fontsize=11, color=colour, va="center", wrap=True
        )
        top -= roll + 0.12
    for attribute in attributes:
        top -= 0.4
        axes = figure.add_axes((1.6 / WIDTH, (top - panel) / height, 14.05 / WIDTH, panel / height))
        for take, colour in zip(shown, colours, strict=False):
            place = np.arange(len(take.measured[attribute])) + 0.5
            axes.plot(place, take.measured[attribute], "o-", color=colour, lw=0.9, ms=3.5, zorder=3)
            if attribute in take.asked:
                axes.step(place, take.asked[attribute], "--", where="mid", color=colour, lw=1.4, alpha=0.6, zorder=2)
        _bar_lines(axes, np.arange(len(edges), dtype=np.float64), labels=True)
        axes.set_ylabel("class", color=INK, fontsize=10)
        words = f"{attribute}: asked (broken lines) and measured (points)"
        axes.set_title(words, loc="left", fontsize=12, weight="bold", color=INK)
        top -= panel + 0.05
    return save(figure, path)


# Parts and words


def _parts(score: Score) -> list[Part]:
    """The parts of a score in the order they are drawn: the busiest first, the melody last and so on top."""
    groups: dict[str, list[Any]] = {}
    for track in score.tracks:
        if len(track.notes):
            groups.setdefault(_label(track), []).append(track)
    counts = {label: sum(len(track.notes) for track in tracks) for label, tracks in groups.items()}
    busiest = sorted(groups, key=lambda label: -counts[label])
    pitched = [label for label in busiest if label != "drums"]
    colours = dict(SIX)
    free = [colour for colour in MORE if colour not in {SIX[label] for label in pitched if label in SIX}]
    for label in pitched:
        if label not in colours:
            colours[label] = free.pop(0) if free else OTHERS
    if "melody" in busiest:
        busiest.append(busiest.pop(busiest.index("melody")))
    parts = []
    for label in busiest:
        notes = [track.notes.numpy() for track in groups[label]]
        column = {name: np.concatenate([n[name] for n in notes]) for name in ("time", "duration", "pitch", "velocity")}
        quarter = score.ticks_per_quarter
        parts.append(
            Part(
                label,
                colours[label],
                label == "drums",
                column["time"] / quarter,
                column["duration"] / quarter,
                column["pitch"].astype(np.int64),
                column["velocity"].astype(np.int64),
            )
        )
    return parts


def _label(track: Any) -> str:
    if track.is_drum:
        return "drums"
    if track.name in SIX:
        return track.name
    return FAMILIES[min(max(track.program, 0), 127) // 8]


def _summary(score: Score, grid: Bars) -> str:
    """Bars, length, tempo and metre in words; several tempi or metres are told as a range or as changing."""
    end = float(seconds(score, int(grid.starts[-1])))
    tempi = [tempo.qpm for tempo in score.tempos] or [120.0]
    low, high = round(min(tempi)), round(max(tempi))
    metres = {f"{n}/{d}" for n, d in grid.metres.tolist()}
    words = [
        f"{len(grid)} bars" if len(grid) != 1 else "1 bar",
        f"{int(end) // 60}:{int(end) % 60:02d}",
        f"{low} bpm" if low == high else f"{low}–{high} bpm",
        metres.pop() if len(metres) == 1 else "changing metre",
        f"{score.note_num():,} notes",
    ]
    return "   ·   ".join(words)


def _heading(figure: Figure, height: float, title: str, summary: str, parts: list[Part]) -> None:
    left = 0.75 / WIDTH
    figure.text(left, 1 - 0.42 / height, title, fontsize=19, weight="bold", color=INK, va="center")
    figure.text(left, 1 - 0.8 / height, summary, fontsize=11.5, color="#555B63", va="center")
    order = ["melody", *(part.label for part in parts), "drums"]
    shown: dict[str, str] = {}
    for part in sorted(parts, key=lambda part: (part.drums, order.index(part.label))):
        shown.setdefault("others" if part.colour == OTHERS else part.label, part.colour)
    figure.legend(
        [Patch(color=colour) for colour in shown.values()],
        list(shown),
        loc="center right",
        bbox_to_anchor=(15.72 / WIDTH, 1 - 0.8 / height),
        ncols=max(len(shown), 1),
        frameon=False,
        fontsize=11.5,
        labelcolor=INK,
        handlelength=1.0,
        handleheight=0.9,
        columnspacing=1.5,
        borderpad=0,
    )


# The piano roll


def _roll(axes: Axes, edges: NDArray[np.float64], parts: list[Part], labels: bool) -> None:
    pitches = np.concatenate([part.pitch for part in parts]) if parts else np.array([60])
    low, high = int(pitches.min()) - 2, int(pitches.max()) + 2
    low, high = min(low, 60 - 7), max(high, 60 + 7)
    axes.set_ylim(low, high + 1)
    _bar_lines(axes, edges, labels)
    octaves = [pitch for pitch in range(0, 132, 12) if low <= pitch <= high]
    axes.hlines(octaves, edges[0], edges[-1], color=GRID, lw=0.7, zorder=0)
    axes.set_yticks([pitch + 0.5 for pitch in octaves], [f"C{pitch // 12 - 1}" for pitch in octaves])
    for part in parts:
        axes.add_collection(_rectangles(part))


def _rectangles(part: Part) -> PolyCollection:
    """Notes as boxes, the softer the paler; each ends a little early, so that repeated notes are told apart."""
    left, right = part.onset, part.onset + np.maximum(part.length - np.minimum(0.06, 0.2 * part.length), 0.04)
    below, above = part.pitch + 0.04, part.pitch + 0.96
    corners = np.stack([left, below, left, above, right, above, right, below], axis=1).reshape(-1, 4, 2)
    return PolyCollection(list(corners), facecolors=_shades(part), edgecolors="none", zorder=2)


def _shades(part: Part) -> NDArray[np.float64]:
    """Colours of notes, [n, 3]: the softer, the more white is mixed in. Not transparent, so that hues stay true."""
    strength = 0.4 + 0.6 * np.clip(part.velocity / 100, 0.0, 1.0)[:, None]
    return strength * np.array(to_rgb(part.colour)) + (1 - strength)


def _drum_lane(axes: Axes, edges: NDArray[np.float64], parts: list[Part]) -> None:
    """One line a kind of drum, a stroke a hit: drums have no length."""
    lane_of = np.full(128, len(LANES) - 1)
    for lane, keys in enumerate(KIT.values()):
        lane_of[list(keys)] = lane
    axes.set_ylim(-0.15, len(LANES) + 0.15)
    axes.set_facecolor("#F7F8F9")
    _bar_lines(axes, edges, labels=True)
    axes.set_yticks(np.arange(len(LANES)) + 0.5, LANES, fontsize=8)
    for part in parts:
        lane = lane_of[np.clip(part.pitch, 0, 127)]
        strokes = np.stack([part.onset, lane + 0.12, part.onset, lane + 0.88], axis=1).reshape(-1, 2, 2)
        axes.add_collection(LineCollection(list(strokes), colors=_shades(part), linewidths=1.3, zorder=2))


def _bar_lines(axes: Axes, edges: NDArray[np.float64], labels: bool) -> None:
    count = len(edges) - 1
    every = step(count, 18)
    axes.set_xlim(edges[0], edges[-1])
    low, high = axes.get_ylim()
    if count <= 160:
        axes.vlines(edges[:-1], low, high, color=FAINT, lw=0.7, zorder=0)
    axes.vlines(edges[:-1:every], low, high, color="#AEB4BD", lw=0.9, zorder=1)
    axes.set_xticks(edges[:-1:every], [str(i + 1) for i in range(0, count, every)] if labels else [], ha="left")
    plain(axes)


# Similarity


def _square(axes: Axes, bar: Axes, similarity: NDArray[np.float64]) -> None:
    count = len(similarity)
    image = axes.imshow(
        similarity, cmap=HEAT, norm=PowerNorm(0.6, 0, 1), origin="lower", interpolation="nearest",
        extent=(0, count, 0, count), aspect="equal",
    )  # fmt: skip
    every = step(count, 8)
    ticks, names = np.arange(0, count, every), [str(i + 1) for i in range(0, count, every)]
    axes.set_xticks(ticks, names, ha="left")
    axes.set_yticks(ticks, names, va="bottom")
    plain(axes, frame=True)
    axes.set_xlabel("bar", color=INK, fontsize=10)
    axes.set_ylabel("bar", color=INK, fontsize=10)
    axes.set_title("How alike every two bars are", loc="left", fontsize=12, weight="bold", color=INK)
    assert axes.figure is not None
    colours = axes.figure.colorbar(image, cax=bar, ticks=[0, 0.25, 0.5, 1])
    colours.ax.set_yticklabels(["0", "¼", "½", "same"], fontsize=9)
    colours.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    plain(bar)


def _own_distribution(axes: Axes, similarity: NDArray[np.float64]) -> None:
    count = len(similarity)
    longest = min(40, max(count - 1, 1))
    sums, pairs = interval_sums(similarity, longest)
    means = sums / np.maximum(pairs, 1)
    colours = [SIX["piano"] if t % 4 == 0 else "#9DB8D6" for t in range(1, longest + 1)]
    axes.bar(np.arange(1, longest + 1), means, color=colours, width=0.72, zorder=2)
    interval_axes(axes, longest)
    title = "How alike bars are that lie t bars apart, on average"
    axes.set_title(title, loc="left", fontsize=12, weight="bold", color=INK)
