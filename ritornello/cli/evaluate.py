"""`ritornello evaluate --run museformer --json`"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from json import dumps
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from rich.console import Console
from rich.progress import Progress, TaskID
from tyro.conf import FlagCreatePairsOff, arg

from ritornello.api import Player, load
from ritornello.data.corpora import open_corpus
from ritornello.data.dataset import TokenDataset
from ritornello.data.prepare import prepare
from ritornello.evaluate.likelihood import Scorer
from ritornello.evaluate.ngram import yardsticks as count_yardsticks
from ritornello.evaluate.report import evaluate, markdown, tables
from ritornello.generate import Request
from ritornello.music.score import Score
from ritornello.representations.base import Tokens

Item = TypeVar("Item")
WIDTH = 150  # columns of tables that go to a file


def main(
    run: Annotated[str, arg(metavar="NAME|FOLDER")] = "museformer",
    corpus: Annotated[str, arg(metavar="CORPUS")] = "lmd_multitrack",
    tokens: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    held_out: Annotated[int, arg(metavar="N")] = 100,
    songs: Annotated[int, arg(metavar="N")] = 100,
    bars: Annotated[int | None, arg(metavar="N")] = None,
    batch: Annotated[int, arg(metavar="N")] = 10,
    yardsticks: FlagCreatePairsOff[bool] = False,
    pictures: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    json: FlagCreatePairsOff[bool] = False,
    md: FlagCreatePairsOff[bool] = False,
    seed: int = 0,
    device: str = "cpu",
    precision: Literal["float32", "bfloat16"] = "float32",
) -> None:
    """Measure a run on songs it has not learned from: how they surprise it, and whether its own come back as they do.

    Args:
        run: a model that ships, or a run's folder.
        corpus: where held-out songs come from: the test split of a named corpus, folder or archive.
        tokens: the same corpus as `ritornello prepare` left it; by default it is prepared first, in tokens/.
        held_out: how many held-out songs are read, spread evenly over the test split; 0 for none.
        songs: how many songs the run writes, and how many human ones they are held against; 0 for none.
        bars: of every song that is written; by default each ends where it wants to.
        batch: songs that are written at once.
        yardsticks: measure an n-gram, and one that copies from the song, beside the run.
        pictures: a folder for the similarity distributions (the paper's Figure 3).
        json: print JSON.
        md: print Markdown, for a model's card.
        seed: of the songs and of the bootstrap.
        device: cpu or cuda.
        precision: of the likelihood; bfloat16 is for a GPU.
    """
    player = load(run, device)
    representation, name = player.run.representation, player.run.folder.name
    folder = tokens or _prepared(corpus, representation.name)
    test = TokenDataset(folder, "test")
    scorers: dict[str, Scorer] = {name: player.run.model}  # pyright: ignore[reportAssignmentType]
    if yardsticks:
        train = TokenDataset(folder, "train")
        counted = count_yardsticks([train[i].ids for i in range(len(train))], representation.vocabulary.size)
        scorers.update(counted)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        read = progress.add_task("held-out songs read", total=min(held_out, len(test)) or None, visible=held_out > 0)
        written = progress.add_task("songs written", total=songs or None, visible=songs > 0)
        result = evaluate(
            systems={name: _counted(_songs(player, songs, bars, batch, seed), progress, written)} if songs else None,
            human=(representation.decode(song) for song in _spread(test, songs)),
            scorers=scorers if held_out else None,
            held_out=_counted(_spread(test, held_out), progress, read),
            vocabulary=representation.vocabulary,
            device=device,
            precision=precision,
            seed=seed,
            pictures=pictures,
        )
    if json:
        print(dumps(result))
    elif md:
        print(markdown(result))
    else:
        Console(width=None if sys.stdout.isatty() else WIDTH).print(*tables(result), sep="\n\n")


def _prepared(corpus: str, representation: str) -> Path:
    """The folder of a corpus's tokens; made where it is missing or unfinished."""
    folder = Path("tokens", f"{open_corpus(corpus).name}-{representation}")
    if not (folder / "songs.jsonl").exists():
        print(f"Preparing {corpus} in {folder}, once.", file=sys.stderr)
        prepare(corpus, folder, representation)
    return folder


def _spread(dataset: TokenDataset, count: int) -> Iterator[Tokens]:
    """`count` songs at even distances, or all where there are fewer."""
    count = min(count, len(dataset))
    return (dataset[i * len(dataset) // count] for i in range(count))


def _songs(player: Player, count: int, bars: int | None, batch: int, seed: int) -> Iterator[Score]:
    """What the run writes, with the settings that `ritornello generate` has by default."""
    for first in range(0, count, batch):
        request = Request(bars=bars, seed=seed + first, count=min(batch, count - first))
        yield from (song.score for song in player.songs(**request.model_dump()))


def _counted(items: Iterator[Item], progress: Progress, task: TaskID) -> Iterator[Item]:
    """The same items; the bar moves on with each."""
    for item in items:
        yield item
        progress.advance(task)
