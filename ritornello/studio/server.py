"""The server of the pages: what is mounted where, how large a request may be, how errors are told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from ritornello.errors import RitornelloError
from ritornello.studio.guard import Guard, refusal

STATIC = Path(__file__).parent / "static"
MOST_BYTES = (
    8 * 2**20
)  # of a request's body: a song of 100,000 notes as JSON, or a MIDI file (music/score.py says less)


def create_app(
    *,
    token: str | None = None,
    routers: Sequence[APIRouter] = (),
    open_paths: Sequence[str] = (),
    pages: Path = STATIC,
    most_bytes: int = MOST_BYTES,
) -> FastAPI:
    """The app.

    Args:
        token: what every visitor must show; without one, only this machine is served (guard.py).
        routers: more pages; each keeps its own state, or uses `request.app.state`.
        open_paths: beginnings of paths that need no token, because they guard themselves: a listener's link.
        pages: the folder of the pages.
        most_bytes: of a request's body.
    """
    app = FastAPI(
        title="Ritornello",
        openapi_url=None,
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere
        redoc_url=None,
        middleware=[Middleware(Guard, token=token, open_paths=open_paths)],
        max_body_size=most_bytes,
    )
    app.add_exception_handler(RitornelloError, _tell)
    app.add_exception_handler(HTTPException, _tell)
    app.add_exception_handler(RequestValidationError, _tell)
    for router in routers:
        app.include_router(router)
    app.mount("/", StaticFiles(directory=pages, html=True), name="static")
    return app


async def _tell(request: Request, error: Exception) -> Response:
    """Any error as {"error": one sentence}, with its status."""
    if isinstance(error, HTTPException):
        return refusal(error.status_code, str(error.detail), dict(error.headers or {}))
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        return refusal(422, f"{place}: {first['msg'].removeprefix('Value error, ')}.")
    return refusal(422, str(error))
