"""The rate at which a backlog drains into a slow destination, and the fill of its requests."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import requests

from bench.bystander import Bystander
from bench.figure import Figure
from shared.delivery.destination import Destination
from shared.delivery.dispatcher import Dispatcher, Limits
from shared.delivery.event import Event
from shared.delivery.ledger import Ledger
from shared.delivery.outbox import Outbox
from shared.http_client import session
from shared.outboxes_in_force import INVOCATIONS
from tests.builders import destination_secret
from tests.memory import MemoryTables
from tests.servers import RecordedRequest, ScriptedResponse, serving
from tests.shared.delivery.test_destination import some

EVENTS_AN_ENVELOPE = 4
ENVELOPES = 480
LATENCIES = (0.01, 0.1, 1.0)
REQUESTS = (2, 8)


def receiving(_: Bystander) -> Iterator[Figure]:
    """Measure with envelopes of four events, and destinations of different latency."""
    for latency in LATENCIES:
        for most in REQUESTS:
            with drained(latency, most) as (seconds, requests_made):
                events = EVENTS_AN_ENVELOPE * ENVELOPES
                yield Figure(
                    f"answers after {latency:g} s, {most} requests at once",
                    f"{events / seconds:,.0f} events/s, {events / requests_made:.0f} events a request",
                )


@contextmanager
def drained(latency: float, most: int) -> Iterator[tuple[float, int]]:
    """Deliver the backlog with the host's number of invocations; yield the seconds and the number of requests."""
    events = numbered(EVENTS_AN_ENVELOPE * ENVELOPES)
    envelopes = [events[first : first + EVENTS_AN_ENVELOPE] for first in range(0, len(events), EVENTS_AN_ENVELOPE)]

    def answer(_: RecordedRequest) -> ScriptedResponse:
        time.sleep(latency)
        return ScriptedResponse(204)

    with serving(answer) as server, session() as http, ThreadPoolExecutor(INVOCATIONS) as invocations:
        outbox = outbox_to(server.url, http, most)
        began = time.monotonic()
        deliveries = list(invocations.map(outbox.deliver, envelopes))
        seconds = time.monotonic() - began
        assert sum(len(delivery.delivered) for delivery in deliveries) == len(events)
        assert sum(len(json.loads(request.body)) for request in server.asked) == len(events)
        yield seconds, len(server.asked)


def outbox_to(url: str, http: requests.Session, most: int) -> Outbox:
    """Return the outbox of a destination at a URL."""

    def now() -> datetime:
        return datetime.now(UTC)

    destination = Destination(url, [destination_secret()], http, now)
    return Outbox(
        destination, Ledger(MemoryTables(), timedelta(days=60)), dispatcher=Dispatcher(Limits(requests=most), now)
    )


def numbered(count: int) -> list[Event]:
    """Return a number of events."""
    (usual,) = some(1)
    return [msgspec.structs.replace(usual, id=f"{usual.id}-{number}") for number in range(count)]
