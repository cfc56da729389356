"""Signed, bounded, honest HTTP delivery of events to the destination. See docs/destination.md for its side."""

import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
import requests
from standardwebhooks import Webhook

from shared.delivery.circuit_breaker import CircuitBreaker
from shared.delivery.event import Event
from shared.errors import Reason, RetryLater
from shared.graph.entra import EntraClient
from shared.http_client import read_bounded, retry_after

CONTENT_TYPE = "application/cloudevents-batch+json; charset=utf-8"

_TIME_LIMIT = (5, 20)
_LONGEST_ANSWER = 65_536
_DRAINED_WITHIN = timedelta(seconds=2)  # a new connection costs less than to wait for the end of a slow body
_GONE_WAIT = timedelta(hours=1)

LONGEST_WAIT = timedelta(hours=1)
"""What is believed of the destination's Retry-After."""

_OF_THE_ENDPOINT = frozenset({401, 403, 404, 405, 407, 408, 425, 429})
"""4xx that speak of the destination's state or of our credentials, not of an event: they are retried."""


@dataclass(frozen=True)
class Rejected:
    """The destination will not have this event, whatever we do; `status` is its answer."""

    event: Event
    status: int


class Destination:
    """Where events go; one object serves all threads."""

    def __init__(
        self,
        url: str,
        secrets: Sequence[str],
        session: requests.Session,
        clock: Callable[[], datetime],
        authorization: Callable[[], str] | None = None,
    ) -> None:
        """`authorization` returns an access token to be sent along, if the destination wants one."""
        self._url = url
        self._webhooks = [Webhook(secret) for secret in secrets]
        self._session = session
        self._clock = clock
        self._authorization = authorization
        self._breaker = CircuitBreaker(Reason.DESTINATION, clock)

    def deliver(self, events: Sequence[Event], *, isolate_errors: bool = False) -> "Delivery":
        """Deliver `events` in as few requests as the destination's answers allow.

        A batch that is rejected is halved until the offending events stand alone; with `isolate_errors`, so is a batch
        that is answered 500. Never raises: what could not be delivered now is in the answer.
        """
        if not events:
            return Delivery()
        try:
            with self._breaker.attempt():
                status = self._post(events)
        except RetryLater as failure:
            if isolate_errors and failure.reason is Reason.DESTINATION_ERROR and len(events) > 1:
                return self._isolate(events, failure)
            return Delivery(kept=tuple(events), failure=failure)
        if status < 300:
            return Delivery(delivered=tuple(events))
        return self._reject(events, status, isolate_errors=isolate_errors)

    def ping(self) -> int:
        """Deliver a signed batch without events, and return the status of the answer, whatever it is.

        Raises:
            requests.RequestException: there is no answer.
            RetryLater: no token can be had for the destination.
        """
        return self._exchange(b"[]")[0]

    def _reject(self, events: Sequence[Event], status: int, *, isolate_errors: bool) -> "Delivery":
        """Deliver in halves what was rejected as a whole."""
        if len(events) == 1:
            return Delivery(rejected=(Rejected(events[0], status),))
        middle = len(events) // 2
        first = self.deliver(events[:middle], isolate_errors=isolate_errors)
        if first.failure is not None and not (isolate_errors and first.failure.reason is Reason.DESTINATION_ERROR):
            # It answered a moment ago: do not try the other half on a destination that is in trouble.
            return first.joined(Delivery(kept=tuple(events[middle:]), failure=first.failure))
        return first.joined(self.deliver(events[middle:], isolate_errors=isolate_errors))

    def _isolate(self, events: Sequence[Event], failure: RetryLater) -> "Delivery":
        """Deliver in halves: one event may be what the destination fails on.

        The breaker may not let the last of them through, after so many failures: they too are kept for the first.
        """
        middle = len(events) // 2
        halves = [self.deliver(half, isolate_errors=True) for half in (events[:middle], events[middle:])]
        joined = halves[0].joined(halves[1])
        if not joined.kept:
            return joined
        failures = (failure, halves[0].failure, halves[1].failure)
        longest = max((error.retry_after for error in failures if error and error.retry_after), default=None)
        error = RetryLater(Reason.DESTINATION_ERROR, "the destination answers 500", retry_after=longest)
        return msgspec.structs.replace(joined, failure=error)

    def _post(self, events: Sequence[Event]) -> int:
        """Return 2xx, or a 4xx that speaks of the events. Raises RetryLater for all else."""
        try:
            status, wait = self._exchange(msgspec.json.encode(events))
        except requests.RequestException as error:
            raise RetryLater(Reason.DESTINATION, f"the destination does not answer ({type(error).__name__})") from None
        if 200 <= status < 300:
            return status
        if status == 410:
            detail = "the destination answers 410 Gone: delivery is stopped, what is queued is kept"
            raise RetryLater(Reason.DESTINATION_GONE, detail, retry_after=wait or _GONE_WAIT)
        if status == 500:
            raise RetryLater(Reason.DESTINATION_ERROR, "the destination answers 500", retry_after=wait)
        if status in _OF_THE_ENDPOINT or not 400 <= status < 500:
            raise RetryLater(Reason.DESTINATION, f"the destination answers {status}", retry_after=wait)
        return status

    def _exchange(self, body: bytes) -> tuple[int, timedelta | None]:
        """Send a signed body; return the status of the answer and how long it asks to wait."""
        with self._session.post(
            self._url,
            data=body,
            headers=self._headers(body),
            timeout=_TIME_LIMIT,
            allow_redirects=False,
            stream=True,
        ) as answer:
            status, wait = answer.status_code, retry_after(answer.headers, self._clock(), LONGEST_WAIT)
            _drain(answer)
        return status, wait

    def _headers(self, body: bytes) -> dict[str, str]:
        """Sign as Standard Webhooks asks; with two secrets, both sign, so that the receiver may change its own."""
        message_id, now = f"msg_{uuid.uuid4().hex}", self._clock()
        text = body.decode("utf-8")
        headers = {
            "Content-Type": CONTENT_TYPE,
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(webhook.sign(message_id, now, text) for webhook in self._webhooks),
        }
        if self._authorization is not None:
            headers["Authorization"] = f"Bearer {self._authorization()}"
        return headers


class Delivery(msgspec.Struct, frozen=True):
    """What became of events: each is in exactly one of the three; `failure` says why some were kept."""

    delivered: tuple[Event, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    kept: tuple[Event, ...] = ()
    failure: RetryLater | None = None

    def joined(self, other: "Delivery") -> "Delivery":
        """Return both in one."""
        return Delivery(
            self.delivered + other.delivered,
            self.rejected + other.rejected,
            self.kept + other.kept,
            self.failure or other.failure,
        )


def _drain(answer: requests.Response) -> None:
    """Read the body away, so that the connection can be used again; the status has been told, nothing else counts."""
    with suppress(requests.RequestException):
        read_bounded(answer, _LONGEST_ANSWER, _DRAINED_WITHIN)


def authorization(entra: EntraClient, tenant_id: str, scope: str) -> Callable[[], str]:
    """Return what gets an Entra token for the destination's `scope`."""
    return lambda: entra.token(tenant_id, scope)
