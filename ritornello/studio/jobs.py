"""The queue of jobs: one is written at a time, the others wait, and no visitor can crowd out another."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ritornello.studio.workers import Busy, Process, send

MOST_WAITING = 16  # jobs in all
MOST_EACH = 3  # of one visitor
CLAIM = 5.0  # seconds within which a job's page must connect to it
GRACE = 1.5  # seconds that the composer has to stop; then its process is ended
LONGEST = 30 * 60.0  # seconds for one job


@dataclass(eq=False)
class Job:
    """Something to compose. Its messages are {"place": n}, {"draft": ...}, and one {"end": ...}."""

    visitor: str
    data: bytes
    name: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    number: int = 0
    messages: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    claimed: bool = False

    def tell(self, message: dict[str, Any]) -> None:
        if not self.ended.is_set():
            self.messages.put_nowait(message)
        if "end" in message:
            self.ended.set()

    async def drafts(self) -> AsyncIterator[dict[str, Any]]:
        """Its messages, to the last."""
        while True:
            message = await self.messages.get()
            yield message
            if "end" in message:
                return


class Jobs:
    """All jobs. `start` and `stop` go with the server's own."""

    def __init__(self, models: Sequence[str], target: Callable[..., None]) -> None:
        self.models, self.target = tuple(models), target
        self.catalogue: asyncio.Future[list[dict[str, Any]]] | None = None
        self.waiting: OrderedDict[str, deque[Job]] = OrderedDict()  # by visitor, the one served longest ago first
        self.by_name: dict[str, Job] = {}
        self.current: Job | None = None
        self.written = 0
        self.wake = asyncio.Event()
        self.process: Process | None = None
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.catalogue = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self.task:
            if self.process:
                self.process.kill()  # frees the thread that waits for its messages
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
        if self.process:
            await self.process.bury()

    def submit(self, visitor: str, data: bytes) -> Job:
        """Queue a job. Raises Busy where the queue, or this visitor's part of it, is full."""
        mine = self.waiting.get(visitor, ())
        if len(mine) >= MOST_EACH:
            raise Busy(f"You have {len(mine)} songs waiting to be written; stop one, or wait.")
        if sum(map(len, self.waiting.values())) >= MOST_WAITING:
            raise Busy(f"{MOST_WAITING} songs wait to be written already; try again in a few minutes.")
        job = Job(visitor, data)
        self.by_name[job.name] = job
        self.waiting.setdefault(visitor, deque()).append(job)
        self._tell_places()
        self.wake.set()
        asyncio.get_running_loop().call_later(CLAIM, self._drop_unclaimed, job)
        return job

    def _drop_unclaimed(self, job: Job) -> None:
        """Nobody came for it."""
        if not job.claimed:
            self.by_name.pop(job.name, None)
            self.cancel(job)

    def claim(self, name: str) -> Job | None:
        """The job of this name, for the one page that may follow it."""
        job = self.by_name.get(name)
        if job is None or job.claimed:
            return None
        job.claimed = True
        if job.ended.is_set():
            self._forget(job)
        return job

    def cancel(self, job: Job) -> None:
        """Stop a job, whether it waits or is being written. It ends within GRACE; what it told stays told."""
        job.stopping.set()
        mine = self.waiting.get(job.visitor)
        if mine and job in mine:
            mine.remove(job)
            self._forget(job)
            job.tell({"end": "stopped"})
            self._tell_places()

    def _forget(self, job: Job) -> None:
        if job.claimed:  # one that has ended is kept until its page has come for its end
            self.by_name.pop(job.name, None)
        if not self.waiting.get(job.visitor):
            self.waiting.pop(job.visitor, None)

    def _tell_places(self) -> None:
        """Tell every waiting job how many come before it, in the order in which they will be written."""
        place = int(self.current is not None)
        queues = [list(queue) for queue in self.waiting.values()]
        for turn in range(max(map(len, queues), default=0)):
            for queue in queues:
                if turn < len(queue):
                    queue[turn].tell({"place": place})
                    place += 1

    async def _run(self) -> None:
        """Keep a composer, and give it one job after another."""
        while True:
            if self.process is None:
                await self._hire()
            job = self._next()
            if job is None:
                self.wake.clear()
                await self.wake.wait()
                continue
            self.current = job
            self._tell_places()
            try:
                await self._write(job)
            except (EOFError, OSError):  # the composer died
                job.tell({"end": "error", "error": "The process that composes ended; try again."})
                await self._dismiss()
            finally:
                self.current = None
                self._forget(job)

    def _next(self) -> Job | None:
        """The oldest job of the visitor who was served longest ago; that visitor is then the last."""
        for visitor, queue in self.waiting.items():
            if queue:
                job = queue.popleft()
                self.waiting.move_to_end(visitor)
                return job
        return None

    async def _hire(self) -> None:
        self.process = Process(self.target, self.models)
        try:
            head, _ = await self.process.receive()
        except (EOFError, OSError):
            await self._dismiss()
            await asyncio.sleep(1)  # it will not start; do not spin
            return
        assert self.catalogue is not None
        if not self.catalogue.done():
            self.catalogue.set_result(head["models"])

    async def _dismiss(self) -> None:
        process, self.process = self.process, None
        if process:
            await process.bury()

    async def _write(self, job: Job) -> None:
        """Have one job written, tell its messages, and stop it when it is to stop."""
        process = self.process
        assert process is not None
        self.written += 1
        job.number = self.written
        await asyncio.to_thread(send, process.pipe, {"job": job.number}, job.data)
        stopping = asyncio.create_task(job.stopping.wait())
        deadline, asked = time.monotonic() + LONGEST, False
        heard = asyncio.create_task(process.receive())
        try:
            while not job.ended.is_set():
                wait_for = {heard} if asked else {heard, stopping}
                left = max(deadline - time.monotonic(), 0)
                done, _ = await asyncio.wait(wait_for, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if heard in done:
                    head, _ = heard.result()
                    if head.pop("job", None) == job.number:
                        job.tell(head)
                    if not job.ended.is_set():
                        heard = asyncio.create_task(process.receive())
                elif not asked:  # its owner left, or it takes too long: ask it to stop
                    asked, deadline = True, time.monotonic() + GRACE
                    await asyncio.to_thread(send, process.pipe, {"stop": job.number})
                else:  # it does not stop
                    job.tell({"end": "stopped"})
                    await self._dismiss()
        finally:
            stopping.cancel()
            heard.cancel()
