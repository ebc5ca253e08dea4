"""The command line: one module a verb, imported when it is called. Flags come from the classes the Python API takes."""

from __future__ import annotations

import difflib
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from ritornello.errors import RitornelloError

VERBS = {
    "song": "a song from the shipped weights, as MIDI, sound and picture in songs/",
    "studio": "a page in the browser that writes songs while one listens",
    "generate": "new songs, or the continuation of one's own MIDI file",
    "restyle": "a MIDI file of one's own, busier or calmer, fuller or thinner, bar by bar",
    "interpolate": "songs that lie between two MIDI files",
    "render": "a MIDI file as sound (WAV)",
    "inspect": "what a MIDI file or corpus holds: bars, key, tempo, instruments, attributes, similarity of its bars",
    "prepare": "a folder, archive or named corpus of MIDI files into tokens on disk",
    "train": "a model, as a TOML file says",
    "average": "the weights of several runs into those of one",
    "reproduce": "the Museformer paper's comparison of models: its Table 1 and Figures 3 and 4",
    "evaluate": "a run on held-out songs, or any MIDI files beside human songs: likelihood, structure, originality …",
    "listen": "a blind listening test: make one, open it to listeners, report what they said",
}
FAILED, STOPPED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the exit code. What a user can mend is one sentence on stderr, never a traceback."""
    verb, *flags = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    warnings.showwarning = _note
    try:
        if verb in ("-h", "--help", "help"):
            print(_usage())
        elif verb == "--version":
            from ritornello import __version__

            print(__version__)
        else:
            _verb(verb, flags)
        sys.stdout.flush()
    except RitornelloError as error:
        print(f"ritornello: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("stopped; what was finished is kept", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:  # the reader of our output went away: `ritornello inspect x.mid | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _verb(verb: str, flags: Sequence[str]) -> None:
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, 1)
        hint = f"the nearest is {near[0]}" if near else f"there are {', '.join(VERBS)}"
        raise RitornelloError(f"there is no verb {verb}; {hint}.")
    import tyro

    module = import_module(f"ritornello.cli.{verb}")
    main = module.main_for(flags) if hasattr(module, "main_for") else module.main
    if isinstance(main, dict):  # a verb of several actions
        tyro.extras.subcommand_cli_from_dict(main, prog=f"ritornello {verb}", args=flags)
    else:
        tyro.cli(main, prog=f"ritornello {verb}", args=flags)


def _note(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """A warning in our own words is one sentence on stderr; those of libraries are for developers."""
    if issubclass(category, UserWarning):
        print(f"note: {message}", file=sys.stderr)


def _usage() -> str:
    width = max(map(len, VERBS))
    rows = "\n".join(f"  {verb:<{width}}  {what}" for verb, what in VERBS.items())
    return f"usage: ritornello VERB ...\n\n{rows}\n\n`ritornello VERB --help` tells a verb's flags."
