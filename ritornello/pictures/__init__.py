"""Pictures of music: songs, and the papers' figures.

Drawn through matplotlib's objects, never through pyplot, so that a server may draw in several threads at once.
"""

from ritornello.pictures.figures import draw_costs, draw_similarity
from ritornello.pictures.songs import Take, draw, draw_takes

__all__ = ["Take", "draw", "draw_costs", "draw_similarity", "draw_takes"]
