"""Growth: whether the cost of a notification depends on the length of the queue or the size of the ledger."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import msgspec
from azure.storage.queue import QueueClient

from bench.app_process import AT_ONCE, app_process
from bench.bystander import Bystander, bodies
from bench.draining import _post
from bench.figure import Figure, at_most
from shared.delivery.event import Event
from shared.delivery.ledger import Ledger
from shared.relay import storage as storage_clients
from tests.shared.delivery.test_destination import some

WAITING = (1_000, 10_000, 100_000)
"""Notifications on the queue."""

POSTS, ITEMS, SIZE = 96, 8, 4096
DAYS = (1, 31)
EVERY = timedelta(minutes=10)
"""Time between two rows of the ledger."""

LOOKED_UP, ROUNDS = 40, 60
MOST = 1.5


def growth(around: Bystander) -> Iterator[Figure]:
    """CPU time at the largest amount against the smallest; real time includes the storage account's."""
    yield from _of_the_queue(around)
    yield from _of_the_ledger()


def _of_the_queue(around: Bystander) -> Iterator[Figure]:
    queue = QueueClient.from_connection_string(around.settings["AzureWebJobsStorage"], "notifications")
    storage_clients().acknowledging.create_missing()
    queue.clear_messages()
    filler = bodies(around, 25, 40, SIZE)
    costs = []
    with queue, app_process() as app, ThreadPoolExecutor(AT_ONCE) as connections:
        app.acknowledge(bodies(around, POSTS, ITEMS, SIZE))
        filled = 0
        for number in WAITING:
            posts = (number - filled) // 40
            list(connections.map(_post, (filler[post % len(filler)] for post in range(posts))))
            filled = number
            costs.append(app.acknowledge(bodies(around, POSTS, ITEMS, SIZE)))
        queue.clear_messages()
    for number, cost in zip(WAITING, costs, strict=True):
        each = POSTS * ITEMS / 1000
        text = f"{cost.seconds / each:.2f} ms of CPU, {cost.elapsed / each:.2f} ms by the clock, {AT_ONCE} at once"
        yield Figure(f"202 with {number:,} notifications on the queue, a notification", text)
    ratios = [cost.seconds / cost.opening for cost in costs]
    grown = ratios[-1] / ratios[0]
    yield at_most(f"202 with {WAITING[-1]:,} waiting against {WAITING[0]:,}", grown, MOST, f"{grown:.2f}")


def _of_the_ledger() -> Iterator[Figure]:
    ledger = Ledger(storage_clients().tables, timedelta(days=60), "bench-growth")
    (usual,) = some(1)
    now = datetime.now(UTC)
    batch = [_at(usual, now, number) for number in range(LOOKED_UP)]
    ledger.record(batch)
    costs, filled = [], 0
    for days in DAYS:
        rows = days * timedelta(days=1) // EVERY
        ledger.record([_at(usual, now - number * EVERY, number) for number in range(filled + 1, rows)])
        filled = rows
        cpu, clock = time.process_time(), time.perf_counter()
        for _ in range(ROUNDS):
            if ledger.undelivered(batch):
                raise AssertionError("the ledger forgot what was delivered")
        costs.append(((time.process_time() - cpu) / ROUNDS, (time.perf_counter() - clock) / ROUNDS))
        text = f"{costs[-1][0] * 1000:.1f} ms of CPU, {costs[-1][1] * 1000:.1f} ms by the clock"
        yield Figure(f"Looking {LOOKED_UP} events up in a ledger of {days} days ({rows:,} rows)", text)
    grown = costs[-1][0] / costs[0][0]
    yield at_most(f"Looking up in a ledger of {DAYS[-1]} days against {DAYS[0]}", grown, MOST, f"{grown:.2f}")


def _at(usual: Event, time: datetime, number: int) -> Event:
    return msgspec.structs.replace(usual, id=f"{usual.id}-{number}", time=time)
