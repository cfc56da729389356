"""Draining: a queue full of notifications, and how many a second a host delivers."""

import time

import azure.functions as func
from azure.storage.queue import QueueClient

from bench.bystander import Bystander, bodies, function
from bench.figure import Figure
from bench.host import running_host
from shared.relay import storage as storage_clients

COLLECTIONS = ((40, 25), (1, 300))
"""Notifications a POST, and how many POSTs."""

PATIENCE = 300.0  # seconds


def draining(around: Bystander) -> list[Figure]:
    """The queue is filled first, in this process; the time runs from the first message that the host has deleted."""
    return [_drained(around, items, times) for items, times in COLLECTIONS]


def _drained(around: Bystander, items: int, times: int) -> Figure:
    queue = QueueClient.from_connection_string(around.settings["AzureWebJobsStorage"], "notifications")
    some, handler = bodies(around, min(times, 20), items, 4096), function("notify_http")
    storage_clients().acknowledging.create_missing()
    with queue:
        for number in range(times):
            answer = handler(func.HttpRequest("POST", "https://x/api/notifications", body=some[number % len(some)]))
            if answer.status_code != 202:
                raise AssertionError(answer.status_code)
        full = queue.get_queue_properties().approximate_message_count or 0
        if not full:
            raise AssertionError("nothing was stored: the app refuses what the benchmark sends")
        with running_host(around.settings):
            deadline, began, left, first = time.monotonic() + PATIENCE, 0.0, full, full
            while left:
                left = queue.get_queue_properties().approximate_message_count or 0
                if left < full and not began:
                    began, first = time.monotonic(), left
                if time.monotonic() > deadline:
                    raise AssertionError(f"{left} of {full} messages are left")
            seconds = time.monotonic() - began
    rate = items * times * first / full / seconds if seconds else 0
    return Figure(f"Delivered from a full queue, {items} a POST", f"{rate:,.0f} notifications/s ({full} messages)")
