"""What a musician may ask of a model that writes token by token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from ritornello.config import Config
from ritornello.errors import MusicError
from ritornello.music.keys import Key
from ritornello.sampling.density import densities
from ritornello.sampling.form import sections

BUDGET = 20_480  # tokens of a song, as in the paper (section 4.1)
BUDGET_PER_BAR = 320  # where that is more; 95 bars in 100 of Lakh songs need fewer


class Request(Config):
    """What a musician may ask for."""

    bars: int | None = Field(None, ge=1, le=4096)
    """Bars of the whole song, a prompt's included; by default the song ends where it wants to, or with its form."""
    form: str | None = None
    """Sections by letters, such as "AABA" or "A8 B16 A8": where a letter comes again, so does its music."""
    planned: bool | None = None
    """Where no form is asked for, have that of one of the songs by people that ship with the project: the seed chooses.
    By default as suits the model."""
    faithful: float | None = Field(None, ge=0, le=100)
    """How much what comes again is as it was: nats that each of its tokens gains; by default what suits the model."""
    density: str | None = None
    """Notes a bar, such as "20-60", by bars or of an instrument: "1-8:10-30,9-16:40,9-16:melody 4-8". Of a bar's
    candidates the nearest is kept."""
    candidates: int = Field(4, ge=1, le=16)
    """How many candidates of every bar are written where a density is asked for."""
    seed: int = Field(0, ge=0, lt=2**31)
    """The same seed and wishes give the same song; of several songs, the next ones have the next seeds."""
    temperature: float | None = Field(None, gt=0, le=10)
    """Below 1 surer, above 1 bolder; by default what suits the model, mostly 1."""
    top_k: int | None = Field(None, ge=0)
    """Draw from the k likeliest tokens only, 0: from all. By default what suits the model, 8 or 12: of all tokens
    where songs are free, of keys alone where they have a form."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Draw from the likeliest tokens that together reach this probability."""
    min_p: float = Field(0.0, ge=0, le=1)
    """Draw from tokens at least so many times as likely as the likeliest; 0: from all."""
    tempo: float | None = Field(None, gt=0)
    """Quarters a minute, from the first bar (after a prompt: from its end) to the last."""
    key: str | None = None
    """Such as "D minor" or "Eb major"."""
    instruments: tuple[str, ...] | None = None
    """Which may play; by default all, or those of the prompt."""
    count: int = Field(1, ge=1, le=256)
    """How many songs, in one batch."""
    prompt: Path | None = None
    """A MIDI file to go on from; its key, tempo and instruments are kept."""
    prompt_bars: int | None = Field(None, ge=1)
    """How many of its bars to keep, from the first that sounds; by default all."""
    form_of: Path | None = None
    """A MIDI file whose form the song is to have: who plays in which bar, and at which places of it, where music or
    chords come again, where music is new."""
    max_tokens: int | None = Field(None, ge=10, le=1_000_000)
    """Length of a song at most; by default 20,480, or 320 a bar where that is more."""

    @model_validator(mode="before")
    @classmethod
    def _has_form(cls, wishes: Any) -> Any:
        """A form says how many bars there are."""
        if not isinstance(wishes, dict) or not isinstance(wishes.get("form"), str):
            return wishes
        bars = wishes.get("bars")
        return {**wishes, "bars": sum(n for _, n in sections(wishes["form"], bars if isinstance(bars, int) else None))}

    @model_validator(mode="after")
    def _has_one_form(self) -> Self:
        if self.form and self.form_of:
            raise ValueError(f"form = {self.form} and form_of = {self.form_of} are two forms; leave one of them out.")
        return self

    @model_validator(mode="after")
    def _has_density(self) -> Self:
        if self.density is not None:
            densities(self.density, self.bars)
        return self

    @field_validator("key")
    @classmethod
    def _is_key(cls, key: str | None) -> str | None:
        try:
            return key and str(Key.parse(key))
        except MusicError as error:
            raise ValueError(str(error)) from None

    @field_validator("instruments", mode="before")
    @classmethod
    def _split(cls, names: Any) -> Any:
        """Names between commas are as good as separate names."""
        if names is None:
            return None
        parts = [names] if isinstance(names, str) else list(names)
        return tuple(name.strip().lower() for part in parts for name in str(part).split(",") if name.strip()) or None

    @property
    def budget(self) -> int:
        """Tokens of a song at most."""
        return self.max_tokens or max(BUDGET, BUDGET_PER_BAR * (self.bars or 0))
