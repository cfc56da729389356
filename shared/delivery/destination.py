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

    def deliver(self, events: Sequence[Event]) -> "Delivery":
        """Deliver `events` in as few requests as the destination's answers allow.

        A batch that is rejected is halved until the offending events stand alone. Never raises: what could not be
        delivered now is in the answer.
        """
        if not events:
            return Delivery()
        try:
            with self._breaker.attempt():
                status = self._post(events)
        except RetryLater as retry_later:
            return Delivery(kept=tuple(events), why=retry_later)
        if status < 300:
            return Delivery(delivered=tuple(events))
        if len(events) == 1:
            return Delivery(rejected=(Rejected(events[0], status),))
        middle = len(events) // 2
        first = self.deliver(events[:middle])
        if first.why is not None:
            # It was there a moment ago: don't try the other half on a destination that is in trouble.
            return msgspec.structs.replace(first, kept=(*first.kept, *events[middle:]))
        return first.joined(self.deliver(events[middle:]))

    def _post(self, events: Sequence[Event]) -> int:
        """Return 2xx, or a 4xx that speaks of the events. Raises RetryLater for all else."""
        body = msgspec.json.encode(events)
        try:
            with self._session.post(
                self._url,
                data=body,
                headers=self._headers(body),
                timeout=_TIME_LIMIT,
                allow_redirects=False,
                stream=True,
            ) as answer:
                status, wait = answer.status_code, retry_after(answer, self._clock())
                _drain(answer)
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
    """What became of events: each is in exactly one of the three; `why` says why some were kept."""

    delivered: tuple[Event, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    kept: tuple[Event, ...] = ()
    why: RetryLater | None = None

    def joined(self, other: "Delivery") -> "Delivery":
        """Return both in one."""
        return Delivery(
            self.delivered + other.delivered,
            self.rejected + other.rejected,
            self.kept + other.kept,
            self.why or other.why,
        )


def _drain(answer: requests.Response) -> None:
    """Read the body away, so that the connection can be used again; the status has been told, nothing else counts."""
    with suppress(requests.RequestException):
        read_bounded(answer, _LONGEST_ANSWER, _DRAINED_WITHIN)


def authorization(identity: EntraClient, tenant_id: str, scope: str) -> Callable[[], str]:
    """Return what gets an Entra token for the destination's `scope`."""
    return lambda: identity.token(tenant_id, scope)
