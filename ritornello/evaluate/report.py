"""One evaluation: likelihood on held-out songs, structure and texture of generated songs beside human ones, as figures,
a table and pictures.

`evaluate` returns plain JSON (None where a figure does not exist):

    songs           {system: songs measured, "human": songs}
    likelihood      {model: ...}, see below; absent without held-out tokens
        songs, tokens, notes, bars       what was read, at most `longest` tokens a song; tokens without BOS
        perplexity  {"1024": {value, interval, songs_as_long}, ...}     exp of nats a token, tokens weighing alike
        nats_per_token, nats_per_note, nats_per_bar                     {value, interval}, over all that was read
        families    {family: {nats_per_token, share_of_tokens, share_of_nats}}
    structure       {system: {"melody": ..., "all": ...}}, absent without songs; similarities and errors from 0 to 1
        similarity_error                 {value, interval}              Equation 6
        repetition_free                  the error of music that repeats nothing (similarity 0 at every interval)
        human_error                      {value, interval}              that of as many human songs, held against the others
        distribution, human_distribution [T]                            Equation 5, t = 1 ... T
        peaks       {"4": {value, interval, human, rise, human_rise}, ...}    L_t; rise: above the mean of its neighbours
        repeats     {"1": {value, interval, human}, ..., "any": ...}    share of bars identical to the bar t before
    texture         {figure: {system: {median, interval, quartiles, songs}, ..., "human": ...}}, see texture.FIGURES

Intervals are 5 to 95 % of bootstrap resamples of songs, the same for the same seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from ritornello.evaluate.likelihood import CUTS, Scorer, likelihood
from ritornello.evaluate.structure import PEAKS, REPEATS, Structure, compare, structure
from ritornello.evaluate.texture import FIGURES, summary, texture
from ritornello.music.score import Score
from ritornello.pictures import draw_similarity
from ritornello.representations.base import Tokens
from ritornello.representations.vocabulary import Vocabulary

Cells = list[tuple[str, list[str], list[list[str]]]]  # title, columns, rows of each table


def evaluate(
    systems: Mapping[str, Iterable[Score]] | None = None,
    human: Iterable[Score] = (),
    scorers: Mapping[str, Scorer] | None = None,
    held_out: Iterable[Tokens] = (),
    vocabulary: Vocabulary | None = None,
    cuts: Sequence[int] = CUTS,
    longest: int | None = CUTS[-1],
    device: str = "cpu",
    precision: str = "float32",
    seed: int = 0,
    pictures: Path | None = None,
) -> dict[str, Any]:
    """Everything that the given material allows, with the keys above.

    systems, human:     generated songs of one system or several, and human songs to hold them against, all normalised
                        alike (`Representation.normalise`): six tracks by name, 12 ticks a quarter.
    scorers, held_out:  models and yardsticks, and the held-out songs' tokens, with their vocabulary.
    pictures:           a folder for `similarity-melody.png` and `similarity-all.png` (Figure 3).

    Songs are read once and one at a time, so generators do. Raises MusicError where one half is given without the other.
    """
    result: dict[str, Any] = {}
    if scorers and vocabulary is not None:
        result["likelihood"] = likelihood(scorers, held_out, vocabulary, cuts, longest, device, precision, seed)
    if systems:
        people, people_texture = _measure(human)
        measured = {name: _measure(songs) for name, songs in systems.items()}
        result["songs"] = {**{name: len(textures) for name, (_, textures) in measured.items()}, "human": len(people_texture)}
        result["structure"] = {name: compare(found, people, seed) for name, (found, _) in measured.items()}
        textures = {name: summary(found, seed) for name, (_, found) in measured.items()}
        textures["human"] = summary(people_texture, seed)
        figures = dict.fromkeys(figure for found in textures.values() for figure in found)
        result["texture"] = {
            figure: {name: found.get(figure) for name, found in textures.items()} for figure in figures
        }
        if pictures is not None:
            _draw(result["structure"], pictures)
    return _json(result)
