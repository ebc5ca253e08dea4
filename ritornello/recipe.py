"""Recipes: JSON from which a song is written again, byte for byte: what was asked of which model, and what was edited.

A recipe holds all it needs but the model: the MIDI files that a song began with are inside it.
"""

from __future__ import annotations

import base64
import hashlib
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from ritornello import __version__
from ritornello.config import Config
from ritornello.errors import ConfigError
from ritornello.music.sheet import Form, Part, Sheet, read_form
from ritornello.song import Song

if TYPE_CHECKING:
    from ritornello.api import Player
    from ritornello.run import RunConfig

Notes = list[tuple[int, int, int, int]]


class PartEdits(Form):
    """What was changed in one part. What stayed is None."""

    program: int | None = None
    volume: int | None = None
    removed: Notes = []
    added: Notes = []


class Edits(Form):
    """What was changed in a song after it was written."""

    tempos: list[tuple[int, int]] | None = None
    parts: dict[int, PartEdits] = {}

    @staticmethod
    def between(before: Sheet, after: Sheet) -> Edits:
        """The edits that make one sheet of the other. Raises ConfigError where they have not the same parts."""
        if len(before.parts) != len(after.parts):
            raise ConfigError("the song has other tracks than the one that was written: there is no recipe for that.")
        parts = {i: _changes(*pair) for i, pair in enumerate(zip(before.parts, after.parts, strict=True))}
        tempos = None if before.tempos == after.tempos else after.tempos
        return Edits(tempos=tempos, parts={i: edits for i, edits in parts.items() if edits != PartEdits()})

    def apply(self, sheet: Sheet) -> Sheet:
        """The sheet with these edits. Raises ConfigError where it has not the parts that they are for."""
        parts = list(sheet.parts)
        for index, edits in self.parts.items():
            if not 0 <= index < len(parts):
                raise ConfigError(f"the recipe edits track {index + 1}, but the song has {len(parts)}.")
            notes = Counter(parts[index].notes)
            notes.subtract(edits.removed)
            notes.update(edits.added)
            change: dict[str, Any] = {"notes": sorted((+notes).elements())}
            change |= {name: value for name in ("program", "volume") if (value := getattr(edits, name)) is not None}
            parts[index] = parts[index].model_copy(update=change)
        tempos = sheet.tempos if self.tempos is None else self.tempos
        return sheet.model_copy(update={"parts": parts, "tempos": tempos})


def _changes(before: Part, after: Part) -> PartEdits:
    was, now = Counter(before.notes), Counter(after.notes)
    return PartEdits(
        program=None if before.program == after.program else after.program,
        volume=None if before.volume == after.volume else after.volume,
        removed=sorted((was - now).elements()),
        added=sorted((now - was).elements()),
    )


class Recipe(Form):
    """How a song came to be."""

    ritornello: str = __version__
    model: str
    weights: str = ""
    """Of the model, the SHA-256: other weights write another song."""
    verb: str = "compose"
    wishes: dict[str, Any] = {}
    songs: dict[Annotated[str, Field(max_length=50)], str] = {}
    """MIDI files in base64, by the wish that they are for."""
    take: Annotated[int, Field(ge=0)] = 0
    """Which of the songs that were written together."""
    bars: Annotated[int | None, Field(ge=1)] = None
    """Bars after which it was stopped."""
    edits: Edits = Edits()
    sha256: str = ""
    """Of the MIDI file that comes of it."""

    def write(self, run: str | None = None, device: str = "cpu") -> Iterator[bytes]:
        """Write the song again: nothing at each bar, and at last the MIDI file.

        Args:
            run: the model, where it is not one that ships: a run's folder.
        Warns: where the weights are others, or another song came of it.
        Raises: RitornelloError for a model that there is not, or wishes that it cannot meet.
        """
        from ritornello.api import load

        player = load(run or self.model, device)
        if self.weights and self.weights != weights_of(player.run.folder):
            warnings.warn(
                f"{player.run.folder.name} has other weights than the recipe's: the song will differ", stacklevel=2
            )
        with tempfile.TemporaryDirectory() as folder:
            wishes = ask(player.run.config, self.verb, self.wishes, files(self.songs, Path(folder)))
            stage = None
            for stage in perform(player, self.verb, wishes):
                if self.bars is not None and stage.bars >= self.bars:
                    break
                yield b""
        if stage is None or self.take >= len(stage.songs):
            raise ConfigError(f"take = {self.take}: the recipe's wishes write fewer songs.")
        midi = self.edits.apply(Sheet.of(stage.songs[self.take].score)).score().dumps_midi()
        if self.sha256 and hashlib.sha256(midi).hexdigest() != self.sha256:
            warnings.warn("another song came of the recipe: another version or kind of machine wrote it", stacklevel=2)
        yield midi


def read_recipe(path: Path) -> Recipe:
    """Raises ConfigError where the file cannot be read, or is no recipe."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {getattr(error, 'strerror', error)}.") from None
    try:
        return read_form(Recipe, text)
    except Exception as error:
        raise ConfigError(f"{path} is no recipe: {error}") from None


# Asking a model for something, by its name and in JSON: what recipes and pages do


@dataclass(frozen=True)
class Stage:
    """Songs as far as they are written."""

    songs: Sequence[Song]
    bars: int
    done: bool


def verbs_of(config: RunConfig) -> tuple[str, ...]:
    """What a run can do: compose, and restyle where its family has a latent of each bar."""
    return ("compose", "restyle") if config.family == "musemorphose" else ("compose",)


def wishes_class(config: RunConfig, verb: str) -> type[Config]:
    """What one may ask of a run. Raises ConfigError for what it cannot do."""
    from ritornello.run import wishes_for

    if verb not in verbs_of(config):
        raise ConfigError(f"{verb}: a {config.family} cannot do that.")
    if verb == "compose":
        return wishes_for(config)
    from ritornello.restyle import Restyle

    class Restyling(Restyle):
        source: Path
        """The song."""

    return Restyling


def song_wishes(schema: Mapping[str, Any]) -> list[str]:
    """Of a JSON schema of wishes, those that are MIDI files."""
    return [wish for wish, field in schema["properties"].items() if _is_path(field)]


def _is_path(field: Mapping[str, Any]) -> bool:
    return any(kind.get("format") in ("path", "file-path") for kind in (field, *field.get("anyOf", ())))


def ask(config: RunConfig, verb: str, wishes: Mapping[str, Any], songs: Mapping[str, Path]) -> Config:
    """Wishes from JSON. Their files are `songs` alone: what comes from elsewhere can name no path.

    Raises: ConfigError for a wish that there is not, or that is out of range.
    """
    kind = wishes_class(config, verb)
    paths = set(song_wishes(kind.model_json_schema()))
    for wish in wishes:
        if wish in paths:
            raise ConfigError(f"{wish}: a song is expected, not the name of a file.")
    for wish in songs:
        if wish not in paths:
            raise ConfigError(f"{wish}: the model takes no such song.")
    return kind.from_dict({**wishes, **songs})


def files(songs: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """MIDI files in base64, written into a folder under names of ours."""
    paths = {}
    for number, (wish, midi) in enumerate(songs.items()):
        paths[wish] = folder / f"song-{number + 1}.mid"
        try:
            paths[wish].write_bytes(base64.b64decode(midi, validate=True))
        except ValueError:
            raise ConfigError(f"songs.{wish}: this is no MIDI file in base64.") from None
    return paths


def perform(player: Player, verb: str, wishes: Config) -> Iterator[Stage]:
    """What the model makes of the wishes, as it grows."""
    if verb == "restyle":
        from ritornello.restyle import Restyle

        asked = wishes.model_dump()
        for songs in player.restyle_drafts(asked.pop("source"), Restyle(**asked)):
            yield Stage(songs, len(songs[0].after), False)
        return
    for draft in player.drafts(wishes):
        yield Stage(draft.songs(), draft.bars, draft.done)


def weights_of(folder: Path) -> str:
    """The SHA-256 of a run's weights; "" where there are none."""
    path = folder / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
