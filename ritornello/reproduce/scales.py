"""What is compared (`ROWS`), and how large the experiment is (`SCALES`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from ritornello.config import Config
from ritornello.errors import ConfigError
from ritornello.train.loop import TrainConfig


@dataclass(frozen=True)
class Row:
    """A line of the table: a family, and what distinguishes it."""

    title: str
    family: str
    model: dict[str, Any] = field(default_factory=dict)


ROWS = {
    "museformer": Row("Museformer", "museformer"),
    "no-coarse": Row("w/o coarse-grained", "museformer", {"coarse": False}),
    "nearest-bars": Row("w/o bar selection", "museformer", {"offsets": [1, 2, 3, 4, 5, 6, 7, 8]}),
    "no-fine": Row("w/o fine-grained", "museformer", {"fine": False}),
    "music_transformer": Row("Music Transformer", "music_transformer"),
    "transformer_xl": Row("Transformer-XL", "transformer_xl"),
    "longformer": Row("Longformer", "longformer"),
    "linear_transformer": Row("Linear Transformer", "linear_transformer"),
}
FULL = "full-attention"  # of costs only: what Figure 4 holds Museformer against
TITLES = {**{name: row.title for name, row in ROWS.items()}, FULL: "full attention"}


def chosen(names: str | None) -> list[str]:
    """The rows named between commas; all by default. Raises ConfigError."""
    rows = names.split(",") if names else list(ROWS)
    if unknown := [row for row in rows if row not in ROWS]:
        raise ConfigError(f"--rows {names}: there is no row {unknown[0]!r}; there are {', '.join(ROWS)}.")
    return rows


class Scale(Config):
    """How large an experiment is. What is not said here is the paper's (see each family's Config)."""

    model: dict[str, Any] = Field(default_factory=dict)
    """Sizes, and whatever else all rows share."""
    families: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """What a family adds: how far it looks back. All get the same input, so that they differ in attention alone."""
    train: TrainConfig = TrainConfig()
    synthetic: int = 0
    """Songs to make where no corpus is given."""
    held_out: int = 100
    """Songs of the test split on which likelihood is measured."""
    counted: int = 2000
    """Training songs that the n-gram yardsticks count."""
    songs: int = 100
    """What each row and seed writes."""
    bars: int | None = None
    """Of every song that is written, and at which human ones are cut; by default songs end where they want to."""
    batch: int = 10
    """Songs that are written at once."""
    human: int = 300
    """Training songs whose similarity distribution is the measure (Equation 6)."""
    lengths: tuple[int, ...] = (1024, 2048, 4096, 8192, 16384)
    """Of Figure 4, in tokens."""


_INPUT = {"bar_and_beat": True}
SCALES = {
    # The machinery in a minute, on songs made here: nothing about the ranking can be read from it.
    "tiny": Scale(
        model={"layers": 2, "width": 32, "heads": 2, "feedforward": 64, "dropout": 0.0, "carry": 1},
        families={
            "music_transformer": {**_INPUT, "chunk": 256},
            "transformer_xl": {**_INPUT, "segment": 128},
            "longformer": {**_INPUT, "window": 256},
        },
        train=TrainConfig(
            optimizer="muon", lr=5e-3, betas=(0.9, 0.95), eps=1e-8, schedule="trapezoid", warmup=5, cooldown=20,
            steps=40, stages=((0, 512, 1024),), log_every=10, save_every=10, validate_every=40,
        ),
        synthetic=120, held_out=4, counted=100, songs=2, bars=42, batch=2, human=20, lengths=(512, 1024),
    ),
    # An hour or two of one core, on songs made here, in which passages come back note for note up to 32 bars later: who
    # finds them? All rows see about as many single tokens, 512: Museformer's eight bars are of 58 each.
    "synthetic": Scale(
        model={"layers": 2, "width": 128, "heads": 4, "feedforward": 512, "dropout": 0.0, "carry": 2},
        families={
            "music_transformer": {**_INPUT, "chunk": 512},
            "transformer_xl": {**_INPUT, "segment": 256},
            "longformer": {**_INPUT, "window": 512},
        },
        train=TrainConfig(
            optimizer="muon", lr=5e-3, betas=(0.9, 0.95), eps=1e-8, schedule="trapezoid", warmup=40, cooldown=300,
            steps=900, stages=((0, 2560, 2560),), log_every=20, save_every=100, validate_every=300,
        ),
        synthetic=1500, held_out=24, counted=300, songs=8, bars=64, batch=8, human=200,
        lengths=(1024, 2048, 4096, 8192),
    ),
    # Some hours on two cores.
    "small": Scale(
        model={"layers": 4, "width": 256, "heads": 4, "feedforward": 1024, "dropout": 0.0, "carry": 2},
        families={
            "music_transformer": {**_INPUT, "chunk": 1024},
            "transformer_xl": {**_INPUT, "segment": 512},
            "longformer": {**_INPUT, "window": 1024},
        },
        train=TrainConfig(
            optimizer="muon", lr=5e-3, betas=(0.9, 0.95), eps=1e-8, schedule="trapezoid", warmup=40, cooldown=100,
            steps=400, stages=((0, 4096, 8192), (300, 10240, 20480)), log_every=20, save_every=20, validate_every=400,
        ),
        held_out=60, songs=24, bars=64, batch=8, human=300,
    ),
    # The paper's configuration (section 4.1), for a GPU.
    "paper": Scale(
        families={
            "music_transformer": {**_INPUT, "chunk": 2048},
            "transformer_xl": {**_INPUT, "segment": 512},
            "longformer": {**_INPUT, "window": 1024},
        },
        train=TrainConfig(steps=200_000, stages=((0, 15_360, 61_440),), validate_every=5000, save_every=1000),
        held_out=1000, counted=5000, human=1000,
    ),
}  # fmt: skip
