"""`ritornello evaluate --run museformer --json`"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import FlagCreatePairsOff, arg

if TYPE_CHECKING:
    from ritornello.data.dataset import TokenDataset
    from ritornello.music.score import Score
    from ritornello.representations.base import Representation, Tokens
    from ritornello.run import Run


def main(
    run: Annotated[str, arg(metavar="NAME|FOLDER")] = "museformer",
    corpus: str = "lmd_multitrack",
    tokens: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    held_out: Annotated[int, arg(metavar="N")] = 100,
    songs: Annotated[int, arg(metavar="N")] = 100,
    bars: Annotated[int, arg(metavar="N")] = 64,
    batch: Annotated[int, arg(metavar="N")] = 10,
    yardsticks: FlagCreatePairsOff[bool] = False,
    pictures: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    json: FlagCreatePairsOff[bool] = False,
    seed: int = 0,
    device: str = "cpu",
) -> None:
    """Measure a run on songs that it has not learned from: how surprised it is, and whether its songs come back as
    human songs do.

    Args:
        run: a model that ships, or a run's folder.
        corpus: where held-out songs come from: the test split of a named corpus (in RITORNELLO_DATA), folder or archive.
        tokens: the same corpus as `ritornello prepare` left it; without it, it is prepared first, in tokens/.
        held_out: how many held-out songs are read, spread evenly over the test split; 0 for none.
        songs: how many songs the run writes, and how many human ones they are held against; 0 for none.
        bars: of every song written.
        batch: songs that are written at once.
        yardsticks: measure an n-gram and an n-gram that copies from the song beside the run.
        pictures: a folder for the similarity distributions (the paper's Figure 3).
        json: print JSON.
        seed: of the songs and of the bootstrap.
        device: cpu or cuda.
    """
    from ritornello.data.dataset import TokenDataset
    from ritornello.evaluate.report import evaluate
    from ritornello.run import Run

    opened = Run.open(run, device)
    folder = tokens or _prepared(corpus, opened.representation.name)
    test = TokenDataset(folder, "test")
    scorers = {opened.folder.name: opened.model}
    if yardsticks:
        scorers |= _yardsticks(TokenDataset(folder, "train"))
    systems = {opened.folder.name: _written(opened, songs, bars, batch, seed)} if songs else {}
    result = evaluate(
        systems=systems,
        human=_decoded(opened.representation, _spread(test, songs)) if songs else (),
        scorers=scorers if held_out else None,
        held_out=_spread(test, held_out),
        vocabulary=opened.representation.vocabulary,
        device=device,
        seed=seed,
        pictures=pictures,
    )
    _show(result, json)


def _prepared(corpus: str, representation: str) -> Path:
    """The folder of a corpus's tokens; made where it is missing or unfinished, which says so itself."""
    from ritornello.data.corpora import open_corpus
    from ritornello.data.prepare import prepare

    folder = Path("tokens", f"{open_corpus(corpus).name}-{representation}")
    if not (folder / "songs.jsonl").exists():
        prepare(corpus, folder, representation)
    return folder


def _spread(dataset: TokenDataset, count: int) -> Iterator[Tokens]:
    """`count` songs at even distances, or all where there are fewer."""
    count = min(count, len(dataset))
    return (dataset[i * len(dataset) // count] for i in range(count))


def _decoded(representation: Representation, songs: Iterator[Tokens]) -> Iterator[Score]:
    return (representation.decode(song) for song in songs)
