"""What a listener's browser may ask for, and what it may not; and that no acknowledged ballot is ever lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from ritornello.cli import main
from ritornello.evaluate.listening import CRITERIA
from ritornello.studio.ballots import Ballots
from ritornello.studio.listen import MOST_BYTES, PAGES, Bucket, listening_app
from ritornello.studio.listening import ListeningTest
from ritornello.studio.server import STATIC
from tests.studio.tones import SYSTEMS, make_test

LOCAL = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_test(folder, groups=4)
    return folder / "test"


@pytest.fixture
def test(made: Path, tmp_path: Path) -> Path:
    """A fresh copy of the test's folder."""
    return shutil.copytree(made, tmp_path / "test")


def listener(folder: Path, **settings: Any) -> TestClient:
    return TestClient(listening_app(folder, **settings), base_url=LOCAL)


def ballot(state: dict[str, Any], score: int = 7, **changed: Any) -> dict[str, Any]:
    marks = [{"clip": clip, "heard": 0.9} | dict.fromkeys(CRITERIA, score) for clip in state["clips"]]
    return {"group": state["group"], "marks": marks} | changed


def cast(folder: Path) -> list[tuple[int, int, list[int]]]:
    return [(b.listener, b.group, [mark.scores[0] for mark in b.marks]) for b in Ballots(folder / "ballots.db").all()]


def test_a_listener_goes_all_the_way(test: Path):
    browser = listener(test)
    before = browser.get("/api/listen/state").json()
    assert (before["joined"], before["clips"]) == (False, [])
    state = browser.post("/api/listen/join", json={"trained": True}).json()
    for group in range(4):
        assert (state["joined"], state["group"], len(state["clips"])) == (True, group, 3)
        for clip in state["clips"]:
            assert browser.get(f"/api/listen/clips/{clip}.mp3").content[:2] == b"\xff\xfb"
        state = browser.post("/api/listen/ballot", json=ballot(state, 3 + group)).json()
    assert (state["group"], state["clips"]) == (4, [])
    assert cast(test) == [(0, group, [3 + group] * 3) for group in range(4)]
    assert browser.post("/api/listen/ballot", json=ballot(before, group=4)).status_code == 409


def test_a_reload_goes_on_where_the_listener_was(test: Path):
    browser = listener(test)
    state = browser.post("/api/listen/join", json={}).json()
    browser.post("/api/listen/ballot", json=ballot(state))
    here = browser.get("/api/listen/state").json()
    assert here["group"] == 1
    assert browser.post("/api/listen/join", json={}).json() == here  # beginning again is no new listener
    again = listener(test)  # the server was started anew
    again.cookies = browser.cookies
    assert again.get("/api/listen/state").json() == here
    assert len(Ballots(test / "ballots.db").listeners()) == 1


def test_no_ballot_is_cast_twice_or_altered(test: Path):
    browser = listener(test)
    first = browser.post("/api/listen/join", json={}).json()
    answer = browser.post("/api/listen/ballot", json=ballot(first, 7))
    again = browser.post("/api/listen/ballot", json=ballot(first, 7))  # the same once more: the reply was lost
    assert (again.status_code, again.json()) == (200, answer.json())
    other = browser.post("/api/listen/ballot", json=ballot(first, 1))
    assert other.status_code == 409
    assert "already" in other.json()["error"]
    assert cast(test) == [(0, 0, [7, 7, 7])]


def test_twice_at_once_counts_once(test: Path):
    browser = listener(test)
    first = browser.post("/api/listen/join", json={}).json()
    with ThreadPoolExecutor(8) as pool:
        codes = list(
            pool.map(lambda i: browser.post("/api/listen/ballot", json=ballot(first, 1 + i)).status_code, range(8))
        )
    assert sorted(codes) == [200] + [409] * 7
    assert len(cast(test)) == 1


def test_nobody_touches_anothers_ballot(test: Path):
    mine, theirs = listener(test), listener(test)
    my_state, their_state = (browser.post("/api/listen/join", json={}).json() for browser in (mine, theirs))
    assert my_state["clips"] != their_state["clips"]
    theirs.post("/api/listen/ballot", json=ballot(their_state, 9))
    assert mine.get("/api/listen/state").json() == my_state  # no trace of the other
    assert mine.post("/api/listen/ballot", json=ballot(their_state, 1)).status_code == 422
    assert mine.post("/api/listen/ballot", json=ballot(my_state) | {"listener": 1}).status_code == 422
    assert cast(test) == [(1, 0, [9, 9, 9])]


def test_without_the_secret_there_is_nothing(test: Path):
    browser = listener(test)
    state = browser.post("/api/listen/join", json={}).json()
    (name,) = browser.cookies
    for stranger in (listener(test), listener(test)):
        stranger.cookies.set(name, "0" * 32, domain="127.0.0.1")
        assert stranger.post("/api/listen/ballot", json=ballot(state)).status_code == 401
        assert stranger.get(f"/api/listen/clips/{state['clips'][0]}.mp3").status_code == 401
        assert stranger.get("/api/listen/state").json()["joined"] is False
    assert cast(test) == []


def test_tampered_ballots_are_refused_whole(test: Path):
    browser = listener(test)
    state = browser.post("/api/listen/join", json={}).json()

    def changed(**mark: Any) -> dict[str, Any]:
        given = ballot(state)
        given["marks"][1] |= mark
        return given

    good = ballot(state)
    wrong = [
        changed(clip="0" * 24),
        changed(clip=state["clips"][0]),
        changed(clip="../../test.json"),
        changed(overall=0),
        changed(overall=11),
        changed(overall=7.5),
        changed(overall="7"),
        changed(overall=True),
        changed(overall=None),
        changed(heard=0.4),
        changed(heard=-1),
        changed(heard=2),
        changed(system="ours"),
        good | {"marks": good["marks"][:2]},
        good | {"marks": good["marks"] + good["marks"][:1]},
        good | {"marks": good["marks"][::-1]},
        good | {"marks": []},
        good | {"group": -1},
        good | {"group": 1},
        good | {"group": 2**70},
        [],
        None,
    ]
    for given in wrong:
        answer = browser.post("/api/listen/ballot", json=given)
        assert answer.status_code in (409, 422), given
        assert answer.json()["error"]
    assert (
        browser.post("/api/listen/ballot", content=b"{", headers={"content-type": "application/json"}).status_code
        == 422
    )
    assert cast(test) == []


def test_a_large_body_is_refused(test: Path):
    browser = listener(test)
    state = browser.post("/api/listen/join", json={}).json()
    given = ballot(state) | {"padding": "x" * MOST_BYTES}
    assert browser.post("/api/listen/ballot", json=given).status_code == 413
    assert browser.post("/api/listen/ballot", json=ballot(state)).status_code == 200


def test_only_clips_of_ones_own_groups_so_far_are_heard(test: Path):
    browser = listener(test)
    state = browser.post("/api/listen/join", json={}).json()
    settings = ListeningTest.open(test)
    plan = settings.plan(0)
    for clip in settings.clips:
        mine = clip in plan[0]
        assert browser.get(f"/api/listen/clips/{clip.name}.mp3").status_code == (200 if mine else 404)
    for name in ("..%2ftest.json", "../test.json", "%2e%2e/ballots.db", "test", "C:test", "a" * 5000):
        assert browser.get(f"/api/listen/clips/{name}.mp3").status_code in (404, 405)
    assert browser.get("/ballots.db").status_code == 404
    browser.post("/api/listen/ballot", json=ballot(state))
    assert browser.get(f"/api/listen/clips/{plan[1][0].name}.mp3").status_code == 200


def test_nothing_that_is_sent_tells_the_system(test: Path):
    """All answers about clips of two systems, in whole and in part, differ in the music and the random name alone."""
    browser = listener(test)
    state = browser.post("/api/listen/join", json={}).json()
    told = [browser.get("/"), browser.get("/api/listen/state"), browser.post("/api/listen/join", json={})]
    for hours, clip in enumerate(state["clips"]):  # as if the folder had been copied, one file after the other
        os.utime(test / "clips" / f"{clip}.mp3", (3600 * hours, 3600 * hours))
    heads = set()
    for clip in state["clips"]:
        for asked in ({}, {"range": "bytes=0-99"}, {"range": "bytes=20000-"}):
            answer = browser.get(f"/api/listen/clips/{clip}.mp3", headers=asked)
            assert answer.status_code == (206 if asked else 200)
            heads.add((str(asked), str({**answer.headers}).replace(clip, "*"), len(answer.content)))
            told.append(answer)
    assert len(heads) == 3
    seen = b"".join(str(answer.headers).encode() + answer.content for answer in told)
    assert not any(system.encode() in seen for system in SYSTEMS)
    assert b"piece" not in b"".join(answer.content for answer in told[1:3])


def test_the_page_needs_nothing_from_elsewhere(test: Path):
    browser = listener(test)
    page = browser.get("/")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for path in PAGES.iterdir():
        answer = browser.get(f"/{path.name}")
        assert answer.status_code == 200
        text = answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text
        assert "https:" not in text
        assert "//" not in "".join(line for line in text.splitlines() if "url(" in line or "import" in line)


def test_the_studio_is_not_open_to_listeners(test: Path):
    browser = listener(test)
    assert "Listening test" in browser.get("/").text
    names = {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file()} - {"index.html"}
    assert all(browser.get(f"/{name}").status_code == 404 for name in names)


def test_as_many_listeners_as_there_may_be(test: Path):
    app = listening_app(test, most=2)
    codes = [TestClient(app, base_url=LOCAL).post("/api/listen/join", json={}).status_code for _ in range(4)]
    assert codes == [200, 200, 403, 403]


def test_a_flood_of_listeners_is_to_wait(test: Path):
    browser, joined = listener(test), 0
    while (answer := browser.post("/api/listen/join", json={})).status_code == 200 and joined < 300:
        browser.cookies.clear()  # another listener
        joined += 1
    assert 60 <= joined < 300  # on a slow machine others may begin while these do
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1


def test_a_bucket_fills_again():
    now = [0.0]
    bucket = Bucket(2, 0.5, lambda: now[0])
    assert [bucket.take("a") for _ in range(3)] == [0, 0, 2]
    assert bucket.take("b") == 0  # another address
    now[0] = 1.9
    assert bucket.take("a") == pytest.approx(0.1)
    now[0] = 2.0
    assert bucket.take("a") == 0
    now[0] = 1000
    assert [bucket.take("a") for _ in range(3)] == [0, 0, 2]


def test_a_full_disk_is_told_and_nothing_is_acknowledged(test: Path, monkeypatch: pytest.MonkeyPatch):
    whole = Ballots._prepare

    def small(ballots: Ballots) -> None:
        whole(ballots)
        for _ in range(30):
            ballots.join()
        pages = ballots._file.execute("PRAGMA page_count").fetchone()[0]
        ballots._file.execute(f"PRAGMA max_page_count = {pages}")  # no room for another

    with monkeypatch.context() as patch:
        patch.setattr(Ballots, "_prepare", small)
        app = listening_app(test)
    answers = [TestClient(app, base_url=LOCAL).post("/api/listen/join", json={}) for _ in range(60)]
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {200, 503}
    assert "later" in answers[-1].json()["error"]
    assert len(Ballots(test / "ballots.db").listeners()) == 30 + codes.count(200)


# The server as it is started


@contextmanager
def served(folder: Path, *flags: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The verb in a process of its own: the link it prints, and the process."""
    command = [sys.executable, "-m", "ritornello", "listen", "serve", str(folder), *flags]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        said = server.stdout.readline().split()
        assert said[:2] == ["Listeners", "open"], said
        yield said[2], server
    finally:
        server.kill()
        server.wait()


def test_with_a_host_the_link_holds_a_token(test: Path):
    with served(test, "--host", "0.0.0.0", "--port", "0") as (link, server):
        address, _, token = link.partition("?token=")
        address = f"http://127.0.0.1:{address.rsplit(':', 1)[1]}"
        assert len(token) > 20
        with httpx2.Client(base_url=address, follow_redirects=True) as browser:
            assert browser.get("/").status_code == 401
            assert browser.get("/api/listen/state").status_code == 401
            assert browser.get(f"/?token={token}").status_code == 200
            assert browser.get("/api/listen/state").json()["joined"] is False
        server.send_signal(signal.SIGINT)
        server.wait(10)
    assert (test / "token").stat().st_mode & 0o077 == 0
    with served(test, "--host", "0.0.0.0", "--port", "0") as (link, _):
        assert link.endswith(token)  # links outlive a restart


def test_an_address_that_cannot_be_served_is_one_sentence(test: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["listen", "serve", str(test), "--port", "99999"]) == 2
    assert "cannot be served" in capsys.readouterr().err
    assert main(["listen", "serve", str(test.parent)]) == 2
    assert "holds no listening test" in capsys.readouterr().err


def test_a_test_that_lost_clips_is_not_opened_to_listeners(test: Path, capsys: pytest.CaptureFixture[str]):
    next((test / "clips").iterdir()).unlink()
    assert main(["listen", "serve", str(test), "--port", "0"]) == 2
    assert "lacks 1 of its 12 clips" in capsys.readouterr().err


def vote(
    link: str, number: int, acknowledged: dict[tuple[int, int], int], enough: threading.Event, killed: threading.Event
) -> None:
    """A listener with an unsteady connection: asks until there is an answer. Known by the share that was heard."""
    with httpx2.Client(base_url=link, timeout=20) as browser:

        def until_answered(path: str, said: Any) -> dict[str, Any]:
            for _ in range(400):
                try:
                    answer = browser.post(f"/api/listen/{path}", json=said)
                except httpx2.TransportError:
                    time.sleep(0.05)
                    continue
                assert answer.status_code == 200, answer.text
                return answer.json()
            raise AssertionError("the server did not come back")

        state = until_answered("join", {})
        while state["clips"]:
            group = state["group"]
            if group == 3:
                killed.wait(120)  # the last ballots are for the server's second life, however fast the first was
            given = ballot(state, score=1 + (number + group) % 10)
            for mark in given["marks"]:
                mark["heard"] = 0.5 + number / 100
            state = until_answered("ballot", given)
            acknowledged[number, group] = 1 + (number + group) % 10
            if len(acknowledged) >= 25:
                enough.set()


def kept(folder: Path) -> dict[tuple[int, int], int]:
    """What `vote` should have left: the score of every (number, group)."""
    found = {}
    for cast in Ballots(folder / "ballots.db").all():
        ((heard, scores),) = {(mark.heard, mark.scores) for mark in cast.marks}  # one ballot, from one hand
        key = round((heard - 0.5) * 100), cast.group
        assert key not in found
        found[key] = scores[0]
    return found


def test_a_killed_server_loses_no_acknowledged_ballot(test: Path):
    """Twenty listeners at once; the server is killed in the midst of them and started again at the same address."""
    acknowledged: dict[tuple[int, int], int] = {}
    enough, killed = threading.Event(), threading.Event()
    with ThreadPoolExecutor(20) as pool:
        with served(test, "--port", "0") as (link, server):
            port = link.rstrip("/").rsplit(":", 1)[1]
            voters = [pool.submit(vote, link, number, acknowledged, enough, killed) for number in range(20)]
            assert enough.wait(60)
            os.kill(server.pid, signal.SIGKILL)
            server.wait()
            killed.set()
        at_death = dict(acknowledged)
        assert 25 <= len(at_death) <= 60
        assert at_death.items() <= kept(test).items()
        with served(test, "--port", port):
            for voter in voters:
                voter.result()
    assert kept(test) == acknowledged
    assert len(acknowledged) == 80
