"""A listening test is a folder: `test.json` (what is compared), `clips/` (MP3), `ballots.db` (what was said).

The design follows the Museformer paper's section 4.1: every listener hears groups, each of one piece of every system.

- **Pieces** of a system are laid in a circle, shuffled; listener k hears the k-th stretch of it, as long as there are
  groups, shuffled anew for each system. So no listener hears a piece twice, groups are mixed at random, and over the
  listeners every piece is heard equally often (to within one).
- **Order within a group** follows Williams' Latin squares: over as many groups in a row as there are systems, every
  system is heard in every position once; over two such squares (one, for an even number), each follows each equally
  often. Which row comes when is shuffled. Listeners take the squares' rows one after the other.

What a listener may come to know tells nothing: clips have secret random names, and are alike but for the music
(`clips`). The design follows from `seed` and the listener's number; the names of clips from nothing.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from ritornello.config import Config
from ritornello.errors import ListeningError
from ritornello.evaluate.listening import Scores
from ritornello.music.audio import find_synthesizer
from ritornello.music.score import write_bytes
from ritornello.studio import clips
from ritornello.studio.ballots import Ballot, Ballots

TEST, CLIPS, BALLOTS = "test.json", "clips", "ballots.db"
SOUND = "sound"  # clips as WAV, while the test is being made
MOST_PIECES = 20  # of each system, where nothing is said


class Clip(Config):
    """One piece of one system, under the name that listeners' browsers see."""

    name: str
    system: str
    piece: str  # the file it was made from


class ListeningTest(Config):
    """What is compared, as `test.json` holds it."""

    title: str = Field(max_length=200)
    systems: tuple[str, ...] = Field(min_length=2)
    groups: PositiveInt  # that each listener hears
    stretch: str  # which part of the pieces is heard
    seconds: PositiveFloat  # of every clip
    heard: float = Field(ge=0, le=1)  # the share of a clip that must have been heard before it is scored
    seed: int = Field(ge=0)
    clips: tuple[Clip, ...]  # as many of each system

    @classmethod
    def open(cls, folder: Path) -> ListeningTest:
        """Read the test in a folder. Raises ListeningError where there is none, ConfigError where it is damaged."""
        try:
            values = json.loads((folder / TEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ListeningError(f"{folder} holds no listening test; make one: ritornello listen new") from None
        except (OSError, ValueError) as error:
            raise ListeningError(f"{folder / TEST} cannot be read: {error}.") from None
        return cls.from_dict(values, str(folder / TEST))

    def by_system(self) -> list[list[Clip]]:
        """The clips of each system, in their order."""
        return [[clip for clip in self.clips if clip.system == system] for system in self.systems]

    def plan(self, listener: int) -> list[list[Clip]]:
        """The groups that a listener hears, clips in the order in which they are heard."""
        chosen = []
        for system, found in enumerate(self.by_system()):
            first = listener * self.groups
            stretch = [found[(first + i) % len(found)] for i in range(self.groups)]
            np.random.default_rng([self.seed, 0, listener, system]).shuffle(stretch)  # pyright: ignore[reportArgumentType]
            chosen.append(stretch)
        orders = (self._order(listener * self.groups + group) for group in range(self.groups))
        return [[chosen[system][group] for system in order] for group, order in enumerate(orders)]

    def _order(self, nth: int) -> list[int]:
        """The order of systems in the n-th group of all that are ever heard."""
        squares, size = williams(len(self.systems)), len(self.systems)
        block, row = divmod(nth, size)
        shuffled = np.random.default_rng([self.seed, 1, block]).permutation(size)
        return squares[block % len(squares)][shuffled[row]]


def williams(size: int) -> list[list[list[int]]]:
    """Latin squares in which, taken together, each of `size` things follows each other one equally often.

    One square suffices for an even size; for an odd one there are two, the second each row of the first backwards.
    """
    first = [(i + 1) // 2 if i % 2 else -i // 2 for i in range(size)]  # 0, 1, -1, 2, -2 ...: every step is another one
    square = [[(step + row) % size for step in first] for row in range(size)]
    return [square] if size % 2 == 0 else [square, [row[::-1] for row in square]]


# ---- making one -----------------------------------------------------------------------------------------------------


class Order(Config):
    """What was asked of `make`; kept beside unfinished clips, so that making can be stopped and go on."""

    systems: dict[str, Path]
    stretch: tuple[str, float, float]
    groups: PositiveInt
    pieces: PositiveInt | None
    heard: float = Field(ge=0, le=1)
    title: str = Field(max_length=200)
    seed: int | None = Field(ge=0)


def make(order: Order, out: Path) -> Iterator[tuple[int, int]]:
    """Make a test in `out`, which must not be there; yields (steps taken, steps in all), two a clip. Stopped, it can
    go on.

    Raises ListeningError where a folder or piece will not do.
    """
    if out.exists():
        raise ListeningError(f"{out} is there already; choose another place with -o, or move it away.")
    part = out.with_name(f"{out.name}.part")
    test = _begun(order, part) or _begin(order, part)
    stretch = clips.Stretch(*order.stretch)
    sources = {clip.name: order.systems[clip.system] / clip.piece for clip in test.clips}
    midi = any(source.suffix.lower() in clips.MIDI for source in sources.values())
    synthesizer = find_synthesizer() if midi else None
    sounds = [part / SOUND / f"{clip.name}.wav" for clip in test.clips]
    files = [part / CLIPS / f"{clip.name}.mp3" for clip in test.clips]
    steps = 2 * len(files)
    for done, sound in enumerate(sounds):
        yield done, steps
        if not sound.exists():
            clips.make(sources[sound.stem], stretch, test.seconds, sound, synthesizer)
    clips.level(sounds)
    with ThreadPoolExecutor() as pool:  # the encoder runs outside Python's lock, on all cores
        for done, _ in enumerate(pool.map(clips.encode, sounds, files), len(sounds)):
            yield done, steps
    for file in files:
        os.utime(file, (0, 0))  # when a clip was made would tell of which system it is
    shutil.rmtree(part / SOUND)
    write_bytes(test.model_dump_json(indent=1).encode(), part / TEST)
    Ballots(part / BALLOTS).close()
    (part / "order.json").unlink()
    part.rename(out)
    yield steps, steps


def _begin(order: Order, part: Path) -> ListeningTest:
    """Choose pieces, name clips, find how long a clip is; all of it in `part`."""
    if len(order.systems) < 2:
        raise ListeningError("a listening test compares systems; name the folders of two or more after --systems.")
    found = {name: clips.pieces(folder) for name, folder in order.systems.items()}
    least = min(found, key=lambda name: len(found[name]))
    count = order.pieces or min(len(found[least]), max(MOST_PIECES, order.groups))
    if count > len(found[least]):
        there = len(found[least])
        raise ListeningError(f"{order.systems[least]} holds {there} pieces, and {count} of each system are asked for.")
    if count < order.groups:
        raise ListeningError(
            f"a listener hears {order.groups} groups, for which {count} pieces of each system are too few "
            f"({order.systems[least]} holds {len(found[least])}); add pieces or ask for fewer --groups."
        )
    seed = secrets.randbelow(2**32) if order.seed is None else order.seed
    stretch, made, lengths = clips.Stretch(*order.stretch), [], {}
    for number, (system, files) in enumerate(found.items()):
        chosen = np.random.default_rng([seed, 2, number]).permutation(len(files))[:count]
        for piece in (files[i] for i in chosen):
            lengths[piece] = system, clips.length(piece, stretch)
            made.append(Clip(name=secrets.token_hex(12), system=system, piece=piece.name))
    longest = max(seconds for _, seconds in lengths.values())
    _note_differences(order, lengths, longest)
    if not longest <= clips.LONGEST:
        raise ListeningError(f"a clip would last {longest:.0f} s, where {clips.LONGEST:g} s are the most; hear less.")
    test = ListeningTest(
        title=order.title,
        systems=tuple(found),
        groups=order.groups,
        stretch=str(stretch),
        seconds=longest,
        heard=order.heard,
        seed=seed,
        clips=tuple(made),
    )
    write_bytes(json.dumps([order.model_dump(mode="json"), test.model_dump(mode="json")]).encode(), part / "order.json")
    return test


def _note_differences(order: Order, lengths: dict[Path, tuple[str, float]], longest: float) -> None:
    """Warn of what may tell systems apart for all that."""
    if len({piece.suffix.lower() in clips.MIDI for piece in lengths}) > 1:
        warnings.warn("some systems are MIDI and some are sound, which may tell them apart", stacklevel=3)
    if order.stretch[0] == "bars":
        return  # by tempo, bars differ in length as a matter of course
    for system in order.systems:
        short = [seconds < longest - 1 for whose, seconds in lengths.values() if whose == system]
        if any(short):
            warnings.warn(
                f"{system}: {sum(short)} of {len(short)} pieces end before the clip of {longest:.0f} s does; silence "
                "follows them, unless you hear less with --seconds",
                stacklevel=3,
            )


def _begun(order: Order, part: Path) -> ListeningTest | None:
    """The test that was being made in `part` for the same order; what is there for another is cleared away."""
    try:
        ordered, test = json.loads((part / "order.json").read_text(encoding="utf-8"))
        if ordered == order.model_dump(mode="json"):
            return ListeningTest.from_dict(test)
    except FileNotFoundError:
        if part.exists() and any(part.iterdir()):
            raise ListeningError(f"{part} is in the way and was not made here; move it away.") from None
    shutil.rmtree(part, ignore_errors=True)
    return None


# ---- counting -------------------------------------------------------------------------------------------------------


def scores(test: ListeningTest, ballots: Sequence[Ballot]) -> Scores:
    """Ballots as the statistics take them: clips become systems. Raises ListeningError: they are of another test."""
    system = {clip.name: test.systems.index(clip.system) for clip in test.clips}
    values = np.zeros((len(ballots), len(test.systems), 4), np.int64)
    for i, ballot in enumerate(ballots):
        if {system.get(mark.clip) for mark in ballot.marks} != set(system.values()):
            raise ListeningError("the ballots are not of this test: a group lacks a system or names a foreign clip.")
        for mark in ballot.marks:
            values[i, system[mark.clip]] = mark.scores
    return Scores(test.systems, values, np.array([ballot.listener for ballot in ballots], np.int64))
