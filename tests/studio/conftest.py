"""A real browser for the pages: Chromium, driven by Playwright.

It is the system's (`chromium`, `google-chrome`) or the one that `playwright install chromium` fetches. Without any the
tests that need it are skipped; where RITORNELLO_BROWSER is set, it names the program, and its absence is a failure.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, expect, sync_playwright

from tests.studio.studio_page import opened

expect.set_options(timeout=30_000)  # a busy machine is slow, not wrong

PROGRAMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


@pytest.fixture(scope="module")  # Playwright keeps an event loop running, beside which asyncio.run would fail
def browser() -> Iterator[Browser]:
    named = os.environ.get("RITORNELLO_BROWSER")
    program = shutil.which(named) if named else next(filter(None, map(shutil.which, PROGRAMS)), None)
    with sync_playwright() as playwright:
        flags = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # root has no sandbox
        try:
            browser = playwright.chromium.launch(executable_path=program, args=flags)
        except Error as error:
            if named:
                raise
            pytest.skip(f"no Chromium here: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """visit(link, **context) -> a page in a new window with storage of its own.

    What the page logs as an error fails the test, unless it holds one of the `expected` words.
    """
    contexts, wrong = [], []

    def visit(link: str, expected: tuple[str, ...] = (), **settings: Any) -> Page:
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)

        def log(message: ConsoleMessage) -> None:
            if message.type == "error" and not any(word in message.text for word in expected):
                wrong.append(message.text)

        page.on("console", log)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(link)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture(scope="module")
def link() -> Iterator[str]:
    """The studio, served as a user serves it."""
    command = [sys.executable, "-m", "ritornello", "studio", "--no-browser", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout
    assert server.stderr
    told = server.stdout.readline()
    found = re.search(r"http://\S+", told)
    assert found, told + server.stderr.read()
    yield found[0]
    server.terminate()
    assert "Traceback" not in server.communicate(timeout=20)[1]


@pytest.fixture
def page(visit: Callable[..., Page], link: str) -> Page:
    """The studio's page, ready."""
    return opened(visit(link, expected=("status of 4",)))
