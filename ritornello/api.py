"""The few lines of Python that most people need: load a model, have it write songs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ritornello.errors import ConfigError
from ritornello.generate import Draft, Request, finish, generate
from ritornello.run import Run
from ritornello.song import Song


@dataclass(frozen=True)
class Player:
    """A loaded model. Wishes are `Request`'s: bars, seed, temperature, tempo, key, instruments, prompt ..."""

    run: Run

    def generate(self, **wishes: Any) -> Song:
        """One song. Raises ConfigError for a wish that cannot be met, MusicError for a prompt that cannot be read."""
        if wishes.get("count", 1) != 1:
            raise ConfigError(f"count = {wishes['count']}: generate() writes one song; songs() writes several.")
        return self.songs(**wishes)[0]

    def songs(self, **wishes: Any) -> list[Song]:
        """`count` songs in one batch."""
        return finish(self.drafts(Request(**wishes)))

    def drafts(self, request: Request) -> Iterator[Draft]:
        """The songs as they grow, bar by bar."""
        return generate(self.run.decoder, self.run.representation, request)


def load(name: str | Path = "museformer", device: str = "cpu") -> Player:
    """A model that ships, by its name, or any run, by its folder. Raises RitornelloError where there is none."""
    return Player(Run.open(name, device))
