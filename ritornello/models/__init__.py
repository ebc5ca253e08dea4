"""The families: each is one file with a `Config` and a model class. This table is the contents page."""

from __future__ import annotations

import importlib
from types import ModuleType

from ritornello.errors import ConfigError

FAMILIES = {
    "conv_gru_vae": "ritornello.models.conv_gru_vae:Model",
    "musegan": "ritornello.models.musegan:Model",
    "museformer": "ritornello.models.museformer:Museformer",
    "musemorphose": "ritornello.models.musemorphose:MuseMorphose",
    "music_transformer": "ritornello.models.music_transformer:MusicTransformer",
    "transformer_xl": "ritornello.models.transformer_xl:TransformerXL",
    "longformer": "ritornello.models.longformer:Longformer",
    "linear_transformer": "ritornello.models.linear_transformer:LinearTransformer",
    "melody_transformer": "ritornello.models.melody_transformer:MelodyTransformer",
    "masked_diffusion": "ritornello.models.masked_diffusion:Model",
    "roll_diffusion": "ritornello.models.roll_diffusion:Model",
    "chorale_transformer": "ritornello.models.chorale_transformer:ChoraleTransformer",
}


def family(name: str) -> tuple[ModuleType, type]:
    """The module of a family and its model class. Raises ConfigError for a name that is not in FAMILIES."""
    if name not in FAMILIES:
        raise ConfigError(f"There is no model family {name!r}; the families are {', '.join(FAMILIES)}.")
    module, _, model = FAMILIES[name].partition(":")
    loaded = importlib.import_module(module)
    return loaded, getattr(loaded, model)
