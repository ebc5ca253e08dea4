"""Desks: whatever a request does to its process, the next one is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ritornello.errors import RitornelloError
from ritornello.studio.workers import MOST_WAITING, Busy, Desk, Lost
from tests.studio.fakes import in_a_thread

FAKES = "tests.studio.fakes"


def run(scene: Callable[[Desk], Awaitable[None]], seconds: float = 20.0) -> None:
    async def play() -> None:
        desk = Desk(seconds, FAKES)
        try:
            await asyncio.wait_for(scene(desk), 40)
        finally:
            await desk.stop()

    in_a_thread(play())


def test_answers_come_to_those_who_asked():
    async def scene(desk: Desk) -> None:
        asked = [str(i).encode() * 100_000 for i in range(8)]
        answers = await asyncio.gather(*(desk.ask("echo", data) for data in asked))
        assert answers == [("text/plain", data) for data in asked]

    run(scene)


def test_what_is_wrong_with_a_song_is_told():
    async def scene(desk: Desk) -> None:
        with pytest.raises(RitornelloError, match="it is not music"):
            await desk.ask("refuse", b"")
        with pytest.raises(RitornelloError, match=r"failed unexpectedly .KeyError: 'a defect'.*please report"):
            await desk.ask("fail", b"")
        with pytest.raises(RitornelloError, match="4 GB of memory"):
            await desk.ask("grow", b"")
        assert (await desk.ask("echo", b"still here"))[1] == b"still here"

    run(scene)


def test_a_request_that_kills_its_process_costs_itself_alone():
    async def scene(desk: Desk) -> None:
        killed, answered = await asyncio.gather(desk.ask("die", b""), desk.ask("echo", b"me"), return_exceptions=True)
        assert isinstance(killed, Lost)
        assert answered == ("text/plain", b"me")

    run(scene)


def test_a_request_that_takes_too_long_is_given_up():
    async def scene(desk: Desk) -> None:
        await desk.ask("echo", b"it has started")
        desk.seconds = 0.3
        with pytest.raises(Lost, match="longer than"):
            await desk.ask("sleep", b"")
        desk.seconds = 20
        assert (await desk.ask("echo", b"again"))[1] == b"again"

    run(scene)


def test_no_more_wait_than_may():
    async def scene(desk: Desk) -> None:
        crowd = [asyncio.ensure_future(desk.ask("echo", b"")) for _ in range(MOST_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await desk.ask("echo", b"")
        await asyncio.gather(*crowd)

    run(scene)
