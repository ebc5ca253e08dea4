"""What the tests of the studio's page do there again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.songs import make_song

AUDIBLE = 0.002
COUNT = "studio.store.take.sheet.parts.reduce((sum, part) => sum + part.notes.length, 0)"


def opened(page: Page) -> Page:
    page.wait_for_selector("body[data-ready]", timeout=120_000)  # models are loaded first: on a busy machine, slowly
    return page


def compose(page: Page, bars: int, seed: int = 7) -> None:
    """Have a song written, to its end."""
    page.fill("#wish-bars", str(bars))
    page.fill("#wish-seed", str(seed))
    page.click("#compose")
    expect(page.locator("#status")).to_contain_text("written in")


def until(page: Page, truth: str, act: Callable[[], None] = lambda: None) -> None:
    """Wait for an expression to be true, and do something again and again until it is.

    (Playwright's own way needs eval, which the page forbids.)
    """
    deadline = time.monotonic() + 30
    act()
    while not page.evaluate(truth):
        assert time.monotonic() < deadline, f"not within 30 seconds: {truth}"
        time.sleep(0.02)
        act()


def drop(page: Page, path: Path) -> None:
    page.set_input_files("#file", path)


def song(folder: Path, bars: int = 4) -> Path:
    path = folder / "song.mid"
    path.write_bytes(make_song(1, bars).dumps_midi())
    return path


def taken(page: Page, what: str) -> Path:
    if not page.locator("#take-away").get_attribute("open") is not None:
        page.click("#take-away summary")
    with page.expect_download() as download:
        page.click(f"[data-take={what}]")
    return Path(download.value.path())


def place(page: Page, tick: float, row: float) -> tuple[float, float]:
    """Where a tick is on the screen, at a share of the roll's height from its top."""
    x = page.evaluate(f"studio.roll.x({tick}) + studio.roll.canvas.getBoundingClientRect().left")
    box = page.locator("#scroller").bounding_box()
    assert box
    return x, box["y"] + row * box["height"]


def note_at(page: Page, part: int, number: int) -> tuple[float, float]:
    """Where a note is on the screen."""
    x, y = page.evaluate(
        f"""(() => {{
            const roll = studio.roll, part = studio.store.take.sheet.parts[{part}], note = part.notes[{number}];
            const box = roll.canvas.getBoundingClientRect(), layout = roll.measure();
            return [box.left + roll.x(note[0]) + 3, box.top + 26 + (layout.high - note[2] + 0.5) * layout.row];
        }})()"""
    )
    return x, y
