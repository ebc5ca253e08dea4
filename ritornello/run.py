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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from ritornello.config import Config
from ritornello.data.batch import TokenBatch, collate
from ritornello.data.dataset import Batches, TokenDataset, whole_songs
from ritornello.errors import ConfigError, RitornelloError
from ritornello.generate import Request, finish, generate
from ritornello.models import family
from ritornello.models.base import DecoderLM, Model
from ritornello.representations import build
from ritornello.representations.base import Representation
from ritornello.representations.vocabulary import Vocabulary
from ritornello.train.log import Log
from ritornello.train.loop import TrainConfig, train
from ritornello.train.optim import make_optimizers

PRETRAINED = Path(__file__).parent / "pretrained"


class DataConfig(Config):
    """What a run learns from."""

    folders: tuple[str, ...] = ()
    """Prepared corpora (see `ritornello prepare`), read one after another."""
    validation_songs: int = 32
    validation_tokens: int = 5120


class RunConfig(Config):
    """Everything that a run is made of; `configs/*.toml` are these."""

    family: str
    representation: str
    model: dict[str, Any] = Field(default_factory=dict)
    """The family's own settings (its Config)."""
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
        torch.manual_seed(config.train.seed)
        return Run(folder, config, representation, model_class(settings, representation.vocabulary))

    @staticmethod
    def open(name: str | Path, device: str = "cpu") -> Run:
        """Open a pretrained run by its name, or any run by its folder. Raises RitornelloError where there is none."""
        folder = PRETRAINED / str(name) if (PRETRAINED / str(name) / "config.toml").exists() else Path(name)
        if not (folder / "config.toml").exists():
            shipped = ", ".join(sorted(p.parent.name for p in PRETRAINED.glob("*/config.toml"))) or "none"
            raise RitornelloError(f"{name} is neither a run's folder nor a model that ships (these are: {shipped}).")
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

    def _load_weights(self, path: Path) -> None:
        try:
            weights = {name: tensor.float() for name, tensor in load_file(path).items()}
            self.model.load_state_dict(weights)
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise RitornelloError(f"{path} does not hold the weights that config.toml describes: {reason}") from error

    def save(self, folder: Path | None = None, dtype: torch.dtype = torch.float32) -> None:
        """Write config, vocabulary and weights (float16 for shipping) to the run's folder or another."""
        folder = folder or self.folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.toml").write_text(self.config.to_toml())
        (folder / "vocabulary.json").write_text(self.representation.vocabulary.to_json())
        weights = {name: tensor.detach().to(dtype).contiguous() for name, tensor in self.model.state_dict().items()}
        _write_tensors(folder / "model.safetensors", weights, {})


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
        optimizers = make_optimizers(dict(run.model.named_parameters()), config.train)
        start = load_checkpoint(run, optimizers)
        dataset = TokenDataset(config.data.folders, "train")
        validation = TokenDataset(config.data.folders, "valid")
        log = None
        if rank == 0:
            folder.mkdir(parents=True, exist_ok=True)
            run.save()
            log = Log(folder / "metrics.jsonl", config.train.steps, start)
        batch_at = _batches(dataset, config.train, rank, world, device)
        for measured in train(run.model, optimizers, batch_at, config.train, start):
            if log is None:
                continue
            step, last = int(measured["step"]), measured["step"] == config.train.steps
            log.step(measured, config.train.log_every)
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


@torch.no_grad()
def validate(run: Run, dataset: TokenDataset, device: str = "cpu") -> dict[str, float]:
    """Mean nats a token on the validation songs, from their start, cut at `validation_tokens`."""
    run.model.eval()
    data, total, tokens = run.config.data, 0.0, 0
    for songs in whole_songs(dataset, 16_384, data.validation_tokens, data.validation_songs):
        batch = collate(songs).to(device)
        predicted = int(batch.lengths.sum()) - len(batch)
        with torch.autocast(device, torch.bfloat16, enabled=run.config.train.precision == "bfloat16"):
            total += float(run.model.loss(batch)["loss"]) * predicted
        tokens += predicted
    run.model.train()
    nats = total / tokens
    return {"valid_loss": nats, "valid_perplexity": math.exp(nats)}


def _sample(run: Run, step: int) -> Path:
    """A song of sixteen bars as the model writes it now, for the ear."""
    (song,) = finish(generate(run.decoder, run.representation, Request(bars=16)))
    path = run.folder / "samples" / f"{step:07d}.mid"
    path.parent.mkdir(exist_ok=True)
    return song.write(path)


def _batches(dataset: TokenDataset, config: TrainConfig, rank: int, world: int, device: str) -> Any:
    """step → this process's TokenBatch, from the stage that the step falls in."""
    stages = {
        first: Batches(dataset, tokens, crop, config.seed + first, rank, world) for first, crop, tokens in config.stages
    }

    def batch_at(step: int) -> TokenBatch:
        first = max(begin for begin in stages if begin <= step)
        return collate(stages[first][step - first]).to(device)

    return batch_at


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
