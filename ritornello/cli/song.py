"""`ritornello song`, which is what `make song` runs: a new song each time, to hear and to see."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, arg

from ritornello.cli import generate
from ritornello.request import Request

A_SONG = Request(bars=64, seed=secrets.randbelow(10_000))
FORMS = (  # of 64 bars
    "A8 A8 B8 A8 A8 C8 B8 A8",
    "A8 B8 A8 B8 C8 B8 A8 B8",
    "A16 B16 A16 B16",
    "A8 A8 B8 B8 A8 A8 B8 B8",
    "A4 A4 B4 A4 C8 A4 A4 B4 A4 C8 A4 A4 B4 A4",
    "I4 A8 B8 A8 B8 C8 B8 B8 O4",
)
OPENING, USUAL, MELODY = 8, "16-67", "2-9"  # bars; notes a bar, of all and of the melody


def main(
    request: OmitArgPrefixes[Request] = A_SONG,
    run: Annotated[str, arg(metavar="NAME|FOLDER")] = "museformer",
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE.mid|FOLDER")] = Path("songs"),
    device: str = "cpu",
) -> None:
    """Write a song as MIDI, sound and picture. Without --seed it is a new one each time.

    One of 64 bars has a form that its seed chooses; several at once have that of the first.

    Args:
        request: what the song shall be.
        run: a model that ships, or a run's folder.
        out: where to; in a folder, songs are named by their seed.
        device: cpu or cuda.
    """
    from ritornello.run import config_of

    config = config_of(run)
    if config.family == config.representation == "museformer":
        asked, request = request, usual(request)
        if request.form and not asked.form:
            print(f"A song of the form {request.form}.")
    generate.main(request, run, out, sound=True, picture=True, device=device)


def usual(request: Request) -> Request:
    """Where little is asked for, passages come back; the first has a melody and is neither empty nor crowded."""
    wishes = {}
    if request.density is None and request.instruments is None:
        opening = f"1-{min(OPENING, request.bars or OPENING)}"
        wishes["density"] = f"{opening}:{USUAL},{opening}:melody {MELODY}"
    if request.form is None and request.form_of is None and request.bars == A_SONG.bars:
        wishes["form"] = FORMS[request.seed % len(FORMS)]
    return request if request.prompt else Request(**request.model_dump() | wishes)


def main_for(flags: Sequence[str]) -> Callable[..., None]:
    """`main`, with the flags of the run that --run names."""
    return generate.with_wishes(main, flags, seed=A_SONG.seed)
