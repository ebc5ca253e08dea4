"""Who may speak to the server: this machine alone, or, where the server is open to others, who knows its token."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.ASCII | re.IGNORECASE)
COOKIE = "ritornello_token"
# Pages load only what this server serves, and no other page may frame them. Scores are drawn as SVG with inline styles.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob:; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # pages ask whether a file is new; sound and songs are never kept
}

PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    '<meta name="color-scheme" content="light dark"><title>Ritornello</title><p role="alert">{}</p></html>'
)


class Guard:
    """Stands before the whole app.

    - Without a token only this machine is served: the name in `Host` must be a loopback name, so that no foreign page
      can reach the server under a name of its own that it points here.
    - With a token, every request shows it: once in the address, `?token=...`, then in a cookie. Paths that begin with
      one of `open_paths` are free of that: they guard themselves.
    - A request that a browser sends for another site's page (its `Origin` is not ours) is refused.
    """

    def __init__(self, app: ASGIApp, token: str | None = None, open_paths: Sequence[str] = ()) -> None:
        self.app, self.token, self.open_paths = app, token, tuple(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        if (answer := self._answer(scope)) is not None:
            await answer(scope, receive, send)  # on a WebSocket, the handshake is denied with it
            return
        await self.app(scope, receive, _with_headers(send))

    def _answer(self, scope: Scope) -> Response | None:
        """What to say instead of serving the request; None where it is welcome."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.token is None and not LOOPBACK.fullmatch(host):
            return refusal(403, f"This server speaks only to its own machine, not as {host or 'nameless'}.")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return refusal(403, f"This server does not serve pages of {origin}.")
        if self.token is None or scope["path"].startswith(self.open_paths or ("\0",)):
            return None
        shown = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if shown and _same(shown[0], self.token):
            return self._welcome(scope) if scope["type"] == "http" and scope["method"] == "GET" else None
        if _same(HTTPConnection(scope).cookies.get(COOKIE, ""), self.token):
            return None
        sentence = "This page needs its token: open the whole link that the server printed when it started."
        if "text/html" in headers.get("accept", ""):  # a person's browser, which has no page yet that could tell it
            return HTMLResponse(PAGE.format(sentence), 401)
        return refusal(401, sentence)

    def _welcome(self, scope: Scope) -> Response:
        """The same page without the token in its address, which goes into a cookie."""
        query = parse_qs(scope["query_string"].decode("latin-1"))
        del query["token"]
        path = "/" + scope["path"].lstrip("/")  # "//host" would lead elsewhere
        answer = RedirectResponse(path + (f"?{urlencode(query, doseq=True)}" if query else ""), 303)
        # Lax, not strict: whoever follows the link from another site, a mail say, is led on by this very answer, and a
        # strict cookie would not go with them. Other sites' pages are refused by their Origin.
        answer.set_cookie(COOKIE, self.token or "", httponly=True, samesite="lax")
        return answer


def refusal(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Every error of the server: one sentence."""
    return JSONResponse({"error": sentence}, status, headers)


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _with_headers(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sender
