"""Ritornello: long, structured, steerable symbolic music.

    import ritornello as rn
    rn.load("museformer").generate(bars=64, seed=1).write("a.mid")
    rn.write(rn.read("a.mid"), "b.mid")

The names below are fetched when they are first used, so that `import ritornello` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ritornello.api import load
    from ritornello.errors import RitornelloError
    from ritornello.music.score import read, write

__version__ = "0.1.0"
__all__ = ["RitornelloError", "__version__", "load", "read", "write"]

_HOMES = {
    "read": "ritornello.music.score",
    "write": "ritornello.music.score",
    "load": "ritornello.api",
    "RitornelloError": "ritornello.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ritornello' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
