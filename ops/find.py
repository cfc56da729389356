"""`find`: the path of one notification, by any of its ids."""

from collections.abc import Iterable
from datetime import datetime

import click
import msgspec

from ops.dead_letters import receiving
from ops.report import ExitCode, Indented, Report, ReportTable, as_json, finish, span
from ops.time_argument import Moment
from shared.paths import Path, Step, names, steps
from shared.relay import relay


class FoundPath(msgspec.Struct):
    """A path and its steps. dead_letter: the id of the dead letter that contains it, if one does."""

    path: Path
    steps: list[Step]
    dead_letter: str = ""


class FindResult(Report):
    """paths: the newest first. noted: whether the app records paths now."""

    asked: str
    noted: bool
    paths: list[FoundPath]

    @property
    def exit_code(self) -> ExitCode:
        """An unknown id needs attention."""
        return ExitCode.FINE if self.paths else ExitCode.ATTENTION

    def shown(self) -> Iterable[str | Indented | ReportTable]:
        """Yield each path as a timeline."""
        for found in self.paths:
            yield from _lines(found)
        if not self.noted:
            yield "NOTIFICATION_PATHS is off: no path is recorded now."
        if not self.paths:
            yield f"Nothing is recorded of {self.asked}."
            yield "It may wait for its next attempt (`status`), or be older than --since (7d)."
            yield "Refusals and dead letters: the last 500 are recorded, and dead letters as long as they are kept."


def _lines(found: FoundPath) -> Iterable[str | Indented | ReportTable]:
    path = found.path
    took = span((path.at - path.received).total_seconds())
    yield f"{path.outcome}{f': {path.reason}' if path.reason else ''}, {took} after it was received"
    for step in found.steps:
        yield f"  {_when(step)}  {_MARKS[step.verdict]} {step.step}"
        if step.detail:
            yield Indented(step.detail, _INDENT)
    if found.dead_letter:
        yield Indented(f"dead letter {found.dead_letter}", _INDENT)
    if path.trace:
        yield Indented(f"trace {path.trace.split('-')[1] if path.trace.count('-') > 1 else path.trace}", _INDENT)
    yield ""


_INDENT = 16
_MARKS = {"good": "+", "wait": "~", "duplicate": "=", "bad": "!"}


def _when(step: Step) -> str:
    return f"{step.at:%H:%M:%S.%f}"[:12] if step.at else " " * 12


def _in_dead_letters(text: str) -> list[FoundPath]:
    """Search the dead letters for an id. Raises RetryLater."""
    found: list[FoundPath] = []
    with receiving() as (_, each):
        for letter in each:
            asked_for = letter.id.startswith(text)
            if letter.envelope is None:
                paths = [Path("dead-lettered", letter.since, letter.since, reason=letter.reason)]
            else:
                paths = relay().path_log.of_dead_letter(letter.envelope, letter.reason, letter.since)
            found += [FoundPath(path, steps(path), letter.id) for path in paths if asked_for or text in names(path)]
    return sorted(found, key=lambda path: path.path.at, reverse=True)


@click.command()
@click.argument("id_", metavar="ID")
@click.option("--since", type=Moment(), default="7d", show_default=True, help="How far back to search.")
@as_json
def find(id_: str, since: datetime, *, as_json: bool) -> None:
    """Show the path of an event, message, subject, subscription or dead letter.

    ID: an event's id, a message's id, a subject, a subscription id or a dead letter's id. An event's id is looked up
    directly. For any other id, the ledger's rows since --since are read, then the dead letters. Never shows content.
    Marks: + done, ~ waited, ! failed.
    """
    app, text = relay(), id_.strip().strip("/")
    if not text:
        raise click.BadParameter("expected an id", param_hint="ID")
    noted = [FoundPath(path, steps(path)) for path in app.path_log.find(text, app.ledgers, since)]
    finish(FindResult(id_, app.paths is not None, noted or _in_dead_letters(text)), as_json=as_json)
