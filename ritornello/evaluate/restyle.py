"""Restyling, measured on held-out pieces at several lengths: fidelity, diversity, control and fluency (MuseMorphose
section V; see `control` for what each is).

Of every piece an excerpt of so many bars is played again several times. Each time, one shift for rhythm and one for
polyphony, drawn evenly from -3 to 3, is added to the class of every bar, within 0 to 7. Results two by two ask the same
of rhythm and the opposite of polyphony, so that what is asked of the one says little about the other.
`evaluate_restyle` returns plain JSON, a row for each length:

    {"8": {pieces, results, bars,             how much was played
           as_many_bars                       share of results with exactly as many bars as their source
           control     {rhythm | polyphony: {correlation, leak, leak_partial, exact, near: {value, interval}}}
           classes                            how many bars came to be of each class, for each attribute
           together                           Spearman of the two classes that were asked for: what the plain leaks owe
           fidelity, diversity                {chroma, groove}, 0 to 100
           fluency     {results, sources}}}   perplexity under another language model; absent without one

Intervals are 5 to 95 % of bootstrap resamples of pieces. A figure that does not exist is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from ritornello.data.dataset import cut
from ritornello.evaluate.bootstrap import LEVEL, draws
from ritornello.evaluate.control import ATTRIBUTES, Profiles, control, diversity, fidelity, mean, profiles, spearman
from ritornello.evaluate.likelihood import Scorer, likelihood
from ritornello.evaluate.tables import Cells, terminal
from ritornello.evaluate.tables import markdown as in_markdown
from ritornello.music.attributes import classes
from ritornello.representations.base import Representation, Tokens

LENGTHS = (8, 16, 32, 64, 96)  # bars, as in the supplement's figure 7
SHIFT = 3
SIGNS = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])
TRIES = 20  # excerpts of a piece that are looked at
RESAMPLES = 200

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Sources, the classes asked of their bars ([bars, 2] each), and the seed of the first → a result of each. All have
# equally many bars; result i is drawn from the seed + i.
Play = Callable[[Sequence[Tokens], Sequence[Ints], int], Sequence[Tokens]]


@dataclass(frozen=True)
class Piece:
    """What came of one source: k results of b bars."""

    sources: Tokens
    results: list[Tokens]
    asked: Ints  # [k * b, 2]
    measured: Floats  # [k * b, 2]
    as_long: list[bool]
    likeness: dict[str, dict[str, float]]


def evaluate_restyle(
    songs: Sequence[Tokens],
    representation: Representation,
    play: Play,
    bounds: Floats,
    lengths: Sequence[int] = LENGTHS,
    variants: int = 4,
    batch: int = 16,
    fluency: Scorer | None = None,
    seed: int = 0,
    device: str = "cpu",
    done: Callable[[int], None] = lambda count: None,
) -> dict[str, Any]:
    """The figures described above.

    songs: whole held-out songs; those that have no excerpt of a length do not count for it.
    bounds: float[2, 7], between the classes of each attribute, in thousandths.
    batch: how many results are played at once.
    done: told after every batch how many results it made.
    """
    result: dict[str, Any] = {}
    for length in lengths:
        rng = np.random.default_rng([seed, length])
        excerpts = [found for song in songs if (found := excerpt(song, representation, length, rng))]
        pieces: list[Piece] = []
        at_once = max(1, batch // variants)
        for first in range(0, len(excerpts), at_once):
            some = excerpts[first : first + at_once]
            pieces += _play_again(some, representation, play, bounds, variants, seed + first * variants, rng)
            done(len(some) * variants)
        if pieces:
            result[str(length)] = _figures(pieces, representation, bounds, fluency, seed, device)
    return result


def excerpt(song: Tokens, representation: Representation, length: int, rng: np.random.Generator) -> Tokens | None:
    """`length` bars of a song, encoded anew as a song of their own; None where it has none whose last bar sounds."""
    latest = int(song.bars[-1]) + 1 - length
    if latest < 0:
        return None
    for first in rng.permutation(latest + 1)[:TRIES].tolist():
        begin, end = np.searchsorted(song.bars, [first, first + length]).tolist()
        part = cut(song, begin + (first == 0), end)  # without BOS
        if np.any(part.positions[part.bars == first + length - 1]):
            found = representation.encode(representation.decode(replace(part, meta={"transposition": 0})))
            if len(found.attributes) == length:
                return found
    return None


def _play_again(
    sources: Sequence[Tokens],
    representation: Representation,
    play: Play,
    bounds: Floats,
    variants: int,
    seed: int,
    rng: np.random.Generator,
) -> Iterator[Piece]:
    """Shift the classes of some sources, have all played in one batch, and measure each."""
    wishes = []
    for source in sources:
        own = class_of(source.attributes, bounds)
        wishes += list(np.clip(own + shifts(variants, rng)[:, None], 0, bounds.shape[1]))
    results = play([source for source in sources for _ in range(variants)], wishes, seed)
    for k, source in enumerate(sources):
        mine = slice(k * variants, (k + 1) * variants)
        length = len(source.attributes)
        scores = [representation.decode(result) for result in results[mine]]
        attributes = [representation.encode(score).attributes if score.note_num() else None for score in scores]
        before = profiles(representation.decode(source), length)
        after: list[Profiles] = [profiles(score, length) for score in scores]
        yield Piece(
            source,
            list(results[mine]),
            np.concatenate(wishes[mine]),
            np.concatenate([_padded(found, length) for found in attributes]),
            [int(result.bars[-1]) + 1 == length for result in results[mine]],
            {"fidelity": fidelity(before, after), "diversity": diversity(after)},
        )


def shifts(count: int, rng: np.random.Generator) -> Ints:
    """[count, 2], each from -3 to 3 and as often as any other, in fours that differ by their signs alone."""
    drawn = rng.integers(-SHIFT, SHIFT + 1, (-(-count // len(SIGNS)), 1, 2))
    return (drawn * SIGNS).reshape(-1, 2)[:count]


def _padded(attributes: NDArray[np.int16] | None, length: int) -> Floats:
    """Attributes of exactly `length` bars; bars that are not there are silent."""
    rows = np.zeros((length, 2))
    if attributes is not None:
        rows[: len(attributes)] = attributes[:length]
    return rows


def class_of(attributes: NDArray, bounds: Floats) -> Ints:
    """Attributes in thousandths, [bars, 2] → classes."""
    return np.stack([classes(attributes[:, k], bounds[k]) for k in range(2)], axis=1)


# ---- figures ---------------------------------------------------------------------------------------------------------


def _figures(
    pieces: Sequence[Piece],
    representation: Representation,
    bounds: Floats,
    fluency: Scorer | None,
    seed: int,
    device: str,
) -> dict[str, Any]:
    asked, measured = (np.concatenate([getattr(p, name) for p in pieces]) for name in ("asked", "measured"))
    results = [result for piece in pieces for result in piece.results]
    figures: dict[str, Any] = {
        "pieces": len(pieces),
        "results": len(results),
        "bars": len(asked),
        "as_many_bars": mean([long for piece in pieces for long in piece.as_long]),
        "control": _with_intervals(pieces, bounds, seed),
        "together": _number(spearman(asked[:, 0], asked[:, 1])),
        "classes": {
            name: np.bincount(class_of(measured, bounds)[:, k], minlength=bounds.shape[1] + 1).tolist()
            for k, name in enumerate(ATTRIBUTES)
        },
    }
    for name in ("fidelity", "diversity"):
        figures[name] = {
            of: _number(mean([piece.likeness[name][of] for piece in pieces])) for of in ("chroma", "groove")
        }
    if fluency is not None:
        figures["fluency"] = {
            "results": perplexity(fluency, results, representation, device),
            "sources": perplexity(fluency, [piece.sources for piece in pieces], representation, device),
        }
    return figures


def perplexity(scorer: Scorer, songs: Sequence[Tokens], representation: Representation, device: str = "cpu") -> float:
    """exp of the mean nats a token of songs under a language model, BOS not counted."""
    found = likelihood({"": scorer}, songs, representation.vocabulary, cuts=(), longest=None, device=device)
    return float(np.exp(found[""]["nats_per_token"]["value"]))


def _with_intervals(pieces: Sequence[Piece], bounds: Floats, seed: int) -> dict[str, Any]:
    """`control` over all bars, each figure with its interval over resamples of pieces."""

    def of(chosen: Sequence[Piece]) -> dict[str, dict[str, float]]:
        asked = np.concatenate([piece.asked for piece in chosen])
        measured = np.concatenate([piece.measured for piece in chosen])
        return control(asked, measured, class_of(measured, bounds))

    counts = draws(len(pieces), seed, RESAMPLES).astype(np.int64)
    resamples = [of([pieces[k] for k in np.repeat(np.arange(len(pieces)), count).tolist()]) for count in counts]
    tail = (1 - LEVEL) / 2
    found: dict[str, Any] = {}
    for name, figures in of(pieces).items():
        found[name] = {}
        for figure, value in figures.items():
            drawn = np.array([one[name][figure] for one in resamples])
            drawn = drawn[np.isfinite(drawn)]
            ends = np.quantile(drawn, [tail, 1 - tail]).tolist() if len(drawn) else [None, None]
            found[name][figure] = {"value": _number(value), "interval": ends}
    return found


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


# ---- tables ----------------------------------------------------------------------------------------------------------

ROWS = (
    ("correlation", "ρ"),
    ("leak", "leak"),
    ("leak_partial", "leak, other class held"),
    ("exact", "class exact"),
    ("near", "class within 1"),
)


def markdown(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    return in_markdown([_cells(result)])


def tables(result: dict[str, Any]) -> list[Table]:
    """The figures for the terminal."""
    return terminal([_cells(result)])


def _cells(result: dict[str, Any]) -> Cells:
    columns = ["bars", *result]
    rows = [["pieces, results", *(f"{one['pieces']}, {one['results']}" for one in result.values())]]
    rows.append(["as many bars as the source", *(f"{one['as_many_bars']:.0%}" for one in result.values())])
    for name in ATTRIBUTES:
        for figure, label in ROWS:
            found = [one["control"][name][figure]["value"] for one in result.values()]
            rows.append([f"{name}: {label}", *(_shown(value, 3) for value in found)])
    rows.append(["ρ of both classes asked for", *(_shown(one["together"], 3) for one in result.values())])
    for name in ("fidelity", "diversity"):
        for of in ("chroma", "groove"):
            rows.append([f"{name}: {of}", *(_shown(one[name][of], 1) for one in result.values())])
    if all("fluency" in one for one in result.values()):
        for of in ("results", "sources"):
            rows.append([f"perplexity of {of}", *(_shown(one["fluency"][of], 2) for one in result.values())])
    return "Restyling, by the length of the excerpt", columns, rows


def _shown(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
