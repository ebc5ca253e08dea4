"""What a listener's browser may ask for: where they are, their clips, and to cast a ballot. Nothing else.

A listener is whoever holds a secret that the server gave them in a cookie when they began. Every answer concerns that
listener alone: no other's ballots, no system, no piece, no clip of a group that is not theirs. Groups are scored in
their order, each once.
"""

from __future__ import annotations

import hashlib
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt
from starlette.responses import FileResponse

from ritornello.errors import ListeningError
from ritornello.evaluate.listening import CRITERIA, HIGHEST, LOWEST
from ritornello.music.score import write_bytes
from ritornello.studio.ballots import AlreadyCast, Ballots, Full, Mark, NotKept
from ritornello.studio.listening import BALLOTS, CLIPS, ListeningTest
from ritornello.studio.server import create_app, link, listen

PREFIX = "/api/listen"
PAGES = Path(__file__).parent / "listener"
MOST_LISTENERS = 200
MOST_BYTES = 16 * 1024  # of a request: a ballot is some hundred bytes a clip
REMEMBERED = 90 * 24 * 3600  # seconds a browser keeps the listener's secret
QUESTIONS = {  # the words of the paper's section 4.1, for anyone
    "musicality": ("Musicality", "Is it pleasant and interesting, as real as music that people write?"),
    "short_term": ("Short-term structure", "Do neighbouring passages fit: good repetitions, sensible development?"),
    "long_term": (
        "Long-term structure",
        "Does the whole hold together: do ideas come back, are distant parts related?",
    ),
    "overall": ("Overall", "All in all, how good is it?"),
}
assert tuple(QUESTIONS) == CRITERIA

Score = Annotated[StrictInt, Field(ge=LOWEST, le=HIGHEST)]


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Joining(Form):
    trained: StrictBool | None = None


class GivenMark(Form):
    clip: str = Field(max_length=64)
    heard: float = Field(ge=0, le=1)
    musicality: Score
    short_term: Score
    long_term: Score
    overall: Score


class GivenBallot(Form):
    group: StrictInt = Field(ge=0)
    marks: list[GivenMark] = Field(max_length=64)


class Bucket:
    """So many at once from one address, and so many a second for good; what is beyond is to wait."""

    def __init__(self, size: float, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.size, self.rate, self.clock = size, rate, clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address: (level, when)
        self._lock = Lock()

    def take(self, address: str) -> float:
        """Seconds to wait; 0 where it may go on."""
        with self._lock:
            now = self.clock()
            level, when = self._levels.pop(address, (self.size, now))
            level = min(self.size, level + (now - when) * self.rate)
            wait = 0.0 if level >= 1 else (1 - level) / self.rate
            self._levels[address] = (level - (wait == 0), now)
            if len(self._levels) > 10_000:
                self._levels.popitem(last=False)
            return wait


def listening_router(folder: Path, most: int = MOST_LISTENERS) -> APIRouter:
    """The routes of the test in `folder`, for at most so many listeners. Raises ListeningError: no whole test there."""
    test = ListeningTest.open(folder)
    if missing := [clip.name for clip in test.clips if not (folder / CLIPS / f"{clip.name}.mp3").is_file()]:
        raise ListeningError(f"{folder} lacks {len(missing)} of its {len(test.clips)} clips; make the test anew.")
    ballots = Ballots(folder / BALLOTS)
    names = "".join(sorted(clip.name for clip in test.clips))
    cookie = f"ritornello_listener_{hashlib.sha256(names.encode()).hexdigest()[:12]}"  # one a test: ports share cookies
    joins, requests = Bucket(60, 1.0), Bucket(600, 20.0)  # a class behind one address may begin at once
    router = APIRouter(prefix=PREFIX)

    def slow_down(request: Request, bucket: Bucket) -> None:
        if wait := bucket.take(request.client.host if request.client else ""):
            seconds = str(math.ceil(wait))
            raise HTTPException(429, f"Too much at once; try again in {seconds} s.", {"Retry-After": seconds})

    def whose(request: Request) -> int | None:
        key = request.cookies.get(cookie)
        return ballots.listener(key) if key else None

    def known(request: Request) -> int:
        listener = whose(request)
        if listener is None:
            raise HTTPException(401, "This browser has not begun the test, or has forgotten it; load the page again.")
        return listener

    def state(listener: int | None) -> dict[str, Any]:
        cast = ballots.cast_by(listener) if listener is not None else 0
        plan = test.plan(listener) if listener is not None and cast < test.groups else []
        return {
            "id": cookie,
            "title": test.title,
            "groups": test.groups,
            "clips_a_group": len(test.systems),
            "seconds": test.seconds,
            "heard": test.heard,
            "lowest": LOWEST,
            "highest": HIGHEST,
            "criteria": [{"key": key, "name": name, "question": asked} for key, (name, asked) in QUESTIONS.items()],
            "joined": listener is not None,
            "group": cast,
            "clips": [clip.name for clip in plan[cast]] if plan else [],
        }

    @router.get("/state")
    def where(request: Request) -> dict[str, Any]:
        slow_down(request, requests)
        return state(whose(request))

    @router.post("/join")
    def join(request: Request, response: Response, joining: Joining) -> dict[str, Any]:
        if (listener := whose(request)) is not None:
            return state(listener)
        slow_down(request, joins)
        try:
            key = ballots.join(joining.trained, most)
        except Full:
            raise HTTPException(
                403, "As many listeners as this test takes have begun it. Thank you all the same."
            ) from None
        except NotKept:
            raise HTTPException(503, "The server cannot write at the moment; please try again later.") from None
        response.set_cookie(cookie, key, max_age=REMEMBERED, path=PREFIX, httponly=True, samesite="lax")
        return state(ballots.listener(key))

    @router.post("/ballot")
    def cast(request: Request, given: GivenBallot) -> dict[str, Any]:
        slow_down(request, requests)
        listener = known(request)
        if given.group >= test.groups or given.group > ballots.cast_by(listener):
            raise HTTPException(409, "This group's turn has not come; load the page again.")
        expected = [clip.name for clip in test.plan(listener)[given.group]]
        if [mark.clip for mark in given.marks] != expected:
            raise HTTPException(422, "These scores are not for the clips of your group; load the page again.")
        if any(mark.heard < test.heard for mark in given.marks):
            raise HTTPException(422, f"Please hear at least {test.heard:.0%} of every clip before you score it.")
        marks = tuple(Mark(mark.clip, mark.heard, tuple(getattr(mark, c) for c in CRITERIA)) for mark in given.marks)
        try:
            ballots.cast(listener, given.group, marks)
        except AlreadyCast:
            raise HTTPException(409, "You have scored this group already; those scores stay as they are.") from None
        except NotKept:
            raise HTTPException(503, "Your scores could not be saved; they are still here, please try again.") from None
        return state(listener)

    @router.get("/clips/{name}.mp3")
    def clip(request: Request, name: str) -> Response:
        slow_down(request, requests)
        listener = known(request)
        mine = {clip.name for group in test.plan(listener)[: ballots.cast_by(listener) + 1] for clip in group}
        if name not in mine:
            raise HTTPException(404, "There is no such clip in your group.")
        # The same headers for all: a file's own time would tell when it was made
        headers = {
            "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT",
            "ETag": f'"{name}"',
            "Cache-Control": "private, max-age=86400, immutable",
        }
        return FileResponse(folder / CLIPS / f"{name}.mp3", headers=headers, media_type="audio/mpeg")

    return router


# ---- serving --------------------------------------------------------------------------------------------------------


def listening_app(folder: Path, token: str | None = None, most: int = MOST_LISTENERS) -> FastAPI:
    """The listener's page of the test in `folder` and its routes, and no other page. Raises ListeningError."""
    return create_app(token=token, routers=[listening_router(folder, most)], pages=PAGES, most_bytes=MOST_BYTES)


def serve_test(folder: Path, host: str, port: int, most: int, say: Callable[[str], None]) -> None:
    """Serve a test until it is stopped; `say` gets the link for listeners once it can be opened.

    Raises ListeningError: no test there; ConfigError: the address cannot be served.
    """
    import uvicorn

    own = host in ("127.0.0.1", "localhost", "::1")
    token = None if own else _token(folder)
    app = listening_app(folder, token, most)
    ear = listen(host, port)
    say(link(host, ear, token))
    uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none")).run(sockets=[ear])


def _token(folder: Path) -> str:
    """The token of a test's link: drawn once and kept in its folder, so that the link outlives a restart."""
    path = folder / "token"
    if not path.exists():
        write_bytes(secrets.token_urlsafe(16).encode(), path)
        path.chmod(0o600)
    return path.read_text(encoding="utf-8").strip()
