"""The path of a notification: received, proven, each failed attempt, and where it ended. Never what it says.

Identities, verdicts and times alone. A delivered one is noted in the columns of its ledger row, which is written
anyway; one that was refused behind the queue, or dead-lettered, in a ring of the last few hundred. What notify_http
refuses is counted and not noted: strangers can't be allowed to cause writes.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from shared.delivery.event import Event
from shared.delivery.ledger import Ledger
from shared.errors import Reason, Refused, RetryLater, Undeliverable
from shared.graph.notification import Notification, read_encrypted_content, read_notification
from shared.messages.envelope import (
    ChangeBatch,
    Envelope,
    FailedAttempt,
    LifecycleBatch,
    ReadbackPage,
    attempts,
    singles,
)
from shared.storage.tables import Row, Tables

_log = logging.getLogger("graph_relay.paths")

RING = 500
"""Failures that are kept; several instances write into one ring, each from a place of its own."""

_TABLE, _PARTITION = "paths", "failed"
_LONGEST_NAME = 512
"""Characters of a path or id of a refused item: nothing vouches for it."""

_RETRIED = "retried"
_RETRY_NOTED_EVERY = timedelta(seconds=5)
"""For each reason: an outage must not double the writes."""

ItemEnvelope = ChangeBatch | LifecycleBatch

Outcome = Literal["delivered", "refused", "dead-lettered"]
Verdict = Literal["good", "bad", "wait", "duplicate"]


class Path(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of one notification.

    at: when it ended so. received: when Graph's POST came in, or the page was asked for. event: its id, if it came so
    far. resource: as Graph named it. key: id of our encryption key. proof: what proved it. attempts: those that failed.
    """

    outcome: Outcome
    at: datetime
    received: datetime
    event: str = ""
    resource: str = ""
    tenant: str = ""
    subscription: str = ""
    change: str = ""
    key: str = ""
    proof: str = ""
    reason: str = ""
    attempts: tuple[FailedAttempt, ...] = ()
    trace: str = ""


class LastRetry(msgspec.Struct, frozen=True):
    """The last failure for a reason: what it was, when, since when its notifications wait, and when they are due."""

    reason: str
    detail: str
    at: datetime
    received: datetime
    retry_at: datetime


class Step(msgspec.Struct, frozen=True):
    """One step of a path, for a person: what, when (None: at about the time of its neighbours), and how it went."""

    at: datetime | None
    step: str
    verdict: Verdict = "good"
    detail: str = ""


class Paths:
    """Notes paths and finds them again; one object serves all threads. Noting never raises: it is worth no delay."""

    def __init__(self, tables: Tables, clock: Callable[[], datetime], chance: Callable[[], float], home: str) -> None:
        """`chance` returns a number in [0, 1). `home` is the tenant of items that name none."""
        self._tables = tables
        self._clock = clock
        self._next = int(chance() * RING)
        self._home = home
        self._retry_noted: dict[str, datetime] = {}

    def delivered(self, items: Mapping[str, tuple[msgspec.Raw, Event]], envelope: ItemEnvelope) -> dict[str, Row]:
        """Return columns for the ledger's rows, by event id, should the events of an envelope be delivered now."""
        return {
            event.id: _columns(self._of_item(item, envelope, "delivered", event=event.id), event)
            for item, event in items.values()
        }

    def read_back(self, events: Iterable[Event], readback: ReadbackPage) -> dict[str, Row]:
        """Return the same for events that were read back from Graph."""
        return {event.id: _columns(self._of_page(readback, "delivered", event=event.id), event) for event in events}

    def refused(self, items: Sequence[tuple[msgspec.Raw, Reason]], envelope: ItemEnvelope) -> None:
        """Note items that were not proven."""
        self._note([self._of_item(item, envelope, "refused", reason=reason) for item, reason in items])

    def dead_lettered(self, envelope: Envelope, reason: Reason) -> None:
        """Note what was dead-lettered."""
        for single in singles(envelope):
            if isinstance(single, ReadbackPage):
                self._note([self._of_page(single, "dead-lettered", reason=reason)])
            else:
                self._note([self._of_item(single.items[0], single, "dead-lettered", reason=reason)])

    def retried(self, envelope: Envelope, failure: RetryLater, retry_at: datetime) -> None:
        """Note that notifications wait, and for what; not more often than every few seconds for one reason."""
        now = self._clock()
        noted = self._retry_noted.get(failure.reason)
        if noted is not None and now - noted < _RETRY_NOTED_EVERY:
            return
        self._retry_noted[failure.reason] = now
        last = LastRetry(failure.reason, failure.detail, now, envelope.received, retry_at)
        self._put(_RETRIED, {str(failure.reason): {"path": msgspec.json.encode(last).decode()}})

    def retries(self) -> list[LastRetry]:
        """Return the last failure for each reason, the newest first. Raises RetryLater."""
        rows = self._tables.partition(_TABLE, _RETRIED)
        found = [msgspec.json.decode(str(row["path"]), type=LastRetry) for row in rows]
        return sorted(found, key=lambda retry: retry.at, reverse=True)

    def failures(self) -> list[Path]:
        """Return the last refusals and dead letters, newest first. Raises RetryLater."""
        rows = self._tables.partition(_TABLE, _PARTITION)
        return sorted(_paths_in(rows), key=lambda path: path.at, reverse=True)

    def find(self, text: str, ledger: Ledger, since: datetime) -> list[Path]:
        """Return the paths of an event id, message id, subject or subscription id, the newest first.

        An event id is looked up; for anything else the rows since a time are read through. Raises RetryLater.
        """
        text = text.strip().strip("/")
        failed = [path for path in self.failures() if text in _names(path)]
        rows = ledger.details(text) or ledger.details_matching(text, _SEARCHED, since)
        found = [*failed, *_paths_in(rows)]
        return sorted(found, key=lambda path: path.at, reverse=True)

    def _of_item(
        self, item: msgspec.Raw, envelope: ItemEnvelope, outcome: Outcome, *, event: str = "", reason: str = ""
    ) -> Path:
        try:
            notification = read_notification(item)
        except Refused:
            return Path(outcome, self._clock(), envelope.received, event=event, reason=reason)
        tenant = notification.tenant(self._home)
        return Path(
            outcome,
            self._clock(),
            envelope.received,
            event=event,
            resource=(notification.resource or "")[:_LONGEST_NAME],
            tenant=tenant[:_LONGEST_NAME],
            subscription=notification.subscription_id[:_LONGEST_NAME],
            change=(notification.change_type or notification.lifecycle_event or "")[:_LONGEST_NAME],
            key=_key_of(notification)[:_LONGEST_NAME],
            proof=_proof(notification, tenant, envelope) if outcome == "delivered" else "",
            reason=reason,
            attempts=attempts(envelope),
            trace=envelope.trace,
        )

    def _of_page(self, readback: ReadbackPage, outcome: Outcome, *, event: str = "", reason: str = "") -> Path:
        return Path(
            outcome,
            self._clock(),
            readback.received,
            event=event,
            resource=readback.resource,
            tenant=readback.tenant_id,
            proof="read back from Graph",
            reason=reason,
            attempts=attempts(readback),
            trace=readback.trace,
        )

    def _note(self, failures: Iterable[Path]) -> None:
        rows: dict[str, Row] = {}
        for path in failures:
            self._next = (self._next + 1) % RING
            rows[f"{self._next:04d}"] = {"path": msgspec.json.encode(path).decode()}
        self._put(_PARTITION, rows)

    def _put(self, partition: str, rows: Mapping[str, Row]) -> None:
        try:
            if rows:
                self._tables.put_all(_TABLE, partition, rows)
        except RetryLater as retry_later:
            _log.warning("What became of %s notifications is not noted: %s", len(rows), retry_later)


_SEARCHED = ("message", "subject", "subscription")


def _columns(path: Path, event: Event) -> Row:
    return {
        "message": event.subject.rpartition("/")[2],
        "subject": event.subject,
        "subscription": path.subscription.lower(),
        "path": msgspec.json.encode(path).decode(),
    }


def _paths_in(rows: Iterable[Row]) -> Iterator[Path]:
    for row in rows:
        if text := row.get("path"):
            yield msgspec.json.decode(str(text), type=Path)


def _names(path: Path) -> set[str]:
    """What a failure is found by. Graph writes `chats('19:…')`, events `chats/19:…`."""
    plain = path.resource.replace("('", "/").replace("')", "").strip("/")
    return {path.event, path.resource.strip("/"), plain, plain.rpartition("/")[2], path.subscription.lower()} - {""}


def _key_of(notification: Notification) -> str:
    if not notification.is_encrypted:
        return ""
    try:
        content = read_encrypted_content(notification)
    except Undeliverable:
        return ""
    return content.encryption_certificate_id or content.encryption_certificate_thumbprint or ""


def _proof(notification: Notification, tenant: str, envelope: ItemEnvelope) -> str:
    if not notification.is_encrypted:
        return "clientState; it holds no content"
    if tenant not in (envelope.proven if isinstance(envelope, ChangeBatch) else ()):
        return "validation token valid"
    return "validation token valid at an earlier attempt" if envelope.attempt else "came through the event hub"


def steps(path: Path) -> list[Step]:
    """Return a path as steps, in order."""
    by_readback = path.proof == "read back from Graph"
    named = f"{path.change} {path.resource}".strip()
    begin = "asked for by a comparison with Graph" if by_readback else "received"
    found = [Step(path.received, begin, detail=named)]
    if not by_readback:
        found.append(Step(None, "client state valid, queued", detail=f"subscription {path.subscription}"))
    found += [_attempt(attempt) for attempt in path.attempts]
    if path.proof and not by_readback:
        found.append(Step(None, path.proof))
    if path.key and path.outcome == "delivered":
        found.append(Step(None, "HMAC valid, decrypted", detail=f"key {path.key}"))
    if path.outcome == "delivered":
        return [*found, Step(path.at, "delivered", detail=f"event {path.event}")]
    key = f", key {path.key}" if path.key else ""
    return [*found, Step(path.at, path.outcome, "bad", f"{path.reason}{key}. {advice(path)}")]


def _attempt(attempt: FailedAttempt) -> Step:
    if attempt.retry_at is None:
        return Step(attempt.at, "attempt failed", "bad", attempt.detail)
    return Step(
        attempt.at, "attempt failed, queued again", "wait", f"{attempt.detail}; due {attempt.retry_at:%H:%M:%S}Z"
    )


def advice(path: Path) -> str:
    """Return what a person should do about a failure."""
    if path.outcome == "refused":
        return "A single refusal needs nothing; for many, see docs/runbook/refused.md"
    return "Fix the cause, then replay it: python -m ops dead-letters replay; see docs/runbook/dead-letters.md"
