"""`dead-letters`: list, show, replay or drop dead letters, selected by reason, age or id."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import click
import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ops.dead_letter_fields import DeadLetterSummary, all_fields, destination_named, plain_path, summary
from ops.report import ExitCode, Report, ReportTable, as_json, console, finish, span, table
from ops.time_argument import Span
from shared.errors import Refused
from shared.messages.dead_letters import DeadLetters, ListedDeadLetter
from shared.relay import relay, utc_now
from shared.relay import storage as storage_clients


@dataclass(frozen=True)
class Selection:
    """Selects dead letters; an empty or None field selects all. The first characters of an id are enough."""

    ids: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    older_than: timedelta | None = None
    younger_than: timedelta | None = None

    def has(self, letter: ListedDeadLetter) -> bool:
        """Whether a dead letter is selected."""
        age = utc_now() - letter.since
        return (
            (not self.ids or any(letter.id.startswith(wanted) for wanted in self.ids))
            and (not self.reasons or letter.reason in self.reasons)
            and (not self.destinations or destination_named(letter) in self.destinations)
            and (self.older_than is None or age >= self.older_than)
            and (self.younger_than is None or age < self.younger_than)
        )

    @property
    def is_everything(self) -> bool:
        """Whether it selects all dead letters."""
        return self == Selection()

    def not_found(self, letters: Iterable[str]) -> list[str]:
        """Return the selected ids that none of the ids in `letters` begins with."""
        found = list(letters)
        return [wanted for wanted in self.ids if not any(letter.startswith(wanted) for letter in found)]


class DeadLetterList(Report):
    """The selected dead letters."""

    letters: list[DeadLetterSummary]

    def shown(self) -> Iterable[str | ReportTable]:
        """Yield a table, and the number for each reason."""
        rows = (
            (letter.id, letter.reason, span(letter.age_seconds), letter.kind, plain_path(letter.resource))
            for letter in self.letters
        )
        yield table("Dead letters", ("Id", "Reason", "Age", "Kind", "Resource"), rows)
        yield _counted(letter.reason for letter in self.letters)


class DeadLetterFields(Report):
    """The unencrypted fields of dead letters; `missing`: requested ids that no dead letter has."""

    letters: list[dict[str, Any]]
    missing: list[str]

    @property
    def exit_code(self) -> ExitCode:
        """An unknown id needs attention."""
        return ExitCode.ATTENTION if self.missing else ExitCode.FINE

    def shown(self) -> Iterable[str | ReportTable]:
        """Yield each dead letter, one field per line."""
        for letter in self.letters:
            yield from _lines(msgspec.to_builtins(letter))
            yield ""
        yield from (f"No dead letter has the id {wanted}" for wanted in self.missing)


def _lines(fields: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Yield a line for each field; the entries of a list are indented."""
    for name, value in fields.items():
        label = f"{indent}{name.replace('_', ' ')}"
        if isinstance(value, list):
            yield label
            for entry in value:
                yield from _lines(entry, f"{indent}  ")
        else:
            yield f"{label:<28} {plain_path(str(value))}"


class ActionResult(Report):
    """The number of dead letters that were replayed or dropped, by reason; left: those that can't be replayed."""

    action: str
    done: dict[str, int]
    left: list[str]
    missing: list[str]

    @property
    def exit_code(self) -> ExitCode:
        """A selected dead letter that could not be processed needs attention."""
        return ExitCode.ATTENTION if self.left or self.missing else ExitCode.FINE

    def shown(self) -> Iterable[str | ReportTable]:
        """Yield a sentence for each result."""
        yield f"{self.action}: {sum(self.done.values())}"
        yield from (f"  {count} {reason}" for reason, count in self.done.items())
        yield from (
            f"Left, since it can't be read or nothing in it is proven: {letter_id}; `drop` removes it"
            for letter_id in self.left
        )
        yield from (f"No dead letter has the id {wanted}" for wanted in self.missing)


@click.group("dead-letters")
def dead_letters() -> None:
    """List, show, replay or drop dead letters. The host's poison queue is included."""


def selecting(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that select dead letters."""
    for add in (
        click.option("--younger-than", type=Span(), help="Dead-lettered less than that ago, e.g. 12h."),
        click.option("--older-than", type=Span(), help="Dead-lettered at least that long ago, e.g. 2d."),
        click.option(
            "--destination", "destinations", multiple=True, help="Only those for this destination; may be repeated."
        ),
        click.option("--reason", "reasons", multiple=True, help="Dead-lettered for this reason; may be repeated."),
        click.argument("ids", nargs=-1),
    ):
        command = add(command)
    return command


@dead_letters.command("list")
@selecting
@as_json
def list_letters(*, as_json: bool, **selected: Any) -> None:
    """List dead letters, oldest first."""
    selection = Selection(**selected)
    with receiving() as (_, each):
        found = [summary(letter, utc_now()) for letter in each if selection.has(letter)]
    finish(DeadLetterList(sorted(found, key=lambda letter: letter.age_seconds, reverse=True)), as_json=as_json)


@dead_letters.command()
@click.argument("ids", nargs=-1, required=True)
@as_json
def show(ids: tuple[str, ...], *, as_json: bool) -> None:
    """Show the unencrypted fields of dead letters: never content, tokens or clientState."""
    selection = Selection(ids)
    with receiving() as (_, each):
        found = [all_fields(letter, utc_now()) for letter in each if selection.has(letter)]
    finish(DeadLetterFields(found, selection.not_found(str(letter["id"]) for letter in found)), as_json=as_json)


@dead_letters.command()
@selecting
@click.option("--all", "everything", is_flag=True, help="Replay all of them.")
@as_json
def replay(*, everything: bool, as_json: bool, **selected: Any) -> None:
    """Enqueue dead letters again, as a first attempt. Their events keep their ids."""
    selection = _narrowed(Selection(**selected), everything)
    finish(_apply("Replayed", selection, _replay), as_json=as_json)


@dead_letters.command()
@selecting
@click.option("--all", "everything", is_flag=True, help="Drop all of them.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@as_json
def drop(*, everything: bool, yes: bool, as_json: bool, **selected: Any) -> None:
    """Delete dead letters: their items are lost, unless a sweep or a backfill reads them back."""
    selection = _narrowed(Selection(**selected), everything)
    if not yes:
        click.confirm("Drop these dead letters permanently?", abort=True, err=True)
    finish(_apply("Dropped", selection, _drop), as_json=as_json)


def _narrowed(selection: Selection, everything: bool) -> Selection:
    if selection.is_everything != everything:
        raise click.UsageError(
            "Select dead letters: ids, --reason, --destination, --older-than or --younger-than; or else --all."
        )
    return selection


def _replay(letters: DeadLetters, letter: ListedDeadLetter) -> bool:
    if not letter.can_be_replayed:
        return False
    try:
        letters.replay(letter, relay().admission, relay().queues)
    except Refused:
        return False
    return True


def _drop(letters: DeadLetters, letter: ListedDeadLetter) -> bool:
    letters.drop(letter)
    return True


def _apply(action: str, selection: Selection, act: Callable[[DeadLetters, ListedDeadLetter], bool]) -> ActionResult:
    """Apply an action to the selected dead letters; `act` returns whether it succeeded for one."""
    done: Counter[str] = Counter()
    left: list[str] = []
    seen: list[str] = []
    with receiving() as (letters, each):
        for letter in each:
            if not selection.has(letter):
                continue
            seen.append(letter.id)
            if act(letters, letter):
                done[letter.reason] += 1
            else:
                left.append(letter.id)
    return ActionResult(action, dict(done.most_common()), left, selection.not_found(seen))


@contextmanager
def receiving() -> Iterator[tuple[DeadLetters, Iterator[ListedDeadLetter]]]:
    """Receive all dead letters one by one, with a progress bar on a terminal; release them at the end."""
    letters = DeadLetters(storage_clients().queues, storage_clients().claims)
    out = console(errors=True)
    bar = Progress(
        TextColumn("Looking through the dead letters"),
        BarColumn(),
        MofNCompleteColumn(),
        console=out,
        transient=True,
        disable=not out.is_terminal,
    )
    with closing(letters.each()) as each, bar:
        task = bar.add_task("", total=letters.count())

        def counted() -> Iterator[ListedDeadLetter]:
            for letter in each:
                yield letter
                bar.advance(task)

        yield letters, counted()


def _counted(reasons: Iterable[str]) -> str:
    counts = Counter(reasons)
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common()) or "There are none."
