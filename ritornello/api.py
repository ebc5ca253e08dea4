"""The few lines of Python that most people need: load a model, have it write songs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ritornello.config import Config
from ritornello.errors import ConfigError, RitornelloError
from ritornello.generate import Draft
from ritornello.generate_rolls import RollDraft
from ritornello.layers.step import Precision
from ritornello.models.base import DecoderLM
from ritornello.models.musemorphose import MuseMorphose
from ritornello.representations.base import Tokens
from ritornello.restyle import Interpolate, Manner, Part, Restyle, Restyled, finish, interpolate, play, restyle
from ritornello.run import Run, drafts
from ritornello.song import Song


@dataclass(frozen=True)
class Player:
    """A loaded model. Wishes are `Request`'s: bars, seed, temperature, tempo, key, instruments, prompt ..., or those of
    the family's own `Controls`: `run.wishes` is the class."""

    run: Run

    def generate(self, **wishes: Any) -> Song:
        """One song. Raises ConfigError for a wish that cannot be met, MusicError for a prompt that cannot be read."""
        if wishes.get("count", 1) != 1:
            raise ConfigError(f"count = {wishes['count']}: generate() writes one song; songs() writes several.")
        return self.songs(**wishes)[0]

    def songs(self, **wishes: Any) -> list[Song]:
        """`count` songs in one batch."""
        *_, last = self.drafts(self.run.wishes(**wishes))
        return last.songs()

    def restyle(self, source: str | Path, **wishes: Any) -> Restyled:
        """A MIDI file played again, with another feel bar by bar. Wishes are `Restyle`'s: rhythm, polyphony, bars ...

        Raises MusicError for a file that cannot be read, ConfigError for a wish that cannot be met.
        """
        songs = self.restyles(source, **wishes)
        if len(songs) != 1:
            raise ConfigError(f"restyle() plays one song, and {len(songs)} are asked for; restyles() plays several.")
        return songs[0]

    def restyles(self, source: str | Path, **wishes: Any) -> list[Restyled]:
        """All that is asked for, in one batch."""
        *_, songs = self.restyle_drafts(source, Restyle(**wishes))
        return songs

    def restyle_drafts(self, source: str | Path, request: Restyle) -> Iterator[list[Restyled]]:
        """The songs as they grow, bar by bar."""
        return restyle(self._morphose(), self.run.representation, Path(source), request)

    def interpolate(self, first: str | Path, second: str | Path, **wishes: Any) -> list[Song]:
        """Songs that lie between two pieces. Wishes are `Interpolate`'s."""
        *_, songs = self.interpolate_drafts(first, second, Interpolate(**wishes))
        return songs

    def interpolate_drafts(self, first: str | Path, second: str | Path, request: Interpolate) -> Iterator[list[Song]]:
        """The songs as they grow, bar by bar."""
        return interpolate(self._morphose(), self.run.representation, Path(first), Path(second), request)

    def replay(self, sources: Sequence[Tokens], classes: Sequence[NDArray[np.int64]], manner: Manner) -> list[Tokens]:
        """Songs of equally many bars played again in one batch, each bar in the classes ([bars, 2]) asked of it."""
        parts = [Part(source, asked) for source, asked in zip(sources, classes, strict=True)]
        return finish(play(self._morphose(), self.run.representation, parts, manner))

    @property
    def bounds(self) -> NDArray[np.float64]:
        """[2, 7], in thousandths: what divides the classes of rhythm and of polyphony."""
        return self._morphose().bounds.cpu().double().numpy()

    def _morphose(self) -> MuseMorphose:
        if not isinstance(self.run.model, MuseMorphose):
            raise RitornelloError(
                f"{self.run.folder.name}: a {self.run.config.family} has no latent of each bar; take musemorphose."
            )
        return self.run.model

    def drafts(self, request: Config) -> Iterator[Draft] | Iterator[RollDraft]:
        """The songs as they grow; `request` is a `run.wishes`."""
        return drafts(self.run, request)


def load(
    name: str | Path = "museformer", device: str = "cpu", writing: Precision | Literal["plain"] = "int8"
) -> Player:
    """A model that ships, by its name, or any run, by its folder. Raises RitornelloError where there is none.

    writing: with PyTorch alone ("plain"), or with the compiled step on a CPU, with weights of this precision.
    """
    run = Run.open(name, device)
    if isinstance(run.model, DecoderLM):
        run.model.writing = writing
    return Player(run)
