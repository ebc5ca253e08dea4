"""`ritornello generate --bars 64 --key "A minor" -o night.mid`, `ritornello generate --run musegan --help`"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, arg

from ritornello.errors import MusicError
from ritornello.music.score import write_bytes
from ritornello.request import Request
from ritornello.song import Song

SHIPPED = "museformer"


def main(
    request: OmitArgPrefixes[Request] = Request(),  # noqa: B008, it is frozen
    run: Annotated[str, arg(metavar="NAME|FOLDER")] = SHIPPED,
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE.mid|FOLDER")] = Path("songs"),
    sound: FlagCreatePairsOff[bool] = False,
    picture: FlagCreatePairsOff[bool] = False,
    device: str = "cpu",
    writing: Literal["plain", "float32", "bfloat16", "int8"] = "int8",
    recipe: Annotated[Path | None, arg(metavar="FILE.json")] = None,
) -> None:
    """Write new songs, or the continuation of a MIDI file.

    Args:
        request: what the song shall be.
        run: a model that ships, or a run's folder.
        out: where to; in a folder, songs are named by their seed.
        sound: write a WAV file too.
        picture: write a PNG too.
        device: cpu or cuda.
        writing: on a CPU, weights of this precision in a compiled step; plain: PyTorch alone, slower.
        recipe: write the song of this recipe again, byte for byte; it settles all wishes.
    """
    if recipe:
        return _write_again(recipe, run, out, device)
    from ritornello.api import load

    last: Any = None  # a Draft, or a RollDraft
    try:
        with progress_of() as progress:
            bars = getattr(request, "bars", None)  # a family may ask for them in words, such as 5-8
            task = progress.add_task("loading", total=bars if isinstance(bars, int) else None)
            drafts = load(run, device, writing).drafts(request)
            for last in drafts:
                progress.update(task, completed=last.bars, description=f"bar {last.bars}")
    finally:  # stopped half-way, what is written of the songs is kept
        for song in last.songs() if last and last.bars else []:
            keep(song, file_of(out, song.seed, request.count), sound, picture)


def _write_again(path: Path, run: str, out: Path, device: str) -> None:
    """Write a recipe's song into the file asked for, or into a folder under the recipe's name."""
    from ritornello.recipe import read_recipe

    recipe, midi = read_recipe(path), b""
    with progress_of() as progress:
        task = progress.add_task("loading", total=recipe.bars or recipe.wishes.get("bars"))
        for step in recipe.write(None if run == SHIPPED else run, device):
            midi = step
            progress.advance(task)
    place = out if out.suffix.lower() in (".mid", ".midi") else out / f"{path.stem}.mid"
    write_bytes(midi, place)
    print(place)


def main_for(flags: Sequence[str]) -> Callable[..., None]:
    """`main`, with the flags of the run that --run names."""
    return with_wishes(main, flags)


def with_wishes(verb: Callable[..., None], flags: Sequence[str], **defaults: Any) -> Callable[..., None]:
    """A verb whose `request` is what the run that --run names can be asked for: a family may have its own wishes."""
    from ritornello.run import wishes_of

    named = [flags[i + 1] for i, flag in enumerate(flags[:-1]) if flag == "--run"]
    named += [flag.partition("=")[2] for flag in flags if flag.startswith("--run=")]
    wishes = wishes_of(named[-1]) if named else Request
    if wishes is Request:
        return verb

    def specialised(**values: Any) -> None:
        verb(**values)

    signature = inspect.signature(verb, eval_str=True)
    own = signature.parameters["request"].replace(annotation=OmitArgPrefixes[wishes], default=wishes(**defaults))
    parameters = [own if p.name == "request" else p for p in signature.parameters.values()]
    specialised.__doc__ = verb.__doc__
    specialised.__annotations__ = {p.name: p.annotation for p in parameters}
    specialised.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore[reportFunctionMemberAccess]
    return specialised


def file_of(out: Path, seed: int, count: int) -> Path:
    """Where a song goes: the file asked for, with the seed in its name if there are several; or its own in a folder."""
    if out.suffix.lower() not in (".mid", ".midi"):
        return out / f"song-{seed}.mid"
    return out if count == 1 else out.with_stem(f"{out.stem}-{seed}")


def keep(song: Song, path: Path, sound: bool, picture: bool) -> None:
    """Write a song in the forms asked for, and say what it is."""
    print(song.write(path))
    print(song.describe())
    if picture:
        print(song.draw(path.with_suffix(".png")))
    if sound:
        try:
            print(song.render(path.with_suffix(".wav")))
        except MusicError as error:  # no synthesizer: the rest is there all the same
            print(error, file=sys.stderr)


def progress_of() -> Progress:
    columns = (TextColumn("{task.description:>8}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
