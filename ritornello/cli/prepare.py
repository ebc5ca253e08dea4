"""`ritornello prepare my-midi-files/ -o tokens/mine`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from ritornello.errors import ConfigError


def main(
    corpus: Annotated[Positional[str], arg(metavar="CORPUS")],
    /,
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FOLDER")] = None,
    representation: str = "museformer",
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="KEY=VALUE")] = (),
    workers: Annotated[int | None, arg(metavar="N")] = None,
    limit: Annotated[int | None, arg(metavar="N")] = None,
    part: Annotated[str, arg(metavar="I/N")] = "0/1",
) -> None:
    """Encode a corpus of MIDI files to disk, once, and report what was dropped and why. A run that was stopped goes on.

    Args:
        corpus: a folder or archive (.zip, .tar.xz ...) of MIDI files, or a named corpus such as lmd_multitrack.
        out: where to (by default tokens/ and the corpus's name).
        representation: how music is written down: museformer, museformer-paper, remi, melody or voices
            (tokens); chorale or pianoroll (piano rolls).
        set: change one filter, such as most_bars=256 or metre=none; may be given several times.
        workers: processes (by default one a processor).
        limit: only the first so many files.
        part: i/n makes only every n-th shard from the i-th on, so that n machines share the work on one disk.
    """
    from ritornello.data.corpora import open_corpus
    from ritornello.data.encode import Filters
    from ritornello.data.prepare import prepare

    filters = Filters.for_representation(representation).override(set)
    out = out or Path("tokens", open_corpus(corpus).name)
    report = prepare(corpus, out, representation, workers, limit, filters, _part(part))
    if not report.complete:
        print(f"Part {part} is done; the songs are listed when the last part is: {out}")
        return
    print(f"{report.songs:,} songs of {report.files:,} files are in {out}; the whole report is {out / 'report.md'}.")
    for reason, count in report.reasons.items():
        print(f"{count:>7,} dropped: {reason}")


def _part(text: str) -> tuple[int, int]:
    i, slash, n = text.partition("/")
    if not (slash and i.isdecimal() and n.isdecimal()):
        raise ConfigError(f"--part {text}: expected i/n, for example 0/4 for the first of four parts.")
    return int(i), int(n)
