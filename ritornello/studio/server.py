"""The server of the pages: what is mounted where, how large a request may be, how errors are told."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from ritornello.errors import ConfigError, RitornelloError
from ritornello.studio.guard import Guard, refusal
from ritornello.studio.workers import Busy

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
    if isinstance(error, Busy):
        return refusal(429, str(error), {"Retry-After": "5"})
    return refusal(422, str(error))


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes visitors at this address from now on. Raises ConfigError where that cannot be had."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{host} {port} cannot be served: {reason}; choose another --host or --port.") from None


def link(host: str, ear: socket.socket, token: str | None) -> str:
    """What visitors open."""
    name = _own_address() if host in ("0.0.0.0", "::") else host
    address = f"[{name}]" if ":" in name else name
    return f"http://{address}:{ear.getsockname()[1]}/" + (f"?token={token}" if token else "")


def _own_address() -> str:
    """The address by which others on this network reach this machine; no packet is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()


def serve(app: FastAPI, ear: socket.socket) -> None:
    """Serve until Ctrl-C."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        ws="websockets-sansio",
        ws_max_size=2**16,  # a page sends one word
        timeout_graceful_shutdown=2,
        server_header=False,
    )
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run([ear])
