"""`ritornello studio`, which is what `make studio` runs: compose in the browser."""

from __future__ import annotations

import secrets
import webbrowser
from typing import Annotated

from tyro.conf import UseAppendAction, arg

from ritornello.cli.extras import extra


def main(
    run: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME|FOLDER")] = (),
    host: str | None = None,
    port: Annotated[int, arg(metavar="N")] = 8765,
    browser: bool = True,
) -> None:
    """Open the studio: a page that writes songs while you listen. It needs no internet, and serves this machine alone.

    Args:
        run: a model to choose from, one that ships or a run's folder; may be given several times. By default all that
            ship.
        host: an address of this machine, to serve others too; they need the link that is printed, with its token.
        port: where to; 0 for any that is free.
        browser: open the page in the browser.
    """
    with extra("studio"):
        from ritornello.studio.composer import shipped
        from ritornello.studio.routes import studio
        from ritornello.studio.server import create_app, link, listen, serve
    token = secrets.token_urlsafe(16) if host else None
    app = create_app(token=token, routers=[studio(run or shipped())])
    where = host or "127.0.0.1"
    ear = listen(where, port)
    address = link(where, ear, token)
    print(f"The studio is open: {address}\nCtrl-C closes it.", flush=True)
    if browser:
        webbrowser.open(address)
    serve(app, ear)
