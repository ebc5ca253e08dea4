"""A run is a folder: what a model is, its weights, its vocabulary, and the log of how it came to be.

config.toml             family, representation, data, sizes, training
vocabulary.json         the tokens' meaning
model.safetensors       the weights
checkpoint.safetensors  weights and optimizer, to go on from (checkpoint.previous.safetensors: the one before)
metrics.jsonl           a line a record
card.md                 data, licence, figures (runs that ship)
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from ritornello.config import Config
from ritornello.data.batch import TokenBatch, collate
from ritornello.data.dataset import BarBatches, Batches, TokenDataset, whole_songs
from ritornello.data.rolls import RollBatch, RollDataset, Windows, spread
from ritornello.data.rolls import collate as collate_rolls
from ritornello.errors import ConfigError, RitornelloError
from ritornello.generate import Draft, Request, generate
from ritornello.generate_rolls import RollDraft, generate_rolls
from ritornello.models import family
from ritornello.models.base import Controls, DecoderLM, Model, RollModel
from ritornello.representations import build
from ritornello.representations.base import Representation, Tokens
from ritornello.representations.pianoroll import PianoRoll
from ritornello.representations.remi import transposable, transpose
from ritornello.representations.vocabulary import Vocabulary
from ritornello.song import Song
from ritornello.train.log import Log
from ritornello.train.loop import TrainConfig, train
from ritornello.train.optim import make_optimizers

FITTED_SONGS = 128  # what `Model.conclude` is given: these, spread evenly over the training songs
MOST_TOKENS = 32_768  # of each
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
        """The weights of another run, by name, where it has them. Raises ConfigError where they do not fit."""
        try:
            self.model.load_state_dict(other.model.state_dict(), strict=False)
        except RuntimeError as error:
            reason = str(error).splitlines()[1].strip()
            raise ConfigError(f"begin_with = {other.folder}: its weights do not fit this model: {reason}") from None

    def save(self, folder: Path | None = None, dtype: torch.dtype = torch.float32) -> None:
        """Write config, vocabulary and weights (float16 for shipping) to the run's folder or another."""
        folder = folder or self.folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.toml").write_text(self.config.to_toml())
        (folder / "vocabulary.json").write_text(self.representation.vocabulary.to_json())
        weights = {
            name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).detach().contiguous()
            for name, tensor in self.model.state_dict().items()
        }
        _write_tensors(folder / "model.safetensors", weights, {})


def wishes_of(name: str | Path) -> type[Config]:
    """What one may ask of a run, without loading its weights. Raises RitornelloError where there is none."""
    return wishes_for(RunConfig.from_toml(folder_of(name) / "config.toml"))


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


# Checkpoints


def save_checkpoint(run: Run, optimizers: list[torch.optim.Optimizer], step: int) -> None:
    """Weights and optimizer state of `step`, in one file that is either whole or not there; the one before is kept."""
    tensors = {f"model.{name}": tensor for name, tensor in run.model.state_dict().items()}
    for i, optimizer in enumerate(optimizers):
        for parameter, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"optimizer.{i}.{parameter}.{name}"] = torch.as_tensor(value)
    path = run.folder / "checkpoint.safetensors"
    if path.exists():
        os.replace(path, run.folder / "checkpoint.previous.safetensors")
    _write_tensors(path, {name: tensor.contiguous() for name, tensor in tensors.items()}, {"step": str(step)})


def load_checkpoint(run: Run, optimizers: list[torch.optim.Optimizer]) -> int:
    """Put the newest readable checkpoint into model and optimizers; its step, or 0 where there is none."""
    for name in ("checkpoint.safetensors", "checkpoint.previous.safetensors"):
        path = run.folder / name
        if not path.exists():
            continue
        try:
            with safe_open(path, "pt") as file:
                step = int(file.metadata()["step"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            print(f"{path} cannot be read ({error}); trying the one before.")
            continue
        _restore(run.model, optimizers, tensors)
        return step
    return 0


def _restore(model: nn.Module, optimizers: list[torch.optim.Optimizer], tensors: dict[str, Tensor]) -> None:
    model.load_state_dict({key.removeprefix("model."): t for key, t in tensors.items() if key.startswith("model.")})
    for i, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            kind, _, rest = key.partition(".")
            if kind == "optimizer" and rest.startswith(f"{i}."):
                _, parameter, name = rest.split(".", 2)
                state.setdefault(int(parameter), {})[name] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write beside, make durable, then rename: a reader never meets half a file."""
    beside = path.with_suffix(".writing")
    with beside.open("wb") as file:
        file.write(serialise(tensors, metadata))
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


# Training


def train_run(config: RunConfig, folder: Path, device: str = "cpu") -> Run:
    """Train the run of `folder` from its newest checkpoint, or from nothing, to `config.train.steps`.

    Under torchrun each process takes its share of every batch. Killed at any moment, it goes on where the newest
    checkpoint stands, to the same weights.
    """
    with _processes() as (rank, world):
        run = Run.create(config, folder)
        run.model.to(device)
        moved = {name: p for name, p in run.model.named_parameters() if p.requires_grad}
        optimizers = make_optimizers(moved, config.train)
        start = load_checkpoint(run, optimizers)
        dataset, validation = run.dataset("train"), run.dataset("valid")
        log = None
        if start == 0:
            run.model.begin(dataset)
            if config.begin_with:
                run.take_over(Run.open(config.begin_with))
        if rank == 0:
            folder.mkdir(parents=True, exist_ok=True)
            run.save()
            log = Log(folder / "metrics.jsonl", config.train.steps, start)
        batch_at = _batches(run, dataset, rank, world, device)
        for measured in train(run.model, optimizers, batch_at, config.train, start):
            if log is None:
                continue
            step, last = int(measured["step"]), measured["step"] == config.train.steps
            log.step(measured, config.train.log_every)
            if last and isinstance(dataset, TokenDataset):
                run.model.conclude(whole_songs(dataset, 16_384, MOST_TOKENS, FITTED_SONGS))
            if step % config.train.save_every == 0 or last:
                save_checkpoint(run, optimizers, step)
            if step % config.train.validate_every == 0 or last:
                run.save()
                if len(validation):  # a small corpus may have no song in that split
                    log.note(step, validate(run, validation, device))
            if config.train.sample_every and step % config.train.sample_every == 0:
                log.note(step, {"sample": str(_sample(run, step))})
        run.model.eval()
        return run


def validate(run: Run, dataset: TokenDataset | RollDataset, device: str = "cpu") -> dict[str, float]:
    """On the validation songs: mean nats a token, from their start, cut at `validation_tokens`; or what the model
    measures on windows of piano rolls."""
    run.model.eval()
    if isinstance(dataset, RollDataset):
        found = measure_rolls(run, dataset, device, run.config.data.validation_songs)
        measured = {f"valid_{name}": value for name, value in found.items()}
    else:
        measured = _nats(run, dataset, device)
    run.model.train()
    return measured


def measure_rolls(run: Run, dataset: RollDataset, device: str = "cpu", windows: int | None = None) -> dict[str, float]:
    """What a model of piano rolls measures on so many windows, spread over a dataset, or on all."""
    model, steps = run.player, run.config.train.stages[-1][1]
    rolls = spread(dataset, steps, windows, model.bar, model.hop)
    if not rolls:
        return {}
    torch.manual_seed(0)
    return {name: float(value) for name, value in model.measure(collate_rolls(rolls).to(device)).items()}


@torch.no_grad()
def _nats(run: Run, dataset: TokenDataset, device: str) -> dict[str, float]:
    data, total, tokens = run.config.data, 0.0, 0
    for songs in whole_songs(dataset, 16_384, data.validation_tokens, data.validation_songs):
        batch = collate(songs).to(device)
        predicted = int(batch.lengths.sum()) - len(batch)
        with torch.autocast(device, torch.bfloat16, enabled=run.config.train.precision == "bfloat16"):
            total += float(run.model.loss(batch)["loss"]) * predicted
        tokens += predicted
    nats = total / tokens
    return {"valid_loss": nats, "valid_perplexity": math.exp(nats)}


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


def _sample(run: Run, step: int) -> Path:
    """A song (of tokens: sixteen bars) as the model writes it now, for the ear."""
    (song,) = play(run, run.wishes() if isinstance(run.model, RollModel) else Request(bars=16))
    path = run.folder / "samples" / f"{step:07d}.mid"
    path.parent.mkdir(exist_ok=True)
    return song.write(path)


def _batches(run: Run, dataset: TokenDataset | RollDataset, rank: int, world: int, device: str) -> Any:
    """step → this process's TokenBatch or RollBatch, from the stage that the step falls in."""

    def stage(first: int, length: int, size: int) -> Batches | BarBatches | Windows:
        seed = run.config.train.seed + first
        if not isinstance(dataset, RollDataset):
            if run.config.data.crops == "bars":
                return BarBatches(dataset, size, length, seed, rank, world, change=_transposition(run))
            return Batches(dataset, size, length, seed, rank, world)
        model = run.player
        if model.window not in (None, length):
            raise ConfigError(
                f"train.stages: a {run.config.family} takes windows of {model.window} steps, not {length}."
            )
        return Windows(dataset, length, size, model.bar, model.hop, run.config.data.twelve_keys, seed, rank, world)

    stages = {first: stage(first, length, size) for first, length, size in run.config.train.stages}

    def batch_at(step: int) -> TokenBatch | RollBatch:
        first = max(begin for begin in stages if begin <= step)
        found: list[Any] = stages[first][step - first]
        together: TokenBatch | RollBatch = collate_rolls(found) if isinstance(dataset, RollDataset) else collate(found)
        return together.to(device)

    return batch_at


def _transposition(run: Run) -> Callable[[Tokens, np.random.Generator], Tokens] | None:
    """What shifts a crop by a number of semitones that is drawn evenly from those that fit."""
    most, vocabulary = run.config.data.transpose, run.representation.vocabulary

    def shift(tokens: Tokens, rng: np.random.Generator) -> Tokens:
        low, high = transposable(vocabulary, tokens.ids)
        semitones = int(rng.integers(max(low, -most), min(high, most) + 1))
        # What stands before the crop may not fit into the vocabulary in that key: it is forgotten.
        return replace(tokens, ids=transpose(vocabulary, tokens.ids, semitones), past=tokens.past[:0])

    return shift if most else None


@contextmanager
def _processes() -> Iterator[tuple[int, int]]:
    """This process's rank and the number of processes; joins the others where torchrun started several."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0, 1
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield dist.get_rank(), dist.get_world_size()
    finally:
        dist.destroy_process_group()
