"""Restyling: a piece played again, bar by bar, with another feel.

MIDI file → bars → a latent for each (what the bar is like) and its classes of rhythmic intensity and polyphony → the
classes that are asked for → the same song again, told the latents and the new classes. Metre and tempo of every bar are
settled beforehand, and so are the bars that are not to be changed.
"""

from ritornello.restyle.midi import Restyled, classify, draw, interpolate, restyle
from ritornello.restyle.play import Part, finish, play
from ritornello.restyle.wishes import ATTRIBUTES, Interpolate, Manner, Restyle

__all__ = [
    "ATTRIBUTES",
    "Interpolate",
    "Manner",
    "Part",
    "Restyle",
    "Restyled",
    "classify",
    "draw",
    "finish",
    "interpolate",
    "play",
    "restyle",
]
