"""The path of a notification: received, verified, each failed attempt, and how it ended. Never its content.

Only identities, verdicts and times. The path of a delivered notification is in its ledger row, which is written anyway.
The last few hundred refusals and dead letters are in rings of rows. Anyone can cause refusals on receipt: these have a
ring of their own, and are written at a limited rate.
"""

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Literal, NamedTuple

import msgspec

from shared import telemetry
from shared.configuration.destinations import DEFAULT
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
    destination_of,
    singles,
)
from shared.storage.tables import Row, Tables
from shared.threads import ThrottledWriter

_log = logging.getLogger("graph_relay.paths")

RING = 500
"""Rows of the ring of failures, and of that of refusals on receipt; instances share a ring, each beginning at its own
position."""

ON_RECEIPT_EVERY = timedelta(seconds=10)
MOST_ON_RECEIPT = 20
"""Refusals on receipt that an instance writes in one transaction."""

_TABLE = "paths"
_FAILED, _ON_RECEIPT = "failed", "on_receipt"
_LONGEST_NAME = 512
"""Longest path or id of a refused item, in characters: it is unverified."""

_RETRIED = "retried"
_RETRY_NOTED_EVERY = timedelta(seconds=5)
"""Minimum time between two notes of a reason: an outage must not double the writes."""

ItemEnvelope = ChangeBatch | LifecycleBatch

Outcome = Literal["delivered", "refused", "dead-lettered"]
Verdict = Literal["good", "bad", "wait", "duplicate"]


class Path(msgspec.Struct, frozen=True, omit_defaults=True):
    """The path of one notification.

    at: when it ended. received: when Graph's POST came in, or the page was requested. event: its id, if there is one.
    resource: as Graph named it. key: id of the encryption key. proof: what verified it. attempts: the failed ones.
    on_receipt: it was refused before it was queued; its names are unverified. destination: where it was delivered or
    could not be; "" for the only one, or for all.
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
    on_receipt: bool = False
    destination: str = ""


class Origin(NamedTuple):
    """The item that led to an event: as received, and as parsed."""

    item: msgspec.Raw
    read: Notification


class LastRetry(msgspec.Struct, frozen=True):
    """The last failure for a reason: its detail, its time, the receipt of its notifications, and the time of the
    retry.
    """

    reason: str
    detail: str
    at: datetime
    received: datetime
    retry_at: datetime


class Step(msgspec.Struct, frozen=True):
    """One step of a path, for display: its name, time (None: about that of its neighbours), and result."""

    at: datetime | None
    step: str
    verdict: Verdict = "good"
    detail: str = ""


def details(paths: Mapping[str, Path], destination: str) -> dict[str, bytes]:
    """Return the paths of events, by id, as the ledger of a destination stores them."""
    name = _name_of(destination)
    return {
        event_id: msgspec.json.encode(msgspec.structs.replace(path, destination=name))
        for event_id, path in paths.items()
    }


def _name_of(destination: str) -> str:
    return "" if destination == DEFAULT else destination


class Paths:
    """Stores and finds paths; one object serves all threads. Storing never raises and never delays."""

    def __init__(self, tables: Tables, clock: Callable[[], datetime], chance: Callable[[], float], home: str) -> None:
        """chance: returns a number in [0, 1). home: the tenant of items that name none."""
        self._tables = tables
        self._clock = clock
        self._rows = {ring: count(int(chance() * RING)) for ring in (_FAILED, _ON_RECEIPT)}
        self._home = home
        self._on_receipt = ThrottledWriter(self._note_on_receipt, MOST_ON_RECEIPT, ON_RECEIPT_EVERY)
        self._retry_noted: dict[str, datetime] = {}

    def delivered(self, events: Mapping[str, tuple[Origin, Event]], envelope: ItemEnvelope) -> dict[str, Path]:
        """Return the paths of an envelope's events, by id, for delivery now; see `details`."""
        return {
            event.id: self._of(origin.read, envelope, "delivered", event=event.id) for origin, event in events.values()
        }

    def read_back(self, events: Iterable[Event], readback: ReadbackPage) -> dict[str, Path]:
        """Return the same for events that were read back from Graph."""
        return {event.id: self._of_page(readback, "delivered", event=event.id) for event in events}

    def refused(self, items: Sequence[tuple[msgspec.Raw, Reason]], envelope: ItemEnvelope) -> None:
        """Store the paths of refused items."""
        self._note(_FAILED, [self._of_item(item, envelope, "refused", reason=reason) for item, reason in items])

    def refused_on_receipt(self, refusals: Iterable[tuple[Notification | None, Reason]], received: datetime) -> None:
        """Store the paths of items refused on receipt; None: unreadable.

        Returns at once; of many, the last few are written. Values without the form of a name are omitted, because
        anybody can send them.
        """
        now, trace = self._clock(), telemetry.traceparent()
        self._on_receipt.add(
            _with_names_alone(self._named(Path("refused", now, received, reason=reason, trace=trace), notification))
            for notification, reason in refusals
        )

    def dead_lettered(self, envelope: Envelope, reason: Reason) -> None:
        """Store the paths of dead-lettered items."""
        self._note(_FAILED, self.of_dead_letter(envelope, reason, self._clock()))

    def of_dead_letter(self, envelope: Envelope, reason: str, at: datetime) -> list[Path]:
        """Return the paths of the items of an envelope that was dead-lettered at a time."""
        paths = [
            self._of_page(single, "dead-lettered", reason=reason)
            if isinstance(single, ReadbackPage)
            else self._of_item(single.items[0], single, "dead-lettered", reason=reason)
            for single in singles(envelope)
        ]
        return [msgspec.structs.replace(path, at=at) for path in paths]

    def retried(self, envelope: Envelope, failure: RetryLater, retry_at: datetime) -> None:
        """Store why notifications wait; at most every few seconds per reason."""
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
        rows = [row for ring in (_FAILED, _ON_RECEIPT) for row in self._tables.partition(_TABLE, ring)]
        return sorted((read_path(str(row["path"]).encode()) for row in rows), key=lambda path: path.at, reverse=True)

    def find(self, text: str, ledgers: Sequence[Ledger], since: datetime) -> list[Path]:
        """Return the paths of an event id, message id, subject or subscription id, the newest first.

        An event id is looked up; for other ids, all rows since a time are read. Raises RetryLater.
        """
        text = text.strip().strip("/")
        found = [path for path in self.failures() if text in names(path)]
        known = [details for ledger in ledgers if (details := ledger.details(text)) is not None]
        # one pass over all rows finds those of every destination
        details_of_all = known or (details for ledger in ledgers[:1] for details in ledger.all_details(since))
        found += [path for path in map(read_path, details_of_all) if known or text in names(path)]
        return sorted(found, key=lambda path: path.at, reverse=True)

    def _of_item(
        self, item: msgspec.Raw, envelope: ItemEnvelope, outcome: Outcome, *, event: str = "", reason: str = ""
    ) -> Path:
        try:
            notification = read_notification(item)
        except Refused:
            return Path(outcome, self._clock(), envelope.received, event=event, reason=reason)
        return self._of(notification, envelope, outcome, event=event, reason=reason)

    def _of(
        self, notification: Notification, envelope: ItemEnvelope, outcome: Outcome, *, event: str = "", reason: str = ""
    ) -> Path:
        proof = _proof(notification, notification.tenant(self._home), envelope) if outcome == "delivered" else ""
        path = Path(
            outcome,
            self._clock(),
            envelope.received,
            event=event,
            key=_key_of(notification)[:_LONGEST_NAME],
            proof=proof,
            reason=reason,
            attempts=attempts(envelope),
            trace=envelope.trace,
            destination=_name_of(destination_of(envelope)),
        )
        return self._named(path, notification)

    def _named(self, path: Path, notification: Notification | None) -> Path:
        """Return `path` with the names in a notification; None: it is unreadable."""
        if notification is None:
            return path
        named = {
            "resource": notification.resource or "",
            "tenant": notification.tenant(self._home),
            "subscription": notification.subscription_id,
            "change": notification.change_type or notification.lifecycle_event or "",
        }
        return msgspec.structs.replace(path, **{field: name[:_LONGEST_NAME] for field, name in named.items()})

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
            destination=_name_of(readback.destination),
        )

    def _note_on_receipt(self, refusals: Iterable[Path]) -> None:
        self._note(_ON_RECEIPT, refusals)

    def _note(self, ring: str, failures: Iterable[Path]) -> None:
        rows: dict[str, Row] = {}
        for path in failures:
            rows[f"{next(self._rows[ring]) % RING:04d}"] = {"path": msgspec.json.encode(path).decode()}
        self._put(ring, rows)

    def _put(self, partition: str, rows: Mapping[str, Row]) -> None:
        try:
            if rows:
                self._tables.put_all(_TABLE, partition, rows)
        except RetryLater as retry_later:
            _log.warning("The paths of %s notifications are not recorded: %s", len(rows), retry_later)


_GUID = r"[0-9a-fA-F-]{36}"
_FORMS = {
    "resource": r"\w[\w$-]*[/(][\w/()'@:.!$=,%~-]*",
    "tenant": _GUID,
    "subscription": _GUID,
    "change": r"[A-Za-z,]+",
}
"""The form of names in items: paths and ids have no spaces."""


def _with_names_alone(path: Path) -> Path:
    """Return the path of an unverified item, without values that lack the form of a name."""
    named = {field: getattr(path, field) for field in _FORMS}
    kept = {field: text if re.fullmatch(_FORMS[field], text) else "" for field, text in named.items()}
    return msgspec.structs.replace(path, on_receipt=True, **kept)


_path = msgspec.json.Decoder(Path)


def read_path(details: bytes) -> Path:
    """Return the path that the ledger stores with an event."""
    return _path.decode(details)


def names(path: Path) -> set[str]:
    """Return the names by which a path is found. Graph writes `chats('19:…')`, events `chats/19:…`."""
    plain = path.resource.replace("('", "/").replace("')", "").strip("/")
    subject = path.event.partition("/")[2].rpartition("@")[0]
    rejected = {attempt.event for attempt in path.attempts}
    paths = {subject, plain, path.resource.strip("/")}
    last = {name.rpartition("/")[2] for name in paths}
    return {path.event, path.subscription.lower(), *paths, *last, *rejected} - {""}


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
    return "validation token valid at an earlier attempt" if envelope.tokens else "came through the event hub"


def steps(path: Path) -> list[Step]:
    """Return a path as steps, in order."""
    by_readback = path.proof == "read back from Graph"
    named = f"{path.change} {path.resource}".strip()
    begin = "asked for by a comparison with Graph" if by_readback else "received"
    found = [Step(path.received, begin, detail=named)]
    if not by_readback and not path.on_receipt:
        found.append(Step(None, "client state valid, queued", detail=f"subscription {path.subscription}"))
    found += [_attempt(attempt) for attempt in path.attempts]
    if path.proof and not by_readback:
        found.append(Step(None, path.proof))
    if path.key and path.outcome == "delivered":
        found.append(Step(None, "HMAC valid, decrypted", detail=f"key {path.key}"))
    if path.outcome == "delivered":
        to = f" to {path.destination}" if path.destination else ""
        return [*found, Step(path.at, f"delivered{to}", detail=f"event {path.event}")]
    key = f", key {path.key}" if path.key else ""
    key += f", destination {path.destination}" if path.destination else ""
    return [*found, Step(path.at, path.outcome, "bad", f"{path.reason}{key}. {advice(path)}")]


def _attempt(attempt: FailedAttempt) -> Step:
    if attempt.retry_at is None:
        return Step(attempt.at, "attempt failed", "bad", attempt.detail)
    return Step(
        attempt.at, "attempt failed, queued again", "wait", f"{attempt.detail}; due {attempt.retry_at:%H:%M:%S}Z"
    )


def advice(path: Path) -> str:
    """Return the advice for a failure."""
    if path.reason == Reason.CLIENT_STATE:
        return (
            "Not sent for a subscription of this app, or CLIENT_STATE_SECRET has changed: see docs/runbook/refused.md"
        )
    if path.outcome == "refused":
        return "A single refusal needs no action; for many, see docs/runbook/refused.md"
    return "Fix the cause, then replay it: python -m ops dead-letters replay; see docs/runbook/dead-letters.md"
