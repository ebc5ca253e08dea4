"""What only some verbs need is an extra of the package; where it is not installed, one sentence says how to get it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ritornello.errors import ConfigError


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around imports that the extra `name` brings. Raises ConfigError where one of them is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"this needs {error.name}: pip install 'ritornello[{name}]'.") from None
