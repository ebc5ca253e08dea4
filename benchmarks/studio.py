"""Do the pages keep up? Twenty listeners at once, with the server killed in their midst: is any ballot lost?

    python benchmarks/studio.py                          listeners: 20 at once, the server killed 3 times
    python benchmarks/studio.py --listeners 50 --kills 0

Every listener opens the page, fetches the clips of each group, and casts its ballot, as fast as it can; where the
connection breaks it asks again. A ballot counts as lost if the server said it was kept and it is not in the file, as
doubled if it is there twice.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from scipy.io import wavfile

from ritornello.evaluate.listening import CRITERIA
from ritornello.studio.ballots import Ballots
from ritornello.studio.listening import ListeningTest, Order, make

SYSTEMS, GROUPS, SECONDS = 5, 5, 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listeners", type=int, default=20)
    parser.add_argument("--kills", type=int, default=3, help="of the server, by SIGKILL, at random moments")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(listeners(make_test(Path(folder)), said.listeners, said.kills))


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
                    assert self.ask(browser, "GET", f"api/listen/clips/{clip}.wav").content[:4] == b"RIFF"
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
                threading.Event().wait(0.002)
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
