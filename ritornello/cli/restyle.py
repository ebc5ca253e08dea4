"""`ritornello restyle mine.mid --rhythm +2 --polyphony -1 -o out.mid`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

from ritornello.cli.generate import keep, progress_of
from ritornello.restyle import Restyle, Restyled, draw


def main(
    source: Annotated[Positional[Path], arg(metavar="FILE.mid")],
    /,
    request: OmitArgPrefixes[Restyle] = Restyle(),  # noqa: B008, it is frozen
    run: Annotated[str, arg(metavar="NAME|FOLDER")] = "musemorphose",
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE.mid|FOLDER")] = Path("songs"),
    sound: FlagCreatePairsOff[bool] = False,
    picture: FlagCreatePairsOff[bool] = False,
    device: str = "cpu",
) -> None:
    """Play a MIDI file again with another feel: as many bars, in the same tempo, metre and key.

    Args:
        source: the MIDI file.
        request: what it shall be like.
        run: a model that ships, or a run's folder.
        out: where to; in a folder, songs are named by their source and number.
        sound: write WAV files too.
        picture: write a PNG too: the source and all variants, with what was asked of each bar and what was measured.
        device: cpu or cuda.
    """
    from ritornello.api import load

    songs: list[Restyled] = []
    with progress_of() as progress:
        task = progress.add_task("loading", total=None)
        for songs in load(run, device).restyle_drafts(source, request):
            progress.update(task, total=len(songs[0].before), completed=len(songs[0].after), description="bars")
    for number, song in enumerate(songs, 1):
        print(f"{song.name}:")
        keep(song, place(out, f"{source.stem}-restyled", number, len(songs)), sound, False)
    if picture:
        print(draw(songs, place(out, f"{source.stem}-restyled", 1, 1).with_suffix(".png"), source.stem))


def place(out: Path, stem: str, number: int, count: int) -> Path:
    """Where a song goes: the file asked for, with a number if there are several; or its own in a folder."""
    if out.suffix.lower() not in (".mid", ".midi"):
        out = out / f"{stem}.mid"
    return out if count == 1 else out.with_stem(f"{out.stem}-{number}")
