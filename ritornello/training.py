"""The training of a run: from its newest checkpoint, or from nothing, to its last step."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ritornello.data.batch import TokenBatch, collate
from ritornello.data.dataset import BarBatches, Batches, TokenDataset, whole_songs
from ritornello.data.rolls import RollBatch, RollDataset, Windows
from ritornello.data.rolls import collate as collate_rolls
from ritornello.errors import ConfigError
from ritornello.models.base import RollModel
from ritornello.representations.base import Tokens
from ritornello.representations.remi import transposable, transpose
from ritornello.request import Request
from ritornello.run import Run, RunConfig, measure_rolls, play, write_tensors
from ritornello.train.log import Log
from ritornello.train.loop import train
from ritornello.train.optim import make_optimizers

FITTED_SONGS = 128  # what `Model.conclude` is given: these, spread evenly over the training songs
MOST_TOKENS = 32_768  # of each


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
    write_tensors(path, {name: tensor.contiguous() for name, tensor in tensors.items()}, {"step": str(step)})


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
