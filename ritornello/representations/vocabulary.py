"""Named events ⇄ ids. Events come in families ("Pitch"), each a range of ids in musical order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ritornello.errors import MusicError

PAD, BOS, EOS = 0, 1, 2  # the same in every vocabulary

Label = int | float | str
MOST = 2**15 - 1  # ids are int16


class Vocabulary:
    """Families of events in order, each with its labels; an event's id is its place in that order.

    A family without labels is one event, named like the family: `Vocabulary({"Bar": (), "Pitch": range(128)})` has the
    events PAD 0, BOS 1, EOS 2, Bar 3, Pitch_0 4 … Pitch_127 131.
    """

    def __init__(self, families: Mapping[str, Sequence[Label]]) -> None:
        """Raises MusicError where a name or label occurs twice or there are more events than int16 can number."""
        special: dict[str, Sequence[Label]] = {"PAD": (), "BOS": (), "EOS": ()}
        self._labels = {name: tuple(labels) for name, labels in {**special, **families}.items()}
        starts = list(accumulate((max(len(labels), 1) for labels in self._labels.values()), initial=0))
        self._ranges = {name: range(*starts[i : i + 2]) for i, name in enumerate(self._labels)}
        self._ids = {name: i for i, name in enumerate(self._names)}
        if len(self._ids) < self.size or self.size > MOST:
            raise MusicError(
                f"A vocabulary needs different names and at most {MOST} events; this one has {self.size} events, "
                f"{self.size - len(self._ids)} of them named like another: rename or remove some."
            )

    @property
    def families(self) -> tuple[str, ...]:
        return tuple(self._ranges)

    @property
    def size(self) -> int:
        return len(self._names)

    def range(self, family: str) -> range:
        """The ids of a family, in the order of its labels. Raises MusicError for a family that is not there."""
        if family not in self._ranges:
            raise MusicError(f"The vocabulary has no events called {family!r}; it has {', '.join(self.families)}.")
        return self._ranges[family]

    def labels(self, family: str) -> tuple[Label, ...]:
        """What the events of a family stand for: label i belongs to id range(family)[i]. A lone event has none."""
        self.range(family)
        return self._labels[family]

    def id(self, family: str, label: Label | None = None) -> int:
        """The id of `Family_label`. Raises MusicError where there is no such event."""
        name = family if label is None else f"{family}_{label}"
        if name not in self._ids:
            names = [self.name(i) for i in self.range(family)]
            raise MusicError(f"The vocabulary has no event {name!r}; choose from {names[0]} … {names[-1]}.")
        return self._ids[name]

    def name(self, id: int) -> str:
        """`Family_label`, or `Family` for a lone event. Raises MusicError for an id outside the vocabulary."""
        if not 0 <= id < self.size:
            raise MusicError(f"The vocabulary has no id {id}; its ids are 0 to {self.size - 1}.")
        return self._names[id]

    @cached_property
    def family_of(self) -> NDArray[np.int8]:
        """Int8[size]: for every id, the place of its family in `families`."""
        return np.repeat(np.arange(len(self._ranges)), [len(ids) for ids in self._ranges.values()]).astype(np.int8)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(
            name
            for family, labels in self._labels.items()
            for name in ([f"{family}_{label}" for label in labels] or [family])
        )

    def to_json(self) -> str:
        """The families and their labels, as a JSON object in the order of the ids."""
        return json.dumps({name: list(labels) for name, labels in self._labels.items()}, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """The inverse of `to_json`. Raises MusicError where the text is not that of a vocabulary."""
        try:
            families: Any = json.loads(text)
            valid = isinstance(families, dict) and all(
                isinstance(labels, list) and all(isinstance(label, Label) for label in labels)
                for labels in families.values()
            )
        except ValueError:
            valid = False
        if not valid or list(families)[:3] != ["PAD", "BOS", "EOS"]:
            raise MusicError(
                f"{text[:40]!r}… is not a vocabulary: expected a JSON object of families and lists of labels that "
                "begins with PAD, BOS and EOS; take the vocabulary.json that the model came with."
            )
        return cls(families)

    def __len__(self) -> int:
        return self.size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._names == other._names

    def __hash__(self) -> int:
        return hash(self._names)

    def __repr__(self) -> str:
        return f"Vocabulary({', '.join(f'{name} {len(ids)}' for name, ids in self._ranges.items())})"
