"""Workers that misbehave as told: what the queue and the desks must outlive."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from ritornello.errors import MusicError
from ritornello.studio.workers import receive, send


def echo(data: bytes) -> tuple[str, bytes]:
    return "text/plain", data


def refuse(data: bytes) -> tuple[str, bytes]:
    raise MusicError("it is not music.")


def fail(data: bytes) -> tuple[str, bytes]:
    raise KeyError("a defect")


def die(data: bytes) -> tuple[str, bytes]:
    os.abort()


def sleep(data: bytes) -> tuple[str, bytes]:
    time.sleep(60)
    return "text/plain", b""


def grow(data: bytes) -> tuple[str, bytes]:
    return "text/plain", np.ones(2**33).tobytes()


def in_a_thread(scene: Coroutine[Any, Any, None]) -> None:
    """Run it on a loop of its own: Playwright keeps one running in the main thread."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, scene).result()


TASKS = {task.__name__: task for task in (echo, refuse, fail, die, sleep, grow)}


def composer(pipe: Connection, models: tuple[str, ...]) -> None:
    """Each job's data is a number of drafts, "stuck", or "dies"; a stop is obeyed between drafts."""
    send(pipe, {"models": [{"name": model} for model in models]})
    while True:
        head, data = receive(pipe)
        if "job" not in head:
            continue
        number, told = head["job"], data.decode()
        if told == "dies":
            os.abort()
        while told == "stuck":
            time.sleep(1)
        end = "done"
        for bar in range(int(told)):
            if pipe.poll() and receive(pipe)[0] == {"stop": number}:
                end = "stopped"
                break
            send(pipe, {"job": number, "draft": {"bars": bar + 1}})
            time.sleep(0.01)
        send(pipe, {"job": number, "end": end})


def obedient(pipe: Connection, models: tuple[str, ...]) -> None:
    """Writes as many bars as a job's wishes say, as a page asks for them."""
    send(pipe, {"models": [{"name": model} for model in models]})
    while True:
        head, data = receive(pipe)
        if "job" in head:
            _write(pipe, head["job"], json.loads(data)["wishes"]["bars"])


def _write(pipe: Connection, number: int, bars: int) -> None:
    for bar in range(bars):
        if pipe.poll() and receive(pipe)[0] == {"stop": number}:
            return send(pipe, {"job": number, "end": "stopped"})
        send(pipe, {"job": number, "draft": {"bars": bar + 1}})
        time.sleep(0.01)
    send(pipe, {"job": number, "end": "done"})
