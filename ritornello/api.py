"""The few lines of Python that most people need: load a model, have it write songs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ritornello.config import Config
from ritornello.errors import ConfigError
from ritornello.generate import Draft
from ritornello.generate_rolls import RollDraft
from ritornello.layers.step import Precision
from ritornello.models.base import DecoderLM
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

    def drafts(self, request: Config) -> Iterator[Draft] | Iterator[RollDraft]:
        """The songs as they grow; `request` is a `run.wishes`."""
        return drafts(self.run, request)


def load(
    name: str | Path = "museformer", device: str = "cpu", writing: Precision | Literal["plain"] = "bfloat16"
) -> Player:
    """A model that ships, by its name, or any run, by its folder. Raises RitornelloError where there is none.

    writing: with PyTorch alone ("plain"), or with the compiled step on a CPU, with weights of this precision.
    """
    run = Run.open(name, device)
    if isinstance(run.model, DecoderLM):
        run.model.writing = writing
    return Player(run)
