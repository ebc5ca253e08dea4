"""`ritornello interpolate a.mid b.mid --steps 5 -o between/`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

from ritornello.cli.generate import keep, progress_of
from ritornello.cli.restyle import place
from ritornello.restyle import Interpolate
from ritornello.song import Song


def main(
    first: Annotated[Positional[Path], arg(metavar="FIRST.mid")],
    second: Annotated[Positional[Path], arg(metavar="SECOND.mid")],
    /,
    request: OmitArgPrefixes[Interpolate] = Interpolate(),  # noqa: B008, it is frozen
    run: Annotated[str, arg(metavar="NAME|FOLDER")] = "musemorphose",
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE.mid|FOLDER")] = Path("songs"),
    sound: FlagCreatePairsOff[bool] = False,
    picture: FlagCreatePairsOff[bool] = False,
    device: str = "cpu",
) -> None:
    """Write the songs on the way from one MIDI file to another, bar by bar.

    Args:
        first: a MIDI file.
        second: another.
        request: how many songs, and how they are played.
        run: a model that ships, or a run's folder.
        out: where to; songs are numbered from the first piece to the second.
        sound: write WAV files too.
        picture: write a PNG of each song too.
        device: cpu or cuda.
    """
    from ritornello.api import load

    songs: list[Song] = []
    with progress_of() as progress:
        task = progress.add_task("bars", total=None)
        for songs in load(run, device).interpolate_drafts(first, second, request):  # noqa: B007, the last is used
            progress.advance(task)
    for number, song in enumerate(songs, 1):
        keep(song, place(out, f"{first.stem}-{second.stem}", number, len(songs)), sound, picture)
