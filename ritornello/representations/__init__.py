"""Representations by name. `build("museformer").encode(score)` is where music becomes arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from ritornello.errors import MusicError
from ritornello.representations.base import Representation
from ritornello.representations.melody import Melody
from ritornello.representations.pianoroll import ROLLS, PianoRoll
from ritornello.representations.remi import CONFIGS, Remi
from ritornello.representations.voices import Voices

REPRESENTATIONS: dict[str, Callable[[], Representation]] = {
    **{name: partial(Remi, config) for name, config in CONFIGS.items()},
    **{name: partial(PianoRoll, config) for name, config in ROLLS.items()},
    "melody": Melody,
    "voices": Voices,
}


@cache
def build(name: str) -> Representation:
    """The representation of that name; one object serves all. Raises MusicError for a name that is not known."""
    if name not in REPRESENTATIONS:
        raise MusicError(f"There is no representation called {name!r}; choose from {', '.join(REPRESENTATIONS)}.")
    return REPRESENTATIONS[name]()
