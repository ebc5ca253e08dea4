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

from ritornello.reproduce.experiment import Experiment, reproduce
from ritornello.reproduce.report import report
from ritornello.reproduce.scales import SCALES, Scale, chosen

__all__ = ["SCALES", "Experiment", "Scale", "chosen", "report", "reproduce"]
