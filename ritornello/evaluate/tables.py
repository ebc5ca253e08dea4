"""One form of table for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from rich.markup import escape
from rich.table import Table

Cells = tuple[str, list[str], list[list[str]]]  # title, columns, rows of a table


def markdown(tables: Iterable[Cells]) -> str:
    """Tables as Markdown, each under its title in bold."""
    parts = []
    for title, columns, rows in tables:
        lines = [f"| {' | '.join(cells)} |" for cells in (columns, ["---", *["---:"] * (len(columns) - 1)], *rows)]
        parts.append("\n".join([f"**{title}**", "", *lines]))
    return "\n\n".join(parts) + "\n"


def terminal(tables: Iterable[Cells]) -> list[Table]:
    """The same for the terminal."""
    made = []
    for title, columns, rows in tables:
        table = Table(title=escape(title), title_justify="left", title_style="bold")
        for i, column in enumerate(columns):
            table.add_column(escape(column), justify="left" if i == 0 else "right")
        for row in rows:
            table.add_row(*map(escape, row))
        made.append(table)
    return made
