"""What the studio's page asks of the server."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Request, WebSocket, WebSocketDisconnect
from starlette.responses import JSONResponse, Response

from ritornello.music.tracks import PROGRAMS
from ritornello.studio.composer import compose
from ritornello.studio.jobs import Job, Jobs
from ritornello.studio.workers import Desk

VISITOR = "ritornello_visitor"  # a cookie: whose turn it is in the queue
PAPERS = ("open_midi", "midi", "wav", "musicxml", "engrave", "look", "recipe")


def studio(models: Sequence[str], composer: Callable[..., None] = compose) -> APIRouter:
    """The studio's routes, and with them its queue, its composer and its desks, which live as long as the server.

    Args:
        models: those that a page may choose from: names of shipped ones, or folders of runs.
        composer: what the process that composes does.
    """
    jobs, papers, sound = Jobs(models, composer), Desk(), Desk()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        jobs.start()
        papers.start()
        sound.start()
        try:
            yield
        finally:
            await asyncio.gather(jobs.stop(), papers.stop(), sound.stop())

    router = APIRouter(prefix="/api", lifespan=lifespan)

    @router.get("/models")
    async def list_models() -> dict[str, Any]:
        """What there is to choose from, what one may ask of each, and General MIDI's instruments."""
        assert jobs.catalogue is not None
        return {"models": await asyncio.shield(jobs.catalogue), "programs": PROGRAMS}

    @router.post("/songs/{task}")
    async def ask_desk(task: str, request: Request) -> Response:
        """A song in, something made of it out: see desk.py."""
        if task not in PAPERS:
            raise HTTPException(404, "There is nothing here.")
        media, content = await papers.ask(task, await request.body())
        return Response(content, media_type=media)

    @router.post("/sound")
    async def ask_sound(request: Request) -> Response:
        """A few bars in, the sound of each track out; at a desk of its own, so that music never waits for papers."""
        media, content = await sound.ask("sound", await request.body())
        return Response(content, media_type=media)

    @router.post("/jobs", status_code=202)
    async def submit(request: Request) -> Response:
        """Queue a job; the page then follows it on its WebSocket."""
        _, data = await papers.ask("job", await request.body())
        visitor = request.cookies.get(VISITOR) or secrets.token_urlsafe(16)
        job = jobs.submit(visitor, data)
        answer = JSONResponse({"job": job.name}, 202)
        answer.set_cookie(VISITOR, visitor, httponly=True, samesite="strict")
        return answer

    @router.websocket("/jobs/{name}")
    async def follow(socket: WebSocket, name: str) -> None:
        """A job's messages, as they come; "stop" stops it, and so does leaving."""
        job = jobs.claim(name)
        if job is None:
            raise HTTPException(404, "There is no such job.")
        await socket.accept()
        leaving = asyncio.create_task(_until_left(socket, jobs, job))
        try:
            async for message in job.drafts():
                await socket.send_json(message)
            await socket.close()
        except (WebSocketDisconnect, RuntimeError):  # the page is gone in the middle of a message
            pass
        finally:
            jobs.cancel(job)
            leaving.cancel()

    return router


async def _until_left(socket: WebSocket, jobs: Jobs, job: Job) -> None:
    """Stop the job when the page says so or goes."""
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while await socket.receive_text() != "stop":
            pass
    jobs.cancel(job)
