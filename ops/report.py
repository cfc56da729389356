"""The output of a command: tables for a person, JSON for a program, an exit code for a script."""

import json
import logging
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NoReturn

import click
import msgspec
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from shared.text import line, plain


class ExitCode(IntEnum):
    """How a command ends; see docs/operations.md."""

    FINE = 0
    ATTENTION = 1
    USAGE = 2
    UNREACHABLE = 3


class Report(msgspec.Struct):
    """The fields are those of `--json`: times in ISO 8601, UTC; spans in seconds, named `…_seconds`."""

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the command."""
        return ExitCode.FINE

    def shown(self) -> "Iterable[str | Indented | ReportTable]":
        """Yield the output for a person; nothing if the exit code suffices."""
        return ()


class Failure(Report):
    """A command that failed. `complaints`: a sentence each, without values of settings."""

    complaints: list[str]
    code: ExitCode

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the command."""
        return self.code

    def shown(self) -> "Iterable[str | ReportTable]":
        """Yield the complaints."""
        return self.complaints


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")


_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e]")


def _escaped(found: re.Match[str]) -> str:
    """Return a character of JSON text unchanged, or escaped if a terminal would not print it."""
    return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]


class PlainFormatter(logging.Formatter):
    """Formats log records for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record, plain."""
        return plain(super().format(record))


def console(*, errors: bool = False) -> Console:
    """Return a console on standard output, or on standard error."""
    # Without a terminal, lines are not wrapped.
    made = Console(stderr=errors, highlight=False, markup=False)
    made.soft_wrap = not made.is_terminal
    return made


def echo(item: msgspec.Struct) -> None:
    """Print a line of JSON."""
    click.echo(_NOT_PRINTABLE.sub(_escaped, msgspec.json.encode(item).decode()))


def show(report: Report, *, as_json: bool) -> None:
    """Print a report."""
    if as_json:
        echo(report)
        return
    out = console(errors=isinstance(report, Failure))
    for shown in rendered(report):
        if isinstance(shown, ReportTable) and not out.is_terminal:
            click.echo(shown.as_text())
        else:
            out.print(shown)


def rendered(report: Report) -> Iterator["str | Indented | ReportTable"]:
    """Yield the printable form of a report: all output for people passes through here."""
    for shown in report.shown():
        yield line(shown) if isinstance(shown, str) else shown.plain()


def finish(report: Report, *, as_json: bool) -> NoReturn:
    """Print a report and end the command with its exit code."""
    show(report, as_json=as_json)
    sys.exit(report.exit_code)


@dataclass(frozen=True)
class Indented:
    """A line of text, indented; on a terminal so are the lines into which it is wrapped."""

    text: str
    by: int

    def plain(self) -> "Indented":
        """Return a copy with plain text."""
        return Indented(line(self.text), self.by)

    def __rich_console__(self, console: Console, _: ConsoleOptions) -> RenderResult:
        """Wrap at the width of a terminal; without one, print one line."""
        if console.is_terminal:
            yield Padding(Text(self.text, overflow="fold"), (0, 0, 0, self.by), expand=False)
        else:
            yield Text(" " * self.by + self.text)


@dataclass(frozen=True)
class ReportTable:
    """Rows with a title: a table on a terminal, else a line a row with tabs between its cells, for other programs."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __rich__(self) -> Group:
        """Return the table for a terminal: as small as possible, so that `status` fits 80 x 24."""
        rows = Table(box=None, show_header=any(self.columns), pad_edge=False)
        for column in self.columns:
            rows.add_column(column, overflow="fold", header_style="dim")
        for row in self.rows:
            rows.add_row(*row)
        return Group(Text(f"\n{self.title}", style="bold"), Padding(rows, (0, 0, 0, 2)))

    def plain(self) -> "ReportTable":
        """Return a copy with plain texts."""
        rows = [[line(cell) for cell in row] for row in self.rows]
        return ReportTable(line(self.title), [line(column) for column in self.columns], rows)

    def as_text(self) -> str:
        """Return it as text, its title first."""
        rows = [self.columns, *self.rows] if any(self.columns) else self.rows
        return "\n".join([f"# {self.title}", *("\t".join(" ".join(cell.split()) for cell in row) for row in rows)])


def table(title: str, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> ReportTable:
    """Return a table; None leaves a cell empty."""
    return ReportTable(title, columns, [tuple("" if cell is None else str(cell) for cell in row) for row in rows])


def plural(count: int, noun: str) -> str:
    """Return `1 message`, `2 messages`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def span(seconds: float | None) -> str | None:
    """Return a span of time in the unit that fits: `0.2 s`, `45 s`, `12 min`, `3.5 h`, `90 d`."""
    if seconds is None:
        return None
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    if 0 < abs(seconds) < 10:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    return f"{seconds:.0f} s"


def when(moment: Any) -> str | None:
    """Return a time, UTC, to the second."""
    return None if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}Z"
