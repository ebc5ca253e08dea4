"""`ritornello song`, which is what `make song` runs: a new song each time, to hear and to see."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, arg

from ritornello.cli import generate
from ritornello.generate import Request

# It begins as full as four in five human songs are: left to itself, one in six is nearly empty or crowded
A_SONG = Request(bars=64, density="1-16:16-67", seed=secrets.randbelow(10_000))


def main(
    request: OmitArgPrefixes[Request] = A_SONG,
    run: Annotated[str, arg(metavar="NAME|FOLDER")] = "museformer",
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE.mid|FOLDER")] = Path("songs"),
    device: str = "cpu",
) -> None:
    """Write a song as MIDI, sound and picture. Without --seed it is a new one each time.

    Args:
        request: what the song shall be.
        run: a model that ships, or a run's folder.
        out: where to; in a folder, songs are named by their seed.
        device: cpu or cuda.
    """
    generate.main(request, run, out, sound=True, picture=True, device=device)


def main_for(flags: Sequence[str]) -> Callable[..., None]:
    """`main`, with the flags of the run that --run names."""
    return generate.with_wishes(main, flags, seed=A_SONG.seed)
