"""Memory: whether a function process stays flat over 100,000 notifications, POST to destination, and loses none.

BENCH_NOTIFICATIONS is another number of them.
"""

import os
from collections.abc import Callable
from pathlib import Path

import azure.functions as func
from azure.functions.queue import QueueMessage
from azure.storage.queue import QueueClient
from rich.progress import track

from bench.bystander import Bystander, function, queue_message
from bench.figure import Figure, at_most
from local.host import metrics
from shared.relay import storage as storage_clients

NOTIFICATIONS = int(os.environ.get("BENCH_NOTIFICATIONS", "100000"))
ITEMS, SIZE = 40, 2100
WARM = 0.2
"""Share after which caches and pools have their size."""
MOST = 1.1
"""Growth from then on."""


def memory(around: Bystander) -> list[Figure]:
    """Run both functions in this process, in turn, on the real queue; compare the peak after warming with the end."""
    notify, process = function("notify_http"), function("process_queue")
    queue = QueueClient.from_connection_string(around.settings["AzureWebJobsStorage"], "notifications")
    posts = NOTIFICATIONS // ITEMS
    warm, before = 0.0, _delivered()
    storage_clients().acknowledging.create_missing()
    queue.clear_messages()
    for number in track(range(posts), f"{NOTIFICATIONS:,} notifications"):
        # Made anew each time, or the ledger would let none but the first through; sent again on 503, as Graph does.
        body = around.collection(ITEMS, SIZE)
        while notify(func.HttpRequest("POST", "https://x/api/notifications", body=body)).status_code != 202:
            continue
        _work_off(queue, process)
        if number <= posts * WARM:
            warm = max(warm, _resident())
    end = _resident()
    while queue.get_queue_properties().approximate_message_count:  # what was enqueued again has a delay
        _work_off(queue, process)
    lost = posts * ITEMS - (_delivered() - before)
    return [
        Figure(f"Lost of {posts * ITEMS:,} notifications", f"{lost:,.0f}", "0", lost == 0),
        at_most(
            f"Memory over {NOTIFICATIONS:,} notifications",
            end / warm,
            MOST,
            f"{end / warm:.2f} times as much at the end as after {WARM:.0%} ({end:.0f} MB)",
        ),
    ]


def _work_off(queue: QueueClient, process: Callable[[QueueMessage], None]) -> None:
    for message in queue.receive_messages(max_messages=32):
        process(queue_message(message.id, message.content))
        queue.delete_message(message)


def _delivered() -> float:
    """Return how many events the destination has accepted in this process."""
    metrics.reader()
    return sum(float(point["value"]) for point in metrics.current() if point["name"] == "graph_relay.delivered")


def _resident() -> float:
    """Resident memory of this process, MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
