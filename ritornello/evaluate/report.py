"""One evaluation: likelihood on held-out songs, and what songs are like beside human ones, as figures, tables and
pictures.

`evaluate` returns plain JSON (None where a figure does not exist):

    songs           {system: songs measured, "human": songs}, absent without songs, as all that follows
    likelihood      {model: ...}, see below; absent without held-out tokens
        songs, tokens, notes, bars       what was read, at most `longest` tokens a song; tokens without BOS
        perplexity  {"1024": {value, interval, songs_as_long}, ...}     exp of nats a token, tokens weighing alike
        nats_per_token, nats_per_note, nats_per_bar                     {value, interval}, over all that was read
        families    {family: {nats_per_token, share_of_tokens, share_of_nats}}
    structure       {system: {"melody": ..., "all": ...}}; similarities and errors from 0 to 1
        similarity_error                 {value, interval}    Equation 6
        repetition_free                  the error of music that repeats nothing (similarity 0 at every interval)
        human_error                      {value, interval}    that of as many human songs, held against the others
        distribution, human_distribution [40]                 Equation 5, t = 1 ... 40
        peaks       {"4": {value, interval, human, rise, human_rise}, ...}
                                                              L_t; rise: how far above the mean of its neighbours
        repeats     {"1": {value, interval, human}, ..., "any": ...}
                                                              share of bars identical to the bar t before, or any
    texture, pitch, rhythm, structureness, originality, range
                    {figure: {system: {median, interval, quartiles, highest, songs}, ..., "human": ...}}, where `songs`
                    is how many have the figure; each is explained under FIGURES in the module of the group's name
                    (range: the lowest and highest pitch of each instrument); originality only with `known` songs
    known           {songs, about}: what originality was held against

Intervals are 5 to 95 % of bootstrap resamples of songs, the same for the same seed. Those of the similarity error lean
upwards: it is a distance, and drawing songs again only adds to it. Hold it against `human_error`, of as many songs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from ritornello.evaluate.likelihood import CUTS, Scorer, likelihood
from ritornello.evaluate.measure import GROUPS, Measured, measure, summary
from ritornello.evaluate.originality import Known, originality
from ritornello.evaluate.structure import PEAKS, REPEATS, compare, gather
from ritornello.evaluate.tables import Cells, terminal
from ritornello.evaluate.tables import markdown as in_markdown
from ritornello.music.score import Score
from ritornello.pictures import draw_similarity
from ritornello.representations.base import Tokens
from ritornello.representations.vocabulary import Vocabulary

RARE = 0.25  # a figure of the range that fewer songs have, of every system and of human ones, is in the JSON alone


def evaluate(
    systems: Mapping[str, Iterable[Score | Measured]] | None = None,
    human: Iterable[Score | Measured] = (),
    scorers: Mapping[str, Scorer] | None = None,
    held_out: Iterable[Tokens] = (),
    vocabulary: Vocabulary | None = None,
    cuts: Sequence[int] = CUTS,
    longest: int | None = CUTS[-1],
    device: str = "cpu",
    precision: str = "float32",
    seed: int = 0,
    pictures: Path | None = None,
    known: Known | None = None,
) -> dict[str, Any]:
    """Everything that the given material allows, with the keys above.

    systems, human:     generated songs of one system or several, and human songs to hold them against, as scores or
                        measured already. Give them the same normalisation (such as decoded from one representation);
                        where no track is named "melody", it is looked for.
    scorers, held_out:  models and yardsticks, and the held-out songs' tokens, with their vocabulary.
    pictures:           a folder for `similarity-melody.png` and `similarity-all.png` (Figure 3).
    known:              what the systems learned from, to look for copies in; no song of `human` should be among it.

    Songs are read once and one at a time, so generators do. What songs lack is None. Raises MusicError where a song has
    more bars than can be compared.
    """
    result: dict[str, Any] = {}
    if scorers and vocabulary is not None:
        result["likelihood"] = likelihood(scorers, held_out, vocabulary, cuts, longest, device, precision, seed)
    if systems:
        measured = {name: _measure(songs) for name, songs in systems.items()}
        people = _measure(human)
        columns = measured | ({"human": people} if people else {})
        result["songs"] = {name: len(songs) for name, songs in (measured | {"human": people}).items()}
        counted = gather([song.structure for song in people])
        result["structure"] = {
            name: compare(gather([song.structure for song in songs]), counted, seed) for name, songs in measured.items()
        }
        for group in GROUPS:
            if group == "originality":
                if known is None:
                    continue
                found = {name: originality([song.lines for song in songs], known) for name, songs in columns.items()}
                result["known"] = {"songs": known.songs, "about": known.about}
            else:
                found = {name: [song.figures[group] for song in songs] for name, songs in columns.items()}
            result[group] = _side_by_side(found, seed)
        if pictures is not None:
            _draw(result["structure"], pictures)
    return _json(result)


def markdown(result: Mapping[str, Any]) -> str:
    """The figures of `evaluate` as Markdown tables, for a model's card."""
    return in_markdown(_tables(result))


def tables(result: Mapping[str, Any]) -> list[Table]:
    """The same tables for the terminal."""
    return terminal(_tables(result))


# From songs to figures


def _measure(songs: Iterable[Score | Measured]) -> list[Measured]:
    return [song if isinstance(song, Measured) else measure(song) for song in songs]


def _side_by_side(found: Mapping[str, Sequence[Mapping[str, float]]], seed: int) -> dict[str, Any]:
    """{figure: {system: summary or None}} from the figures of each system's songs."""
    summaries = {name: summary(songs, seed) for name, songs in found.items()}
    figures = dict.fromkeys(figure for one in summaries.values() for figure in one)
    return {figure: {name: one.get(figure) for name, one in summaries.items()} for figure in figures}


def _draw(compared: Mapping[str, Any], folder: Path) -> None:
    for tracks in next(iter(compared.values())):
        lines = {name: by_tracks[tracks]["distribution"] for name, by_tracks in compared.items()}
        human = next(iter(compared.values()))[tracks]["human_distribution"]
        draw_similarity({"human": human, **lines}, folder / f"similarity-{tracks}.png")


def _json(value: Any) -> Any:
    """The same with None for what is no number: JSON has no nan."""
    if isinstance(value, dict):
        return {key: _json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_json(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# From figures to tables


def _tables(result: Mapping[str, Any]) -> list[Cells]:
    found: list[Cells] = []
    if "likelihood" in result:
        found += [_likelihood_table(result["likelihood"]), _family_table(result["likelihood"])]
    if "structure" in result:
        tracks = next(iter(result["structure"].values()))
        found += [_structure_table(result["structure"], name, result["songs"]["human"] > 0) for name in tracks]
    found += [_group_table(name, result) for name in GROUPS if result.get(name)]
    return found


def _likelihood_table(found: Mapping[str, Any]) -> Cells:
    first = next(iter(found.values()))
    cuts = list(first["perplexity"])
    columns = ["model", "songs", *(f"perplexity at {int(cut):,}" for cut in cuts), "nats a note", "nats a bar"]
    rows = [
        [
            name,
            f"{f['songs']:,}",
            *(_between(f["perplexity"][cut]) for cut in cuts),
            _between(f["nats_per_note"]),
            _between(f["nats_per_bar"], 0),
        ]
        for name, f in found.items()
    ]
    reach = "whole" if first["longest"] is None else f"first {first['longest']:,} tokens"
    return f"Likelihood ({reach})", columns, rows


def _family_table(found: Mapping[str, Any]) -> Cells:
    families = next(iter(found.values()))["families"]
    rows = [
        [
            name,
            _share(figures["share_of_tokens"]),
            *(_number(f["families"][name]["nats_per_token"]) for f in found.values()),
        ]
        for name, figures in families.items()
    ]
    return "Nats a token by family", ["family", "of tokens", *found], rows


def _structure_table(found: Mapping[str, Any], tracks: str, human_songs: bool) -> Cells:
    """A row a system, then what human songs score among themselves, then what no repetition at all would."""
    of = {name: by_tracks[tracks] for name, by_tracks in found.items()}
    human = next(iter(of.values()))
    columns = ["songs", "SE", *(f"L{t}" for t in PEAKS), *(f"= -{t}" for t in REPEATS), "= any"]
    repeats = [*map(str, REPEATS), "any"]
    rows = [
        [
            name,
            _between(f["similarity_error"], 1, 100),
            *(_percent(f["peaks"][str(t)]["value"]) for t in PEAKS),
            *(_percent(f["repeats"][t]["value"]) for t in repeats),
        ]
        for name, f in of.items()
    ]
    if human_songs:
        rows.append(
            [
                "human",
                _between(human["human_error"], 1, 100),
                *(_percent(human["peaks"][str(t)]["human"]) for t in PEAKS),
                *(_percent(human["repeats"][t]["human"]) for t in repeats),
            ]
        )
        rows.append(["no repetition", _percent(human["repetition_free"]), *["0.0"] * (len(columns) - 2)])
    what = "the melody" if tracks == "melody" else "all tracks"
    title = f"Structure of {what}, in %: similarity error, similarity at t bars, bars identical to the bar t before"
    return title, columns, rows


def _group_table(name: str, result: Mapping[str, Any]) -> Cells:
    group, found = GROUPS[name], result[name]
    columns = list(next(iter(found.values())))
    rows = []
    for figure, by_name in found.items():
        if name == "range" and all(_is_rare(m, result["songs"][whose]) for whose, m in by_name.items()):
            continue
        cells = [
            f"{_number(m['median'])} [{_number(m['quartiles'][0])}, {_number(m['quartiles'][1])}]" if m else "–"
            for m in by_name.values()
        ]
        if figure.endswith("_longest_run"):
            highest = [f", max. {m['highest']:.0f}" if m else "" for m in by_name.values()]
            cells = [cell + most for cell, most in zip(cells, highest, strict=True)]
        rows.append([group.figures.get(figure, figure), *cells])
    title = f"{group.title}: medians of songs, and quartiles"
    if name == "originality":
        title = f"{group.title}: what is found in {result['known']['songs']:,} songs ({result['known']['about']})"
    return title, ["", *columns], rows


def _is_rare(figure: Mapping[str, Any] | None, songs: int) -> bool:
    return figure is None or figure["songs"] < RARE * songs


def _between(figure: Mapping[str, Any], digits: int = 2, scale: float = 1) -> str:
    """`value [low, high]`"""
    value, (low, high) = figure["value"], figure["interval"]
    if value is None or low is None:
        return "–" if value is None else f"{scale * value:.{digits}f}"
    return f"{scale * value:.{digits}f} [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _share(value: float) -> str:
    return f"{value:.1%}"
