"""Ballots: whole or not there, never twice, never altered, and there for good once acknowledged."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ritornello.errors import ListeningError
from ritornello.studio.ballots import AlreadyCast, Ballots, Full, Mark, NotKept


def marks(first: int = 5, clips: str = "xyz") -> tuple[Mark, ...]:
    return tuple(Mark(clip, 0.9, (first, 6, 7, 8)) for clip in clips)


@pytest.fixture
def ballots(tmp_path: Path) -> Ballots:
    return Ballots(tmp_path / "ballots.db")


def test_a_ballot_comes_back_as_it_was_cast(ballots: Ballots):
    key = ballots.join(trained=True)
    number = ballots.listener(key)
    assert number == 0
    ballots.cast(number, 0, marks())
    (ballot,) = Ballots(ballots.path).all()
    assert (ballot.listener, ballot.group, ballot.marks) == (0, 0, marks())
    assert ballots.listeners() == {0: True}
    assert ballots.cast_by(0) == 1


def test_a_ballot_is_on_disk_before_it_is_acknowledged(ballots: Ballots):
    """Two settings that no crash of a process alone can tell apart from weaker ones."""
    settings = [ballots._file.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert settings == ["wal", 2]  # 2 is FULL


def test_listeners_are_known_by_a_secret_that_is_not_kept(ballots: Ballots):
    keys = {ballots.join() for _ in range(5)}
    assert sorted(number for key in keys if (number := ballots.listener(key)) is not None) == [0, 1, 2, 3, 4]
    assert ballots.listener("guess") is None
    assert ballots.listener("\udc80") is None
    ballots.close()
    kept = b"".join(file.read_bytes() for file in ballots.path.parent.iterdir())
    assert not any(key.encode() in kept for key in keys)


def test_no_ballot_is_cast_twice(ballots: Ballots):
    ballots.join()
    ballots.cast(0, 0, marks(5))
    ballots.cast(0, 0, marks(5))  # the same once more: its reply was lost
    with pytest.raises(AlreadyCast):
        ballots.cast(0, 0, marks(9))
    assert [ballot.marks for ballot in ballots.all()] == [marks(5)]


def test_no_clip_is_scored_twice_by_one_listener(ballots: Ballots):
    ballots.join()
    ballots.cast(0, 0, marks())
    with pytest.raises(NotKept):
        ballots.cast(0, 1, marks(clips="axb"))
    assert ballots.cast_by(0) == 1  # nothing of the second is there


@pytest.mark.parametrize("wrong", [(0, 5, 5, 5), (5, 5, 5, 11), (5, 5, 5)])
def test_a_wrong_score_leaves_nothing(ballots: Ballots, wrong: tuple[int, ...]):
    ballots.join()
    with pytest.raises(NotKept):
        ballots.cast(0, 0, (Mark("x", 1.0, (5, 5, 5, 5)), Mark("y", 1.0, wrong)))
    assert ballots.all() == []
    with pytest.raises(NotKept):
        ballots.cast(7, 0, marks())  # no such listener


@pytest.mark.parametrize("table", ["listeners", "ballots", "scores"])
def test_the_file_itself_refuses_to_alter_a_ballot(ballots: Ballots, table: str):
    ballots.join()
    ballots.cast(0, 0, marks())
    other = sqlite3.connect(ballots.path)
    column = "joined" if table == "listeners" else "listener"
    for statement in (f"UPDATE {table} SET {column} = 1", f"DELETE FROM {table}"):
        with pytest.raises(sqlite3.IntegrityError, match="stay as given"):
            other.execute(statement)


def test_as_many_listeners_as_are_let_in(ballots: Ballots):
    for _ in range(3):
        ballots.join(most=3)
    with pytest.raises(Full):
        ballots.join(most=3)


def test_many_at_once(ballots: Ballots):
    with ThreadPoolExecutor(20) as pool:
        numbers = [ballots.listener(key) for key in pool.map(lambda _: ballots.join(), range(20))]
        assert sorted(n for n in numbers if n is not None) == list(range(20))
        jobs = [(n, g) for n in range(20) for g in range(5)] * 2  # everything twice, at once
        random.Random(0).shuffle(jobs)
        list(pool.map(lambda job: ballots.cast(job[0], job[1], marks(clips=f"{job[1]}{job[1] + 5}")), jobs))
    assert len(ballots.all()) == 100


def test_a_full_disk_is_told_and_acknowledges_nothing(ballots: Ballots):
    ballots.join()
    pages = ballots._file.execute("PRAGMA page_count").fetchone()[0]
    ballots._file.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own way to say: no room
    acknowledged = []

    def fill() -> None:
        for group in range(2000):
            ballots.cast(0, group, tuple(Mark(f"{group}-{i}", 1.0, (5, 5, 5, 5)) for i in range(9)))
            acknowledged.append(group)

    with pytest.raises(NotKept, match="full"):
        fill()
    assert ballots.cast_by(0) == len(acknowledged) > 0
    assert sum(len(ballot.marks) for ballot in ballots.all()) == 9 * len(acknowledged)


def test_another_file_is_not_taken_for_ballots(tmp_path: Path):
    (tmp_path / "text.db").write_text("not a database" * 100)
    with pytest.raises(ListeningError, match=r"text\.db cannot be opened"):
        Ballots(tmp_path / "text.db")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE mine (x)")
    other.commit()
    with pytest.raises(ListeningError, match="no file of ballots"):
        Ballots(tmp_path / "other.db")
    assert other.execute("SELECT count(*) FROM sqlite_master").fetchone() == (1,)


WRITER = """
import sys
from pathlib import Path
from ritornello.studio.ballots import Ballots, Mark
ballots = Ballots(Path(sys.argv[1]))
me = ballots.listener(ballots.join())
for group in range(100_000):
    ballots.cast(me, group, tuple(Mark(f"{group}-{i}", 1.0, (1 + group % 10, 5, 5, 5)) for i in range(3)))
    print(me, group, flush=True)
"""


def test_killed_writers_lose_nothing_that_was_acknowledged(tmp_path: Path):
    path, acknowledged = tmp_path / "ballots.db", set()
    for _ in range(2):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        lines = [writer.stdout.readline() for writer in writers if writer.stdout]  # both write by now
        time.sleep(0.2)
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
        for writer, line in zip(writers, lines, strict=True):
            text = line + writer.communicate()[0]
            whole = text[: text.rfind("\n") + 1].splitlines()
            acknowledged |= {tuple(map(int, line.split())) for line in whole}
    ballots = Ballots(path)
    kept = {(ballot.listener, ballot.group): ballot.marks for ballot in ballots.all()}
    assert len(acknowledged) > 20
    assert acknowledged <= set(kept)
    assert all([mark.scores[0] for mark in given] == [1 + g % 10] * 3 for (_, g), given in kept.items())
    assert ballots._file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
