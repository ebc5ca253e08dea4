"""The small models of Bach's music once through: corpus, a tiny training, a piece. `make deck` runs it in minutes.

    python benchmarks/deck.py [--steps 20] [--out runs/deck]

The corpora are looked for in the folder that RITORNELLO_DATA names. Trainings are far too short to sound like anything:
this shows that all the parts work together. What the models reach when they are trained as their configurations say
stands in docs/deck.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

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
ONE_EDITION = ("--set", "files=mutopia/*")


def ritornello(*words: object) -> None:
    command = [sys.executable, "-m", "ritornello", *map(str, words)]
    print("$ ritornello", *words, flush=True)
    subprocess.run(command, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/deck"))
    flags = parser.parse_args()
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


if __name__ == "__main__":
    main()
