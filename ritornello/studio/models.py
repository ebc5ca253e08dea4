"""What the models on this server offer to a page: their names, and the JSON schema of what one may ask of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ritornello.models import family
from ritornello.music.keys import Key
from ritornello.recipe import song_wishes, verbs_of, weights_of, wishes_class
from ritornello.representations import build
from ritornello.representations.vocabulary import Vocabulary
from ritornello.request import Request
from ritornello.run import RunConfig, folder_of
from ritornello.sampling.forms import fits


def describe(name: str) -> list[dict[str, Any]]:
    """A model for the page, once for each of its verbs: what it is, and its wishes as a JSON schema.

    Raises RitornelloError where there is none.

    `songs` are the wishes that are MIDI files, `needs` those of them that it cannot do without; `choices` the words
    that a wish may be, where the schema does not say.
    """
    folder = folder_of(name)
    config = RunConfig.from_toml(folder / "config.toml")
    return [_describe(folder, config, verb) for verb in verbs_of(config)]


def _describe(folder: Path, config: RunConfig, verb: str) -> dict[str, Any]:
    wishes = wishes_class(config, verb)
    schema = wishes.model_json_schema()
    if wishes is Request:  # the page shows numbers, and asks for them
        module, model = family(config.family)
        schema["properties"]["temperature"]["default"] = model.temperature
        settings = module.Config(**config.model)
        schema["properties"]["faithful"]["default"] = settings.faithful
        schema["properties"]["planned"]["default"] = settings.planned
        for wish in _formless(build(config.representation).vocabulary):
            del schema["properties"][wish]
    songs = song_wishes(schema)
    return {
        "name": folder.name,
        "title": folder.name if verb == "compose" else f"{folder.name}: {verb}",
        "family": config.family,
        "weights": weights_of(folder),
        "about": _about(folder / "card.md"),
        "verb": verb,
        "schema": schema,
        "songs": songs,
        "needs": [wish for wish in songs if wish in schema.get("required", ())],
        "choices": _choices(config, schema),
    }


def _formless(vocabulary: Vocabulary) -> list[str]:
    """The wishes for a form that songs of this vocabulary cannot have."""
    without_places = [] if "Position" in vocabulary.families else ["form", "form_of", "faithful"]
    return without_places + ([] if fits(vocabulary) else ["planned"])


def _choices(config: RunConfig, schema: Mapping[str, Any]) -> dict[str, list[str]]:
    """Of wishes in words, those that there are."""
    choices = {}
    if "key" in schema["properties"]:
        choices["key"] = [str(Key(tonic, mode)) for mode in ("major", "minor") for tonic in range(12)]
    if "instruments" in schema["properties"]:
        vocabulary = build(config.representation).vocabulary
        labels = vocabulary.labels("Instrument") if "Instrument" in vocabulary.families else []
        if labels and all(isinstance(label, str) for label in labels):  # else General MIDI's: too many to choose among
            choices["instruments"] = list(labels)
    return choices


def _about(card: Path) -> str:
    """The first paragraph of a card."""
    if not card.exists():
        return ""
    paragraphs = [text.strip() for text in card.read_text(encoding="utf-8").split("\n\n")]
    return next((" ".join(text.split()) for text in paragraphs if text and not text.startswith("#")), "")
