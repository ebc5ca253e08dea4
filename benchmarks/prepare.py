"""How fast does a corpus become tokens, on one process and on more, and in how much memory?

    python benchmarks/prepare.py                  600 files of lmd_multitrack (made-up ones where it is not)
    python benchmarks/prepare.py --files 2000 --workers 1 2 4 --json

Files a second by the clock, by number of processes, with the speed-up over one; the largest memory of any one process;
and how long Lakh's 170,000 files would take, by extrapolation. Half as many files again show whether memory grows.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from growth import show
from tokenise import made_up

from ritornello.data.corpora import open_corpus
from ritornello.data.prepare import prepare
from ritornello.errors import MusicError
from ritornello.music.score import write

LAKH = 170_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default="lmd_multitrack")
    parser.add_argument("--files", type=int, default=600)
    parser.add_argument("--workers", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.case:
        print(json.dumps(case(chosen.case[0], int(chosen.case[1]), int(chosen.case[2]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        corpus = find(chosen.corpus, chosen.files, Path(folder))
        wanted = [(workers, chosen.files) for workers in chosen.workers] + [(chosen.workers[-1], chosen.files // 2)]
        rows = [{"processes": workers, "files": files, **alone(corpus, workers, files)} for workers, files in wanted]
    for row in rows:
        row["speed-up"] = row["files a second"] / rows[0]["files a second"]
        row["hours for Lakh"] = LAKH / row["files a second"] / 3600
    if chosen.json:
        print(json.dumps({"corpus": Path(corpus).name, "rows": rows}))
    else:
        show(f"Preparing {Path(corpus).name} as museformer", rows)


def find(corpus: str, files: int, folder: Path) -> str:
    """The corpus where it is to be had, else a folder of made-up songs."""
    try:
        return str(open_corpus(corpus).path)
    except MusicError:
        for seed in range(files):
            write(made_up(seed), folder / f"{seed}.mid")
        return str(folder)


def alone(corpus: str, workers: int, files: int) -> dict[str, float]:
    """A case in a process of its own, so that memory is its own."""
    command = [sys.executable, __file__, "--case", corpus, str(workers), str(files)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def case(corpus: str, workers: int, files: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        prepare(corpus, folder, "museformer", workers=workers, limit=files, progress=False)
        seconds = time.perf_counter() - begun
    peaks = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"seconds": seconds, "files a second": files / seconds, "largest process, MB": max(peaks)}


if __name__ == "__main__":
    main()
