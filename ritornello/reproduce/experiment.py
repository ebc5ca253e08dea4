"""The parts of an experiment, each of which is done once and kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ritornello.data.dataset import TokenDataset
from ritornello.data.prepare import prepare
from ritornello.data.synthetic import write_songs
from ritornello.errors import ConfigError
from ritornello.evaluate.cost import costs
from ritornello.evaluate.likelihood import likelihood
from ritornello.evaluate.ngram import yardsticks
from ritornello.generate import finish, generate
from ritornello.music.score import Score, read
from ritornello.representations import build
from ritornello.reproduce.scales import FULL, ROWS, TITLES, Scale
from ritornello.request import Request
from ritornello.run import DataConfig, Run, RunConfig
from ritornello.training import train_run


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
        experiment = Experiment(scale, folder, tokens or folder / "tokens", device)
        if tokens is not None:
            _ = experiment.representation, experiment.songs_of("train"), experiment.songs_of("test")
        settings = f'tokens = "{tokens.resolve() if tokens else ""}"\n\n{scale.to_toml()}'
        path = folder / "settings.toml"
        if path.exists() and path.read_text(encoding="utf-8") != settings:
            raise ConfigError(f"{folder} holds an experiment with other settings; choose another folder with -o.")
        folder.mkdir(parents=True, exist_ok=True)
        write(path, settings)
        if tokens is None:
            write_songs(folder / "midi", scale.synthetic, bars=96)
            prepare(str(folder / "midi"), folder / "tokens", "museformer", workers=1, progress=False)
        return experiment

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
        if (folder / "trained").exists():
            return Run.open(folder, self.device)
        run = train_run(self.config(row, seed), folder, self.device)
        write(folder / "trained", "")
        return run

    def run_folder(self, row: str, seed: int) -> Path:
        return self.folder / "runs" / f"{row}-{seed}"

    def likelihood(self, row: str, seed: int) -> dict[str, Any]:
        """Figures of a row on the held-out songs."""

        def measure() -> dict[str, Any]:
            run = self.train(row, seed)
            found = likelihood(
                {row: run.decoder},
                self.songs_of("test").spread(self.scale.held_out),
                run.representation.vocabulary,
                device=self.device,
                precision=self.precision,
            )
            return found[row]

        return kept(self.folder / "likelihood" / f"{row}-{seed}.json", measure)

    def yardsticks(self) -> dict[str, Any]:
        """Figures of an n-gram, and of one that copies from the song, on the same songs."""

        def measure() -> dict[str, Any]:
            vocabulary = build(self.representation).vocabulary
            train = self.songs_of("train").spread(self.scale.counted)
            counted = yardsticks([song.ids for song in train], vocabulary.size)
            return likelihood(counted, self.songs_of("test").spread(self.scale.held_out), vocabulary)

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
            request = Request(bars=self.scale.bars, count=len(some), seed=seed * 10_000 + first, planned=False)
            for song, path in zip(finish(generate(run.decoder, run.representation, request)), some, strict=True):
                song.write(path)
        return paths

    def scores(self, row: str, seeds: Sequence[int]) -> Iterator[Score]:
        """What a row has written, of several seeds."""
        for seed in seeds:
            yield from map(read, self.written(row, seed))

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


def reproduce(experiment: Experiment, rows: Sequence[str], seeds: int, console: Console) -> None:
    """Do what is not done yet of these rows, seed by seed, so that whole tables come first."""
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
        console.print(f"[bold]{TITLES[row]}[/], cost is measured.")
        experiment.costs(row)
    console.print("The yardsticks are measured.")
    experiment.yardsticks()


def kept(path: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `measure` gave, now or earlier."""
    if not path.exists():
        write(path, json.dumps(measure()))
    return json.loads(path.read_text(encoding="utf-8"))


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
