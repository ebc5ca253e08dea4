"""The key that is asked for: which notes are preferred, and where a shift of the whole song does the rest."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ritornello.music.keys import Key
from ritornello.representations.vocabulary import Vocabulary

# Nats by which the tones of a key that was asked for are preferred, by semitones above the tonic. Where songs are in C
# major or A minor, it is only a push towards one of the two.
MAJOR_STEPS = (1, -1, 0, -1, 1, 0, -1, 1, -1, 0, -1, 0)
MINOR_STEPS = (1, -1, 0, 1, -1, 0, -1, 1, 0, -1, 0, 0)
TOWARDS_MODE, TOWARDS_KEY = 0.3, 1.0


def in_c(vocabulary: Vocabulary) -> bool:
    """Whether songs are in C major or A minor (with six instruments), and played in other keys by shifting."""
    return "Metre" not in vocabulary.families and "Key" not in vocabulary.families


def towards(vocabulary: Vocabulary, key: Key) -> Float[Tensor, " vocabulary"]:
    """Weights on the Pitch tokens: more for the triad on the tonic, less for what lies outside the scale.

    Where songs are in C, the triad is that of C major or A minor: it is the mode that the shift cannot decide.
    """
    c, major = in_c(vocabulary), key.mode == "major"
    tonic = (0 if major else 9) if c else key.tonic
    steps = np.array(MAJOR_STEPS if major else MINOR_STEPS, float)
    pitches = vocabulary.range("Pitch")
    weights = torch.zeros(vocabulary.size)
    strength = TOWARDS_MODE if c else TOWARDS_KEY
    weights[pitches.start : pitches.stop] = torch.from_numpy(strength * steps[(np.arange(128) - tonic) % 12]).float()
    return weights
