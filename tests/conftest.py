"""Fixtures every room's tests share: small scores made here, and real corpora where the machine has them."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory):
    """corpus(name, count) -> up to `count` MIDI files of a shared corpus; skips the test where it is not there."""
    root = Path(os.environ.get("RITORNELLO_DATA", "../shared/data"))

    def files(name: str, count: int = 20) -> list[Path]:
        archive = root / f"{name}.tar.xz"
        if not archive.exists():
            pytest.skip(f"{archive} is not on this machine")
        folder = tmp_path_factory.mktemp(name)
        found: list[Path] = []
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isfile() and member.name.lower().endswith((".mid", ".midi")):
                    tar.extract(member, folder, filter="data")
                    found.append(folder / member.name)
                    if len(found) == count:
                        break
        return found

    return files
