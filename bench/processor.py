"""CPU time and storage requests per notification, for the 202 and for delivery, as multiples of one RSA-2048
opening.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from azure.storage.queue import QueueClient

from bench.app_process import AT_ONCE, AppProcess, Cost, app_process
from bench.bystander import Bystander, bodies
from bench.figure import Figure, at_most

POSTS = {1: 640, 8: 160, 40: 48}
"""The number of POSTs, by the notifications in each."""

SIZE = 4096
PAGE = 16
"""Messages that the host receives at a time (`batchSize` in host.json)."""


ROUNDS = 3
MOST_TO_ACKNOWLEDGE = {1: 3.7, 8: 1.1, 40: 0.75}
MOST_TO_DELIVER = {1: 8, 8: 4, 40: 3.5}
"""Upper limit in RSA-2048 openings, by the notifications in a POST."""

MOST_REQUESTS = {1: 1.2, 8: 0.4, 40: 0.2}


@dataclass(frozen=True)
class Round:
    """The cost of `items` notifications, and the number of their queue messages."""

    items: int
    acknowledged: Cost
    delivered: Cost
    messages: int

    @property
    def requests(self) -> float:
        """Upper limit of storage requests per notification; the host receives messages by the page, and deletes
        each.
        """
        of_the_host = self.messages + math.ceil(self.messages / PAGE)
        return (self.acknowledged.storage + self.delivered.storage + of_the_host) / self.items


def processor(around: Bystander) -> Iterator[Figure]:
    """Acknowledge, receive the messages from the queue as the host does, and deliver them, in several rounds."""
    queue = QueueClient.from_connection_string(around.settings["AzureWebJobsStorage"], "notifications")
    with queue, app_process() as app:
        run(around, app, queue, 1, 32)
        rounds = [[run(around, app, queue, items, posts) for items, posts in POSTS.items()] for _ in range(ROUNDS)]
    for items, same in zip(POSTS, zip(*rounds, strict=True), strict=True):
        yield from _figures(items, same)


def run(around: Bystander, app: AppProcess, queue: QueueClient, items: int, posts: int) -> Round:
    """Process a number of POSTs up to the destination."""
    acknowledged = app.acknowledge(bodies(around, posts, items, SIZE))
    texts = []
    for message in queue.receive_messages(messages_per_page=32, visibility_timeout=600):
        texts.append(message.content)
        queue.delete_message(message)
    return Round(items * posts, acknowledged, app.deliver(texts), len(texts))


def _figures(items: int, rounds: Sequence[Round]) -> Iterator[Figure]:
    """Report the median of the rounds."""
    for what, costs, limits in (
        ("202", [sample.acknowledged for sample in rounds], MOST_TO_ACKNOWLEDGE),
        ("Delivery", [sample.delivered for sample in rounds], MOST_TO_DELIVER),
    ):
        each = median(cost.seconds for cost in costs) / rounds[0].items
        ratio = median(cost.seconds / cost.opening for cost in costs) / rounds[0].items
        name = f"{what}, {items} a POST, {AT_ONCE} at once: CPU a notification, in RSA openings"
        yield at_most(name, ratio, limits[items], f"{ratio:.1f} ({each * 1000:.2f} ms)")
    requests = median(sample.requests for sample in rounds)
    name = f"Storage requests a notification, {items} a POST, {AT_ONCE} at once"
    yield at_most(name, requests, MOST_REQUESTS[items], f"{requests:.2f}")
