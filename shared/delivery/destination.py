"""Signed HTTP delivery of events to the destination, bounded in time and size. docs/destination.md is the contract."""

import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
import requests
from standardwebhooks import Webhook

from shared import deadline
from shared.circuit_breaker import CircuitBreaker
from shared.delivery.event import Event
from shared.errors import Reason, RetryLater
from shared.graph.entra import EntraClient
from shared.http_client import read_bounded, retry_after

CONTENT_TYPE = "application/cloudevents-batch+json; charset=utf-8"

_TIME_LIMIT = (5, 20)
_MAX_RESPONSE_BYTES = 65_536
_DRAIN_TIME_LIMIT = timedelta(seconds=2)  # a new connection costs less than waiting for a slow body
_RETRY_AFTER_GONE = timedelta(hours=1)

LONGEST_WAIT = timedelta(hours=1)
"""What is believed of the destination's Retry-After."""

_ENDPOINT_STATUSES = frozenset({401, 403, 404, 405, 407, 408, 425, 429})
"""4xx about the destination's state or our credentials, not about an event: they are retried."""


@dataclass(frozen=True)
class Rejected:
    """The destination rejects this event permanently; `status` is its response."""

    event: Event
    status: int


class Destination:
    """The service that receives the events; one object serves all threads."""

    def __init__(
        self,
        url: str,
        secrets: Sequence[str],
        session: requests.Session,
        clock: Callable[[], datetime],
        authorization: Callable[[], str] | None = None,
    ) -> None:
        """`authorization` returns an access token to send along, if the destination requires one."""
        self._url = url
        self._webhooks = [Webhook(secret) for secret in secrets]
        self._session = session
        self._clock = clock
        self._authorization = authorization
        self._breaker = CircuitBreaker(Reason.DESTINATION, clock)

    def deliver(self, events: Sequence[Event], *, isolate_errors: bool = False) -> "Delivery":
        """Deliver `events` in as few requests as the destination's responses allow.

        A rejected batch is halved until each offending event is alone; with `isolate_errors`, so is a batch answered
        with 500. Never raises: the result holds the undelivered events.
        """
        if not events:
            return Delivery()
        try:
            deadline.check()
            # Whoever writes a message that the destination fails on must not keep it from the others.
            with self._breaker.attempt(ignoring=Reason.DESTINATION_ERROR if isolate_errors else None):
                status = self._post(events)
        except RetryLater as failure:
            if isolate_errors and failure.reason is Reason.DESTINATION_ERROR and len(events) > 1:
                return self._isolate(events, failure)
            return Delivery(undelivered=tuple(events), failure=failure)
        if status < 300:
            return Delivery(delivered=tuple(events))
        return self._reject(events, status, isolate_errors=isolate_errors)

    def ping(self) -> int:
        """Deliver a signed batch without events, and return the status of the response, whatever it is.

        Raises:
            requests.RequestException: there is no response.
            RetryLater: Entra ID issues no token for the destination.
        """
        return self._exchange(b"[]")[0]

    def _reject(self, events: Sequence[Event], status: int, *, isolate_errors: bool) -> "Delivery":
        """Deliver the halves of a rejected batch."""
        if len(events) == 1:
            return Delivery(rejected=(Rejected(events[0], status),))
        middle = len(events) // 2
        first = self.deliver(events[:middle], isolate_errors=isolate_errors)
        if first.failure is not None and not (isolate_errors and first.failure.reason is Reason.DESTINATION_ERROR):
            # The destination has become unavailable: do not try the other half.
            return first.merged(Delivery(undelivered=tuple(events[middle:]), failure=first.failure))
        return first.merged(self.deliver(events[middle:], isolate_errors=isolate_errors))

    def _isolate(self, events: Sequence[Event], failure: RetryLater) -> "Delivery":
        """Deliver the halves of a batch answered with 500: a single event may cause the error."""
        middle = len(events) // 2
        halves = [self.deliver(half, isolate_errors=True) for half in (events[:middle], events[middle:])]
        merged = halves[0].merged(halves[1])
        if not merged.undelivered:
            return merged
        failures = (failure, halves[0].failure, halves[1].failure)
        longest = max((error.retry_after for error in failures if error and error.retry_after), default=None)
        error = RetryLater(Reason.DESTINATION_ERROR, "the destination answers 500", retry_after=longest)
        return msgspec.structs.replace(merged, failure=error)

    def _post(self, events: Sequence[Event]) -> int:
        """Return 2xx, or a 4xx about the events. Raises RetryLater for everything else."""
        try:
            status, delay = self._exchange(msgspec.json.encode(events))
        except requests.RequestException as error:
            raise RetryLater(Reason.DESTINATION, f"the destination does not answer ({type(error).__name__})") from None
        if 200 <= status < 300:
            return status
        if status == 410:
            detail = "the destination answers 410 Gone: delivery is stopped, the queue keeps the events"
            raise RetryLater(Reason.DESTINATION_GONE, detail, retry_after=delay or _RETRY_AFTER_GONE)
        if status == 500:
            raise RetryLater(Reason.DESTINATION_ERROR, "the destination answers 500", retry_after=delay)
        if status in _ENDPOINT_STATUSES or not 400 <= status < 500:
            raise RetryLater(Reason.DESTINATION, f"the destination answers {status}", retry_after=delay)
        return status

    def _exchange(self, body: bytes) -> tuple[int, timedelta | None]:
        """Send a signed body; return the status and the requested delay (Retry-After)."""
        with self._session.post(
            self._url,
            data=body,
            headers=self._headers(body),
            timeout=_TIME_LIMIT,
            allow_redirects=False,
            stream=True,
        ) as response:
            status, delay = response.status_code, retry_after(response.headers, self._clock(), LONGEST_WAIT)
            _drain(response)
        return status, delay

    def _headers(self, body: bytes) -> dict[str, str]:
        """Sign as Standard Webhooks specifies; with two secrets, both sign, so that the receiver can rotate its
        secret.
        """
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
    """The result for each event: it is in exactly one of the three; `failure` says why some are undelivered."""

    delivered: tuple[Event, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    undelivered: tuple[Event, ...] = ()
    failure: RetryLater | None = None

    def merged(self, other: "Delivery") -> "Delivery":
        """Return both results as one."""
        return Delivery(
            self.delivered + other.delivered,
            self.rejected + other.rejected,
            self.undelivered + other.undelivered,
            self.failure or other.failure,
        )


def _drain(response: requests.Response) -> None:
    """Read and discard the body, so that the connection can be reused; only the status matters."""
    with suppress(requests.RequestException):
        read_bounded(response, _MAX_RESPONSE_BYTES, _DRAIN_TIME_LIMIT)


def authorization(entra: EntraClient, tenant_id: str, scope: str) -> Callable[[], str]:
    """Return a function that gets an Entra token for the destination's `scope`."""
    return lambda: entra.token(tenant_id, scope)
