"""`ritornello listen new --systems a/ b/ -o test/`, `listen serve test/`, `listen report test/`"""

from __future__ import annotations

import csv
import sys
from json import dumps
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional, arg

from ritornello.cli.extras import extra
from ritornello.errors import ListeningError

WIDTH = 150  # columns of tables that go to a file


def new(
    systems: Annotated[tuple[str, ...], arg(metavar="FOLDER|NAME=FOLDER")],
    out: Annotated[Path, arg(aliases=["-o"], metavar="FOLDER")],
    groups: Annotated[int, arg(metavar="N")] = 5,
    pieces: Annotated[int | None, arg(metavar="N")] = None,
    seconds: Annotated[str | None, arg(metavar="FROM-TO")] = None,
    bars: Annotated[str | None, arg(metavar="FIRST-LAST")] = None,
    heard: float = 0.8,
    title: str = "Listening test",
    seed: int | None = None,
) -> None:
    """Make a blind listening test: clips of one length and loudness under secret names, in a folder that holds it all.

    Args:
        systems: a folder of MIDI or WAV files for each system; its name is the system's, unless NAME= is said.
        out: where to.
        groups: how many groups each listener hears; a group is one piece of every system.
        pieces: how many pieces of each system take part (by default all, at most 20), drawn at random.
        seconds: which part of every piece is heard, such as 0-60, which is the default.
        bars: the same by bars, such as 1-32; of MIDI only.
        heard: the share of a clip that must have been heard before its scores are taken.
        title: what listeners read above the test.
        seed: of which piece is heard when; by default drawn.
    """
    from rich.console import Console
    from rich.progress import Progress

    with extra("studio"):
        from ritornello.studio.clips import Stretch
        from ritornello.studio.listening import ListeningTest, Order, make

    if seconds and bars:
        raise ListeningError("--seconds and --bars both say which part is heard; give one of them.")
    stretch = Stretch.parse("bars", bars) if bars else Stretch.parse("seconds", seconds or "0-60")
    order = Order(
        systems=_named(systems),
        stretch=(stretch.unit, stretch.first, stretch.last),
        groups=groups,
        pieces=pieces,
        heard=heard,
        title=title,
        seed=seed,
    )
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("clips made", total=None)
        for done, steps in make(order, out):
            progress.update(task, completed=done, total=steps)
    made = ListeningTest.open(out)
    said = f"{len(made.clips)} clips of {len(made.systems)} systems"
    print(f"{out}: {said}. Open it to listeners: ritornello listen serve {out}")


def serve(
    test: Annotated[Positional[Path], arg(metavar="FOLDER")],
    /,
    host: str = "127.0.0.1",
    port: int = 8321,
    listeners: Annotated[int, arg(metavar="N")] = 200,
) -> None:
    """Open a listening test to listeners, until ctrl-c. It can be stopped and served again; ballots and links stay.

    Args:
        test: the folder that `ritornello listen new` made.
        host: the address to serve; any other than this machine's own needs the token that the printed link holds.
        port: the port; 0 takes a free one.
        listeners: at most so many may take part.
    """
    with extra("studio"):
        from ritornello.studio.listen import serve_test

    serve_test(test, host, port, listeners, lambda link: print(f"Listeners open {link} (stop with ctrl-c)", flush=True))


def report(
    test: Annotated[Positional[Path], arg(metavar="FOLDER")],
    /,
    of: Annotated[str | None, arg(metavar="SYSTEM")] = None,
    json: FlagCreatePairsOff[bool] = False,
    md: FlagCreatePairsOff[bool] = False,
    csv: FlagCreatePairsOff[bool] = False,
    seed: int = 0,
) -> None:
    """Tell what listeners said, as in the Museformer paper's Tables 2 and 3; while the test is being served, too.

    Args:
        test: the folder of the test.
        of: compare this system with each other one, instead of all with all.
        json: print JSON.
        md: print Markdown.
        csv: print every single score, a row a clip, instead of the figures.
        seed: of the intervals' bootstrap.
    """
    from rich.console import Console

    from ritornello.evaluate.listening import summarise, tables
    from ritornello.evaluate.tables import markdown, terminal

    with extra("studio"):
        from ritornello.studio.ballots import Ballots
        from ritornello.studio.listening import BALLOTS, ListeningTest, scores

    if json + md + csv > 1:
        raise ListeningError("--json, --md and --csv each say how to print; give one of them.")
    settings = ListeningTest.open(test)
    if not (test / BALLOTS).exists():
        raise ListeningError(f"{test} has lost its {BALLOTS}; there is nothing to report.")
    ballots = Ballots(test / BALLOTS)
    given, joined = ballots.all(), ballots.listeners()
    if csv:
        return _csv(settings, given)
    found: dict[str, Any] = {
        "test": {"title": settings.title, "stretch": settings.stretch, "groups_a_listener": settings.groups},
        "joined": len(joined),
        "trained": sum(trained is True for trained in joined.values()),
        **summarise(scores(settings, given), of, seed),
    }
    if json:
        print(dumps(found))
        return
    finished = [ballot.listener for ballot in given if ballot.group == settings.groups - 1]
    say = (
        f"{settings.title}: {len(joined)} listeners began, {found['trained']} of them have learned music; "
        f"{len(finished)} finished. Heard: {settings.stretch}."
    )
    if md:
        print(f"{say}\n\n{markdown(tables(found))}", end="")
    else:
        console = Console(width=None if sys.stdout.isatty() else WIDTH)
        console.print(say, *terminal(tables(found)), sep="\n\n", highlight=False, markup=False)


def _named(systems: tuple[str, ...]) -> dict[str, Path]:
    """Folders by the names of their systems."""
    named: dict[str, Path] = {}
    for text in systems:
        name, equals, folder = text.partition("=")
        path = Path(folder if equals else text)
        name = name if equals else path.resolve().name
        if name in named:
            raise ListeningError(f"two systems are called {name}; name one otherwise: --systems other={path}.")
        named[name] = path
    return named


def _csv(test: Any, ballots: Any) -> None:
    from ritornello.evaluate.listening import CRITERIA

    clips = {clip.name: clip for clip in test.clips}
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["listener", "group", "position", "system", "piece", "heard", *CRITERIA, "cast_at"])
    for ballot in ballots:
        for position, mark in enumerate(ballot.marks):
            clip = clips[mark.clip]
            place = [ballot.listener + 1, ballot.group + 1, position + 1]
            rows.writerow([*place, clip.system, clip.piece, f"{mark.heard:.2f}", *mark.scores, ballot.cast_at])


main = {"new": new, "serve": serve, "report": report}
