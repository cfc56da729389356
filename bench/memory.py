"""Memory: whether a function process stays flat over 100,000 notifications, POST to destination, and loses none.

BENCH_NOTIFICATIONS is another number of them.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import azure.functions as func
from azure.functions.queue import QueueMessage
from azure.storage.queue import QueueClient
from rich.progress import track

from bench.bystander import Bystander, bystander, function, queue_message
from bench.figure import Figure, at_most
from local.host import metrics
from shared.relay import storage as storage_clients

ITEMS, SIZE = 40, 2100
POSTS = int(os.environ.get("BENCH_NOTIFICATIONS", "100000")) // ITEMS
NOTIFICATIONS = POSTS * ITEMS
AT_ONCE = 16
HIDDEN = 600
"""Seconds that a message is hidden while a thread works on it, however busy the machine."""
SLICES = 100
"""Memory is read after each."""
WARM = 20
"""Slices after which caches and pools have their size."""
MOST = 1.1
"""Growth from then on."""


@dataclass(frozen=True)
class Measured:
    """lost: notifications that were not delivered. warm, end: MB."""

    lost: float
    warm: float
    end: float


def memory(_: Bystander) -> list[Figure]:
    """Run both functions in a process of their own, several at once, on the real queue; compare the peak after warming
    with the end.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as processes:
        measured = processes.submit(_measure).result()
    growth = measured.end / measured.warm
    return [
        Figure(f"Lost of {NOTIFICATIONS:,} notifications", f"{measured.lost:,.0f}", "0", measured.lost == 0),
        at_most(
            f"Memory over {NOTIFICATIONS:,} notifications",
            growth,
            MOST,
            f"{growth:.2f} times as much at the end as after {WARM} of {SLICES} parts ({measured.end:.0f} MB)",
        ),
    ]


def _measure() -> Measured:
    """Run all. Azurite has the data in memory: on disk, the ledger of a million events would stall it."""
    with bystander(in_memory=True) as around:
        notify, process = function("notify_http"), function("process_queue")
        queue = QueueClient.from_connection_string(around.settings["AzureWebJobsStorage"], "notifications")
        storage_clients().acknowledging.create_missing()
        metrics.reader()

        def post(_: int) -> None:
            # A new body each time: the ledger lets only the first through. On 503, the POST is sent again, as by Graph.
            request = func.HttpRequest("POST", "https://x/api/notifications", body=around.collection(ITEMS, SIZE))
            while notify(request).status_code != 202:
                continue
            _process_some(queue, process)

        used = []
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for number in track(range(SLICES), f"{NOTIFICATIONS:,} notifications"):
                list(pool.map(post, range(number * POSTS // SLICES, (number + 1) * POSTS // SLICES)))
                used.append(_used())
        while queue.get_queue_properties().approximate_message_count:  # what was enqueued again has a delay
            _process_some(queue, process)
            time.sleep(0.1)
        return Measured(NOTIFICATIONS - _delivered(), max(used[:WARM]), used[-1])


def _process_some(queue: QueueClient, process: Callable[[QueueMessage], None]) -> None:
    for message in queue.receive_messages(max_messages=4, visibility_timeout=HIDDEN):
        process(queue_message(message.id, message.content))
        queue.delete_message(message)


def _delivered() -> float:
    """Return how many events the destination has accepted in this process."""
    return sum(float(point["value"]) for point in metrics.current() if point["name"] == "graph_relay.delivered")


def _used() -> float:
    """Memory of this process that no file holds too, MB (Linux): the kernel drops and reads pages of files at will."""
    _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text(encoding="ascii").split())
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 1e6
