"""Where ballots are kept: one SQLite file, in which what was acknowledged stays, and stays as it was given.

A ballot is one listener's scores for one group, cast in one transaction: whole or not at all. The write-ahead log is
synchronised to disk before `cast` returns, so a ballot that was acknowledged outlives a crash of the process or of the
machine. That none is cast twice or altered is held by the file itself: by its keys, its checks, and triggers that
refuse every change of what is there. Listeners are known by a secret key, of which only the hash is kept.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from threading import Lock

from ritornello.errors import ListeningError
from ritornello.evaluate.listening import CRITERIA, HIGHEST, LOWEST

VERSION = 1
_SCORES = ", ".join(f"{name} INTEGER NOT NULL CHECK ({name} BETWEEN {LOWEST} AND {HIGHEST})" for name in CRITERIA)
_FIXED = "\n".join(
    f"CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, 'ballots stay as given'); END;"
    for table in ("listeners", "ballots", "scores")
    for verb in ("UPDATE", "DELETE")
)
SCHEMA = f"""
CREATE TABLE listeners (
    number INTEGER PRIMARY KEY,               -- 0, 1, ...: which listener of the test's design
    key BLOB NOT NULL UNIQUE,                 -- SHA-256 of the secret that the listener's browser keeps
    trained INTEGER CHECK (trained IN (0, 1)),  -- has learned music, by the listener's own word; NULL: did not say
    joined TEXT NOT NULL                      -- UTC
) STRICT;
CREATE TABLE ballots (
    listener INTEGER NOT NULL REFERENCES listeners,
    "group" INTEGER NOT NULL,                 -- 0, 1, ...: the listener's first, second ...
    cast_at TEXT NOT NULL,                    -- UTC
    PRIMARY KEY (listener, "group")
) STRICT;
CREATE TABLE scores (
    listener INTEGER NOT NULL,
    "group" INTEGER NOT NULL,
    position INTEGER NOT NULL,                -- 0, 1, ...: in the order the listener saw
    clip TEXT NOT NULL,
    heard REAL NOT NULL CHECK (heard BETWEEN 0 AND 1),  -- share of the clip that was played
    {_SCORES},
    PRIMARY KEY (listener, "group", position),
    UNIQUE (listener, clip),
    FOREIGN KEY (listener, "group") REFERENCES ballots
) STRICT;
{_FIXED}
PRAGMA user_version = {VERSION};
"""


class AlreadyCast(Exception):
    """The listener has cast another ballot for this group; it stays."""


class Full(Exception):
    """As many listeners as the test takes have joined."""


class NotKept(Exception):
    """The ballot could not be written (the disk is full, say); nothing of it is there."""


@dataclass(frozen=True)
class Mark:
    """What a listener gave one clip."""

    clip: str
    heard: float  # share of the clip that was played, 0 to 1
    scores: tuple[int, ...]  # by CRITERIA


@dataclass(frozen=True)
class Ballot:
    """One listener's scores for one group."""

    listener: int
    group: int
    cast_at: str  # UTC, ISO 8601
    marks: tuple[Mark, ...]  # in the order in which the listener saw the clips


class Ballots:
    """The ballots of one test. Any number of threads may use one of these; other processes may read beside it."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it. Raises ListeningError where it cannot be opened or is no such file."""
        self.path = path
        self._lock = Lock()
        try:
            self._file = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
            self._prepare()
        except sqlite3.Error as error:
            raise ListeningError(
                f"{path} cannot be opened as a file of ballots: {error}; check it and its disk"
            ) from error

    def _prepare(self) -> None:
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("PRAGMA synchronous = FULL")  # the log is on disk before a commit returns
        self._file.execute("PRAGMA fullfsync = ON")  # on a Mac as well
        self._file.execute("PRAGMA foreign_keys = ON")
        with self._transaction():
            version = self._file.execute("PRAGMA user_version").fetchone()[0]
            if version == 0 and not self._file.execute("SELECT 1 FROM sqlite_master").fetchone():
                for statement in _statements(SCHEMA):
                    self._file.execute(statement)
            elif version != VERSION:
                raise ListeningError(f"{self.path} is no file of ballots of version {VERSION}; move it away")

    def close(self) -> None:
        with self._lock:
            self._file.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing; on disk when left. One at a time."""
        with self._lock:
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._file.execute("COMMIT")
            except BaseException:
                if self._file.in_transaction:
                    self._file.execute("ROLLBACK")
                raise

    def join(self, trained: bool | None = None, most: int | None = None) -> str:
        """Enter a new listener; the secret key by which they are known. Raises Full beyond `most`, NotKept."""
        key = secrets.token_urlsafe(24)
        with self._kept(), self._transaction():
            number = self._file.execute("SELECT count(*) FROM listeners").fetchone()[0]
            if most is not None and number >= most:
                raise Full
            entry = (number, _hash(key), trained, _now())
            self._file.execute("INSERT INTO listeners VALUES (?, ?, ?, ?)", entry)
        return key

    def listener(self, key: str) -> int | None:
        """The number of the listener with this key, if there is one."""
        with self._lock:
            row = self._file.execute("SELECT number FROM listeners WHERE key = ?", (_hash(key),)).fetchone()
        return row[0] if row else None

    def cast_by(self, listener: int) -> int:
        """How many ballots this listener has cast."""
        with self._lock:
            return self._file.execute("SELECT count(*) FROM ballots WHERE listener = ?", (listener,)).fetchone()[0]

    def cast(self, listener: int, group: int, marks: tuple[Mark, ...]) -> None:
        """Keep a ballot; on disk when this returns. The same ballot once more, as after a lost reply, changes nothing.

        Raises AlreadyCast where another ballot is there for this group, NotKept where it cannot be written.
        """
        with self._kept(), self._transaction():
            if self._file.execute(
                'SELECT 1 FROM ballots WHERE listener = ? AND "group" = ?', (listener, group)
            ).fetchone():
                if [(mark.clip, mark.scores) for mark in self._marks(listener, group)] != [
                    (mark.clip, mark.scores) for mark in marks
                ]:
                    raise AlreadyCast
                return
            self._file.execute("INSERT INTO ballots VALUES (?, ?, ?)", (listener, group, _now()))
            for position, mark in enumerate(marks):
                row = (listener, group, position, mark.clip, mark.heard, *mark.scores)
                self._file.execute(f"INSERT INTO scores VALUES ({', '.join('?' * len(row))})", row)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise NotKept(str(error)) from error

    def _marks(self, listener: int, group: int) -> list[Mark]:
        columns = ", ".join(("clip", "heard", *CRITERIA))
        rows = self._file.execute(
            f'SELECT {columns} FROM scores WHERE listener = ? AND "group" = ? ORDER BY position', (listener, group)
        )
        return [Mark(clip, heard, tuple(scores)) for clip, heard, *scores in rows]

    def all(self) -> list[Ballot]:
        """Every ballot, by listener and group."""
        with self._lock:
            rows = self._file.execute('SELECT * FROM ballots ORDER BY listener, "group"').fetchall()
            return [Ballot(listener, group, at, tuple(self._marks(listener, group))) for listener, group, at in rows]

    def listeners(self) -> Mapping[int, bool | None]:
        """Everyone who has joined, and whether they have learned music."""
        with self._lock:
            rows = self._file.execute("SELECT number, trained FROM listeners ORDER BY number").fetchall()
        return {number: None if trained is None else bool(trained) for number, trained in rows}


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: `executescript` would end the transaction they belong to."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
