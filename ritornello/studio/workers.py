"""Processes that do the server's work, so that a bad file or a stuck job costs its process and not the server.

Messages on the pipe are JSON and bytes, never pickles: a worker has read what strangers sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from ritornello.errors import RitornelloError

MEMORY = 4 * 2**30  # bytes of a desk's address space
MOST_WAITING = 32  # requests at a desk
SECONDS = 30.0  # for one of them


class Busy(RitornelloError):
    """Too many wait already."""


class Lost(RitornelloError):
    """The worker died or took too long."""


def send(pipe: Connection, head: dict[str, Any], body: bytes = b"") -> None:
    pipe.send_bytes(json.dumps(head).encode())
    pipe.send_bytes(body)


def receive(pipe: Connection) -> tuple[dict[str, Any], bytes]:
    """Raises EOFError or OSError where the other end is gone."""
    return json.loads(pipe.recv_bytes()), pipe.recv_bytes()


class Process:
    """One process at the other end of a pipe."""

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")  # safe beside threads, and the same on every system
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
        self.process.start()
        theirs.close()

    async def receive(self) -> tuple[dict[str, Any], bytes]:
        """The next message. Raises EOFError or OSError where the process is gone."""
        return await asyncio.to_thread(receive, self.pipe)

    def kill(self) -> None:
        self.process.kill()

    async def bury(self) -> None:
        """Kill it, and wait until it is gone."""
        self.process.kill()
        await asyncio.to_thread(self.process.join, 5)
        with contextlib.suppress(OSError):
            self.pipe.close()


class Desk:
    """One process that answers requests in their order; a new one takes its place when it dies or takes too long."""

    def __init__(self, seconds: float = SECONDS, tasks: str = "ritornello.studio.desk") -> None:
        self.seconds, self.tasks = seconds, tasks
        self.waiting = 0
        self.lock = asyncio.Lock()
        self.process: Process | None = None

    def start(self) -> None:
        """Start the process before the first request needs it."""
        self.process = self.process or Process(work, self.tasks, MEMORY)

    async def ask(self, task: str, data: bytes) -> tuple[str, bytes]:
        """What `task` of the tasks' module makes of `data`: a media type and content.

        Raises Busy where too many wait, Lost where the process was lost, RitornelloError for what the task finds wrong.
        """
        if self.waiting >= MOST_WAITING:
            raise Busy("The server is busy with other songs; try again in a moment.")
        self.waiting += 1
        return await asyncio.shield(self._turn(task, data))  # a visitor who leaves must not leave half an exchange

    async def _turn(self, task: str, data: bytes) -> tuple[str, bytes]:
        try:
            async with self.lock:
                self.start()
                assert self.process is not None
                return await asyncio.wait_for(self._exchange(self.process, task, data), self.seconds)
        except asyncio.TimeoutError:
            await self._replace()
            raise Lost(f"This song takes longer than {self.seconds:.0f} seconds; try a shorter one.") from None
        except (EOFError, OSError):
            await self._replace()
            raise Lost("This song ended the process that read it, and is left alone.") from None
        finally:
            self.waiting -= 1

    async def _exchange(self, process: Process, task: str, data: bytes) -> tuple[str, bytes]:
        await asyncio.to_thread(send, process.pipe, {"task": task}, data)
        head, body = await process.receive()
        if "error" in head:
            raise RitornelloError(head["error"])
        return head["media"], body

    async def _replace(self) -> None:
        await self.stop()
        self.start()

    async def stop(self) -> None:
        process, self.process = self.process, None
        if process:
            await process.bury()


def work(pipe: Connection, tasks: str, memory: int) -> None:
    """What a desk's process does until its pipe is closed, which happens also when its parent dies."""
    from importlib import import_module

    from ritornello.data.workers import limit_memory

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    limit_memory(memory)
    with contextlib.suppress(EOFError, OSError):
        known = import_module(tasks).TASKS
        while True:
            head, data = receive(pipe)
            try:
                media, body = known[head["task"]](data)
            except RitornelloError as error:
                send(pipe, {"error": str(error)})
            except MemoryError:
                send(
                    pipe, {"error": f"This song needs more than {memory / 2**30:.0f} GB of memory; try a shorter one."}
                )
            except Exception as error:  # a defect of ours: say so, and go on
                told = f"{type(error).__name__}: {error}"[:500]
                send(pipe, {"error": f"This failed unexpectedly ({told}); please report it."})
            else:
                send(pipe, {"media": media}, body)
