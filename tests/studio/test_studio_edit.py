"""Notes and curves changed by hand in a real browser: with the mouse, with fingers, with the keyboard."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import Page, expect

from tests.songs import make_song
from tests.studio.studio_page import AUDIBLE, COUNT, drop, note_at, opened, place, song, until

CHOSEN = "[...studio.roll.chosen]"
SHEET = "studio.store.take.sheet"
SCROLLED = "document.querySelector('#scroller').scrollLeft"


def test_with_the_mouse_notes_are_added_moved_deleted_and_brought_back(page: Page, tmp_path: Path):
    drop(page, song(tmp_path))
    expect(page.locator("#remarks")).to_contain_text("4 bars of 4/4")
    before = page.evaluate(COUNT)

    page.mouse.dblclick(*place(page, 480 * 2.5, 0.08))
    assert page.evaluate(COUNT) == before + 1
    page.keyboard.press("Control+z")
    assert page.evaluate(COUNT) == before

    x, y = note_at(page, 0, 3)
    first = page.evaluate("studio.store.take.sheet.parts[0].notes[3]")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y, steps=4)
    page.mouse.up()
    (moved,) = page.evaluate("[...studio.roll.chosen]")
    assert moved[0] > first[0]
    assert moved[1:] == first[1:]
    expect(page.locator("#tools")).to_be_visible()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    (nudged,) = page.evaluate("[...studio.roll.chosen]")
    assert nudged == [moved[0] - 120, moved[1], moved[2] + 1, moved[3]]
    page.keyboard.press("Delete")
    assert page.evaluate(COUNT) == before - 1
    for _ in range(4):
        page.keyboard.press("Control+z")
    assert page.evaluate("studio.store.take.sheet.parts[0].notes[3]") == first
    assert page.evaluate(COUNT) == before
    page.keyboard.press("Control+Shift+z")
    assert page.evaluate("studio.store.take.sheet.parts[0].notes[3]") != first


def test_a_song_begins_with_a_note_of_ones_own(page: Page):
    page.mouse.dblclick(*place(page, 12 * 2.3, 0.4))
    (note,) = page.evaluate(f"{SHEET}.parts.flatMap((part) => part.notes)")
    assert note[:2] == [480 * 2.25, 480]
    expect(page.locator("#tracks")).to_contain_text("acoustic grand piano")
    until(page, f"studio.player.level > {AUDIBLE}")  # it is heard by itself
    page.keyboard.press("Control+z")
    expect(page.locator("#takes li")).to_have_count(0)


def free(page: Page) -> tuple[float, float]:
    """A place above all notes, where the roll is now: in its uppermost row."""
    x, y = page.evaluate(
        """(() => {
            const roll = studio.roll, box = roll.canvas.getBoundingClientRect();
            return [box.left + 300, box.top + 26 + 0.5 * roll.measure().row];
        })()"""
    )
    return x, y


def test_what_is_being_written_is_not_changed_and_the_page_says_so(page: Page):
    page.fill("#wish-bars", "100")
    page.click("#compose")
    until(page, f"studio.store.take.bars >= 2 && {SHEET}.parts.some((part) => !part.drums)")
    until(page, "!document.querySelector('#sound-error').hidden", lambda: page.mouse.dblclick(*free(page)))  # rows move
    expect(page.locator("#sound-error")).to_contain_text("still being written")
    page.click("#stop")
    expect(page.locator("#status")).to_have_text("stopped")
    before = page.evaluate(COUNT)
    page.mouse.dblclick(*free(page))  # to press the button the page has been scrolled
    assert page.evaluate(COUNT) == before + 1
    expect(page.locator("#sound-error")).to_be_hidden()


class Finger:
    """One finger or two, as the screen of a phone tells of them."""

    def __init__(self, page: Page) -> None:
        self.page, self.session = page, page.context.new_cdp_session(page)

    def _tell(self, kind: str, *points: tuple[float, float]) -> None:
        touches = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    def drag(self, start: tuple[float, float], by: tuple[float, float], hold: float = 0) -> None:
        """Down, rest for so many milliseconds, move in small steps, up."""
        self._tell("touchStart", start)
        self.page.wait_for_timeout(hold)
        for step in range(1, 11):
            self._tell("touchMove", (start[0] + by[0] * step / 10, start[1] + by[1] * step / 10))
            self.page.wait_for_timeout(16)
        self._tell("touchEnd")

    def pinch(self, middle: tuple[float, float], start: float, end: float) -> None:
        """Two fingers, so far apart at first and in the end."""
        for step in range(11):
            apart = start + (end - start) * step / 10
            points = [(middle[0] - apart / 2, middle[1]), (middle[0] + apart / 2, middle[1])]
            self._tell("touchMove" if step else "touchStart", *points)
        self._tell("touchEnd")


HOLD = 700  # milliseconds, more than the page asks for


@pytest.fixture
def phone(visit: Callable[..., Page], link: str, tmp_path: Path) -> Page:
    """The page on a phone, with a song of 16 bars."""
    page = opened(visit(link, viewport={"width": 375, "height": 740}, has_touch=True, is_mobile=True))
    (tmp_path / "song.mid").write_bytes(make_song(1, 16).dumps_midi())
    drop(page, tmp_path / "song.mid")
    expect(page.locator("#tracks li")).to_have_count(4)
    return page


def test_fingers_scroll_the_roll_and_the_page_and_change_nothing(phone: Page):
    finger, before = Finger(phone), phone.evaluate(f"JSON.stringify({SHEET})")
    x, y = note_at(phone, 0, 4)  # from upon a note, too
    finger.drag((x, y), (-140, 0))
    until(phone, f"{SCROLLED} > 60")
    finger.drag((200, y), (0, -150))
    until(phone, "scrollY > 60")
    assert phone.evaluate(f"JSON.stringify({SHEET})") == before
    assert phone.evaluate(CHOSEN) == []


def test_with_a_finger_notes_are_chosen_moved_made_and_deleted(phone: Page):
    finger, before = Finger(phone), phone.evaluate(COUNT)
    first = phone.evaluate(f"{SHEET}.parts[0].notes[2]")
    x, y = note_at(phone, 0, 2)
    phone.touchscreen.tap(x + 2, y + 5)  # near it is enough
    assert phone.evaluate(CHOSEN) == [first]
    expect(phone.locator("#tools")).to_be_visible()
    finger.drag((x, y), (28, 0))
    (moved,) = phone.evaluate(CHOSEN)
    assert moved == [first[0] + 480, *first[1:]]
    finger.drag((x + 28, y), (0, 24))
    (lower,) = phone.evaluate(CHOSEN)
    assert lower[2] < moved[2]
    assert phone.evaluate(SCROLLED) == 0
    assert phone.evaluate("scrollY") == 0

    phone.touchscreen.tap(*place(phone, 480 * 5.5, 0.48))  # an empty place: none is chosen
    assert phone.evaluate(CHOSEN) == []
    assert phone.evaluate(COUNT) == before
    finger.drag(place(phone, 480 * 5.6, 0.48), (56, 0), hold=HOLD)  # held: a note, which follows
    assert phone.evaluate(COUNT) == before + 1
    (made,) = phone.evaluate(CHOSEN)
    assert made[0] == 480 * 7.5
    assert phone.evaluate(SCROLLED) == 0
    phone.locator("#longer").tap()
    assert phone.evaluate(CHOSEN) == [[made[0], made[1] + 120, *made[2:]]]
    phone.locator("#delete").tap()
    assert phone.evaluate(COUNT) == before
    for _ in range(5):
        phone.locator("#undo").tap()
    assert phone.evaluate(f"{SHEET}.parts[0].notes[2]") == first


def test_fingers_choose_bars_and_zoom(phone: Page):
    finger = Finger(phone)
    box = phone.locator("#scroller").bounding_box()
    assert box
    x, _ = place(phone, 1920 * 0.5, 0)
    finger.drag((x, box["y"] + 12), (112, 0))
    assert phone.evaluate("studio.roll.region") == [0, 2]
    before = phone.evaluate("studio.roll.quarter")
    finger.pinch((200, box["y"] + 150), 80, 200)
    assert phone.evaluate("studio.roll.quarter") == pytest.approx(2.5 * before, rel=0.1)
    assert phone.evaluate("visualViewport.scale") == 1


ONSETS = """((from, to) => {
    const bar = 4 * studio.store.take.sheet.ticks, notes = studio.store.take.sheet.parts.flatMap((part) => part.notes);
    return new Set(notes.map((note) => note[0]).filter((time) => time >= from * bar && time < to * bar)).size;
})"""


def lane(page: Page, tick: float, level: int) -> tuple[float, float]:
    """Where a class of the curves is drawn, from 0 at the foot of their lane to 7 at its head."""
    x, top = place(page, tick, 0)
    return x, top + page.evaluate(
        f"(({{ laneTop, lane }}) => laneTop + 8 + (lane - 14) * (1 - {level} / 7))(studio.roll.measure())"
    )


def test_chosen_bars_are_restyled_as_drawn(page: Page, tmp_path: Path):
    """With the weights that ship: the busiest curve over two bars gives more onsets there than the calmest."""
    drop(page, song(tmp_path, 4))
    until(page, f"{COUNT} > 0")
    page.select_option("#model", label="musemorphose: restyle")
    page.fill("#wish-seed", "1")
    found = []
    for take, level in ((2, 0), (3, 7)):
        page.locator("#takes li").first.click()
        page.mouse.move(*place(page, 1920 * 2.5, 0.01))
        page.mouse.down()
        page.mouse.move(*place(page, 1920 * 3.5, 0.01), steps=5)
        page.mouse.up()
        assert page.evaluate("studio.roll.region") == [2, 4]
        page.mouse.move(*lane(page, 1920 * 2.2, level))
        page.mouse.down()
        page.mouse.move(*lane(page, 1920 * 3.8, level), steps=5)
        page.mouse.up()
        assert page.evaluate("studio.curves.wish('rhythm')") == f"3:{level},4:{level}"
        page.click("#compose")
        expect(page.locator("#takes li")).to_have_count(take)
        expect(page.locator("#status")).to_contain_text("written in")
        assert page.evaluate("studio.store.take.bars") == 4
        found.append([page.evaluate(f"{ONSETS}({bar}, {bar + 2})") for bar in (0, 2)])
    (same, calm), (as_well, busy) = found
    assert same == as_well
    assert busy > 2 * calm


def test_a_finger_draws_curves(phone: Page):
    phone.select_option("#model", label="musemorphose: restyle")
    phone.evaluate("scrollTo(0, 0)")
    start, end = lane(phone, 1920 * 0.5, 7), lane(phone, 1920 * 2.5, 0)
    Finger(phone).drag(start, (end[0] - start[0], end[1] - start[1]))
    first, *_, last = phone.evaluate("studio.curves.wish('rhythm')").split(",")
    assert first[:2] == "1:"
    assert int(first[2:]) >= 4
    assert last == "3:0"
    assert phone.evaluate(SCROLLED) == 0
    assert phone.evaluate("scrollY") == 0


@pytest.mark.parametrize("size", [(1280, 720), (375, 740)])
def test_nothing_jumps_when_a_song_comes(visit: Callable[..., Page], link: str, tmp_path: Path, size: tuple[int, int]):
    """Roll, transport and wishes stay where they are while takes, tracks, remarks and errors appear."""
    page = opened(visit(link, viewport={"width": size[0], "height": size[1]}))

    def places() -> list[object]:
        return [page.locator(name).bounding_box() for name in ("#roll", "#transport", "#wishes", "#compose")]

    before = places()
    drop(page, song(tmp_path, 8))
    expect(page.locator("#remarks")).to_contain_text("8 bars of 4/4")
    page.fill("#tempo", "9")
    page.press("#tempo", "Enter")
    expect(page.locator("#sound-error")).to_contain_text("from 10 to 400")
    page.evaluate("scrollTo(0, 0)")
    assert places() == before


def test_the_keyboard_alone_is_enough(page: Page, tmp_path: Path):
    drop(page, song(tmp_path))
    expect(page.locator("#tracks li")).to_have_count(4)
    page.focus("#canvas")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Alt+ArrowRight")
    assert page.evaluate("[...studio.roll.chosen]") == [page.evaluate("studio.store.take.sheet.parts[0].notes[1]")]
    expect(page.locator("#say")).to_contain_text(re.compile(r"bar 1, beat"))
    before = page.evaluate("[...studio.roll.chosen]")[0]
    page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate("[...studio.roll.chosen]")[0] == [before[0], before[1] + 120, *before[2:]]
    page.keyboard.press("Delete")
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Space")
    until(page, f"studio.player.level > {AUDIBLE}")
    page.keyboard.press("l")
    assert page.evaluate("studio.player.loop") == [0, 4]
