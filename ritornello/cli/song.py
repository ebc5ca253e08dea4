"""`ritornello song`, which is what `make song` runs: a new song each time, to hear and to see."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, arg

from ritornello.cli import generate
from ritornello.request import Request

A_SONG = Request(bars=64, seed=secrets.randbelow(10_000))
OPENING, USUAL, MELODY = 8, "16-67", "2-9"  # bars; notes a bar, of all and of the melody


def main(
    request: OmitArgPrefixes[Request] = A_SONG,
    run: Annotated[str, arg(metavar="NAME|FOLDER")] = "museformer",
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE.mid|FOLDER")] = Path("songs"),
    device: str = "cpu",
) -> None:
    """Write a song as MIDI, sound and picture. Without --seed it is a new one each time.

    Where no form is asked for, it has that of a song by people, which its seed chooses.

    Args:
        request: what the song shall be.
        run: a model that ships, or a run's folder.
        out: where to; in a folder, songs are named by their seed.
        device: cpu or cuda.
    """
    from ritornello.run import config_of

    config = config_of(run)
    if config.family == config.representation == "museformer":
        request = usual(request)
    generate.main(request, run, out, sound=True, picture=True, device=device)


def usual(request: Request) -> Request:
    """Where little is asked for, the song has a form, and its opening a melody; it is neither empty nor crowded."""
    wishes: dict[str, Any] = {"planned": True} if request.planned is None else {}
    if request.density is None and request.instruments is None:
        opening = f"1-{min(OPENING, request.bars or OPENING)}"
        wishes["density"] = f"{opening}:{USUAL},{opening}:melody {MELODY}"
    return request if request.prompt else Request(**request.model_dump() | wishes)


def main_for(flags: Sequence[str]) -> Callable[..., None]:
    """`main`, with the flags of the run that --run names."""
    return generate.with_wishes(main, flags, seed=A_SONG.seed)
