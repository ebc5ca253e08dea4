"""Controls → drafts → Songs, for the models of piano rolls: what generate.py is for those that write tokens."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ritornello.data.rolls import RollBatch, unbatch
from ritornello.errors import MusicError
from ritornello.models.base import Controls, RollModel
from ritornello.music.score import MusicWarning, read
from ritornello.representations.base import Representation, Roll
from ritornello.sampling.noise import Noise
from ritornello.song import Song


@dataclass(frozen=True)
class RollDraft:
    """The pieces as far as they are, one a seed."""

    rolls: tuple[Roll, ...]
    done: bool
    taken: float
    """Seconds since the request."""
    controls: Controls
    representation: Representation
    remarks: tuple[str, ...] = ()
    """Sentences about what was changed on the way."""

    @property
    def bars(self) -> int:
        """Of the longest piece."""
        return max(int(roll.bars[-1]) + 1 for roll in self.rolls)

    def songs(self) -> list[Song]:
        """What one can hear of it."""
        return [
            Song(self.representation.decode(roll), self.controls.seed + i, self.taken, self.remarks)
            for i, roll in enumerate(self.rolls)
        ]


@torch.no_grad()
def generate_rolls(model: RollModel, representation: Representation, controls: Controls) -> Iterator[RollDraft]:
    """Play the pieces asked for: drafts, and at last the pieces. Piece i is the one that seed + i alone would give.

    Raises: ConfigError for a wish that cannot be met; MusicError for a file that cannot be read.
    """
    start = time.monotonic()
    given, remarks = _read(representation, controls)
    noise = Noise(range(controls.seed, controls.seed + controls.count), next(model.parameters()).device)
    meta = [{"tempo": controls.tempo}] * controls.count

    def draft(batch: RollBatch, done: bool) -> RollDraft:
        rolls = tuple(unbatch(batch, meta))
        return RollDraft(rolls, done, time.monotonic() - start, controls, representation, remarks)

    training = model.training
    model.eval()
    try:
        last: RollBatch | None = None
        for batch in model.sample(controls, noise, given):
            if last is not None:
                yield draft(last, False)
            last = batch
        assert last is not None
        yield draft(last, True)
    finally:
        model.train(training)


def _read(representation: Representation, controls: Controls) -> tuple[list[Roll], tuple[str, ...]]:
    """The files that the controls name, as rolls, and what was said on the way."""
    rolls = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MusicWarning)
        for path in controls.files:
            score = read(path)
            try:
                rolls.append(representation.encode(score))
            except MusicError as error:
                raise MusicError(f"{path} cannot be used: {error}") from None
    return rolls, tuple(str(w.message) for w in caught if issubclass(w.category, MusicWarning))
