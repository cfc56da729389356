"""`status`: the state of the whole system, read only."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import click
import msgspec

from ops.counters import Counted, counted
from ops.member_lists import MemberListState, member_lists
from ops.queue_state import DeadLettersState, QueueState, dead_letters_state, oldest, queue_state, reasons
from ops.report import ExitCode, Report, ReportTable, as_json, echo, finish, plural, span, table, when
from ops.subscription_state import Listed, State, SubscriptionState, listed, states, worst
from shared.errors import RetryLater
from shared.keys.key import EncryptionKey, newest_valid
from shared.keys.rotation import EXPIRY_MARGIN
from shared.paths import LastRetry
from shared.readback.checkpoints import Checkpoint
from shared.readback.pages import unreadable
from shared.relay import relay, utc_now
from shared.subscriptions.silence import LastNotification

T = TypeVar("T")

GRACE = timedelta(minutes=1)
"""A retry that was due this long ago has happened, or is about to."""

OVERDUE = 2
"""Sweep intervals after which a comparison counts as late."""


MOST_SHOWN = 20
"""Shown subscriptions and comparisons, the worst first."""

_MOST_SENTENCES = 10


class KeyState(msgspec.Struct):
    """An encryption key; `subscriptions` is how many use it, None if unknown."""

    id: str
    current: bool
    age_seconds: float
    expires_in_seconds: float
    subscriptions: int | None
    unnamed_seconds: float | None


class SweepState(msgspec.Struct):
    """The time up to which a declared resource has been compared with Graph; None: not yet, or it can't be read back.

    due: a gap is suspected.
    """

    tenant: str
    resource: str
    compared_until: datetime | None
    due: bool
    can_be_read_back: bool = True


class Status(Report):
    """The whole system. Parts that could not be read are None or absent, and named in `unreachable`.

    lag_seconds: mean, from receipt to delivery, since the host started; counted: results of notifications since then;
    both None if the host does not serve them. waiting_for: why notifications wait, the last failure first.
    """

    at: datetime
    subscriptions: list[SubscriptionState]
    keys: list[KeyState]
    queue: QueueState | None
    dead_letters: DeadLettersState | None
    sweeps: list[SweepState]
    member_lists: list[MemberListState]
    lag_seconds: float | None
    counted: Counted | None
    waiting_for: list[LastRetry]
    attention: list[str]
    unreachable: list[str]
    subscriptions_by_state: dict[str, int] = msgspec.field(default_factory=dict)
    sweeps_in_all: int = 0

    @property
    def exit_code(self) -> ExitCode:
        """An unreachable part has precedence over one that needs attention."""
        if self.unreachable:
            return ExitCode.UNREACHABLE
        return ExitCode.ATTENTION if self.attention else ExitCode.FINE

    def shown(self) -> Iterable[str | ReportTable]:
        """Yield the verdict, then the flow of messages, then a table for each part."""
        for sentence in self.unreachable:
            yield f"Unreachable: {sentence}"
        for sentence in self.attention:
            yield f"Attention: {sentence}"
        if self.exit_code is ExitCode.FINE:
            yield "All is well."
        yield table("Messages", ("", ""), self._messages())
        tenants = {state.tenant for state in self.subscriptions} | {state.tenant for state in self.sweeps}
        in_all = sum(self.subscriptions_by_state.values())
        if in_all > len(self.subscriptions):
            counted = ", ".join(f"{number:,} {state}" for state, number in self.subscriptions_by_state.items())
            yield (
                f"{in_all:,} subscriptions: {counted}. Below are the {len(self.subscriptions)} worst of your selection."
            )
        yield _table_of(
            "Subscriptions", ("Resource", "Expires in", "Silent", "Next"), map(_row, self.subscriptions), tenants
        )
        if self.member_lists:
            yield table("Lists of members", ("List", "Members", "Missing", "Read"), map(_list_row, self.member_lists))
        yield table("Encryption keys", ("Key", "Age", "Expires in", "Subscriptions"), map(_key_row, self.keys))
        if self.sweeps_in_all > len(self.sweeps):
            yield f"{self.sweeps_in_all:,} resources are compared with Graph. Below are those compared longest ago."
        yield _table_of("Comparison with Graph", ("Resource", "Up to", "Gap"), map(_sweep_row, self.sweeps), tenants)

    def _messages(self) -> Iterable[tuple[str, str | None]]:
        if self.queue is not None:
            yield "waiting", f"{plural(self.queue.messages, 'queue message')}{oldest(self.queue)}"
        for failure in self.waiting_for:
            waited = span((self.at - failure.received).total_seconds())
            yield "waits for", f"{failure.reason}: {failure.detail}; a notification received {waited} ago waits for it"
        if self.counted is not None:
            yield "delivered", f"{self.counted.delivered:,}; mean lag {span(self.lag_seconds) or 'not known yet'}"
            yield "retried", reasons(self.counted.retried)
            yield "refused", reasons(self.counted.refused)
        else:
            yield "delivered", "unknown here; see the workbook"
        if (letters := self.dead_letters) is not None:
            sample = "" if letters.looked_at >= letters.count else f" (of the first {letters.looked_at})"
            yield "dead letters", f"{letters.count}: {reasons(letters.by_reason)}{sample}" if letters.count else "none"


def _table_of(
    title: str, columns: tuple[str, ...], rows: Iterable[tuple[object, ...]], tenants: set[str]
) -> ReportTable:
    """Return a table whose rows begin with their tenant; a single tenant goes into the title instead."""
    if len(tenants) == 1:
        return table(f"{title} (tenant {next(iter(tenants))})", columns, (row[1:] for row in rows))
    return table(title, ("Tenant", *columns), rows)


def _row(state: SubscriptionState) -> tuple[object, ...]:
    return state.tenant, state.resource, span(state.expires_in_seconds), span(state.silent_seconds), state.todo


def _list_row(state: MemberListState) -> tuple[object, ...]:
    return state.name, state.members, state.missing or None, state.problem or when(state.listed) or "not yet"


def _key_row(key: KeyState) -> tuple[object, ...]:
    subscriptions = "?" if key.subscriptions is None else str(key.subscriptions)
    if key.unnamed_seconds is not None:
        subscriptions += f" for {span(key.unnamed_seconds)}"
    if key.current:
        subscriptions += " (current key)"
    return key.id, span(key.age_seconds), span(key.expires_in_seconds), subscriptions


def _sweep_row(sweep: SweepState) -> tuple[object, ...]:
    return (
        sweep.tenant,
        sweep.resource,
        when(sweep.compared_until) or ("not yet" if sweep.can_be_read_back else "never: it can't be read back"),
        "suspected" if sweep.due else "none known",
    )


@dataclass(frozen=True)
class StatusFilter:
    """The selection of subscriptions: by a text in the resource and by state, the worst first.

    most: their largest number; None: all.
    """

    resource: str = ""
    states: tuple[str, ...] = ()
    most: int | None = MOST_SHOWN

    def of(self, states: Iterable[SubscriptionState]) -> list[SubscriptionState]:
        """Return the selected subscriptions."""
        found = [
            state
            for state in states
            if self.resource.lower() in state.resource.lower() and (not self.states or state.state in self.states)
        ]
        return worst(found, len(found) if self.most is None else self.most)


def filtered(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that select subscriptions to a command."""
    for option in (
        click.option("--all", "show_all", is_flag=True, help=f"All subscriptions, not the {MOST_SHOWN} worst."),
        click.option(
            "--state",
            "states",
            multiple=True,
            type=click.Choice([state.value for state in State]),
            help="Only this state.",
        ),
        click.option("--resource", default="", help="Only resources that contain this text."),
    ):
        command = option(command)
    return command


def wanted(resource: str, states: tuple[str, ...], *, show_all: bool) -> StatusFilter:
    """Return the selection of the options of `filtered`."""
    return StatusFilter(resource, states, None if show_all else MOST_SHOWN)


@click.command()
@filtered
@as_json
def status(resource: str, states: tuple[str, ...], *, show_all: bool, as_json: bool) -> None:
    """Show the state of the whole system.

    Messages, subscriptions, keys, dead letters and comparisons with Graph; what is wrong comes first. Changes nothing.

    With --all and --json, each subscription is a line of its own, and the last line is the rest.
    """
    found = read_status(listed(), wanted(resource, states, show_all=show_all))
    if show_all and as_json:
        for state in found.subscriptions:
            echo(state)
        found.subscriptions = []
    finish(found, as_json=as_json)


@dataclass
class _StatusReader:
    """Reads one part after the other; an unavailable part does not hide the others."""

    unavailable: list[str] = field(default_factory=list)

    def at(self, read_status: Callable[[], T], otherwise: T) -> T:
        try:
            return read_status()
        except RetryLater as retry_later:
            if str(retry_later) not in self.unavailable:
                self.unavailable.append(str(retry_later))
            return otherwise


def read_status(known: Listed, choice: StatusFilter | None = None) -> Status:
    """Read all parts but Graph's, which is given. Raises SettingsError."""
    choice = choice or StatusFilter()
    now, looking = utc_now(), _StatusReader(list(known.unavailable.values()))
    keys = looking.at(relay().keys.all, None)
    current = newest_valid(keys or [], now)
    nothing: dict[str, datetime] = {}
    seen = {
        notification.declaration: notification.last
        for notification in looking.at(relay().last_seen.all, list[LastNotification]())
    }
    unnamed = looking.at(relay().rotation.unused_since, nothing)
    no_progress: dict[str, Checkpoint] = {}
    compared = looking.at(relay().checkpoints.all, no_progress)
    queue, counters = looking.at(lambda: queue_state(now), None), counted()
    subscriptions, sweeps = states(known, current, seen, now), _sweep_states(compared)
    found = Status(
        at=now,
        subscriptions=choice.of(subscriptions),
        subscriptions_by_state=dict(sorted(Counter(str(state.state) for state in subscriptions).items())),
        sweeps_in_all=len(sweeps),
        keys=_key_states(keys or [], current, known, unnamed, now),
        queue=queue,
        dead_letters=looking.at(dead_letters_state, None),
        sweeps=_oldest(sweeps, choice),
        member_lists=looking.at(member_lists, list[MemberListState]()),
        lag_seconds=counters.lag_seconds if counters else None,
        counted=counters,
        waiting_for=looking.at(lambda: _waiting_for(queue, now), list[LastRetry]()),
        attention=[f"tenant {tenant_id}: {refusal}" for tenant_id, refusal in known.refused.items()],
        unreachable=looking.unavailable,
    )
    found.attention += _attention(found, subscriptions, sweeps, key_seen=keys is not None)
    return found


def _oldest(sweeps: list[SweepState], choice: StatusFilter) -> list[SweepState]:
    """Return the comparisons of the selected resources: suspected gaps first, then the longest uncompared."""
    never = datetime.max.replace(tzinfo=UTC)
    found = [sweep for sweep in sweeps if choice.resource.lower() in sweep.resource.lower()]
    found.sort(key=lambda sweep: (not sweep.due, sweep.compared_until or never))
    return found[: choice.most]


def _waiting_for(queue: QueueState | None, now: datetime) -> list[LastRetry]:
    """Return the failures that messages still wait for. Raises RetryLater."""
    if queue is None or not queue.messages:
        return []
    return [failure for failure in relay().path_log.retries() if now < failure.retry_at + GRACE]


def _key_states(
    keys: list[EncryptionKey],
    current: EncryptionKey | None,
    known: Listed,
    unnamed: dict[str, datetime],
    now: datetime,
) -> list[KeyState]:
    named = Counter(known.key_names)
    complete = not known.unavailable and not known.refused
    return [
        KeyState(
            id=key.key_id,
            current=current is not None and key.key_id == current.key_id,
            age_seconds=round((now - key.created).total_seconds()),
            expires_in_seconds=round((key.expires - now).total_seconds()),
            subscriptions=named[key.key_id] if complete else None,
            unnamed_seconds=round((now - unnamed[key.key_id]).total_seconds()) if key.key_id in unnamed else None,
        )
        for key in sorted(keys, key=lambda key: (key.created, key.key_id), reverse=True)
    ]


def _sweep_states(compared: dict[str, Checkpoint]) -> list[SweepState]:
    states = []
    for declaration in relay().declarations:
        readable = unreadable(declaration) is None
        done = compared.get(declaration.id) if readable else None
        until, due = (done.until, done.due) if done else (None, False)
        states.append(SweepState(declaration.tenant_id, declaration.resource, until, due, readable))
    return states


def _first(sentences: Iterable[str], what: str) -> Iterable[str]:
    """Yield the first sentences, and the number of the others."""
    found = list(sentences)
    yield from found[:_MOST_SENTENCES]
    if len(found) > _MOST_SENTENCES:
        yield f"{len(found) - _MOST_SENTENCES:,} more {what}"


def _attention(
    found: Status, subscriptions: list[SubscriptionState], sweeps: list[SweepState], *, key_seen: bool
) -> Iterable[str]:
    troubled = worst((state for state in subscriptions if state.attention), len(subscriptions))
    yield from _first((f"{state.resource}: {state.attention}" for state in troubled), "subscriptions need attention")
    overlap = relay().settings.key_overlap + EXPIRY_MARGIN
    current = next((key for key in found.keys if key.current), None)
    if key_seen and current is None:
        yield "there is no valid encryption key: does renew_timer run?"
    elif current and current.expires_in_seconds < overlap.total_seconds():
        yield f"key {current.id} expires before long and was not replaced: does renew_timer run?"
    for failure in found.waiting_for[:1]:
        waited = span((found.at - failure.received).total_seconds())
        yield f"notifications wait ({waited} the latest tried) for {failure.reason}: {failure.detail}; see `doctor`"
    for part in (found.queue, found.dead_letters):
        if part is not None and part.attention:
            yield part.attention
    interval = relay().settings.sweep_interval
    late = (
        f"{sweep.resource}: not compared with Graph since {when(sweep.compared_until)}"
        for sweep in sweeps
        if interval and sweep.compared_until and found.at - sweep.compared_until > OVERDUE * interval
    )
    yield from _first(late, "resources are compared too late")
