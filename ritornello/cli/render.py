"""`ritornello render song.mid -o song.wav`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


def main(
    file: Annotated[Positional[Path], arg(metavar="FILE.mid")],
    /,
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE.wav")] = None,
) -> None:
    """Play a MIDI file into a WAV file, with the best synthesizer and SoundFont that this machine has.

    Args:
        file: a MIDI file.
        out: where to (by default beside the MIDI file).
    """
    from ritornello.music.audio import render
    from ritornello.music.score import read

    print(render(read(file), out or file.with_suffix(".wav")))
