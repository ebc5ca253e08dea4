"""`ritornello train configs/small.toml --set train.lr=3e-4`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

from ritornello.errors import ConfigError


def main(
    config: Annotated[Positional[Path], arg(metavar="CONFIG.toml")],
    /,
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="KEY=VALUE")] = (),
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FOLDER")] = None,
    resume: FlagCreatePairsOff[bool] = False,
    device: str = "cpu",
) -> None:
    """Train a model as a TOML file says, and keep it in a folder that every other verb takes as --run.

    Args:
        config: what to train, on what, and how; see configs/.
        set: change one setting of the file, such as train.lr=3e-4; may be given several times.
        out: the run's folder (by default runs/ and the name of the file).
        resume: go on from the folder's newest checkpoint.
        device: cpu or cuda. On several GPUs start this verb with torchrun.
    """
    from ritornello.run import RunConfig
    from ritornello.training import train_run

    settings = RunConfig.from_toml(config, set)
    folder = out or Path("runs", config.stem)
    if (folder / "checkpoint.safetensors").exists() and not resume:
        raise ConfigError(
            f"{folder} holds a training already; add --resume to go on with it, or choose another with -o."
        )
    train_run(settings, folder, device)
    print(f"Trained to step {settings.train.steps:,}: {folder}. Hear it: ritornello song --run {folder}")
