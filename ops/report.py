"""What a command has to say: for a person as tables, for a machine as JSON, for a script as an exit code."""

import sys
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any, NoReturn

import click
import msgspec
from rich.console import Console, RenderableType
from rich.table import Table

PIPED_WIDTH = 160
"""Columns where there is no terminal that would tell."""


class ExitCode(IntEnum):
    """How a command ends; see docs/operations.md."""

    FINE = 0
    ATTENTION = 1
    USAGE = 2
    UNREACHABLE = 3


class Report(msgspec.Struct):
    """The fields are what `--json` gives: times in ISO 8601, UTC; spans in seconds, named `…_seconds`."""

    @property
    def exit_code(self) -> ExitCode:
        """How the command connectivity."""
        return ExitCode.FINE

    def shown(self) -> Iterable[RenderableType]:
        """Yield what a person sees; a report that says no more than its exit code shows nothing."""
        return ()


class Failure(Report):
    """A command came to nothing. `complaints` are one sentence each, and hold no values of settings."""

    complaints: list[str]
    code: ExitCode

    @property
    def exit_code(self) -> ExitCode:
        """How the command connectivity."""
        return self.code

    def shown(self) -> Iterable[RenderableType]:
        """Yield the complaints."""
        return self.complaints


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")


def console(*, errors: bool = False) -> Console:
    """Return a console on standard output, or on standard error."""
    made = Console(stderr=errors, highlight=False, markup=False)
    if not made.is_terminal:
        made.width = PIPED_WIDTH
    return made


def show(report: Report, *, as_json: bool) -> None:
    """Print a report."""
    if as_json:
        click.echo(msgspec.json.encode(report))
        return
    out = console(errors=isinstance(report, Failure))
    for renderable in report.shown():
        out.print(renderable)


def finish(report: Report, *, as_json: bool) -> NoReturn:
    """Print a report and end the command as it says."""
    show(report, as_json=as_json)
    sys.exit(report.exit_code)


def table(title: str, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> Table:
    """Return a table; None leaves a cell empty."""
    made = Table(title=title, title_justify="left", title_style="bold", show_header=any(columns))
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*("" if cell is None else plain(str(cell)) for cell in row))
    return made


def plain(text: str) -> str:
    """Return a text that can do nothing to a terminal."""
    return "".join(character if character.isprintable() or character == "\n" else "�" for character in text)


def span(seconds: float | None) -> str | None:
    """Return a span of time in the unit that fits: `45 s`, `12 min`, `3.5 h`, `90 d`."""
    if seconds is None:
        return None
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.0f} s"


def when(moment: Any) -> str | None:
    """Return a time, UTC, to the second."""
    return None if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}Z"
