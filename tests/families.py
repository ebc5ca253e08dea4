"""Every family, small: what the contract test goes through. A new family adds a row: of tokens, or of piano rolls."""

from __future__ import annotations

from typing import Any

import torch

from ritornello.data.batch import TokenBatch, collate
from ritornello.data.dataset import cut
from ritornello.data.rolls import RollBatch
from ritornello.data.rolls import collate as collate_rolls
from ritornello.models import family
from ritornello.representations import build
from ritornello.representations.pianoroll import PianoRoll
from tests.lines import make_melody, make_voices
from tests.rolls import make_roll

MADE = {"melody": make_melody, "voices": make_voices}

SIZES = {"layers": 2, "width": 32, "heads": 2, "feedforward": 64, "dropout": 0.0}
SMALL: dict[str, dict[str, Any]] = {
    "museformer": {**SIZES, "offsets": [1, 2, 4]},
    "music_transformer": {**SIZES, "chunk": 24},
    "transformer_xl": {**SIZES, "segment": 16},
    "longformer": {**SIZES, "window": 16},
    "linear_transformer": SIZES,
    "musemorphose": {
        **SIZES,
        "encoder_layers": 1,
        "latent": 8,
        "attribute_width": 4,
        "window": 2,
        "beta_from": 1,
    },
}
SEQUENCES = ("music_transformer", "transformer_xl", "longformer", "linear_transformer")
VARIANTS: dict[str, dict[str, Any]] = {
    "museformer": SMALL["museformer"],
    "museformer-shipped": {
        **SMALL["museformer"],
        "positions": "rotary",
        "carry": 2,
        "countdown": True,
        "recall": True,
        "habits": True,
    },
    "museformer-recall": {**SMALL["museformer"], "recall": True},
    "museformer-habits": {**SMALL["museformer"], "habits": True},
    "museformer-no-coarse": {**SMALL["museformer"], "coarse": False},
    "musemorphose": SMALL["musemorphose"],
    "musemorphose-shipped": {**SMALL["musemorphose"], "carry": 2, "progress": True},
    "musemorphose-pre": {**SMALL["musemorphose"], "conditioning": "pre"},
    "musemorphose-post": {**SMALL["musemorphose"], "conditioning": "post"},
    "museformer-no-fine": {**SMALL["museformer"], "fine": False, "positions": "rotary"},
    **{name: SMALL[name] for name in SEQUENCES},
    "transformer_xl-placed": {**SMALL["transformer_xl"], "bar_and_beat": True, "carry": 2, "countdown": True},
    "linear_transformer-bare": {**SMALL["linear_transformer"], "bar_and_beat": False, "carry": 2},
}
# Of tokens that are not Museformer's
SETTINGS = {**SIZES, "countdown": True, "transpose": 0}
STRICT = {"melody_transformer": ("melody", SETTINGS), "chorale_transformer": ("voices", SETTINGS)}
SMALL.update({name: settings for name, (_, settings) in STRICT.items()})
VARIANTS.update({name: settings for name, (_, settings) in STRICT.items()})
# Of piano rolls: (representation, settings), for windows of two bars
ROLLS: dict[str, tuple[str, dict[str, Any]]] = {
    "conv_gru_vae": ("chorale", {"latent": 8, "hidden": 24, "channels": 16}),
    "conv_gru_vae-gru": ("chorale", {"latent": 8, "hidden": 24, "channels": 16, "decoder": "gru"}),
    "roll_diffusion": ("pianoroll", {"steps": 32, "channels": [8, 16, 16], "timesteps": 20}),
    "masked_diffusion": ("chorale", {"steps": 32, "width": 32, "heads": 2, "layers": 2, "feedforward": 64, "depth": 5}),
    "musegan": ("chorale", {"latent": 4, "hidden": 24, "channels": 16}),
}
EVERY = (*VARIANTS, *ROLLS)


def make_model(variant: str, seed: int = 0, **changed: Any) -> Any:
    """A small, fresh model of a variant (the part before "-" names its family), with some settings changed."""
    module, model_class = family(variant.split("-")[0])
    torch.manual_seed(seed)
    if variant in ROLLS:
        representation, settings = ROLLS[variant]
        return model_class(module.Config.from_dict({**settings, **changed}), _tracks(representation))
    vocabulary = build(representation_of(variant)).vocabulary
    return model_class(module.Config.from_dict({**VARIANTS[variant], **changed}), vocabulary)


def make_used(variant: str) -> Any:
    """A model whose weights have left where they begin: a one or a zero may not hide what is left out."""
    model = make_model(variant).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def representation_of(variant: str) -> str:
    return (ROLLS.get(variant) or STRICT.get(variant) or ("museformer",))[0]


def _tracks(representation: str) -> int:
    built = build(representation)
    assert isinstance(built, PianoRoll)
    return built.tracks


def make_config(variant: str) -> dict[str, Any]:
    """The same as the settings of a run."""
    settings = ROLLS[variant][1] if variant in ROLLS else VARIANTS[variant]
    return {"family": variant.split("-")[0], "representation": representation_of(variant), "model": settings}


def batch_for(variant: str) -> TokenBatch | RollBatch:
    """What a variant learns from."""
    return make_rolls() if variant in ROLLS else make_batch(representation=representation_of(variant))


def make_rolls(count: int = 4, bars: int = 2) -> RollBatch:
    """Different chorales."""
    return collate_rolls([make_roll(seed, bars) for seed in range(count)])


def make_batch(lengths: tuple[int, ...] = (90, 60), seed: int = 0, representation: str = "museformer") -> TokenBatch:
    """Random but well-placed tokens: bars of 9 and 13 tokens, positions that rise within a bar, passages that return.

    Where what a token means depends on its place: beginnings of random songs.
    """
    if representation in MADE:
        songs = [MADE[representation](seed + i) for i in range(len(lengths))]
        return collate([cut(song, 0, length) for song, length in zip(songs, lengths, strict=True)])
    generator = torch.Generator().manual_seed(seed)
    vocabulary = build("museformer").vocabulary
    shape = (len(lengths), max(lengths))
    ids = torch.randint(3, vocabulary.size, shape, generator=generator)
    again = torch.rand(shape, generator=generator) < 0.9
    for t in range(18, shape[1]):
        ids[:, t] = torch.where(again[:, t], ids[:, t - 18], ids[:, t])
    place = torch.arange(shape[1])
    bars = torch.stack([place // (9 + 4 * (row % 2)) for row in range(shape[0])])
    positions = torch.stack([place % (9 + 4 * (row % 2)) // 3 for row in range(shape[0])])
    countdown = bars.amax(1, keepdim=True) - bars + 1
    real = place < torch.tensor(lengths)[:, None]
    return TokenBatch(ids * real, bars, positions * real, countdown * real, torch.tensor(lengths))
