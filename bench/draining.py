"""Draining: the number of notifications that a host delivers per second from a full queue."""

import time
from concurrent.futures import ThreadPoolExecutor

import azure.functions as func
from azure.storage.queue import QueueClient

from bench.app_process import AT_ONCE, openings
from bench.bystander import Bystander, bodies, function
from bench.figure import Figure, at_least
from bench.host import running_host
from shared.relay import storage as storage_clients

NOTIFICATIONS = 10_000
LEAST = {40: 0.24, 1: 0.09}
"""By notifications per POST: deliveries per second, as a share of the RSA-2048 openings of one core in that time."""

SIZE = 4096
PATIENCE = 900.0  # seconds


def draining(around: Bystander) -> list[Figure]:
    """Fill the queue first, in this process; measure from the first message that the host has deleted."""
    return [_drained(around, items) for items in LEAST]


def _drained(around: Bystander, items: int) -> Figure:
    queue = QueueClient.from_connection_string(around.settings["AzureWebJobsStorage"], "notifications")
    storage_clients().acknowledging.create_missing()
    opening = openings()
    with queue:
        queue.clear_messages()
        with ThreadPoolExecutor(AT_ONCE) as connections:
            list(connections.map(_post, bodies(around, NOTIFICATIONS // items, items, SIZE)))
        full = queue.get_queue_properties().approximate_message_count or 0
        before = next(opening)
        with running_host(around.settings):
            rate = NOTIFICATIONS * _share_a_second(queue, full)
        share = rate * (before + next(opening)) / 2
    name = f"Delivered from a queue of {NOTIFICATIONS:,} notifications, {items} a POST, as a share of RSA openings"
    return at_least(name, share, LEAST[items], f"{share:.2f} ({rate:,.0f} notifications/s, {full:,} queue messages)")


def _post(body: bytes) -> None:
    answer = function("notify_http")(func.HttpRequest("POST", "https://x/api/notifications", body=body))
    if answer.status_code != 202:
        raise AssertionError(answer.status_code)


def _share_a_second(queue: QueueClient, full: int) -> float:
    """Return the share of the messages that is processed in a second."""
    deadline, began, left, first = time.monotonic() + PATIENCE, 0.0, full, full
    while left:
        left = queue.get_queue_properties().approximate_message_count or 0
        if left < full and not began:
            began, first = time.monotonic(), left
        if time.monotonic() > deadline:
            raise AssertionError(f"{left} of {full} messages are left")
        time.sleep(0.01)
    return first / full / (time.monotonic() - began)
