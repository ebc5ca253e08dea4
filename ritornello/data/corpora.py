"""Where music comes from: named corpora and folders or archives of one's own, read file by file and never unpacked.

A corpus is a folder, a .tar(.xz, .gz, .bz2) or a .zip of MIDI files. If it holds a MANIFEST.csv, its columns `path`
and `cluster` (or `split`) say which songs belong together; this works for a folder of one's own too. Named corpora
are looked for in the folder that RITORNELLO_DATA names (by default ../shared/data).
"""

from __future__ import annotations

import csv
import glob
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ritornello.data.annotated import pop909_cl
from ritornello.errors import MusicError
from ritornello.music.score import Score

MIDI = (".mid", ".midi", ".kar", ".rmi")
ARCHIVES = (".tar.xz", ".tar.gz", ".tar.bz2", ".tgz", ".tar", ".zip")
MAX_FILE = 4 * 2**20  # bytes of one MIDI file; longer ones are named and not read
MAX_TEXT = 64 * 2**20  # bytes of a manifest or a licence
MAX_FILES = 5_000_000  # files in one corpus


@dataclass(frozen=True)
class Source:
    """What we know of a named corpus."""

    about: str
    licence: str
    clusters: tuple[str, ...] = ("cluster",)  # columns of its manifest that tell which files are one piece of music
    family: str = ""  # corpora of one family share their clusters: POP909 and its corrected form are the same songs
    held_out: dict[str, str] = field(default_factory=dict)  # cluster → split, where the choice is ours
    music: Callable[[Score], Score] | None = None  # a file's score → the music in it, where annotations stand beside it


SOURCES = {
    "lmd_multitrack": Source("multi-instrument songs of the Lakh MIDI Dataset", "CC BY 4.0 (Colin Raffel, 2016)"),
    "pop909": Source("pop songs arranged for piano: melody, bridge, piano", "MIT (Music X Lab)", ("path",), "pop909"),
    "pop909_cl": Source(
        "POP909 with metre, key and chords corrected by hand", "MIT", ("path",), "pop909", music=pop909_cl
    ),
    "jsb_chorales": Source("four-part chorales by J. S. Bach, standard split", "music in the public domain"),
    "bach_cello_suites": Source(
        "the six cello suites in two editions",
        "Mutopia: public domain, two suites CC BY-SA 3.0; Grossman: none stated",
        ("suite", "movement"),
        held_out={
            **dict.fromkeys(("2/gigue", "4/sarabande", "6/gavotte"), "valid"),
            **dict.fromkeys(("1/courante", "3/bourree", "5/gigue"), "test"),
        },
    ),
    "nottingham": Source("British and American folk tunes: melody and chords", "GPL-3"),
    "open_multitrack": Source("game music under open licences", "BSD-3, GPL-2 and Artistic, by sub-folder"),
    "pop1k7": Source("pop songs covered on the piano", "none stated: not for weights that are passed on"),
}

ALIASES = {"lmd": "lmd_multitrack"}


@dataclass(frozen=True)
class Entry:
    """One file of a corpus. Where `problem` says why, there is no `data`."""

    name: str
    data: bytes | None = field(repr=False)
    problem: str | None = None
    cluster: str | None = None  # files with the same value are the same music; None: nobody has said
    split: str | None = None  # the corpus's own split, where it has one

    def without_data(self) -> Entry:
        return replace(self, data=None)


@dataclass(frozen=True)
class Corpus:
    """A folder or archive; iterate it for its MIDI files.

    A folder and a zip are read in the order of their names, a tar in its own order, since it can only be streamed.
    """

    name: str
    path: Path
    source: Source | None = None
    manifest: dict[str, dict[str, str]] = field(default_factory=dict, repr=False)
    licence: str = field(default="", repr=False)

    def __iter__(self) -> Iterator[Entry]:
        return self.read()

    def read(self, wanted: Container[str] | None = None) -> Iterator[Entry]:
        """The files, or only those with wanted names."""
        for number, (name, data, problem) in enumerate(_files(self.path, wanted)):
            if number == MAX_FILES:
                raise MusicError(f"{self.path} holds more than {MAX_FILES:,} MIDI files; prepare it in parts.")
            yield self._entry(name, data, problem)

    def listing(self) -> list[Entry]:
        """The files without their data: what the manifest lists; without a manifest, all is read to tell."""
        if self.manifest:
            return [self._entry(name, None, None) for name in self.manifest if _is_music(name)]
        return [entry.without_data() for entry in self]

    def __len__(self) -> int:
        """Files that the manifest lists, or that a folder or zip holds; 0 where only reading it all would tell."""
        if self.manifest:
            return sum(name.lower().endswith(MIDI) for name in self.manifest)
        return sum(1 for _ in _names(self.path))

    def _entry(self, name: str, data: bytes | None, problem: str | None) -> Entry:
        row = self.manifest.get(name, {})
        split = row.get("split") or None
        if split not in (None, "train", "valid", "test"):
            raise MusicError(f"The MANIFEST.csv of {self.path} puts {name} in {split!r}: use train, valid or test.")
        cluster = self._cluster(row)
        if split is None and cluster and self.source and self.source.held_out:
            split = self.source.held_out.get(cluster.partition(":")[2], "train")
        return Entry(name, data, problem, cluster, split)

    def _cluster(self, row: dict[str, str]) -> str | None:
        columns = self.source.clusters if self.source else ("cluster",)
        values = [row.get(column, "") for column in columns]
        family = self.source.family if self.source and self.source.family else self.name
        return f"{family}:{'/'.join(values)}" if all(values) else None


def open_corpus(name: str | Path) -> Corpus:
    """A named corpus, or the folder or archive at a path. Raises MusicError where there is none."""
    name = ALIASES.get(str(name), name)
    path, own_name = _locate(name), _stem(Path(name).name)
    manifest: dict[str, dict[str, str]] = {}
    texts = _texts(path)
    if "MANIFEST.csv" in texts:
        rows = csv.DictReader(io.StringIO(texts["MANIFEST.csv"]))
        if "path" not in (rows.fieldnames or ()):
            raise MusicError(f"The MANIFEST.csv of {path} has no column 'path'; add it or take the file away.")
        manifest = {row["path"]: {k: v for k, v in row.items() if k and isinstance(v, str)} for row in rows}
    return Corpus(own_name, path, SOURCES.get(own_name), manifest, texts.get("LICENSE", ""))


def find(given: Sequence[str]) -> Iterator[Entry]:
    """The MIDI files that patterns ("some/*.mid"), files, folders, archives and named corpora stand for.

    Raises MusicError where one of them stands for no MIDI file.
    """
    for text in given:
        path = Path(text).expanduser()
        if path.is_file() and not text.lower().endswith(ARCHIVES):
            yield _plain(text, path)
        elif glob.has_magic(text) and not path.exists():
            matches = [match for match in sorted(glob.glob(str(path), recursive=True)) if _is_music(match)]
            if not matches:
                raise MusicError(f"No MIDI file ({', '.join(MIDI)}) matches {text}.")
            yield from (_plain(_printable(match), Path(match)) for match in matches)
        elif not path.exists() and text not in (*SOURCES, *ALIASES):
            raise MusicError(f"There is no file, folder, archive or named corpus called {text}.")
        else:
            entry = None
            for entry in open_corpus(text):
                yield replace(entry, name=f"{text.rstrip('/')}/{entry.name}")
            if entry is None:
                raise MusicError(f"{text} holds no MIDI file ({', '.join(MIDI)}).")


def _locate(name: str | Path) -> Path:
    given = Path(name).expanduser()
    root = Path(os.environ.get("RITORNELLO_DATA", "../shared/data"))
    candidates = [given]
    if str(name) in SOURCES:
        candidates = [root / str(name), *(root / f"{name}{ending}" for ending in ARCHIVES)]
    for path in candidates:
        if path.is_dir() or (path.is_file() and str(path).lower().endswith(ARCHIVES)):
            return path
    if str(name) in SOURCES:
        raise MusicError(f"The corpus {name} is not in {root}; set RITORNELLO_DATA to the folder that holds it.")
    if given.exists():
        raise MusicError(f"{given} is neither a folder nor an archive that can be read ({', '.join(ARCHIVES)}).")
    known = ", ".join(SOURCES)
    raise MusicError(f"There is no corpus and no folder or archive called {name}; the named corpora are {known}.")


def _stem(name: str) -> str:
    return next((name[: -len(end)] for end in ARCHIVES if name.lower().endswith(end)), name)


def _is_music(name: str) -> bool:
    path = PurePosixPath(name)  # "._x.mid" and __MACOSX are what macOS leaves in archives
    return name.lower().endswith(MIDI) and not path.name.startswith("._") and "__MACOSX" not in path.parts


def _too_long(size: int) -> str | None:
    if size <= MAX_FILE:
        return None
    return f"is {size:,} bytes long, more than the {MAX_FILE:,} that a MIDI file may have"


LINK = "is a link or not a plain file; links are not followed"
_File = tuple[str, bytes | None, str | None]  # name, content, problem


def _files(path: Path, wanted: Container[str] | None = None) -> Iterator[_File]:
    """The MIDI files of a folder or archive, or only those with wanted names. What cannot be read comes with its
    reason; an archive that breaks off raises MusicError there."""
    if path.is_dir():
        yield from _folder(path, wanted)
        return
    with _broken_archive_named(path):
        if path.name.lower().endswith(".zip"):
            yield from _zip(path, wanted)
        else:
            yield from _tar(path, wanted)


def _names(path: Path) -> Iterator[str]:
    """Names of MIDI files, where they can be told without reading everything."""
    if path.is_dir():
        yield from (name for name, _ in _walk(path))
    elif path.name.lower().endswith(".zip"):
        with _broken_archive_named(path), zipfile.ZipFile(path) as archive:
            yield from (info.filename for info in archive.infolist() if _is_music(info.filename))


def _walk(root: Path) -> list[tuple[str, Path]]:
    """(name below root, path) of every MIDI file, by name."""
    paths = [Path(folder, file) for folder, _, files in os.walk(root, followlinks=False) for file in files]
    named = ((_printable(path.relative_to(root).as_posix()), path) for path in paths)
    return sorted((name, path) for name, path in named if _is_music(name))


def _folder(root: Path, wanted: Container[str] | None) -> Iterator[_File]:
    for name, path in _walk(root):
        if wanted is not None and name not in wanted:
            continue
        if path.is_symlink():
            yield name, None, LINK
        else:
            yield name, *_content(path)


def _plain(name: str, path: Path) -> Entry:
    """A file that was asked for by name."""
    return Entry(name, *_content(path))


def _content(path: Path) -> tuple[bytes | None, str | None]:
    """What a file holds, or why it is not read."""
    try:
        if not path.is_file():
            return None, LINK
        if problem := _too_long(path.stat().st_size):
            return None, problem
        return path.read_bytes(), None
    except OSError as error:
        return None, f"cannot be read: {error.strerror}"


def _zip(path: Path, wanted: Container[str] | None) -> Iterator[_File]:
    with zipfile.ZipFile(path) as archive:
        infos = [info for info in archive.infolist() if _is_music(info.filename) and not info.is_dir()]
        top = _common_folder(info.filename for info in archive.infolist())
        for info in sorted(infos, key=lambda info: info.filename):
            name = _relative(info.filename, top)
            if wanted is not None and name not in wanted:
                continue
            if (info.external_attr >> 16) & 0o170000 == 0o120000:
                yield name, None, LINK
            elif problem := _too_long(info.file_size):
                yield name, None, problem
            else:
                try:
                    with archive.open(info) as file:
                        data = file.read(MAX_FILE + 1)  # the size in its header may lie
                except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError) as error:
                    yield name, None, f"cannot be unpacked: {error}"
                else:
                    problem = _too_long(len(data))
                    yield name, None if problem else data, problem


def _tar(path: Path, wanted: Container[str] | None) -> Iterator[_File]:
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            if not _is_music(member.name) or member.isdir():
                continue
            name = _relative(member.name, _stem(path.name))
            if wanted is not None and name not in wanted:
                continue
            if not member.isfile():
                yield name, None, LINK
            elif problem := _too_long(member.size):
                yield name, None, problem
            else:
                file = archive.extractfile(member)
                yield name, file.read() if file else None, None


def _texts(path: Path) -> dict[str, str]:
    """MANIFEST.csv and LICENSE of a corpus, where it has them at its top."""
    wanted = ("MANIFEST.csv", "LICENSE")
    if path.is_dir():
        files = [path / name for name in wanted if (path / name).is_file() and not (path / name).is_symlink()]
        return {file.name: _text(file.read_bytes()[:MAX_TEXT]) for file in files}
    found: dict[str, str] = {}
    with _broken_archive_named(path):
        if path.name.lower().endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                top = _common_folder(archive.namelist())
                for info in archive.infolist():
                    if _relative(info.filename, top) in wanted:
                        with archive.open(info) as file:
                            found[_relative(info.filename, top)] = _text(file.read(MAX_TEXT))
            return found
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = _relative(member.name, _stem(path.name))
                if name in wanted and member.isfile() and (stream := archive.extractfile(member)):
                    found[name] = _text(stream.read(MAX_TEXT))
                if len(found) == len(wanted):
                    break
    return found


@contextmanager
def _broken_archive_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise MusicError(f"The archive {path} cannot be read to its end: {error}; fetch or pack it again.") from error


def _text(data: bytes) -> str:
    return data.decode("utf-8-sig", "replace")


def _common_folder(names: Iterator[str] | list[str]) -> str:
    """The one folder that everything in an archive lies in, or ""."""
    tops = {PurePosixPath(name).parts[:1] for name in names if "/" in name or not name.endswith(MIDI)}
    return next(iter(tops))[0] if len(tops) == 1 else ""


def _relative(name: str, top: str) -> str:
    """A member's name below the archive's top folder: what its manifest calls it. Used as a label, never as a path."""
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", ".")]
    return _printable("/".join(parts[1:] if len(parts) > 1 and parts[0] == top else parts))


def _printable(name: str) -> str:
    """A name that JSON, terminals and Markdown can hold: undecodable bytes and control characters are escaped."""
    name = name.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
