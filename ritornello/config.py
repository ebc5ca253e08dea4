"""Settings: frozen pydantic models ⇄ TOML. An unknown key or a bad value is one sentence naming the nearest known key.

class Train(Config):
    lr: PositiveFloat = 3e-4

Train.from_toml("configs/small.toml", overrides=["lr=1e-3"]).to_toml()
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, cast, get_args

import tomli
import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from typing_extensions import Self

from ritornello.errors import ConfigError

NONE = "none"  # TOML has no null: a setting that may be absent is switched off by this word


class _Sentences(type(BaseModel)):
    """Makes `Class(key=value)` complain as `Class.from_toml` does. Pydantic builds nested settings without it."""

    if not TYPE_CHECKING:  # a type checker shall go on seeing the class's own parameters

        def __call__(cls, *args: Any, **values: Any) -> Any:
            try:
                return super().__call__(*args, **values)
            except ValidationError as error:
                raise ConfigError(_explain(cls, error, "", {})) from error


class Config(BaseModel, metaclass=_Sentences):
    """Base of every settings class: immutable, closed to unknown keys, nested at will.

    A wrong key or value raises ConfigError, one sentence, however the object is made.
    """

    # The sentence under a setting goes into its JSON schema, for forms that are made of it
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), use_attribute_docstrings=True)

    @classmethod
    def from_toml(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Read a TOML file, then apply overrides such as "train.lr=3e-4" (their values are TOML; a bare word is text).

        Raises: ConfigError, if the file cannot be read or a key or value is not one of this class's.
        """
        try:
            values = tomli.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(f"{path} cannot be read as TOML settings: {reason}.") from error
        return cls._overridden(values, overrides, str(path))

    def override(self, overrides: Sequence[str]) -> Self:
        """These settings with some changed: "train.lr=3e-4". Raises: ConfigError."""
        return type(self)._overridden(_without_none(self), overrides, "")

    @classmethod
    def _overridden(cls, values: dict[str, Any], overrides: Sequence[str], source: str) -> Self:
        sources = {_override(values, override): f"--set {override}" for override in overrides}
        return cls.from_dict(values, source, sources)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "", sources: Mapping[str, str] | None = None) -> Self:
        """Build from nested mappings that `source` holds; `sources` says so of single keys. Raises: ConfigError."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(_explain(cls, error, source, sources or {})) from error

    def to_toml(self) -> str:
        """These settings as TOML text, which `from_toml` reads back to an equal object."""
        return tomli_w.dumps(_without_none(self))

    @model_validator(mode="before")
    @classmethod
    def _read_none(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        optional = {name for name, field in cls.model_fields.items() if NoneType in get_args(field.annotation)}
        return {key: None if key in optional and value == NONE else value for key, value in values.items()}


def _override(values: dict[str, Any], override: str) -> str:
    """Set "a.b=c" in nested `values`, in place; return the dotted key."""
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise ConfigError(f"--set {override}: expected key=value, for example --set train.lr=3e-4.")
    *tables, last = key.split(".")
    for name in tables:
        inner = values.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override}: {name} is a single value here, it has no settings inside.")
        values = cast(dict[str, Any], inner)
    try:
        values[last] = tomli.loads(f"value = {text}")["value"]
    except tomli.TOMLDecodeError:
        values[last] = text.strip()
    return key


def _without_none(config: Config) -> dict[str, Any]:
    """JSON-able values; a None is left out where it is the default, and written as "none" where it is not."""
    values = config.model_dump(mode="json")
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Config):
            values[name] = _without_none(value)
        elif isinstance(value, (tuple, list)):
            values[name] = [
                _without_none(v) if isinstance(v, Config) else w for v, w in zip(value, values[name], strict=True)
            ]
        elif value is None and field.get_default(call_default_factory=True) is None:
            del values[name]
        elif value is None:
            values[name] = NONE
    return values


def _explain(model: type[BaseModel], error: ValidationError, source: str, sources: Mapping[str, str]) -> str:
    """The first complaint of `error` as one sentence: where it was said, which key, what it is, what was expected."""
    first = error.errors(include_url=False)[0]
    parts = [str(part) for part in first["loc"]]
    key, value = ".".join(parts), first["input"]
    said = next((sources[k] for k in sources if f"{key}.".startswith(f"{k}.") or k.startswith(f"{key}.")), source)
    where = f"{said}: " if said else ""
    if first["type"] == "extra_forbidden":
        return f"{where}there is no setting {key}; {_nearest(model, parts)}."
    if first["type"] == "missing":
        return f"{where}the setting {key} is missing; it has no default."
    if first["type"] in ("model_type", "dict_type"):
        return f"{where}{key} = {value!r} should be a table of settings."
    message = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ").rstrip(".")
    subject, should, expected = message.partition(" should ")
    if subject == "Input" and should:
        return f"{where}{key} = {value!r} should {expected.partition(', unable to parse')[0]}."
    return f"{where}{message}." if isinstance(value, Mapping) else f"{where}{key} = {value!r}: {message}."


def _nearest(model: type[BaseModel], parts: list[str]) -> str:
    """Words that point to the known key nearest to an unknown one: a sibling first, then one in another table."""
    known = dict(_keys(model))
    table, name = ".".join(parts[:-1]), parts[-1]
    siblings = [key for key, inside in known.items() if inside == table]
    names = {key.rpartition(".")[2]: key for key in reversed(known)} | {key.rpartition(".")[2]: key for key in siblings}
    close = difflib.get_close_matches(name, [n for n in names if names[n] in siblings], 1, 0.6)
    close = close or difflib.get_close_matches(name, list(names), 1, 0.75)
    if close:
        return f"the nearest known one is {names[close[0]]}"
    return f"known here: {', '.join(siblings)}"


def _keys(model: type[BaseModel], table: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, its table) of every setting of a model, nested models included."""
    for name, field in model.model_fields.items():
        key = f"{table}.{name}" if table else name
        yield key, table
        for inner in _models(field.annotation):
            yield from _keys(inner, key)


def _models(annotation: Any) -> Iterable[type[BaseModel]]:
    """The model classes named in a type annotation, through unions and tuples."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]
