"""The lag: from the time at which Graph posts to the time at which the destination has the event, at a steady rate."""

import http.client
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import msgspec

from bench.bystander import Bystander, bodies
from bench.figure import Figure, percentile
from bench.host import running_host
from tests.servers import RecordedRequest, ScriptedResponse, serving

RATES = (50, 200, 500)
"""Notifications a second."""

SECONDS = 15
ITEMS, SIZE = 5, 4096
CONNECTIONS = 16
PATIENCE = 120.0  # seconds


class _Data(msgspec.Struct):
    id: str


class _Event(msgspec.Struct):
    data: _Data


class _Item(msgspec.Struct):
    resource_data: _Data = msgspec.field(name="resourceData")


class _Collection(msgspec.Struct):
    value: list[_Item]


class _Arrivals:
    """The time of the first arrival of each message."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}

    def take(self, request: RecordedRequest) -> ScriptedResponse:
        now = time.monotonic()
        for event in msgspec.json.decode(request.body, type=list[_Event]):
            self.times.setdefault(event.data.id, now)
        return ScriptedResponse(204)


def lag(around: Bystander) -> Iterator[Figure]:
    """Post through the host at each rate; the time runs from when a POST was due, even if it was sent late."""
    arrivals = _Arrivals()
    with serving(arrivals.take) as server, running_host({**around.settings, "DESTINATION_URL": server.url}) as host:
        _lags(around, host.url, arrivals, RATES[0], 2)  # created on first use
        for rate in RATES:
            lags = _lags(around, host.url, arrivals, rate, SECONDS)
            worst = percentile(lags, 0.99)
            yield Figure(
                f"Lag at {rate} notifications a second", f"p50 {percentile(lags, 0.5):.2f} s, p99 {worst:.2f} s"
            )


def _lags(around: Bystander, url: str, arrivals: _Arrivals, rate: int, seconds: int) -> list[float]:
    some = bodies(around, rate * seconds // ITEMS, ITEMS, SIZE)
    began = time.monotonic() + 0.1
    due = {number: began + number * ITEMS / rate for number in range(len(some))}
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        local = threading.local()

        def post(number: int) -> None:
            time.sleep(max(due[number] - time.monotonic(), 0))
            _post(local, url, some[number])

        list(pool.map(post, due))
    expected = {item.resource_data.id: due[number] for number, body in enumerate(some) for item in _items(body)}
    deadline = time.monotonic() + PATIENCE
    while missing := expected.keys() - arrivals.times.keys():
        if time.monotonic() > deadline:
            raise AssertionError(f"{len(missing)} of {len(expected)} notifications did not arrive")
        time.sleep(0.05)
    return [arrivals.times[name] - at for name, at in expected.items()]


def _items(body: bytes) -> list[_Item]:
    return msgspec.json.decode(body, type=_Collection).value


def _post(local: threading.local, url: str, body: bytes) -> None:
    """POST on the connection of this thread, until the answer is 202."""
    with _connection(local, url) as client:
        status = 0
        while status != 202:
            client.request("POST", "/api/notifications", body)
            answer = client.getresponse()
            answer.read()
            status = answer.status


@contextmanager
def _connection(local: threading.local, url: str) -> Iterator[http.client.HTTPConnection]:
    if not hasattr(local, "client"):
        local.client = http.client.HTTPConnection(urlsplit(url).netloc)
    try:
        yield local.client
    except OSError:
        local.client.close()
        raise
