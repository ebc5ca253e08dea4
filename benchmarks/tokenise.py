"""How fast is tokenising, beside MidiTok's REMI? Notes a second on one core, both on the same songs in the same run.

    python benchmarks/tokenise.py                 songs of lmd_multitrack (made-up ones where RITORNELLO_DATA has none)
    python benchmarks/tokenise.py --songs 200 --json

The row to compare is `remi`, which does what MidiTok's REMI is set up to do here: every program in one stream, metre,
tempo, 12 positions a quarter, 32 velocities. `museformer` first finds the melody and merges the tracks into six; the
row below it starts from merged ones. The figures are processor time, the best of some rounds, so that other work on
the machine weighs little.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
from symusic import Note
from symusic.core import NoteTickList, TrackTick

from ritornello.data.corpora import open_corpus
from ritornello.errors import MusicError
from ritornello.music.score import Score, parse, read, write
from ritornello.representations import build

PEER = "MidiTok REMI"
GOAL = 10  # times the peer's notes a second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default="lmd_multitrack")
    parser.add_argument("--songs", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    source, scores = songs(options.corpus, options.songs)
    figures = measure(scores, options.rounds)
    figures = {"source": source, "songs": len(scores), "notes": sum(s.note_num() for s in scores), **figures}
    print(json.dumps(figures, indent=1) if options.json else table(figures))


def songs(corpus: str, count: int) -> tuple[str, list[Score]]:
    """Songs that every contender can hold, and where they are from."""
    holds = build("museformer").encode
    scores: list[Score] = []
    try:
        for entry in open_corpus(corpus):
            try:
                score = parse(entry.data or b"", entry.name)
                holds(score)
            except MusicError:
                continue
            scores.append(score)
            if len(scores) == count:
                break
        return corpus, scores
    except MusicError:
        return "made-up songs", [made_up(seed) for seed in range(count)]


def made_up(seed: int, bars: int = 100, notes: int = 900) -> Score:
    """A song of five instruments with random notes, 480 ticks a quarter."""
    rng = np.random.default_rng(seed)
    score = Score(480)
    for name, program, is_drum in (
        ("Lead", 73, 0),
        ("Bass", 33, 0),
        ("Piano", 0, 0),
        ("Strings", 48, 0),
        ("Drums", 0, 1),
    ):
        track = TrackTick(name, program, bool(is_drum))
        times = (rng.integers(0, bars * 16, notes) * 120, rng.integers(1, 16, notes) * 60)
        keys = (rng.integers(36, 84, notes), rng.integers(30, 120, notes))
        columns = (*(c.astype(np.int32) for c in times), *(k.astype(np.int8) for k in keys))
        track.notes = cast(NoteTickList, Note.from_numpy(*columns))
        score.tracks.append(track)
    return score.sort()


def miditok_remi() -> Any:
    """MidiTok's REMI, set up to say what our general representation says."""
    from miditok import REMI, TokenizerConfig

    return REMI(
        TokenizerConfig(
            pitch_range=(0, 127),
            drums_pitch_range=(0, 127),
            beat_res={(0, 32): 12},
            num_velocities=32,
            use_programs=True,
            use_tempos=True,
            num_tempos=361,
            tempo_range=(15, 480),
            log_tempos=True,
            use_time_signatures=True,
            remove_duplicated_notes=True,
        )
    )


def measure(scores: list[Score], rounds: int) -> dict[str, Any]:
    """Notes a second and tokens a note of every contender, from Scores and from files."""
    six = build("museformer")
    merged = [six.normalise(score) for score in scores]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MidiTok's, of metres that it does not have
        rows = {
            "remi": row(build("remi").encode, scores, rounds),
            "museformer": row(six.encode, scores, rounds),
            "  merged before": row(six.encode, merged, rounds),
            PEER: row(miditok_remi().encode, scores, rounds, reads_files=True),
        }
    for figures in rows.values():
        figures["ratio"] = figures["from_scores"] / rows[PEER]["from_scores"]
        figures["ratio_from_files"] = figures["from_files"] / rows[PEER]["from_files"]
    return {"goal": GOAL, "reached": rows["remi"]["ratio"] >= GOAL, "rows": rows}


def row(encode: Callable[[Any], Any], scores: list[Score], rounds: int, reads_files: bool = False) -> dict[str, float]:
    """Notes a second of `encode` and the tokens that it makes of a note."""
    notes = sum(score.note_num() for score in scores)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}.mid" for i in range(len(scores))]
        for score, path in zip(scores, paths, strict=True):
            write(score, path)
        from_file = encode if reads_files else lambda path: encode(read(path))
        return {
            "from_scores": notes / seconds(encode, scores, rounds),
            "from_files": notes / seconds(from_file, paths, rounds),
            "tokens_a_note": sum(len(encode(score).ids) for score in scores) / notes,
        }


def seconds(work: Callable[[Any], object], inputs: Iterable[Any], rounds: int) -> float:
    """Processor time of the best round over all inputs; the first, to warm up, does not count."""
    times = []
    for _ in range(rounds + 1):
        start = time.process_time()
        for item in inputs:
            work(item)
        times.append(time.process_time() - start)
    return min(times[1:])


def table(figures: dict[str, Any]) -> str:
    lines = [
        f"{figures['songs']} songs of {figures['source']}, {figures['notes']:,} notes; notes a second on one core",
        "",
    ]
    lines.append(f"{'':16}{'from Scores':>14}{'ratio':>9}{'from files':>14}{'ratio':>9}{'tokens/note':>14}")
    for name, row in figures["rows"].items():
        lines.append(
            f"{name:16}{row['from_scores']:14,.0f}{row['ratio']:9.1f}{row['from_files']:14,.0f}"
            f"{row['ratio_from_files']:9.1f}{row['tokens_a_note']:14.2f}"
        )
    verdict = "reached" if figures["reached"] else "not reached"
    return "\n".join([*lines, "", f"goal: remi at {figures['goal']} times {PEER}'s notes a second: {verdict}"])


if __name__ == "__main__":
    main()
