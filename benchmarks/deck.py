"""The small models of Bach's music once through: corpus, a tiny training, a piece. `make deck` runs it in minutes.

    python benchmarks/deck.py [--steps 20] [--out runs/deck]
    python benchmarks/deck.py --page docs/pictures/deck.png        eight bars of each, by the weights that ship

The corpora are looked for in the folder that RITORNELLO_DATA names. Trainings are far too short to sound like anything:
this shows that all the parts work together. What the models reach when they are trained as their configurations say
stands in docs/deck.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ritornello.data.corpora import open_corpus
from ritornello.music.bars import first_bars
from ritornello.music.score import Score, parse, read
from ritornello.pictures import Take, draw_takes
from ritornello.run import RunConfig

CONFIGS = Path(__file__).parent.parent / "configs"
FAMILIES = (
    "melody_transformer",
    "chorale_transformer",
    "masked_diffusion",
    "roll_diffusion",
    "musegan",
    "conv_gru_vae",
)
SHORT = {  # what makes a piece quick
    "melody_transformer": ("--bars", "4"),
    "chorale_transformer": ("--bars", "2"),
    "masked_diffusion": ("--bars", "2", "--rounds", "16"),
    "roll_diffusion": ("--rounds", "8"),
}
MORE = {"roll_diffusion": ("--windows", "2"), "musegan": ("--phrases", "4"), "conv_gru_vae": ("--phrases", "4")}
ONE_EDITION = ("--set", "files=mutopia/*")


def ritornello(*words: object) -> None:
    command = [sys.executable, "-m", "ritornello", *map(str, words)]
    print("$ ritornello", *words, flush=True)
    if code := subprocess.run(command).returncode:  # it has said why
        raise SystemExit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/deck"))
    parser.add_argument("--page", type=Path)
    flags = parser.parse_args()
    if flags.page:
        print(draw_takes([*people(), *map(own, FAMILIES)], flags.page, "Bach, and small models of his music", most=8))
        return
    for family in FAMILIES:
        path = CONFIGS / f"{family}.toml"
        config = RunConfig.from_toml(path)
        for tokens in config.data.folders:  # tokens/<corpus>-<representation>
            corpus = Path(tokens).name.rpartition("-")[0]
            edition = ONE_EDITION if corpus == "bach_cello_suites" else ()
            ritornello("prepare", corpus, "-o", tokens, "--representation", config.representation, *edition)
        short = [f"train.steps={flags.steps}", "train.cooldown=0"]
        settings = [word for setting in short for word in ("--set", setting)]
        ritornello("train", path, "-o", flags.out / family, "--resume", *settings)
        piece = flags.out / f"{family}.mid"
        ritornello("generate", "--run", flags.out / family, "-o", piece, *SHORT.get(family, ()))


def people() -> Iterator[Take]:
    """A held-out chorale, and a held-out movement: the courante of the first suite."""
    for name, wanted in (("jsb_chorales", "test_"), ("bach_cello_suites", "bwv1007_3_courante")):
        for entry in open_corpus(name):
            if wanted in entry.name.lower() and entry.data is not None:
                yield take(name.replace("_", "\n"), parse(entry.data, entry.name))
                break


def own(family: str) -> Take:
    """What a family writes with seed 1."""
    with tempfile.TemporaryDirectory() as folder:
        piece = Path(folder, "piece.mid")
        flags = ("--bars", "8") if family in ("melody_transformer", "chorale_transformer") else ()
        ritornello("generate", "--run", family, "--seed", "1", "-o", piece, *MORE.get(family, ()), *flags)
        return take(family.replace("_", "\n"), read(piece))


def take(name: str, score: Score) -> Take:
    """Eight bars, in one colour."""
    return Take(name, first_bars(score, 8), {}, {})


if __name__ == "__main__":
    main()
