"""The Museformer paper's comparison as one experiment: models with the same songs, tokens, sizes and budget, one table.

Every row is trained, scored on held-out songs, and writes songs; each of these is kept when it is done, so that an
experiment that was stopped goes on where it was, and rows may be added later. A folder holds

settings.toml               what was asked for
runs/ROW-SEED/              a run (see `run`), with its weights and log
likelihood/ROW-SEED.json    figures of `evaluate.likelihood`
songs/ROW-SEED/             what the row writes, as MIDI
costs/ROW.json              figures of `evaluate.cost`
report.json, report.md      everything together; `report` writes them
figures/                    Figures 3 and 4
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console
from torch import __version__ as torch_version

from ritornello.config import Config
from ritornello.data.dataset import TokenDataset, cut
from ritornello.data.prepare import prepare
from ritornello.data.synthetic import write_songs
from ritornello.errors import ConfigError
from ritornello.evaluate.cost import costs
from ritornello.evaluate.likelihood import CUTS, likelihood
from ritornello.evaluate.ngram import yardsticks
from ritornello.evaluate.report import evaluate, markdown
from ritornello.evaluate.table1 import average, table1
from ritornello.generate import Request, finish, generate
from ritornello.music.score import read
from ritornello.pictures import draw_costs
from ritornello.representations.base import Tokens
from ritornello.run import DataConfig, Run, RunConfig, train_run
from ritornello.train.loop import TrainConfig


@dataclass(frozen=True)
class Row:
    """A line of the table: a family, and what distinguishes it."""

    title: str
    family: str
    model: dict[str, Any] = field(default_factory=dict)


ROWS = {
    "museformer": Row("Museformer", "museformer"),
    "no-coarse": Row("w/o coarse-grained", "museformer", {"coarse": False}),
    "nearest-bars": Row("w/o bar selection", "museformer", {"offsets": [1, 2, 3, 4, 5, 6, 7, 8]}),
    "no-fine": Row("w/o fine-grained", "museformer", {"fine": False}),
    "music_transformer": Row("Music Transformer", "music_transformer"),
    "transformer_xl": Row("Transformer-XL", "transformer_xl"),
    "longformer": Row("Longformer", "longformer"),
    "linear_transformer": Row("Linear Transformer", "linear_transformer"),
}
FULL = "full-attention"  # of costs only: what Figure 4 holds Museformer against
FAMILIES_OF_ROWS = tuple(dict.fromkeys(row.family for row in ROWS.values()))


class Scale(Config):
    """How large an experiment is. What is not said here is the paper's (see each family's Config)."""

    model: dict[str, Any] = Field(default_factory=dict)
    """Sizes, and whatever else all rows share."""
    families: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """What a family adds: how far it looks back. All get the same input, so that they differ in attention alone."""
    train: TrainConfig = TrainConfig()
    synthetic: int = 0
    """Songs to make where no corpus is given."""
    held_out: int = 100
    """Songs of the test split on which likelihood is measured."""
    counted: int = 2000
    """Training songs that the n-gram yardsticks count."""
    songs: int = 100
    """What each row and seed writes."""
    bars: int | None = None
    """Of every song that is written, and at which human ones are cut; by default songs end where they want to."""
    batch: int = 10
    """Songs that are written at once."""
    human: int = 300
    """Training songs whose similarity distribution is the measure (Equation 6)."""
    lengths: tuple[int, ...] = (1024, 2048, 4096, 8192, 16384)
    """Of Figure 4, in tokens."""


_INPUT = {"bar_and_beat": True}
SCALES = {
    # The machinery in a minute, on songs made here: nothing about the ranking can be read from it.
    "tiny": Scale(
        model={"layers": 2, "width": 32, "heads": 2, "feedforward": 64, "dropout": 0.0, "carry": 1},
        families={
            "music_transformer": {**_INPUT, "chunk": 256},
            "transformer_xl": {**_INPUT, "segment": 128},
            "longformer": {**_INPUT, "window": 256},
        },
        train=TrainConfig(
            optimizer="muon", lr=5e-3, betas=(0.9, 0.95), eps=1e-8, schedule="trapezoid", warmup=5, cooldown=10,
            steps=30, stages=((0, 512, 1024),), log_every=10, save_every=10, validate_every=30,
        ),
        synthetic=120, held_out=4, counted=100, songs=2, bars=42, batch=2, human=20, lengths=(512, 1024),
    ),
    # Some hours on two cores.
    "small": Scale(
        model={"layers": 4, "width": 256, "heads": 4, "feedforward": 1024, "dropout": 0.0, "carry": 2},
        families={
            "music_transformer": {**_INPUT, "chunk": 1024},
            "transformer_xl": {**_INPUT, "segment": 512},
            "longformer": {**_INPUT, "window": 1024},
        },
        train=TrainConfig(
            optimizer="muon", lr=5e-3, betas=(0.9, 0.95), eps=1e-8, schedule="trapezoid", warmup=40, cooldown=100,
            steps=400, stages=((0, 4096, 8192), (300, 10240, 20480)), log_every=20, save_every=20, validate_every=400,
        ),
        held_out=60, songs=24, bars=64, batch=8, human=300,
    ),
    # The paper's configuration (section 4.1), for a GPU.
    "paper": Scale(
        families={
            "music_transformer": {**_INPUT, "chunk": 2048},
            "transformer_xl": {**_INPUT, "segment": 512},
            "longformer": {**_INPUT, "window": 1024},
        },
        train=TrainConfig(steps=200_000, stages=((0, 15_360, 61_440),), validate_every=5000, save_every=1000),
        held_out=1000, counted=5000, human=1000,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Experiment:
    """A scale, a corpus, and the folder that holds what came out."""

    scale: Scale
    folder: Path
    tokens: Path
    device: str = "cpu"

    @staticmethod
    def open(scale: Scale, folder: Path, tokens: Path | None, device: str = "cpu") -> Experiment:
        """Begin in `folder`, or go on there. Raises ConfigError where it holds another experiment, or songs lack."""
        if tokens is None and not scale.synthetic:
            raise ConfigError("This scale needs prepared songs: name their folder with --tokens (ritornello prepare).")
        settings = f'tokens = "{tokens.resolve() if tokens else ""}"\n\n{scale.to_toml()}'
        path = folder / "settings.toml"
        if path.exists() and path.read_text(encoding="utf-8") != settings:
            raise ConfigError(f"{folder} holds an experiment with other settings; choose another folder with -o.")
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, settings)
        if tokens is None:
            write_songs(folder / "midi", scale.synthetic, bars=96)
            prepare(str(folder / "midi"), folder / "tokens", "museformer", workers=1, progress=False)
        return Experiment(scale, folder, tokens or folder / "tokens", device)

    @property
    def representation(self) -> str:
        settings = self.tokens / "settings.json"
        try:
            return json.loads(settings.read_text(encoding="utf-8"))["representation"]
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(
                f"{self.tokens} is not a prepared corpus: it has no readable settings.json; make one with "
                "`ritornello prepare`."
            ) from error

    @property
    def precision(self) -> str:
        """Of scoring: as training on a GPU, exact elsewhere."""
        return "float32" if self.device == "cpu" else self.scale.train.precision

    def config(self, row: str, seed: int = 0) -> RunConfig:
        """What a row is, and how it is trained."""
        scale, what = self.scale, ROWS[row]
        model = {**scale.model, **scale.families.get(what.family, {}), **what.model}
        return RunConfig(
            family=what.family,
            representation=self.representation,
            model=model,
            data=DataConfig(folders=(str(self.tokens),)),
            train=scale.train.model_copy(update={"seed": seed}),
        )

    def train(self, row: str, seed: int) -> Run:
        """The row's run, trained: at once where it is, else from its newest checkpoint."""
        folder = self.run_folder(row, seed)
        if self.trained(row, seed):
            return Run.open(folder, self.device)
        run = train_run(self.config(row, seed), folder, self.device)
        _write(folder / "trained.json", json.dumps({"steps": self.scale.train.steps}))
        return run

    def run_folder(self, row: str, seed: int) -> Path:
        return self.folder / "runs" / f"{row}-{seed}"

    def trained(self, row: str, seed: int) -> bool:
        return (self.run_folder(row, seed) / "trained.json").exists()

    def likelihood(self, row: str, seed: int) -> dict[str, Any]:
        """Figures of a row on the held-out songs."""

        def measure() -> dict[str, Any]:
            run = self.train(row, seed)
            given = {"device": self.device, "precision": self.precision}
            songs = spread(self.songs_of("test"), self.scale.held_out)
            return likelihood({row: run.decoder}, songs, run.representation.vocabulary, CUTS, CUTS[-1], **given)[row]

        return kept(self.folder / "likelihood" / f"{row}-{seed}.json", measure)

    def yardsticks(self) -> dict[str, Any]:
        """Figures of an n-gram, and of one that copies from the song, on the same songs."""

        def measure() -> dict[str, Any]:
            train, vocabulary = (
                self.songs_of("train"),
                Run.create(self.config("museformer"), self.folder).representation,
            )
            counted = yardsticks([song.ids for song in spread(train, self.scale.counted)], vocabulary.vocabulary.size)
            return likelihood(counted, spread(self.songs_of("test"), self.scale.held_out), vocabulary.vocabulary)

        return kept(self.folder / "likelihood" / "yardsticks.json", measure)

    def songs_of(self, split: str) -> TokenDataset:
        dataset = TokenDataset(self.tokens, split)
        if len(dataset) == 0:
            raise ConfigError(f"{self.tokens} has no song in its {split} split; prepare more songs.")
        return dataset

    def written(self, row: str, seed: int) -> list[Path]:
        """What the row writes: songs 0, 1, ... of a seed, the same for every row."""
        folder = self.folder / "songs" / f"{row}-{seed}"
        paths = [folder / f"{i:03d}.mid" for i in range(self.scale.songs)]
        for first in range(0, len(paths), self.scale.batch):
            some = paths[first : first + self.scale.batch]
            if all(path.exists() for path in some):
                continue
            run = self.train(row, seed)
            request = Request(bars=self.scale.bars, count=len(some), seed=seed * 10_000 + first)
            for song, path in zip(finish(generate(run.decoder, run.representation, request)), some, strict=True):
                song.write(path)
        return paths

    def costs(self, row: str) -> dict[str, dict[str, float]]:
        """Figures of fresh weights, by length; of full attention, too."""

        def measure() -> dict[str, dict[str, float]]:
            config = self.config("music_transformer" if row == FULL else row)
            if row == FULL:  # a chunk as long as the song
                config = config.override([f"model.chunk={max(self.scale.lengths)}"])
            run = Run.create(config, self.folder)
            test = self.songs_of("test")
            song = test[int(test.lengths.argmax())]
            return costs(run.decoder, song, self.scale.lengths, self.device, config.train.precision)

        return kept(self.folder / "costs" / f"{row}.json", measure)

    def finished(self, row: str) -> list[int]:
        """The seeds of a row of which everything is there."""
        found = sorted(
            int(path.stem.removeprefix(f"{row}-")) for path in (self.folder / "likelihood").glob(f"{row}-*.json")
        )
        songs = self.folder / "songs"
        return [seed for seed in found if len(list((songs / f"{row}-{seed}").glob("*.mid"))) == self.scale.songs]

    def figures(self, row: str, seeds: Sequence[int]) -> dict[str, Any]:
        """What the table says of a row: see `evaluate.table1`."""
        found = [self.likelihood(row, seed) for seed in seeds]
        config, spent = self.config(row), [_spent(self.run_folder(row, seed)) for seed in seeds]
        model = Run.create(config, self.folder).model
        return {
            "title": ROWS[row].title,
            "family": config.family,
            "model": config.model,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "seeds": len(seeds),
            **{name: sum(of[name] for of in spent) // len(spent) for name in spent[0]},
            "perplexity": {str(at): average([of["perplexity"][str(at)] for of in found]) for at in CUTS},
            "nats_per_note": average([of["nats_per_note"] for of in found]),
            "likelihood": found,
        }


def _spent(run: Path) -> dict[str, float]:
    """Tokens seen, CPU seconds and seconds of a training, from its log (each line is the mean of its steps)."""
    total, last = {"tokens": 0.0, "cpu_seconds": 0.0, "wall_seconds": 0.0}, 0
    for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if "tokens" in record:
            steps, last = record["step"] - last, record["step"]
            total["tokens"] += record["tokens"]
            total["cpu_seconds"] += steps * record["cpu_seconds"]
            total["wall_seconds"] += steps * record["seconds"]
    return {**total, "tokens": int(total["tokens"])}


def reproduce(experiment: Experiment, rows: Sequence[str], seeds: int, console: Console) -> None:
    """Do what is not done yet of these rows, seed by seed, so that whole tables come first."""
    unknown = [row for row in rows if row not in ROWS]
    if unknown:
        raise ConfigError(f"--rows {','.join(unknown)}: there is no such row; there are {', '.join(ROWS)}.")
    for seed in range(seeds):
        for row in rows:
            steps: tuple[tuple[str, Callable[[str, int], Any]], ...] = (
                ("is trained", experiment.train),
                ("is scored on held-out songs", experiment.likelihood),
                ("writes songs", experiment.written),
            )
            for what, step in steps:
                console.print(f"[bold]{ROWS[row].title}[/], seed {seed}, {what}.")
                step(row, seed)
    for row in (*rows, FULL):
        console.print(f"What {row} costs is measured.")
        experiment.costs(row)
    console.print("The yardsticks are measured.")
    experiment.yardsticks()


def report(experiment: Experiment) -> dict[str, Any]:
    """Everything that is done by now, as report.json, report.md and figures. Raises ConfigError where no row is."""
    scale, folder = experiment.scale, experiment.folder
    seeds = {row: experiment.finished(row) for row in ROWS}
    done = {row: found for row, found in seeds.items() if found}
    if not done:
        raise ConfigError(f"{folder} has no row that is done.")
    run = Run.create(experiment.config("museformer"), folder)
    people = spread(experiment.songs_of("train"), scale.human)
    measured = evaluate(
        systems={
            ROWS[row].title: (read(path) for seed in found for path in experiment.written(row, seed))
            for row, found in done.items()
        },
        human=(run.representation.decode(first_bars(song, scale.bars)) for song in people),
        pictures=folder / "figures",
    )
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, PyTorch {torch_version}",
        "device": experiment.device,
        "scale": scale.model_dump(mode="json"),
        "corpus": {split: len(experiment.songs_of(split)) for split in ("train", "test")},
        "rows": {row: experiment.figures(row, found) for row, found in done.items()},
        "yardsticks": experiment.yardsticks(),
        "costs": {row: experiment.costs(row) for row in (*done, FULL)},
        **measured,
    }
    draw_costs(result["costs"], folder / "figures" / "costs.png")
    _write(folder / "report.json", json.dumps(result))
    _write(folder / "report.md", _markdown(result))
    return result


def _markdown(result: dict[str, Any]) -> str:
    figures = "\n\n".join(
        f"![{title}](figures/{name}.png)"
        for title, name in (
            ("Figure 3, melody", "similarity-melody"),
            ("Figure 3, all tracks", "similarity-all"),
            ("Figure 4", "costs"),
        )
    )
    about = (
        f"{result['date']}, {result['machine']}, on {result['device']}. {result["corpus"]["train"]:,} training songs; "
        "every row has seen the same tokens. Intervals are 5 to 95 % of bootstrap resamples of songs. A similarity "
        "error means little unless it is well below that of music that repeats nothing; human songs are held against "
        "other human songs."
    )
    return f"# Table 1\n\n{about}\n\n{table1(result)}\n{figures}\n\n{markdown(result)}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def spread(dataset: TokenDataset, count: int) -> Iterator[Tokens]:
    """`count` songs at even distances, or all where there are fewer."""
    count = min(count, len(dataset))
    return (dataset[i * len(dataset) // count] for i in range(count))


def first_bars(song: Tokens, bars: int | None) -> Tokens:
    """The beginning of a song; all of it where `bars` is None or more than it has."""
    if bars is None or song.bars[-1] < bars:
        return song
    return cut(song, 0, int((song.bars < bars).sum()))


def kept(path: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `measure` gave, now or earlier."""
    if not path.exists():
        _write(path, json.dumps(measure()))
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
