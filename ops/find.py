"""`find`: the path of one notification, by whatever id an operator has at hand."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import click
import msgspec
from rich.console import RenderableType

from ops.report import ExitCode, Report, as_json, finish, plain, span
from ops.time_argument import Moment
from shared.paths import Path, Step, steps
from shared.relay import relay


class Found(Report):
    """`paths`: of each its fields and its steps, the newest first."""

    asked: str
    noted: bool
    paths: list[dict[str, Any]]

    @property
    def exit_code(self) -> ExitCode:
        """Who asks for something expects it."""
        return ExitCode.FINE if self.paths else ExitCode.ATTENTION

    def shown(self) -> Iterable[RenderableType]:
        """Yield each path as a timeline."""
        for path in self.paths:
            yield from _lines(msgspec.convert(path["path"], Path))
        if not self.noted:
            yield "NOTIFICATION_PATHS is off: no path is noted now."
        if not self.paths:
            yield f"Nothing is noted of {plain(self.asked)}."
            yield "It may wait for its next attempt (`status`), or be older than --since (7d)."
            yield "What notify_http refuses (clientState, malformed) is counted only."


def _lines(path: Path) -> Iterable[str]:
    took = span((path.at - path.received).total_seconds())
    yield f"{path.outcome}{f': {path.reason}' if path.reason else ''}, {took} after it was received"
    for step in steps(path):
        yield f"  {_when(step)}  {_MARKS[step.verdict]} {plain(step.step)}"
        if step.detail:
            yield f"                {plain(step.detail)}"
    if path.trace:
        yield f"                trace {plain(path.trace.split('-')[1] if path.trace.count('-') > 1 else path.trace)}"
    yield ""


_MARKS = {"good": "+", "wait": "~", "duplicate": "=", "bad": "!"}


def _when(step: Step) -> str:
    return f"{step.at:%H:%M:%S.%f}"[:12] if step.at else " " * 12


@click.command()
@click.argument("id_", metavar="ID")
@click.option("--since", type=Moment(), default="7d", show_default=True, help="How far back rows are read through.")
@as_json
def find(id_: str, since: datetime, *, as_json: bool) -> None:
    """Show the path of an event, message, subject or subscription.

    ID: an event's id, a message's id, a subject or a subscription id. An event's id is looked up at once; for
    anything else the ledger's rows are read through. Never shows content. Marks: + done, ~ waited, ! failed.
    """
    app = relay()
    found = app.path_log.find(id_, app.ledger, since)
    paths = [{"path": msgspec.to_builtins(path), "steps": msgspec.to_builtins(steps(path))} for path in found]
    finish(Found(id_, app.paths is not None, paths), as_json=as_json)
