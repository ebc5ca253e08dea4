"""`ritornello reproduce table1 --scale tiny -o FOLDER`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg


def main(
    what: Positional[Literal["table1"]],
    /,
    scale: Literal["tiny", "synthetic", "small", "paper"] = "tiny",
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FOLDER")] = None,
    tokens: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    rows: Annotated[str | None, arg(metavar="A,B,...")] = None,
    seeds: Annotated[int, arg(metavar="N")] = 1,
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="KEY=VALUE")] = (),
    device: str = "cpu",
) -> None:
    """Repeat the Museformer paper's comparison: the models and ablations of its Table 1, trained and measured alike.

    Stopped anywhere, the same command goes on where it was. Rows and seeds may be added later.

    Args:
        what: table1, with Figures 3 and 4.
        scale: on songs made here, tiny (a minute, tries the machinery) or synthetic (an hour or two: who finds what
            comes back); small (hours, two cores) or paper (a GPU).
        out: where to (by default reproduced/ and the scale).
        tokens: songs as `ritornello prepare` left them; tiny and synthetic make their own.
        rows: which rows, between commas; by default all.
        seeds: how many trainings of each row.
        set: change one setting of the scale, such as train.steps=200 or model.width=128; may be given several times.
        device: cpu or cuda.
    """
    from rich.console import Console

    from ritornello.errors import ConfigError
    from ritornello.reproduce import SCALES, Experiment, chosen, report, reproduce

    if seeds < 1:
        raise ConfigError(f"--seeds {seeds}: should be 1 or more.")
    console, picked = Console(highlight=False), chosen(rows)
    folder = out or Path("reproduced", scale)
    experiment = Experiment.open(SCALES[scale].override(set), folder, tokens, device)
    reproduce(experiment, picked, seeds, console)
    report(experiment)
    console.print(f"The table is in {folder / 'report.md'}, the songs in {folder / 'songs'}.")
