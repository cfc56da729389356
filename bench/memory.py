"""Memory: whether a function process stays flat over 100,000 notifications, POST to destination."""

import os
from pathlib import Path

import azure.functions as func
from azure.storage.queue import QueueClient
from rich.progress import track

from bench.bystander import Bystander, function, queue_message
from bench.figure import Figure, at_most

NOTIFICATIONS = 100_000
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
    warm = 0.0
    for number in track(range(posts), f"{NOTIFICATIONS:,} notifications"):
        # Made anew each time, or the ledger would let none but the first through; sent again on 503, as Graph does.
        body = around.collection(ITEMS, SIZE)
        while notify(func.HttpRequest("POST", "https://x/api/notifications", body=body)).status_code != 202:
            continue
        for message in queue.receive_messages(max_messages=32):
            process(queue_message(message.id, message.content))
            queue.delete_message(message)
        if number <= posts * WARM:
            warm = max(warm, _resident())
    end = _resident()
    return [
        at_most(
            f"Memory over {NOTIFICATIONS:,} notifications",
            end / warm,
            MOST,
            f"{end / warm:.2f} times as much at the end as after {WARM:.0%} ({end:.0f} MB)",
        )
    ]


def _resident() -> float:
    """Resident memory of this process, MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
