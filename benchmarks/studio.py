"""The studio in a browser: seconds from pressing play to the first sound, and frames a second of a long song.

    python benchmarks/studio.py --songs 5 --notes 20000

Sound counts from the first sample of the page's output that is no silence. Frames are those that the page draws while
a song of so many notes plays and scrolls, in Chromium without a graphics card, which is the slowest there is; beside
them, the milliseconds that drawing one takes. Both suffer from whatever else the machine does: its load is told.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright
from symusic.core import NoteTick, TempoTick, TrackTick

from ritornello.music.score import Score, write

AUDIBLE = 0.002
WATCHED = 5.0  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=5, help="songs that are written")
    parser.add_argument("--notes", type=int, default=20_000, help="notes of the long song")
    asked = parser.parse_args()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"{os.cpu_count()} processors, load {load:.1f} before it began")
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
            first_sound(page, asked.songs)
            frames(page, asked.notes)
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


if __name__ == "__main__":
    main()
