"""Do the pages keep up? Seconds from play to the first sound, frames a second, and twenty listeners at once.

    python benchmarks/studio.py --songs 5 --notes 20000 --listeners 20 --kills 3

Sound counts from the first sample of the page's output that is no silence. Frames are those that the page draws while
a song of so many notes plays and scrolls, in Chromium without a graphics card, which is the slowest there is; beside
them, the milliseconds that drawing one takes. Both suffer from whatever else the machine does: its load is told.

Every listener of a listening test opens the page, fetches the clips of each group, and casts its ballot, as fast as it
can, while the server is killed in their midst; where the connection breaks it asks again. A ballot counts as lost if
the server said it was kept and it is not in the file, as doubled if it is there twice.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from playwright.sync_api import Page, sync_playwright
from scipy.io import wavfile
from symusic.core import NoteTick, TempoTick, TrackTick

from ritornello.evaluate.listening import CRITERIA
from ritornello.music.score import Score, write
from ritornello.studio.ballots import Ballots
from ritornello.studio.listening import ListeningTest, Order, make

AUDIBLE = 0.002
WATCHED = 5.0  # seconds
SYSTEMS, GROUPS, SECONDS = 5, 5, 5.0  # of the listening test, its clips so long


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=5, help="songs that are written")
    parser.add_argument("--notes", type=int, default=20_000, help="notes of the long song")
    parser.add_argument("--listeners", type=int, default=20, help="of a listening test, at once")
    parser.add_argument("--kills", type=int, default=3, help="of the test's server, by SIGKILL, at random moments")
    asked = parser.parse_args()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"{os.cpu_count()} processors, load {load:.1f} before it began", flush=True)
    in_the_browser(asked.songs, asked.notes)
    with tempfile.TemporaryDirectory() as folder:
        print(listeners(make_test(Path(folder)), asked.listeners, asked.kills))


# ---- the studio -----------------------------------------------------------------------------------------------------


def in_the_browser(songs: int, notes: int) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "ritornello", "studio", "--no-browser", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout
        link = re.search(r"http://\S+", server.stdout.readline())
        assert link, "the studio did not start"
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(link[0])
            page.wait_for_selector("body[data-ready]")
            first_sound(page, songs)
            frames(page, notes)
            browser.close()
    finally:
        server.terminate()


def first_sound(page: Page, songs: int) -> None:
    """Have songs written, and listen for their beginnings."""
    page.fill("#wish-bars", "16")
    waits = []
    for seed in range(songs):
        page.fill("#wish-seed", str(seed))
        waits.append(page.evaluate(FIRST_SOUND, AUDIBLE))
        page.click("#stop")
        time.sleep(1)
        page.evaluate("studio.player.pause()")
        time.sleep(0.5)
    told = ", ".join(f"{wait:.2f}" for wait in waits)
    print(f"seconds from play to the first sound: median {statistics.median(waits):.2f}, each {told}")


FIRST_SOUND = """async (audible) => {
    const begin = performance.now();
    document.querySelector("#compose").click();
    while (studio.player.level < audible) await new Promise((resume) => setTimeout(resume, 5));
    return (performance.now() - begin) / 1000;
}"""


def frames(page: Page, notes: int) -> None:
    """Open a long song, play it, and count the frames; once as it is opened, once with the whole song in view."""
    with tempfile.TemporaryDirectory() as folder:
        write(long_song(notes), Path(folder, "long.mid"))
        page.set_input_files("#file", Path(folder, "long.mid"))
        page.wait_for_selector("#tracks li:nth-child(6)")
    for name, zoom in (("as it is opened", 1.0), ("zoomed out to all of it", 0.02)):
        page.evaluate(f"studio.roll.zoom({zoom})")
        page.evaluate("studio.player.play(0)")
        time.sleep(2)
        drawn, seconds, cost = page.evaluate(FRAMES, WATCHED)
        page.evaluate("studio.player.pause()")
        print(f"{notes:,} notes, {name}: {drawn / seconds:.0f} frames a second, {cost:.1f} ms to draw one")


FRAMES = """async (seconds) => {
    const begin = performance.now(), before = studio.roll.frames, cost = studio.roll.cost;
    await new Promise((resume) => setTimeout(resume, seconds * 1000));
    const drawn = studio.roll.frames - before;
    return [drawn, (performance.now() - begin) / 1000, (studio.roll.cost - cost) / Math.max(drawn, 1)];
}"""


def long_song(notes: int) -> Score:
    """A song of six tracks, ten notes a beat."""
    rng = np.random.default_rng(0)
    score = Score(480)
    score.tempos.append(TempoTick(0, qpm=120))
    for number, program in enumerate((0, 25, 33, 48, 81, 0)):
        track = TrackTick(f"track {number}", program, number == 5)
        times = np.sort(rng.integers(0, notes * 48 // 120, notes // 6)) * 120
        pitches = rng.choice((36, 38, 42, 46), len(times)) if number == 5 else rng.integers(40, 88, len(times))
        for time_, pitch in zip(times.tolist(), pitches.tolist(), strict=True):
            track.notes.append(NoteTick(time_, int(rng.choice((120, 240, 480))), pitch, int(rng.integers(50, 110))))
        score.tracks.append(track)
    return score


# ---- the listening test ---------------------------------------------------------------------------------------------


def make_test(folder: Path) -> Path:
    """A test of 5 systems whose pieces are tones; each listener hears 5 groups, as in the paper."""
    for system in range(SYSTEMS):
        (folder / f"{system}").mkdir()
        for piece in range(2 * GROUPS):
            wave = 0.3 * np.sin(2 * np.pi * (200 + 90 * system + 7 * piece) * np.arange(SECONDS * 44_100) / 44_100)
            wavfile.write(folder / f"{system}" / f"{piece}.wav", 44_100, wave.astype(np.float32))
    order = Order(
        systems={f"{system}": folder / f"{system}" for system in range(SYSTEMS)},
        stretch=("seconds", 0, SECONDS),
        groups=GROUPS,
        pieces=None,
        heard=0.8,
        title="",
        seed=0,
    )
    for _ in make(order, folder / "test"):
        pass
    return folder / "test"


class Server:
    """`ritornello listen serve` in a process of its own, at an address that stays the same."""

    def __init__(self, test: Path) -> None:
        self.test, self.port = test, "0"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "ritornello", "listen", "serve", str(self.test), "--port", self.port]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.link = self.process.stdout.readline().split()[2]
        self.port = self.link.rstrip("/").rsplit(":", 1)[1]

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Listener:
    """One listener; known in the file by the share that was heard, which no two have in common."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.acknowledged: dict[int, int] = {}  # group: score
        self.waits: list[float] = []  # seconds for a ballot, by an unbroken connection

    def go(self, link: str) -> None:
        with httpx2.Client(base_url=link, timeout=60) as browser:
            self.ask(browser, "GET", "")
            state = self.ask(browser, "POST", "api/listen/join", json={"trained": self.number % 3 > 0}).json()
            while state["clips"]:
                for clip in state["clips"]:
                    self.ask(browser, "GET", f"api/listen/clips/{clip}.mp3")
                group, score = state["group"], 1 + (self.number + state["group"]) % 10
                mark = {"heard": 0.8 + self.number / 1000} | dict.fromkeys(CRITERIA, score)
                ballot = {"group": group, "marks": [{"clip": clip} | mark for clip in state["clips"]]}
                state = self.ask(browser, "POST", "api/listen/ballot", json=ballot).json()
                self.acknowledged[group] = score

    def ask(self, browser: httpx2.Client, method: str, path: str, **said: Any) -> httpx2.Response:
        while True:
            try:
                begun = time.perf_counter()
                answer = browser.request(method, f"/{path}", **said)
                if path.endswith("ballot"):
                    self.waits.append(time.perf_counter() - begun)
                if answer.status_code == 429:
                    time.sleep(float(answer.headers["retry-after"]))
                    continue
                answer.raise_for_status()
                return answer
            except httpx2.TransportError:
                time.sleep(0.05)


def listeners(test: Path, count: int, kills: int) -> str:
    """What became of the ballots of `count` listeners at once."""
    server, everyone, rng = Server(test), [Listener(number) for number in range(count)], random.Random(0)
    expected = count * ListeningTest.open(test).groups

    def given() -> dict[tuple[int, int], int]:
        return {(one.number, group): score for one in everyone for group, score in list(one.acknowledged.items())}

    lost = 0
    begun = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        going = [pool.submit(one.go, server.link) for one in everyone]
        marks = sorted(rng.sample(range(expected // 10, expected * 9 // 10), kills))
        for mark in marks:
            while len(given()) < mark and not all(one.done() for one in going):
                time.sleep(0.002)
            server.kill()
            lost += len(given().items() - kept(test).items())
            server.start()
        for one in going:
            one.result()
    took = time.perf_counter() - begun
    server.process.terminate()
    server.process.wait()
    found = Ballots(test / "ballots.db").all()
    lost += len(given().items() - kept(test).items())
    doubled = len(found) - len({(ballot.listener, ballot.group) for ballot in found})
    p50, p95 = np.quantile([wait for one in everyone for wait in one.waits], [0.5, 0.95]) * 1000
    return (
        f"{count} listeners at once, the server killed {kills} times: "
        f"{len(given())} of {expected} ballots acknowledged, "
        f"{len(found)} kept, {lost} lost, {doubled} doubled; {took:.1f} s in all, "
        f"a ballot answered in {p50:.0f} ms (median), {p95:.0f} ms (95 %)"
    )


def kept(test: Path) -> dict[tuple[int, int], int]:
    """The score of every (listener, group) in the file; each ballot must be from one hand."""
    found = {}
    for ballot in Ballots(test / "ballots.db").all():
        ((heard, scores),) = {(mark.heard, mark.scores) for mark in ballot.marks}
        found[round((heard - 0.8) * 1000), ballot.group] = scores[0]
    return found


if __name__ == "__main__":
    main()
