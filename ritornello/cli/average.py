"""`ritornello average runs/second runs/first --shares 0.7 0.3 -o runs/mean`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from ritornello.errors import ConfigError


def main(
    runs: Annotated[Positional[tuple[str, ...]], arg(metavar="NAME|FOLDER")],
    /,
    out: Annotated[Path, arg(aliases=["-o"], metavar="FOLDER")],
    shares: Annotated[tuple[float, ...], arg(metavar="NUMBER")] = (),
    half: FlagCreatePairsOff[bool] = False,
) -> None:
    """Average the weights of runs that come from one another: the mean is often better than each of them.

    How well it does on the validation songs is printed where the first run's corpus is at hand.

    Args:
        runs: two or more, of one family and of the same sizes; all but the first may have fewer layers.
        out: the folder of the run that comes of it; its settings are the first one's.
        shares: how much each of them counts, in their order; by default all the same.
        half: keep the weights in float16, as those that ship are.
    """
    from ritornello.run import Run
    from ritornello.training import validate

    if (out / "config.toml").exists():
        raise ConfigError(f"{out} is a run already; choose another folder with -o.")
    if len(runs) < 2:
        raise ConfigError(f"{' '.join(runs)}: a mean is of two runs or more; name another.")
    run, *others = map(Run.open, runs)
    run.average(others, shares)
    run.save(out, half=half)
    print(f"The mean of {len(runs)} runs: {out}. Hear it: ritornello song --run {out}")
    folders = run.config.data.folders
    if folders and all(Path(folder).exists() for folder in folders) and len(songs := run.dataset("valid")):
        print(", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in validate(run, songs).items()))
