"""A process pool that outlives its workers.

`concurrent.futures` gives up on everything when one worker dies. Here a job that kills its worker, takes too long or
wants too much memory costs that job alone: it ends as a `Failure`, a new worker takes the dead one's place, and the
results come in the order of the jobs, however many workers there are.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

ATTEMPTS = 3  # something else than its job may have killed a worker: a job is given up after so many deaths
STARTS = 5  # workers that die before they are ready: then none will ever be
AHEAD = 8  # jobs read for each worker: a slow one does not hold up the others, nor may they run away from it


@dataclass(frozen=True)
class Failure:
    """Why a job has no result: the class of reason, and in detail, in words that continue "the file ..."."""

    reason: str
    detail: str


def run(
    task: Callable[[Any], Any], jobs: Iterable[Any], workers: int, seconds: float = 60.0, memory: int = 4 * 2**30
) -> Iterator[Any]:
    """Yield task(job), or a Failure, for each job in order.

    task:     picklable; it is called in the workers.
    seconds:  wall-clock limit of one job.
    memory:   limit of a worker's address space in bytes, where the system knows such limits.
    Raises RuntimeError where workers cannot start at all.
    """
    source = iter(jobs)
    submitted = given_out = 0
    exhausted = False
    pool = _Pool(task, workers, seconds, memory)
    try:
        while True:
            while not exhausted and submitted - given_out < AHEAD * workers:
                try:
                    pool.waiting.append((submitted, next(source)))
                    submitted += 1
                except StopIteration:
                    exhausted = True
            if given_out == submitted:
                return
            pool.step()
            while given_out in pool.results:
                yield pool.results.pop(given_out)
                given_out += 1
    finally:
        pool.stop()


class _Worker:
    """One process, and the job it is at."""

    def __init__(self, task: Callable[[Any], Any], memory: int) -> None:
        context = multiprocessing.get_context("spawn")  # safe beside threads, and the same on every system
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, task, memory), daemon=True)
        self.process.start()
        theirs.close()
        self.ready = False
        self.work: tuple[int, Any] | None = None  # number, job
        self.deadline = float("inf")

    def give(self, work: tuple[int, Any], seconds: float) -> None:
        self.work, self.deadline = work, time.monotonic() + seconds
        with contextlib.suppress(OSError):  # it has just died: the end of its pipe says so next
            self.pipe.send(work[1])

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


class _Pool:
    """`waiting` jobs go to workers; each ends in `results` under its number."""

    def __init__(self, task: Callable[[Any], Any], workers: int, seconds: float, memory: int) -> None:
        self.task, self.seconds, self.memory = task, seconds, memory
        self.waiting: deque[tuple[int, Any]] = deque()
        self.results: dict[int, Any] = {}
        self.deaths: Counter[int] = Counter()
        self.failed_starts = 0
        self.workers = [_Worker(task, memory) for _ in range(workers)]

    def step(self) -> None:
        """Give jobs to idle workers, wait until something happens, and note what did."""
        for worker in self.workers:
            if worker.ready and worker.work is None and self.waiting:
                worker.give(self.waiting.popleft(), self.seconds)
        soonest = min(worker.deadline for worker in self.workers) - time.monotonic()
        heard = wait([worker.pipe for worker in self.workers], max(0.0, min(soonest, 60.0)))
        for place, worker in enumerate(self.workers):
            if worker.pipe in heard:
                alive = self._listen(worker)
            else:
                alive = time.monotonic() < worker.deadline or self._give_up(worker)
            if not alive:
                self.workers[place] = _Worker(self.task, self.memory)

    def stop(self) -> None:
        for worker in self.workers:
            worker.stop()

    def _listen(self, worker: _Worker) -> bool:
        """Take a worker's message; False if it died instead of sending one."""
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return False
        if worker.work is None:  # the first message says only that it is there
            worker.ready, self.failed_starts = True, 0
        else:
            self.results[worker.work[0]] = message
            worker.work, worker.deadline = None, float("inf")
        return True

    def _give_up(self, worker: _Worker) -> bool:
        worker.stop()
        if worker.work is not None:
            self.results[worker.work[0]] = Failure("takes too long", f"was not done after {self.seconds:g} seconds")
        return False

    def _bury(self, worker: _Worker) -> None:
        worker.stop()
        code = worker.process.exitcode or 0
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if worker.work is None:
            self.failed_starts += 1
            if self.failed_starts == STARTS:
                raise RuntimeError(f"worker processes end as soon as they start ({how})")
            return
        number = worker.work[0]
        self.deaths[number] += 1
        if self.deaths[number] < ATTEMPTS:
            self.waiting.appendleft(worker.work)
        else:
            self.results[number] = Failure("ends its worker", f"ended its worker process {ATTEMPTS} times ({how})")


def _work(pipe: Connection, task: Callable[[Any], Any], memory: int) -> None:
    """What a worker does until its pipe is closed, which happens also when its parent dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    limit_memory(memory)
    with contextlib.suppress(EOFError, OSError):
        pipe.send("ready")
        while True:
            job = pipe.recv()
            try:
                result = task(job)
            except MemoryError:
                result = Failure("needs too much memory", f"needs more than {memory / 2**20:,.0f} MB of memory")
            except Exception as error:  # a defect of ours must not cost the other files
                place = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{type(error).__name__} in {place.name}, line {place.lineno}: {error}"
                result = Failure("fails unexpectedly", f"failed unexpectedly; please report it ({where})")
            pipe.send(result)


def limit_memory(size: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on Windows, and macOS may refuse
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (size if hard < 0 else min(size, hard), hard))
