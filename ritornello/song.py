"""A song that a model wrote: the score, how it came to be, and what one wants to do with it next."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ritornello.facts import Facts, facts
from ritornello.music.score import Score, write

if TYPE_CHECKING:
    from ritornello.music.audio import Rendering


@dataclass(frozen=True)
class Song:
    """What `generate` returns."""

    score: Score
    seed: int
    """The same request with this seed gives this song again."""
    taken: float = 0.0
    """Seconds it took to write."""
    remarks: tuple[str, ...] = ()
    """Sentences about what was changed on the way: what a prompt's reading merged or dropped, for example."""

    @cached_property
    def facts(self) -> Facts:
        """Bars, length, key, tempo, instruments."""
        return facts(self.score)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write a MIDI file."""
        write(self.score, path)
        return Path(path)

    def render(self, path: str | os.PathLike[str]) -> Rendering:
        """Write a WAV file. Raises MusicError where this machine has no synthesizer."""
        from ritornello.music.audio import render  # here, because scipy and matplotlib are slow to import

        return render(self.score, path)

    def draw(self, path: str | os.PathLike[str], title: str = "") -> Path:
        """Write a PNG: the piano roll, and how alike every two bars are."""
        from ritornello.pictures import draw

        return draw(self.score, path, title)

    def describe(self) -> str:
        """The song in plain words."""
        taken = f", written in {self.taken:.1f} seconds" if self.taken else ""
        return "\n".join([f"{self.facts}. Seed {self.seed}{taken}.", *self.remarks])
