"""A run is a folder: what a model is, its weights, its vocabulary, and the log of how it came to be.

config.toml             family, representation, data, sizes, training
vocabulary.json         the tokens' meaning
model.safetensors       the weights
checkpoint.safetensors  weights and optimizer, to go on from (checkpoint.previous.safetensors: the one before)
metrics.jsonl           a line a record
card.md                 data, licence, figures (runs that ship)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor

from ritornello.config import Config
from ritornello.data.dataset import TokenDataset
from ritornello.data.rolls import RollDataset, spread
from ritornello.data.rolls import collate as collate_rolls
from ritornello.errors import ConfigError, RitornelloError
from ritornello.generate import Draft, generate
from ritornello.generate_rolls import RollDraft, generate_rolls
from ritornello.layers.transformer import deepened
from ritornello.models import family
from ritornello.models.base import Controls, DecoderLM, Model, RollModel
from ritornello.representations import build
from ritornello.representations.base import Representation
from ritornello.representations.pianoroll import PianoRoll
from ritornello.representations.vocabulary import Vocabulary
from ritornello.request import Request
from ritornello.song import Song
from ritornello.train.loop import TrainConfig

PRETRAINED = Path(__file__).parent / "pretrained"


class DataConfig(Config):
    """What a run learns from."""

    folders: tuple[str, ...] = ()
    """Prepared corpora (see `ritornello prepare`), read one after another."""
    crops: Literal["tokens", "bars"] = "tokens"
    """What the lengths in train.stages are counted in; crops of bars are never cut inside one."""
    transpose: int = Field(0, ge=0, le=11)
    """Crops of bars are shifted by up to so many semitones up or down, drawn evenly from the shifts that fit."""
    twelve_keys: bool = True
    """Of piano rolls: learn from every window in each of the twelve keys that keep its tracks in their ranges."""
    validation_songs: int = 32
    """Of piano rolls: windows."""
    validation_tokens: int = 5120


class RunConfig(Config):
    """Everything that a run is made of; `configs/*.toml` are these."""

    family: str
    representation: str
    model: dict[str, Any] = Field(default_factory=dict)
    """The family's own settings (its Config)."""
    begin_with: str = ""
    """A run, or a model that ships, whose weights a training starts from; what it has no weights for starts fresh."""
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()


@dataclass
class Run:
    """A model with all that belongs to it. `folder` is where it lives."""

    folder: Path
    config: RunConfig
    representation: Representation
    model: Model

    @staticmethod
    def create(config: RunConfig, folder: Path, vocabulary: Vocabulary | None = None) -> Run:
        """A new model with fresh weights, from `config.train.seed`. Raises ConfigError for settings no family knows."""
        representation = build(config.representation)
        if vocabulary is not None and vocabulary != representation.vocabulary:
            raise ConfigError(f"{folder}: its vocabulary is not that of the representation {config.representation}.")
        module, model_class = family(config.family)
        settings = module.Config.from_dict(config.model, f"the [model] table of {config.family}")
        rolls = isinstance(representation, PianoRoll)
        if rolls != issubclass(model_class, RollModel):
            kind = "piano rolls" if issubclass(model_class, RollModel) else "tokens"
            raise ConfigError(f"representation = {config.representation}: a {config.family} learns from {kind}.")
        torch.manual_seed(config.train.seed)
        what = representation.tracks if rolls else representation.vocabulary
        return Run(folder, config, representation, model_class(settings, what))

    @staticmethod
    def open(name: str | Path, device: str = "cpu") -> Run:
        """Open a pretrained run by its name, or any run by its folder. Raises RitornelloError where there is none."""
        folder = folder_of(name)
        config = RunConfig.from_toml(folder / "config.toml")
        vocabulary = Vocabulary.from_json((folder / "vocabulary.json").read_text())
        run = Run.create(config, folder, vocabulary)
        run._load_weights(folder / "model.safetensors")
        run.model.eval().to(device)
        return run

    @property
    def decoder(self) -> DecoderLM:
        """The model, as one that writes token by token. Raises RitornelloError for another kind."""
        if not isinstance(self.model, DecoderLM):
            raise RitornelloError(f"{self.folder}: a {self.config.family} does not write token by token.")
        return self.model

    @property
    def player(self) -> RollModel:
        """The model, as one that plays piano rolls. Raises RitornelloError for another kind."""
        if not isinstance(self.model, RollModel):
            raise RitornelloError(f"{self.folder}: a {self.config.family} does not write piano rolls.")
        return self.model

    @property
    def wishes(self) -> type[Config]:
        """What one may ask of the model."""
        return wishes_for(self.config)

    def dataset(self, split: str) -> TokenDataset | RollDataset:
        """What it learns from, or one of the other splits."""
        if isinstance(self.model, RollModel):
            return RollDataset(self.config.data.folders, split, self.config.representation)
        return TokenDataset(self.config.data.folders, split)

    def _load_weights(self, path: Path) -> None:
        try:
            halves = (torch.float16, torch.bfloat16)
            loaded = load_file(path).items()
            weights = {name: tensor.float() if tensor.dtype in halves else tensor for name, tensor in loaded}
            self.model.load_state_dict(weights)
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise RitornelloError(f"{path} does not hold the weights that config.toml describes: {reason}") from error

    def take_over(self, other: Run) -> None:
        """The weights of another run, by name, where it has them; it may have fewer layers (`deepened`).

        Raises ConfigError where they do not fit.
        """
        try:
            weights = deepened(other.model.state_dict(), self.model.state_dict())
            self.model.load_state_dict(weights, strict=False)
        except RuntimeError as error:
            reason = str(error).splitlines()[1].strip()
            raise ConfigError(f"begin_with = {other.folder}: its weights do not fit this model: {reason}") from None

    def average(self, others: Sequence[Run], shares: Sequence[float] = ()) -> None:
        """Take the mean of one's own weights and those of others (Wortsman et al. 2022, "Model soups").

        shares:  how much one's own and each of the others' count; by default all the same.

        Raises: ConfigError where shares are not positive and 1 together, one for each, or where weights do not fit;
        they may be of fewer layers (`deepened`).
        """
        count = 1 + len(others)
        shares = shares or [1 / count] * count
        if len(shares) != count or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
            said = " ".join(map(str, shares))
            raise ConfigError(f"shares = {said}: should be {count} numbers above 0, one for each run, and 1 together.")
        own = self.model.state_dict()
        all_weights = [own, *(deepened(other.model.state_dict(), own) for other in others)]
        for other, weights in zip(others, all_weights[1:], strict=True):
            if {name: t.shape for name, t in weights.items()} != {name: t.shape for name, t in own.items()}:
                raise ConfigError(f"{other.folder}: its weights are not those of a model like {self.folder}.")
        for name, tensor in own.items():
            if tensor.is_floating_point():
                tensor.copy_(sum(share * weights[name] for share, weights in zip(shares, all_weights, strict=True)))

    def save(self, folder: Path | None = None, half: bool = False) -> None:
        """Write config, vocabulary and weights (`half`: in float16, for shipping) to the run's folder or another."""
        dtype = torch.float16 if half else torch.float32
        folder = folder or self.folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.toml").write_text(self.config.to_toml())
        (folder / "vocabulary.json").write_text(self.representation.vocabulary.to_json())
        weights = {
            name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).detach().contiguous()
            for name, tensor in self.model.state_dict().items()
        }
        write_tensors(folder / "model.safetensors", weights, {})


def wishes_of(name: str | Path) -> type[Config]:
    """What one may ask of a run, without loading its weights. Raises RitornelloError where there is none."""
    return wishes_for(config_of(name))


def config_of(name: str | Path) -> RunConfig:
    """A run's settings, by the name that it ships under or its folder. Raises RitornelloError where there is none."""
    return RunConfig.from_toml(folder_of(name) / "config.toml")


def wishes_for(config: RunConfig) -> type[Config]:
    """The family's own Controls, or the Request that models of tokens share."""
    return getattr(family(config.family)[0], "Controls", Request)


def folder_of(name: str | Path) -> Path:
    """The folder of a run, by the name that it ships under or its own. Raises RitornelloError where there is none."""
    folder = PRETRAINED / str(name) if (PRETRAINED / str(name) / "config.toml").exists() else Path(name)
    if not (folder / "config.toml").exists():
        shipped = ", ".join(sorted(p.parent.name for p in PRETRAINED.glob("*/config.toml"))) or "none"
        raise RitornelloError(f"{name} is neither a run's folder nor a model that ships (these are: {shipped}).")
    return folder


def play(run: Run, wishes: Config) -> list[Song]:
    """The songs that the wishes (`run.wishes`) ask for."""
    *_, last = drafts(run, wishes)
    return last.songs()


def drafts(run: Run, wishes: Config) -> Iterator[Draft] | Iterator[RollDraft]:
    """The same, as they grow."""
    if isinstance(run.model, RollModel):
        assert isinstance(wishes, Controls)
        return generate_rolls(run.model, run.representation, wishes)
    assert isinstance(wishes, Request)
    return generate(run.decoder, run.representation, wishes)


def measure_rolls(run: Run, dataset: RollDataset, device: str = "cpu", windows: int | None = None) -> dict[str, float]:
    """What a model of piano rolls measures on so many windows, spread over a dataset, or on all."""
    model, steps = run.player, run.config.train.stages[-1][1]
    rolls = spread(dataset, steps, windows, model.bar, model.hop)
    if not rolls:
        return {}
    torch.manual_seed(0)
    return {name: float(value) for name, value in model.measure(collate_rolls(rolls).to(device)).items()}


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write beside, make durable, then rename: a reader never meets half a file."""
    beside = path.with_suffix(".writing")
    with beside.open("wb") as file:
        file.write(serialise(tensors, metadata))
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
