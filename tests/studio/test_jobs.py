"""The queue: one job at a time, fair, bounded; what is not wanted any more ends soon, whatever its process does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from ritornello.studio import jobs as module
from ritornello.studio.jobs import MOST_EACH, MOST_WAITING, Job, Jobs
from ritornello.studio.workers import Busy
from tests.studio.fakes import composer, in_a_thread

FOREVER = b"100000"


def run(scene: Callable[[Jobs], Awaitable[None]]) -> None:
    async def play() -> None:
        jobs = Jobs(["a model"], composer)
        jobs.start()
        assert jobs.catalogue is not None
        assert await jobs.catalogue == [{"name": "a model"}]
        try:
            await asyncio.wait_for(scene(jobs), 30)
        finally:
            await jobs.stop()

    in_a_thread(play())


def submit(jobs: Jobs, visitor: str, data: bytes) -> Job:
    job = jobs.submit(visitor, data)
    assert jobs.claim(job.name) is job
    return job


async def end_of(job: Job) -> str:
    return [message async for message in job.drafts()][-1]["end"]


def test_a_job_tells_its_place_its_drafts_and_its_end():
    async def scene(jobs: Jobs) -> None:
        told = [message async for message in submit(jobs, "anna", b"3").drafts()]
        assert told == [{"place": 0}, *({"draft": {"bars": bar}} for bar in (1, 2, 3)), {"end": "done"}]

    run(scene)


def test_visitors_take_turns():
    async def scene(jobs: Jobs) -> None:
        order: list[str] = []

        async def follow(name: str, job: Job) -> None:
            await end_of(job)
            order.append(name)

        first = submit(jobs, "anna", b"20")
        await asyncio.sleep(0.1)
        queue = [("anna 1", "anna"), ("anna 2", "anna"), ("anna 3", "anna"), ("ben 1", "ben"), ("cleo 1", "cleo")]
        waiting = [follow(name, submit(jobs, visitor, b"1")) for name, visitor in queue]
        await asyncio.gather(end_of(first), *waiting)
        assert order[:3] == ["anna 1", "ben 1", "cleo 1"]
        assert order[3:] == ["anna 2", "anna 3"]

    run(scene)


def test_a_waiting_job_knows_how_many_come_first():
    async def scene(jobs: Jobs) -> None:
        current = submit(jobs, "anna", FOREVER)
        await asyncio.sleep(0.3)
        second, third = submit(jobs, "ben", b"1"), submit(jobs, "cleo", b"1")
        assert [third.messages.get_nowait() for _ in range(third.messages.qsize())] == [{"place": 2}]
        jobs.cancel(second)
        assert third.messages.get_nowait() == {"place": 1}
        jobs.cancel(current)
        told = [message async for message in third.drafts()]
        assert told[-1] == {"end": "done"}

    run(scene)


def test_the_queue_is_bounded_for_each_and_for_all():
    async def scene(jobs: Jobs) -> None:
        submit(jobs, "anna", FOREVER)
        await asyncio.sleep(0.1)
        for _ in range(MOST_EACH):
            submit(jobs, "ben", b"1")
        with pytest.raises(Busy, match="waiting to be written"):
            jobs.submit("ben", b"1")
        for number in range(MOST_WAITING - MOST_EACH):
            submit(jobs, f"visitor {number}", b"1")
        with pytest.raises(Busy, match="already"):
            jobs.submit("late", b"1")

    run(scene)


def test_a_job_that_is_cancelled_frees_the_composer_at_once():
    async def scene(jobs: Jobs) -> None:
        long = submit(jobs, "anna", FOREVER)
        next_one = submit(jobs, "ben", b"1")
        await asyncio.sleep(0.3)
        start = time.monotonic()
        jobs.cancel(long)
        assert await end_of(long) == "stopped"
        assert await end_of(next_one) == "done"
        assert time.monotonic() - start < 2

    run(scene)


def test_a_stuck_job_is_ended_with_its_process_and_the_next_is_written():
    async def scene(jobs: Jobs) -> None:
        stuck = submit(jobs, "anna", b"stuck")
        next_one = submit(jobs, "ben", b"2")
        await asyncio.sleep(0.3)
        start = time.monotonic()
        jobs.cancel(stuck)
        assert await end_of(stuck) == "stopped"
        assert time.monotonic() - start < 2
        assert await end_of(next_one) == "done"

    run(scene)


def test_a_job_that_kills_its_process_costs_itself_alone():
    async def scene(jobs: Jobs) -> None:
        bad, good = submit(jobs, "anna", b"dies"), submit(jobs, "ben", b"2")
        assert await end_of(bad) == "error"
        assert await end_of(good) == "done"

    run(scene)


def test_a_job_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "LONGEST", 0.3)

    async def scene(jobs: Jobs) -> None:
        assert await end_of(submit(jobs, "anna", FOREVER)) == "stopped"

    run(scene)


def test_a_job_that_nobody_follows_is_dropped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "CLAIM", 0.2)

    async def scene(jobs: Jobs) -> None:
        job = jobs.submit("anna", FOREVER)
        assert await end_of(job) == "stopped"
        assert jobs.claim(job.name) is None

    run(scene)


def test_a_job_that_ends_before_its_page_comes_is_not_lost():
    async def scene(jobs: Jobs) -> None:
        job = jobs.submit("anna", b"1")
        await asyncio.wait_for(job.ended.wait(), 20)
        assert jobs.claim(job.name) is job
        assert await end_of(job) == "done"
        assert jobs.claim(job.name) is None

    run(scene)


def test_a_job_is_followed_by_one_page_only():
    async def scene(jobs: Jobs) -> None:
        job = jobs.submit("anna", FOREVER)
        assert jobs.claim("guess") is None
        assert jobs.claim(job.name) is job
        assert jobs.claim(job.name) is None
        jobs.cancel(job)

    run(scene)
