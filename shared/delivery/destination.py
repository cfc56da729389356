"""Signed HTTP delivery of events to a destination, bounded in time and size. docs/destination.md is the contract."""

import uuid
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Protocol

import msgspec
import requests
from standardwebhooks import Webhook

from shared import deadline
from shared.circuit_breaker import CircuitBreaker
from shared.configuration.destinations import DestinationSettings, Identity, Mode
from shared.delivery.acceptance import Acceptance
from shared.delivery.event import Event
from shared.delivery.request import EncodedEvent, RequestFormat, message_id, signature_headers
from shared.errors import Isolable, NotAttempted, Reason, RetryLater, TimedOut
from shared.graph.entra import EntraClient, ManagedIdentity
from shared.http_client import read_bounded, retry_after

_TIME_LIMIT = (5, 20)
_MAX_RESPONSE_BYTES = 65_536
_DRAIN_TIME_LIMIT = timedelta(seconds=2)  # a new connection costs less than waiting for a slow body
_RETRY_AFTER_GONE = timedelta(minutes=10)
_LONGEST_DELAY = timedelta(hours=1)
"""Longer than for other dependencies: the backlog of a destination that is unavailable for a day is retried repeatedly,
at the expense of other destinations."""

LONGEST_WAIT = timedelta(hours=1)
"""Upper limit for the destination's Retry-After."""

_EVENT_STATUSES = frozenset({400, 409, 413, 422})
"""4xx that may concern one event of a batch."""

_AVAILABILITY_STATUSES = frozenset({401, 404, 405, 407, 408, 423, 424, 425, 429})
"""4xx about the destination's state or the app's credentials. Any other may be caused by one event: a firewall answers
403 or 406 to the content of a message, and a gateway 431 to a header in binary mode."""

_MAYBE_TOO_LARGE = frozenset({403, 410})
"""Service Bus and Event Grid namespaces answer 403 to a request that is too large, and 410 to an unknown topic: a
smaller request shows which it is."""

_ALONE = 3
"""Events that fail alone without an acceptance until the destination itself counts as failing."""

_GIVEN_UP_AFTER = timedelta(minutes=15)
"""Time between two rejections of an event without an acceptance of others: the tenth attempt, about 40 minutes after
the first."""


@dataclass(frozen=True)
class Rejected:
    """The destination rejects this event permanently; `status` is its response."""

    event: Event
    status: int


class Pacing(Protocol):
    """Keeps the requests of one delivery within a rate limit."""

    @property
    def most_events(self) -> int | None:
        """The most events in one request; None: no limit."""

    def wait(self, events: int) -> None:
        """Wait until a request with this number of events may be sent. Raises NotAttempted if that takes too long."""


class _Unpaced:
    most_events = None

    def wait(self, events: int) -> None:
        """Wait for nothing."""


class Destination:
    """A service that receives events; one object serves all threads."""

    def __init__(
        self,
        url: str,
        secrets: Sequence[str],
        session: requests.Session,
        clock: Callable[[], datetime],
        authorization: Callable[[], str] | None = None,
        *,
        request_format: RequestFormat | None = None,
        acceptance: Acceptance | None = None,
    ) -> None:
        """authorization: returns an access token for the request, if the destination requires one. acceptance: the
        acceptances known to all instances; None: only to this object.
        """
        self._url = url
        self._webhooks = [Webhook(secret) for secret in secrets]
        self._session = session
        self._clock = clock
        self._authorization = authorization
        self._format = request_format or RequestFormat()
        self._breaker = CircuitBreaker(Reason.DESTINATION, clock, _LONGEST_DELAY)
        self._acceptance = acceptance or Acceptance(clock)

    def deliver(
        self,
        events: Sequence[Event],
        *,
        isolate_errors: bool = False,
        tried: Mapping[str, datetime] | None = None,
        pace: Pacing | None = None,
    ) -> "Delivery":
        """Deliver `events` in as few requests as the destination's limits and responses allow.

        A rejected batch is halved until each offending event is alone; with `isolate_errors`, so is a batch whose
        response may concern one event. An event counts as rejected only if the destination accepts others: in this
        delivery, or since the last attempt to deliver it (`tried`, by event id); see also `_given_up`. pace: keeps the
        requests within a rate limit; events without time left are not sent, and the others are judged. Never raises:
        the result holds the undelivered events.
        """
        if not events:
            return Delivery()
        tried, pace = tried or {}, pace or _Unpaced()
        attempt = _Attempt(
            partial(self._post, pace), isolate_errors, lambda events: self._accepted_since(events, tried)
        )
        failure: RetryLater | None = None
        try:
            # A message on which the destination fails must not delay others.
            with self._breaker.attempt(ignoring=Reason.DESTINATION_ERROR if isolate_errors else None):
                attempt.send_all(self._format.batches(events, pace.most_events))
                self._judge(attempt, tried)
                if attempt.postponed is not None and not attempt.delivered:
                    raise attempt.postponed  # it says nothing about the destination
        except NotAttempted as postponed:
            failure = attempt.error or postponed
        except RetryLater as retry_later:
            failure = retry_later
        return attempt.result(events, failure)

    def check(self) -> None:
        """Raise NotAttempted while the destination is known to be unavailable."""
        self._breaker.check()

    def ping(self) -> int:
        """Send a signed request without events, and return the status of the response, whichever it is.

        In batch mode, it is an empty batch. A single event can't be empty, so the other modes send OPTIONS, which
        receivers of CloudEvents support (CloudEvents webhook specification 1.0, 4.1).

        Raises:
            requests.RequestException: there is no response.
            RetryLater: Entra ID issues no token for the destination.
        """
        if self._format.mode is Mode.BATCH:
            return self._exchange("POST", b"[]", self._format.content_headers([]), f"msg_{uuid.uuid4().hex}")[0]
        headers = {"WebHook-Request-Origin": "graph-relay", **self._format.headers}
        return self._exchange("OPTIONS", b"", headers, f"msg_{uuid.uuid4().hex}")[0]

    def _judge(self, attempt: "_Attempt", tried: Mapping[str, datetime]) -> None:
        """Raise RetryLater if every request fails: then nothing shows that the events are at fault."""
        if given_up := self._given_up(attempt.unproven, tried):
            attempt.unproven = [rejection for rejection in attempt.unproven if rejection is not given_up]
        if attempt.unproven:
            raise _unproven(attempt.unproven[0].status, is_complete=attempt.postponed is None)
        if attempt.error is not None and not attempt.delivered and not attempt.works(attempt.failing):
            raise attempt.error

    def _given_up(self, unproven: Sequence[Rejected], tried: Mapping[str, datetime]) -> Rejected | None:
        """Return the event to give up although nothing shows that it is at fault; None if there is none.

        In a quiet tenant, it would otherwise wait for another event until its horizon. One event at a time is given up
        (Acceptance.may_give_up), so that a receiver that rejects everything does not lose all events.
        """
        long_ago = self._clock() - _GIVEN_UP_AFTER
        waited = [rejection for rejection in unproven if tried.get(rejection.event.id, self._clock()) <= long_ago]
        return waited[0] if waited and self._acceptance.may_give_up() else None

    def _accepted_since(self, events: Sequence[Event], tried: Mapping[str, datetime]) -> set[str]:
        """Return the ids of events after whose last attempt the destination has accepted an event."""
        before = {event.id: tried[event.id] for event in events if event.id in tried}
        accepted = self._acceptance.last(max(before.values())) if before else None
        return {event_id for event_id, at in before.items() if accepted is not None and at <= accepted}

    def _post(self, pace: Pacing, batch: Sequence[EncodedEvent]) -> tuple[int, timedelta | None]:
        """Return the status and the requested delay. Raises RetryLater if there is no answer."""
        deadline.check()
        pace.wait(len(batch))
        body, headers = self._format.body(batch), self._format.content_headers(batch)
        try:
            status, delay = self._exchange("POST", body, headers, message_id(batch))
        except requests.RequestException as error:
            kind = TimedOut if isinstance(error, requests.Timeout) else RetryLater
            raise kind(Reason.DESTINATION, f"the destination does not answer ({type(error).__name__})") from None
        if 200 <= status < 300:
            self._acceptance.note()
        return status, delay

    def _exchange(
        self, method: str, body: bytes, headers: dict[str, str], identity: str
    ) -> tuple[int, timedelta | None]:
        """Send a signed body; return the status and the requested delay (Retry-After)."""
        headers |= signature_headers(self._webhooks, identity, self._clock(), body)
        if self._authorization is not None:
            headers["Authorization"] = f"Bearer {self._authorization()}"
        with self._session.request(
            method, self._url, data=body, headers=headers, timeout=_TIME_LIMIT, allow_redirects=False, stream=True
        ) as response:
            status, delay = response.status_code, retry_after(response.headers, self._clock(), LONGEST_WAIT)
            _drain(response)
        return status, delay


@dataclass
class _Attempt:
    """One delivery, in several requests if necessary, with the result of each event so far.

    works: returns the ids of events after whose last attempt the destination has accepted an event. failing: events
    that fail alone. error: the response to those. postponed: why the rest was not sent.
    """

    post: Callable[[Sequence[EncodedEvent]], tuple[int, timedelta | None]]
    isolate_errors: bool
    works: Callable[[Sequence[Event]], set[str]]
    delivered: list[Event] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    failing: list[Event] = field(default_factory=list)
    error: RetryLater | None = None
    postponed: NotAttempted | None = None

    def send_all(self, batches: Iterable[Sequence[EncodedEvent]]) -> None:
        """Send batches while there is time. Raises RetryLater if the destination accepts nothing now."""
        try:
            for batch in batches:
                self.send(batch)
        except NotAttempted as failure:
            self.postponed = failure

    def send(self, batch: Sequence[EncodedEvent], *, halved: bool = False) -> None:
        """Send events in one request, or in halves if the response calls for it. Raises RetryLater for other
        failures.
        """
        status, delay = self.post(batch)
        alone = len(batch) == 1
        if 200 <= status < 300:
            self.delivered += [encoded.event for encoded in batch]
        elif status in _EVENT_STATUSES and alone:
            self.rejected.append(Rejected(batch[0].event, status))
        elif status in _EVENT_STATUSES:
            self._send_halves(batch, halved=halved)
        else:
            failure = _failure(status, delay)
            isolates = self.isolate_errors and isinstance(failure, Isolable)
            if isolates and alone:
                self._note_error(batch[0].event, failure)
            elif isolates or (status in _MAYBE_TOO_LARGE and not alone and not halved):
                self._send_halves(batch, halved=True)
            else:
                raise failure

    def _send_halves(self, batch: Sequence[EncodedEvent], *, halved: bool) -> None:
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            self.send(half, halved=halved)

    def _note_error(self, event: Event, error: RetryLater) -> None:
        self.failing.append(event)
        longest = timedelta(0) if self.error is None else self.error.retry_after or timedelta(0)
        if self.error is None or (error.retry_after or timedelta(0)) > longest:
            self.error = error
        if len(self.failing) >= _ALONE and not self.delivered and not self.works(self.failing):
            raise self.error

    @cached_property
    def unproven(self) -> list[Rejected]:
        """The rejected events that are not proven to be at fault.

        Computed once, after the last request: the knowledge of other instances may change or become unavailable
        meanwhile.
        """
        if self.delivered:
            return []
        proven = self.works([rejection.event for rejection in self.rejected])
        return [rejection for rejection in self.rejected if rejection.event.id not in proven]

    def result(self, events: Sequence[Event], failure: RetryLater | None) -> "Delivery":
        """Return the result for `events`."""
        unproven = {rejection.event.id for rejection in self.unproven}
        rejected = [rejection for rejection in self.rejected if rejection.event.id not in unproven]
        settled = {event.id for event in self.delivered} | {rejection.event.id for rejection in rejected}
        undelivered = tuple(event for event in events if event.id not in settled)
        reason = (failure or self.error or self.postponed) if undelivered else None
        return Delivery(tuple(self.delivered), tuple(rejected), undelivered, reason)


def _failure(status: int, delay: timedelta | None) -> RetryLater:
    """Return the failure of a whole request."""
    if status == 410:
        detail = "the destination answers 410 Gone: delivery is stopped, the queue keeps the events"
        return Isolable(Reason.DESTINATION_GONE, detail, retry_after=delay or _RETRY_AFTER_GONE)
    detail = f"the destination answers {status}"
    if status == 500:
        return Isolable(Reason.DESTINATION_ERROR, detail, retry_after=delay)
    if status == 403:
        return Isolable(Reason.DESTINATION, detail, retry_after=delay)
    if status in _AVAILABILITY_STATUSES or not 400 <= status < 500:
        return RetryLater(Reason.DESTINATION, detail, retry_after=delay)
    detail = f"{detail}: it does not accept requests of this form"
    return Isolable(Reason.DESTINATION_REJECTS, detail, retry_after=delay)


def _unproven(status: int, *, is_complete: bool) -> RetryLater:
    """Return why rejected events are kept. is_complete: whether the whole delivery was sent.

    Otherwise the first events may be the offending ones: later attempts separate them from the rest.
    """
    detail = f"the destination answers {status} and has accepted nothing since: no event is known to be at fault"
    return (RetryLater if is_complete else Isolable)(Reason.DESTINATION_REJECTS, detail)


class Delivery(msgspec.Struct, frozen=True):
    """The result: each event is in exactly one of the three lists; `failure` says why some are undelivered.

    Raises ValueError if undelivered events have no failure: nobody would enqueue them.
    """

    delivered: tuple[Event, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    undelivered: tuple[Event, ...] = ()
    failure: RetryLater | None = None

    def __post_init__(self) -> None:
        """Check the failure."""
        if self.undelivered and self.failure is None:
            raise ValueError("undelivered events need a failure")

    def joined(self, other: "Delivery") -> "Delivery":
        """Return the joined result of two deliveries; the first failure counts."""
        return Delivery(
            self.delivered + other.delivered,
            self.rejected + other.rejected,
            self.undelivered + other.undelivered,
            self.failure or other.failure,
        )

    def part(self, event_ids: Container[str]) -> "Delivery":
        """Return the result for some of the events."""
        undelivered = tuple(event for event in self.undelivered if event.id in event_ids)
        return Delivery(
            tuple(event for event in self.delivered if event.id in event_ids),
            tuple(rejected for rejected in self.rejected if rejected.event.id in event_ids),
            undelivered,
            self.failure if undelivered else None,
        )


def _drain(response: requests.Response) -> None:
    """Read and discard the body, so that the connection can be reused; only the status matters."""
    with suppress(requests.RequestException):
        read_bounded(response, _MAX_RESPONSE_BYTES, _DRAIN_TIME_LIMIT)


def authorization(
    settings: DestinationSettings, entra: EntraClient, managed_identity: ManagedIdentity, tenant_id: str
) -> Callable[[], str] | None:
    """Return a function that gets an Entra token for the destination's scope; None if it has none."""
    scope = settings.scope
    if scope is None:
        return None
    if settings.identity is Identity.MANAGED:
        return lambda: managed_identity.token(scope.removesuffix("/.default"))
    return lambda: entra.token(tenant_id, scope)
