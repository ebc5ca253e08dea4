"""`ritornello inspect song.mid`, `ritornello inspect my-midi-files/ --json`"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from json import dumps
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from rich.progress import track
from rich.table import Table
from tyro.conf import FlagCreatePairsOff, Positional, arg

from ritornello.data.corpora import MIDI, Entry, open_corpus
from ritornello.data.workers import Failure, run
from ritornello.errors import MusicError
from ritornello.music.attributes import bar_attributes
from ritornello.music.bars import bars, tempo_by_bar
from ritornello.music.score import Score, parse, read
from ritornello.survey import ATTRIBUTES, Look, Survey, look, sparkline

MOST = 12  # rows of a corpus's longest tables


def main(
    target: Annotated[Positional[str], arg(metavar="FILE.mid|CORPUS")],
    /,
    json: FlagCreatePairsOff[bool] = False,
    picture: Annotated[Path | None, arg(metavar="FILE.png")] = None,
    limit: Annotated[int | None, arg(metavar="N")] = None,
    workers: Annotated[int | None, arg(metavar="N")] = None,
) -> None:
    """Tell what music holds: bars, metre, key, tempo, instruments, attributes, and how alike its bars are.

    Args:
        target: a MIDI file; or a folder, an archive or a named corpus.
        json: print JSON.
        picture: draw the similarity distribution (the paper's Figure 3).
        limit: of a corpus, only the first so many files.
        workers: processes for a corpus (by default one a processor).
    """
    survey = Survey()
    if target.lower().endswith(MIDI):
        score = read(target)
        survey.add(look(score))
        told = {"file": target, **asdict(survey.songs[0]), "by_bar": _by_bar(score), "similarity": survey.similarity()}
    else:
        dropped = _look_at_all(target, survey, limit, workers or os.cpu_count() or 1)
        told = {"corpus": target, "files": len(survey.songs) + len(dropped), "unreadable": dropped, **survey.summary()}
    if picture:
        from ritornello.pictures import draw_similarity

        draw_similarity({Path(target).stem: survey.distribution}, picture)
    if json:
        print(dumps(told))
    elif "file" in told:
        _show_file(told, survey)
    else:
        _show_corpus(told, survey)


def _by_bar(score: Score) -> list[dict[str, Any]]:
    """A row a bar."""
    grid, attributes = bars(score), bar_attributes(score)
    tempi = tempo_by_bar(score, grid)
    return [
        {
            "bar": i + 1,
            "metre": f"{numerator}/{denominator}",
            "tempo": round(float(tempi[i]), 2),
            **{name: round(float(attributes[name][i]), 3) for name in ATTRIBUTES},
        }
        for i, (numerator, denominator) in enumerate(grid.metres.tolist())
    ]


def _look_at_all(name: str, survey: Survey, limit: int | None, workers: int) -> dict[str, str]:
    """Add a corpus's files to the survey; those that cannot be read, with the reason."""
    corpus = open_corpus(name)
    names: list[str] = []

    def jobs() -> Iterator[Entry]:
        for entry in islice(corpus, limit):
            names.append(entry.name)
            yield entry

    dropped: dict[str, str] = {}
    looks = run(_look, jobs(), workers)
    progress = track(
        looks, name, min(limit or len(corpus), len(corpus)) or None, console=Console(stderr=True), transient=True
    )
    for number, found in enumerate(progress):
        if isinstance(found, Failure):
            dropped[names[number]] = found.detail
        else:
            survey.add(found)
    if not survey.songs:
        raise MusicError(f"{name} holds no MIDI file that can be read.")
    return dropped


def _look(entry: Entry) -> Look | Failure:
    """What the workers do."""
    if entry.data is None:
        return Failure("cannot be read", entry.problem or "holds nothing")
    try:
        return look(parse(entry.data, entry.name))
    except MusicError as error:
        return Failure("cannot be read", str(error))


# For the terminal


def _show_file(told: dict[str, Any], survey: Survey) -> None:
    table = Table("bar", "metre", "tempo", *(name.replace("_", " ") for name in ATTRIBUTES), box=None)
    for row in told["by_bar"]:
        table.add_row(
            str(row["bar"]), row["metre"], f"{row['tempo']:.0f}", *(f"{row[name]:.3g}" for name in ATTRIBUTES)
        )
    Console().print(table)
    print(f"\n{survey.songs[0]}.")
    _show_similarity(told["similarity"])


def _show_corpus(told: dict[str, Any], survey: Survey) -> None:
    console = Console()
    table = Table("", "lower quartile", "median", "upper quartile", box=None)
    for scope, unit in (("quartiles_of_songs", "of songs"), ("quartiles_of_bars", "of bars")):
        for name, values in told[scope].items():
            table.add_row(f"{name.replace('_', ' ')} {unit}", *(f"{value:,.4g}" for value in values))
    console.print(table)
    for name in ("metres", "keys", "instruments"):
        shown = [f"{thing} {count / told['songs']:.0%}" for thing, count in list(told[name].items())[:MOST]]
        print(f"\n{name}, by share of songs: {', '.join(shown)}")
    for name, reason in list(told["unreadable"].items())[:MOST]:
        print(f"{name}: {reason}", file=sys.stderr)
    print(f"\n{told['songs']:,} songs; {len(told['unreadable']):,} of {told['files']:,} files could not be read.")
    _show_similarity(told["similarity"])


def _show_similarity(told: dict[str, Any]) -> None:
    values = [value or 0.0 for value in told["distribution"]]
    marks = "".join(f"{t:>4}" for t in range(4, len(values) + 1, 4))
    print(f"\nSimilarity of bars that are t bars apart, up to {max(values):.0%}:\n  {sparkline(values)}\n  {marks}")
    print(f"Structure-related offsets: {', '.join(map(str, told['structure_offsets']))}")
