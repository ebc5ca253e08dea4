"""A corpus of MIDI files → tokens or rolls on disk, once, in parallel, with a report of what was dropped and why.

    <out>/settings.json     what the shards were made with; a folder never mixes two settings
    <out>/shards/*          see `shards`: the songs of 256 files each
    <out>/songs.jsonl       a line a song: file, shard, row, tokens (or steps), bars, notes, split, cluster, meta
    <out>/vocabulary.json   what the ids mean
    <out>/corpus.json       representation, licence, counts, token statistics
    <out>/report.md, .json  what was accepted and dropped, with reasons and examples
    <out>/LICENSE           the corpus's, where it has one

A run that was killed goes on: a shard that is whole and was made from the same files is not made again. Every byte is
the same for any number of workers, and for any way of dividing the shards among machines.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import ritornello
from ritornello.data.corpora import Corpus, Entry, open_corpus
from ritornello.data.encode import Encoded, Encoder, Filters
from ritornello.data.report import Report, statistics
from ritornello.data.shards import is_whole, load_shard, read_record, save_shard, write_atomically, write_json
from ritornello.data.split import Sketch, assign, clusters
from ritornello.data.workers import Failure, run
from ritornello.errors import MusicError
from ritornello.representations import build
from ritornello.representations.base import Roll

FORMAT = 1  # of what is written
FILES_PER_SHARD = 256
SECONDS_PER_FILE = 60.0
MEMORY_PER_WORKER = 4 * 2**30  # bytes of address space, of which a worker touches about 150 MB
# What decides which tokens come out
CODE = ("music", "representations", "data/annotated.py", "data/encode.py", "data/split.py")

Record = dict[str, Any]


def prepare(
    corpus: str | Path,
    out: Path | str,
    representation: str,
    workers: int | None = None,
    limit: int | None = None,
    filters: Filters | None = None,
    shard: tuple[int, int] = (0, 1),
    progress: bool = True,
) -> Report:
    """Encode a corpus to the folder `out`.

    corpus:   a named corpus, or the path of a folder or archive.
    workers:  processes; by default one for each processor.
    limit:    only the first so many files.
    filters:  by default those that fit the representation.
    shard:    (i, n): make only every n-th shard, from the i-th on, so that n machines share the work on one disk. The
              one that finishes last writes what is common to all.

    Raises MusicError where the corpus cannot be opened, or where `out` holds something made with other settings.
    """
    source, out = open_corpus(corpus), Path(out)
    filters = filters or Filters.for_representation(representation)
    if not 0 <= shard[0] < shard[1]:
        raise MusicError(f"There is no part {shard[0]} of {shard[1]}; the first is 0 and the last {shard[1] - 1}.")
    settings = _claim(out, source, representation, filters)
    keys: list[str] = []  # of every shard that the corpus makes, ours or not
    plan: deque[tuple[int, list[Entry]]] = deque()  # our shards at work, without the files' bytes
    with _bar(progress) as bar:
        task = bar.add_task(source.name, total=min(limit or len(source), len(source)) or limit)

        def jobs() -> Iterator[Entry]:
            for number, entries in enumerate(_shards(source, limit)):
                keys.append(_key(settings, entries))
                if number % shard[1] == shard[0] and not _is_done(_stem(out, number), keys[number]):
                    plan.append((number, [entry.without_data() for entry in entries]))
                    yield from entries
                else:
                    bar.advance(task, len(entries))

        outcomes: list[Encoded | Failure] = []
        encoder = Encoder(representation, filters, source.name if source.source else "")
        for outcome in run(encoder, jobs(), _processes(workers), SECONDS_PER_FILE, MEMORY_PER_WORKER):
            outcomes.append(outcome)
            bar.advance(task)
            number, entries = plan[0]
            if len(outcomes) == len(entries):
                _save(_stem(out, number), keys[number], entries, outcomes)
                plan.popleft()
                outcomes = []
    return _finish(out, source, settings, keys)


# ---- shards ----------------------------------------------------------------------------------------------------------


def _claim(out: Path, source: Corpus, representation: str, filters: Filters) -> str:
    """Write settings.json, or see that the one there says the same. Returns its text."""
    text = json.dumps(
        {
            "format": FORMAT,
            "corpus": source.name,
            "representation": representation,
            "filters": filters.model_dump(mode="json"),
            "vocabulary": json.loads(build(representation).vocabulary.to_json()),
            "code": _code(),
        },
        indent=1,
    )
    path = out / "settings.json"
    if path.exists():
        if path.read_text(encoding="utf-8") != text:
            raise MusicError(
                f"{out} was prepared with other settings, or by another version; delete it or choose another folder."
            )
    elif out.exists() and any(out.iterdir()):
        raise MusicError(f"{out} holds something else; choose an empty folder or a new one.")
    else:
        write_atomically(path, text.encode())
    return text


def _code() -> str:
    """A hash of the modules that make tokens out of a file: shards of two versions are never mixed."""
    root = Path(ritornello.__file__).parent
    digest = hashlib.sha256()
    for part in CODE:
        files = sorted((root / part).rglob("*")) if (root / part).is_dir() else [root / part]
        for file in files:
            if file.suffix in (".py", ".json"):
                digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _shards(source: Corpus, limit: int | None) -> Iterator[list[Entry]]:
    entries = islice(source, limit)
    while part := list(islice(entries, FILES_PER_SHARD)):
        yield part


def _key(settings: str, entries: list[Entry]) -> str:
    """A hash of all that decides what a shard holds."""
    digest = hashlib.sha256(settings.encode())
    for entry in entries:
        content = hashlib.sha256(entry.data or b"").hexdigest()
        digest.update(
            json.dumps([entry.name, content, entry.problem, entry.cluster, entry.split, *entry.metres]).encode()
        )
    return digest.hexdigest()


def _stem(out: Path, number: int) -> Path:
    return out / "shards" / f"{number:05d}"


def _is_done(stem: Path, key: str) -> bool:
    record = read_record(stem)
    return record is not None and record.get("key") == key and is_whole(stem)


def _save(stem: Path, key: str, entries: list[Entry], outcomes: list[Encoded | Failure]) -> None:
    files: list[Record] = []
    songs = [outcome for outcome in outcomes if isinstance(outcome, Encoded)]
    row = 0
    for entry, outcome in zip(entries, outcomes, strict=True):
        if isinstance(outcome, Failure):
            files.append({"file": entry.name, "reason": outcome.reason, "detail": outcome.detail})
            continue
        files.append(
            {
                "file": entry.name,
                "shard": stem.name,
                "row": row,
                "steps" if isinstance(outcome.song, Roll) else "tokens": len(outcome.song),
                "bars": outcome.bars,
                "notes": outcome.notes,
                "split": entry.split,
                "cluster": entry.cluster,
                "meta": outcome.song.meta,
                "content": outcome.sketch.content,
            }
        )
        row += 1
    save_shard(stem, [s.song for s in songs], [s.sketch.hashes for s in songs], {"key": key, "files": files})


# ---- what is common to all -------------------------------------------------------------------------------------------


def _finish(out: Path, source: Corpus, settings: str, keys: list[str]) -> Report:
    """Once all shards are there: find near-duplicates, deal the splits, write the lists and the report."""
    stems = [_stem(out, number) for number in range(len(keys))]
    if not all(_is_done(stem, key) for stem, key in zip(stems, keys, strict=True)):
        return Report(source.name, out, files=len(keys) * FILES_PER_SHARD, complete=False)
    files, sketches = _gather(stems)
    for old in (out / "shards").glob("*"):  # of an earlier run over more files
        if old.name.split(".")[0] not in {stem.name for stem in stems} and not old.name.startswith("."):
            old.unlink()
    chosen = json.loads(settings)
    songs, dropped = _deal(files, sketches, chosen["filters"]["drop_copies"])
    built = build(chosen["representation"])
    counts = statistics(out / "shards", songs, built.vocabulary)
    warned = [{"file": song["file"], "detail": said} for song in songs for said in song["meta"].get("warnings", ())]
    report = Report(source.name, out, len(files), len(songs), True, dropped, warned, counts)
    write_atomically(out / "vocabulary.json", built.vocabulary.to_json().encode())
    write_json(
        out / "corpus.json",
        {
            "format": FORMAT,
            "corpus": source.name,
            "about": source.source.about if source.source else "",
            "licence": source.source.licence if source.source else "",
            "representation": chosen["representation"],
            "filters": chosen["filters"],
            "files": len(files),
            "songs": len(songs),
            **counts,
        },
    )
    if source.licence:
        write_atomically(out / "LICENSE", source.licence.encode())
    write_json(out / "report.json", report.to_json())
    write_atomically(out / "report.md", report.markdown().encode())
    lines = "".join(json.dumps(song, ensure_ascii=False) + "\n" for song in songs)
    write_atomically(out / "songs.jsonl", lines.encode())  # last: a dataset opens once this is there
    return report


def _gather(stems: list[Path]) -> tuple[list[Record], dict[str, Sketch]]:
    """The records of all files in order, and the sketches of the accepted ones by file name."""
    files: list[Record] = []
    sketches: dict[str, Sketch] = {}
    for stem in stems:
        record = read_record(stem)
        assert record is not None
        songs = [file for file in record["files"] if "row" in file]
        hashes = load_shard(stem, ["sketches"])["sketches"] if songs else []
        for file, rows in zip(songs, hashes, strict=True):
            sketches[file["file"]] = Sketch(file["content"], rows)
        files += record["files"]
    return files, sketches


def _deal(files: list[Record], sketches: dict[str, Sketch], drop_copies: bool) -> tuple[list[Record], list[Record]]:
    """The accepted songs with their split and cluster, and the dropped files with their reason."""
    songs, dropped = [], []
    first: dict[str, str] = {}  # content → the first file that has it
    for file in files:
        if "reason" in file:
            dropped.append(file)
            continue
        original = first.setdefault(file["content"], file["file"])
        if drop_copies and original != file["file"] and file["split"] is None:
            dropped.append({"file": file["file"], "reason": "a copy", "detail": f"has the same notes as {original}"})
        else:
            songs.append(file)
    given = [song["cluster"] for song in songs]
    chosen = [sketches[song["file"]] for song in songs]
    labels = clusters(chosen, given)
    for song, label, split in zip(songs, labels, assign(chosen, labels, given), strict=True):
        song["split"] = song["split"] or split
        song["cluster"] = song["cluster"] or f"like {songs[label]['file']}"
    return [{key: value for key, value in song.items() if key != "content"} for song in songs], dropped


def _processes(workers: int | None) -> int:
    if workers is not None and workers < 1:
        raise MusicError(f"{workers} workers can do nothing; give 1 or more.")
    return workers or os.cpu_count() or 1


def _bar(progress: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, disable=not progress)
