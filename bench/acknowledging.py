"""Acknowledging: POSTs through `notify_http` against bare `send_message` calls, and the time to the 202."""

import http.client
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from urllib.parse import urlsplit

import azure.functions as func
from azure.storage.queue import QueueClient

from bench.bystander import Bystander, bodies, function
from bench.figure import Figure, at_least, at_most, percentile
from bench.host import running_host
from shared.relay import storage as storage_clients

LEAST = 2.5
AT_ONCE = 16
ROUNDS = 5
CALLS = 400
SENT_TIMES = 600
OVERLOAD = 600
LATEST = 3.0  # seconds that Graph waits


def acknowledging(around: Bystander) -> list[Figure]:
    """The ratio is measured in one process, both in turn; the time to the 202 over HTTP, while the queue is
    processed.
    """
    return [_ratio(around), *_times(around)]


def _ratio(around: Bystander) -> Figure:
    some = bodies(around, 50, 1, 4096)
    storage_clients().acknowledging.create_missing()
    bare = QueueClient.from_connection_string(around.settings["AzureWebJobsStorage"], "bench-bare")
    bare.create_queue()
    handler = function("notify_http")
    requests = cycle([func.HttpRequest("POST", "https://x/api/notifications", body=body) for body in some])
    texts = cycle([body.decode() for body in some])

    def answered() -> None:
        answer = handler(next(requests))
        if answer.status_code != 202:
            raise AssertionError(answer.status_code)

    ratios, rates = [], []
    for _ in range(ROUNDS):
        sent = _rate(lambda: bare.send_message(next(texts), time_to_live=-1))
        desired = _rate(answered)
        # A long queue slows Azurite down for later measurements.
        bare.clear_messages()
        QueueClient.from_connection_string(around.settings["AzureWebJobsStorage"], "notifications").clear_messages()
        ratios.append(desired / sent)
        rates.append(desired)
    ratio, rate = sorted(ratios)[ROUNDS // 2], sorted(rates)[ROUNDS // 2]
    measured = f"{ratio:.2f} ({rate:,.0f} requests/s, {AT_ONCE} at once)"
    return at_least("Acknowledging, against bare send_message calls", ratio, LEAST, measured)


def _rate(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(call) for _ in range(CALLS)]:
            done.result()
    return CALLS / (time.perf_counter() - began)


def _times(around: Bystander) -> list[Figure]:
    with running_host(around.settings) as host:
        address = urlsplit(host.url).netloc
        figures = []
        for items, size, times in ((1, 4096, SENT_TIMES), (40, 5120, SENT_TIMES // 4)):
            some = bodies(around, 20, items, size)
            took, refused = _post_all(address, some, times, AT_ONCE)
            median, worst = percentile(took, 0.5) * 1000, percentile(took, 0.99) * 1000
            what = f"202 for {items} at a time ({len(some[0]) // 1024} KB), {AT_ONCE} connections"
            others = f", {refused} of {times} answered otherwise" if refused else ""
            figures.append(Figure(what, f"p50 {median:.0f} ms, p99 {worst:.0f} ms{others}"))
        return [*figures, _overload(address, bodies(around, 20, 1, 4096))]


def _overload(address: str, some: Sequence[bytes]) -> Figure:
    """More connections than an instance serves: accepted requests must be answered before Graph stops waiting."""
    took, refused = _post_all(address, some, OVERLOAD, OVERLOAD)
    worst = max(took, default=0.0)
    measured = f"{worst:.1f} s ({refused} answered otherwise, at once)"
    return at_most(f"The latest 202, {OVERLOAD} connections at once", worst, LATEST, measured, " s")


def _post_all(address: str, some: Sequence[bytes], times: int, connections: int) -> tuple[list[float], int]:
    """Return the seconds until each 202, and the number of other answers."""

    def connection(share: range) -> list[float | None]:
        client = http.client.HTTPConnection(address)
        took: list[float | None] = []
        for number in share:
            began = time.perf_counter()
            client.request("POST", "/api/notifications", some[number % len(some)])
            answer = client.getresponse()
            answer.read()
            took.append(time.perf_counter() - began if answer.status == 202 else None)
        client.close()
        return took

    with ThreadPoolExecutor(connections) as pool:
        shares = [range(first, times, connections) for first in range(connections)]
        took = [seconds for share in pool.map(connection, shares) for seconds in share]
    accepted = [seconds for seconds in took if seconds is not None]
    return accepted, len(took) - len(accepted)
