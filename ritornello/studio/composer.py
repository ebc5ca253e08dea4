"""The process that composes: it keeps models loaded, writes one job at a time, and can be stopped within a token."""

from __future__ import annotations

import _thread
import contextlib
import os
import queue
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from json import loads
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ritornello.errors import ConfigError, RitornelloError
from ritornello.music.sheet import Part, Sheet
from ritornello.recipe import ask, files, perform
from ritornello.studio.workers import receive, send

PRETRAINED = Path(__file__).parents[1] / "pretrained"  # as in run.py, which the server need not load
MODELS_KEPT = 3  # loaded at once; the one that was used longest ago goes first


class Stopped(BaseException):
    """The job's owner does not want it any more."""


def compose(pipe: Connection, models: Sequence[str]) -> None:
    """What the process does until its pipe is closed.

    It is sent {"job": n} with a Job in JSON, or {"stop": n}. It answers {"models": [...]} once, then for each job
    {"job": n, "draft": {...}} as it is written, and one {"job": n, "end": "done" | "stopped" | "error", ...}.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGTERM, _stop)
    jobs: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
    told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    composer = Composer(models)
    threading.Thread(target=_listen, args=(pipe, jobs, composer), daemon=True).start()
    threading.Thread(target=_speak, args=(pipe, told), daemon=True).start()
    told.put({"models": composer.catalogue()})
    with contextlib.suppress(RitornelloError, Stopped):
        composer.warm_up()
    while True:
        with contextlib.suppress(Stopped):  # one that came too late for its job
            number, data = jobs.get()
            told.put({"job": number, **_perform(composer, number, data, told)})


def _perform(composer: Composer, number: int, data: bytes, told: queue.SimpleQueue[dict[str, Any]]) -> dict[str, Any]:
    """Write one job; how it ended."""
    try:
        composer.job = number
        for draft in composer.drafts(data):
            told.put({"job": number, "draft": draft})
        return {"end": "done"}
    except Stopped:
        return {"end": "stopped"}
    except RitornelloError as error:
        return {"end": "error", "error": str(error)}
    except Exception as error:  # a defect of ours: say so, and go on
        told_so = f"{type(error).__name__}: {error}"[:500]
        return {"end": "error", "error": f"This failed unexpectedly ({told_so}); please report it."}
    finally:
        composer.job = None


def _listen(pipe: Connection, jobs: queue.SimpleQueue[tuple[int, bytes]], composer: Composer) -> None:
    """A thread: take in jobs, and interrupt the one that is to stop."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            head, data = receive(pipe)
            if "job" in head:
                jobs.put((head["job"], data))
            elif head["stop"] == composer.job:
                _thread.interrupt_main(signal.SIGTERM)
    os._exit(0)  # the server is gone


def _speak(pipe: Connection, told: queue.SimpleQueue[dict[str, Any]]) -> None:
    """A thread: only it writes, so that an interrupt never cuts a message in two."""
    with contextlib.suppress(OSError):
        while True:
            send(pipe, told.get())


def _stop(*_: object) -> None:
    raise Stopped


def shipped() -> list[str]:
    """The models that ship, museformer first: it is the one that writes whole songs from nothing."""
    names = sorted(path.parent.name for path in PRETRAINED.glob("*/config.toml"))
    return sorted(names, key=lambda name: name != "museformer")


class Composer:
    """The models, and what they write. `runs` are names of shipped models and folders; pages know only their names."""

    def __init__(self, runs: Sequence[str]) -> None:
        self.runs = {Path(run).name: run for run in runs}
        self.players: dict[str, Any] = {}
        self.job: int | None = None

    def catalogue(self) -> list[dict[str, Any]]:
        """What each model is, and the JSON schema of what one may ask of it; less those that cannot be opened."""
        from ritornello.studio.models import describe

        found = []
        for run in self.runs.values():
            with contextlib.suppress(RitornelloError):
                found += describe(run)
        return found

    def load(self, name: str) -> Any:
        """A loaded model. Raises ConfigError for one that the server does not offer: a page never names a folder."""
        from ritornello.api import load

        if name not in self.runs:
            raise ConfigError(f"there is no model {name[:80]} here; there are {', '.join(self.runs)}.")
        self.players[name] = player = self.players.pop(name, None) or load(self.runs[name])
        while len(self.players) > MODELS_KEPT:
            del self.players[next(iter(self.players))]
        return player

    def drafts(self, data: bytes) -> Iterator[dict[str, Any]]:
        """A job's drafts, each as what is new in it."""
        job = loads(data)
        player = self.load(job["model"])
        with tempfile.TemporaryDirectory() as folder:
            wishes = ask(player.run.config, job["verb"], job["wishes"], files(job["songs"], Path(folder)))
            page = Page()
            for stage in perform(player, job["verb"], wishes):
                takes = [
                    {"seed": song.seed, "remarks": list(song.remarks), **page.news(i, Sheet.of(song.score))}
                    for i, song in enumerate(stage.songs)
                ]
                yield {"bars": stage.bars, "done": stage.done, "takes": takes}

    def warm_up(self) -> None:
        """Load the first model and have it write a bar, so that the first song need not wait for that."""
        player = self.load(next(iter(self.runs)))
        next(iter(player.drafts(player.run.wishes())), None)


class Page:
    """What a page has been told of each take, so that only what is new need be sent."""

    def __init__(self) -> None:
        self.told: dict[int, dict[tuple[str, int, bool], list[Any]]] = {}

    def news(self, take: int, sheet: Sheet) -> dict[str, Any]:
        """The sheet without the notes before the tick `since`: those are as they were."""
        before, now = self.told.get(take, {}), {_key(part): part.notes for part in sheet.parts}
        self.told[take] = now
        since = min((_first_difference(before.get(key, []), now.get(key, [])) for key in {*before, *now}), default=0)
        parts = [
            part.model_copy(update={"notes": [note for note in part.notes if note[0] >= since]}) for part in sheet.parts
        ]
        return {"since": since, "sheet": sheet.model_copy(update={"parts": parts}).model_dump()}


def _key(part: Part) -> tuple[str, int, bool]:
    return part.name, part.program, part.drums


def _first_difference(before: Sequence[Any], now: Sequence[Any]) -> int:
    """The time of the first note that only one of two sorted lists has; far away where there is none."""
    for one, other in zip(before, now, strict=False):
        if one != other:
            return min(one[0], other[0])
    rest = before[len(now) :] or now[len(before) :]
    return rest[0][0] if rest else 2**31
