"""The listener's page in a real browser: what is heard, scored and sent; by mouse, by keyboard, on a phone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from ritornello.evaluate.listening import CRITERIA
from ritornello.studio.ballots import Ballots
from ritornello.studio.listen import listening_app
from ritornello.studio.listening import ListeningTest
from tests.studio.serving import serving
from tests.studio.tones import SECONDS, make_test

Visit = Callable[..., Page]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_test(tmp_path, title="Which music?")
    return tmp_path / "test"


@pytest.fixture
def link(folder: Path) -> Iterator[str]:
    with serving(listening_app(folder)) as address:
        yield address


def hear(page: Page, piece: int) -> None:
    """Play a piece to its end."""
    card = page.locator(".clip").nth(piece)
    card.get_by_role("button").click()
    expect(card.locator(".share")).to_contain_text("✓")


def score(page: Page, piece: int, given: int) -> None:
    for fieldset in page.locator(".clip").nth(piece).locator("fieldset").all():
        fieldset.locator(f'input[value="{given}"]').check()


def send(page: Page) -> None:
    page.get_by_role("button", name="Send and").click(force=True)  # it can be pressed before it is ready, and says why


def begin(page: Page) -> None:
    page.get_by_role("button", name="Begin").click()
    expect(page.get_by_role("heading", name="Group 1")).to_be_visible()


def test_two_listeners_cast_their_ballots_and_one_reloads_in_the_middle(folder: Path, link: str, visit: Visit):
    first, second = visit(link), visit(link)
    first.get_by_label("Yes").check()
    for page in (first, second):
        begin(page)
    for piece in range(3):
        hear(first, piece)
        score(first, piece, 3 + piece)
    hear(second, 0)
    score(second, 0, 9)
    second.reload()  # half-way: what was heard and scored is there again
    expect(second.locator(".share").nth(0)).to_contain_text("✓")
    expect(second.locator(".share").nth(1)).to_contain_text("heard 0 %")
    assert second.locator(".clip").nth(0).locator("input:checked").count() == 4
    send(first)
    expect(first.get_by_role("heading", name="Group 2")).to_be_visible()
    first.reload()  # between groups: on with the second
    expect(first.get_by_role("heading", name="Group 2")).to_be_visible()
    assert first.locator(".clip input:checked").count() == 0
    for piece in range(3):
        hear(first, piece)
        score(first, piece, 6)
    for piece in (1, 2):
        hear(second, piece)
        score(second, piece, 10)
    send(first)
    send(second)
    expect(first.get_by_role("heading", name="Thank you")).to_be_visible()
    expect(second.get_by_role("heading", name="Group 2")).to_be_visible()
    first.reload()
    expect(first.get_by_role("heading", name="Thank you")).to_be_visible()

    ballots, test = Ballots(folder / "ballots.db"), ListeningTest.open(folder)
    assert ballots.listeners() == {0: True, 1: None}
    given = {(b.listener, b.group): b for b in ballots.all()}
    assert {key: [mark.scores for mark in b.marks] for key, b in given.items()} == {
        (0, 0): [(3,) * 4, (4,) * 4, (5,) * 4],
        (0, 1): [(6,) * 4] * 3,
        (1, 0): [(9,) * 4, (10,) * 4, (10,) * 4],
    }
    for (listener, group), b in given.items():
        assert [mark.clip for mark in b.marks] == [clip.name for clip in test.plan(listener)[group]]
        assert all(0.5 <= mark.heard <= 1 for mark in b.marks)


def test_nothing_is_sent_before_all_is_heard_and_scored_and_the_place_says_so(folder: Path, link: str, visit: Visit):
    page = visit(link)
    begin(page)
    send(page)
    alerts = page.locator(".clip [role=alert]:not(:empty)")
    expect(alerts).to_have_count(3)
    expect(alerts.nth(0)).to_contain_text("Piece A: please hear at least 50 % of it and give a score for musicality")
    expect(page.get_by_role("button", name="Play piece A")).to_be_focused()
    score(page, 0, 5)
    for piece in (1, 2):
        hear(page, piece)
        score(page, piece, 5)
    send(page)
    expect(alerts).to_have_count(1)
    expect(alerts).to_contain_text("please hear at least 50 % of it.")
    # To jump to the end is not to hear
    page.get_by_label("Place in piece A").fill("200")
    expect(page.locator(".share").nth(0)).to_contain_text("heard 0 %")
    send(page)
    assert Ballots(folder / "ballots.db").all() == []
    page.get_by_label("Place in piece A").fill("0")
    hear(page, 0)
    expect(alerts).to_have_count(0)
    send(page)
    expect(page.get_by_role("heading", name="Group 2")).to_be_visible()


def test_by_keyboard_alone(folder: Path, link: str, visit: Visit):
    page = visit(link)
    page.get_by_role("button", name="Begin").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Group 1")).to_be_visible()
    for letter in "ABC":
        if letter == "A":
            page.keyboard.press("Space")  # on the page itself: the first piece plays
        else:
            page.get_by_role("button", name=f"Play piece {letter}").focus()
            page.keyboard.press("Space")
        card = page.get_by_role("region", name=f"Piece {letter}")
        expect(card.locator(".share")).to_contain_text("✓")
        page.get_by_label(f"Place in piece {letter}").focus()
        for _ in CRITERIA:
            page.keyboard.press("Tab")
            page.keyboard.press("Space")  # 1
            for _ in range(6):
                page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Send and go on").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Group 2")).to_be_visible()
    (ballot,) = Ballots(folder / "ballots.db").all()
    assert [mark.scores for mark in ballot.marks] == [(7,) * 4] * 3


def test_a_screen_reader_finds_everything_by_name(link: str, visit: Visit):
    page = visit(link)
    begin(page)
    for letter in "ABC":
        card = page.get_by_role("region", name=f"Piece {letter}")
        expect(card.get_by_role("button", name=f"Play piece {letter}")).to_be_visible()
        expect(card.get_by_role("slider", name=f"Place in piece {letter}")).to_be_visible()
        for name in ("Musicality", "Short-term structure", "Long-term structure", "Overall"):
            group = card.get_by_role("group", name=name)
            assert group.get_by_role("radio").count() == 10
            assert group.get_by_role("radio", name="1, lowest").count() == 1
    assert page.locator("#asks-overall").count() == 1
    hear(page, 0)
    expect(page.get_by_role("link", name="Piece A: heard 100 %, 0 of 4 scores")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("Group 1 of 2")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_cut_off(link: str, visit: Visit, scheme: str):
    page = visit(link, color_scheme=scheme, viewport={"width": 320, "height": 640}, has_touch=True)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (min(map(int, background[4:-1].split(","))) > 200) == (scheme == "light")
    begin(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    boxes = [box.bounding_box() for box in page.locator(".scale label").all()[:10]]
    assert all(box and box["width"] >= 24 and box["height"] >= 40 for box in boxes)


def test_only_one_piece_sounds_at_a_time(link: str, visit: Visit):
    page = visit(link)
    begin(page)
    page.get_by_role("button", name="Play piece A").click()
    expect(page.get_by_role("button", name="Pause piece A")).to_be_visible()
    page.get_by_role("button", name="Play piece B").click()
    expect(page.get_by_role("button", name="Pause piece B")).to_be_visible()
    expect(page.get_by_role("button", name="Play piece A")).to_be_visible()


def test_a_lost_connection_loses_no_score(folder: Path, link: str, visit: Visit):
    page = visit(link, expected=("Failed to load", "ERR_"))
    begin(page)
    for piece in range(3):
        hear(page, piece)
        score(page, piece, 4)
    page.context.set_offline(True)
    send(page)
    expect(page.locator("footer [role=alert]")).to_contain_text("cannot be reached")
    page.context.set_offline(False)
    send(page)
    expect(page.get_by_role("heading", name="Group 2")).to_be_visible()
    assert len(Ballots(folder / "ballots.db").all()) == 1


def test_two_windows_of_one_listener_cast_one_ballot(folder: Path, link: str, visit: Visit):
    page = visit(link, expected=("409",))
    begin(page)
    other = page.context.new_page()
    other.goto(link)
    expect(other.get_by_role("heading", name="Group 1")).to_be_visible()
    for window, given in ((page, 2), (other, 8)):
        window.bring_to_front()  # browsers slow down what is behind
        for piece in range(3):
            if window is page:
                hear(window, piece)
        if window is other:
            other.reload()  # what was heard in the first window counts here as well
            expect(other.get_by_role("heading", name="Group 1")).to_be_visible()
        for piece in range(3):
            score(window, piece, given)
    page.bring_to_front()
    send(page)
    expect(page.get_by_role("heading", name="Group 2")).to_be_visible()
    other.bring_to_front()
    send(other)
    expect(other.locator("footer [role=alert]")).to_contain_text("already; those scores stay as they are")
    other.get_by_role("button", name="Go on", exact=True).click()
    expect(other.get_by_role("heading", name="Group 2")).to_be_visible()
    (ballot,) = Ballots(folder / "ballots.db").all()
    assert {mark.scores for mark in ballot.marks} == {(2,) * 4}


def test_a_piece_that_cannot_be_played_says_so_in_its_place(folder: Path, link: str, visit: Visit):
    page = visit(link, expected=("404", "500", "Failed to load"))
    page.route("**/clips/*.mp3", lambda route: route.abort())
    begin(page)
    page.get_by_role("button", name="Play piece B").click()
    expect(page.locator(".clip").nth(1).get_by_role("alert").first).to_contain_text("cannot be played")
    page.unroute("**/clips/*.mp3")
    hear(page, 1)
    expect(page.locator(".clip").nth(1).get_by_role("alert").first).to_be_empty()


def test_the_browser_decodes_a_clip_to_its_sound(link: str, visit: Visit):
    page = visit(link)
    begin(page)
    kind, seconds, level = page.evaluate(
        """async () => {
            const { clips } = await (await fetch("api/listen/state")).json();
            const answer = await fetch(`api/listen/clips/${clips[0]}.mp3`);
            const sound = await new OfflineAudioContext(2, 1, 44100).decodeAudioData(await answer.arrayBuffer());
            const samples = sound.getChannelData(0);
            const power = samples.reduce((sum, x) => sum + x * x, 0) / samples.length;
            return [answer.headers.get("content-type"), sound.duration, Math.sqrt(power)];
        }"""
    )
    assert kind == "audio/mpeg"
    assert seconds == pytest.approx(SECONDS, abs=0.06)
    assert level > 0.05
