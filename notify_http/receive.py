"""Stores the accepted items of a POST by Graph, and returns the answer.

The answer does not show whether an item was accepted (docs/graph.md, "Invalid notifications").
"""

import threading
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from shared import telemetry
from shared.errors import Refused, RetryLater
from shared.graph.notification import read_collection
from shared.messages.account import Account
from shared.messages.ingest import Channel, ExpectedRecipient, ingest, validation_tokens
from shared.paths import Paths
from shared.storage.queues import Sender

LARGEST_BODY = 8 << 20
"""Bytes. Graph documents no limit; ordinary collections have some hundred KB. The memory of an instance must hold one
body for each concurrent request (`maxConcurrentRequests` in host.json), twice. The deployment sets the host's own
limit, `FUNCTIONS_REQUEST_BODY_SIZE_LIMIT`, to the same value: larger bodies do not reach the app."""

_LARGE = 1 << 20
_large_bodies = threading.BoundedSemaphore(2)
"""Bodies larger than a megabyte that are parsed concurrently: parsing makes copies, and one core parses one at a time.
"""

TIME_LIMIT = timedelta(seconds=2.4)
"""For storing: Graph stops waiting after 3 s, and an answer after 2.9 s counts as slow."""

HTTP = Channel("notify_http", TIME_LIMIT)


@dataclass(frozen=True)
class Answer:
    """Status, plain text and `Retry-After` (seconds) of an HTTP answer; whether anything of the POST was stored."""

    status: Literal[200, 202, 400, 413, 503]
    text: str = ""
    retry_after: int | None = None
    stored: bool = field(default=False, compare=False)


def receive(
    body: bytes,
    recipient: ExpectedRecipient,
    queues: Sender,
    received: datetime,
    paths: Paths | None,
    account: Account,
) -> Answer:
    """Store the accepted items of `body`, a changeNotificationCollection, and return the answer. Never raises.

    paths: stores refused items; None: disabled. account: records queued items.
    """
    if len(body) > LARGEST_BODY:
        return Answer(413, f"The body exceeds {LARGEST_BODY} bytes.")
    try:
        with _large_bodies if len(body) > _LARGE else nullcontext():
            collection = read_collection(body)
    except Refused as refused:
        telemetry.REFUSED.add(1, {"reason": refused.reason})
        if paths is not None:
            paths.refused_on_receipt([(None, refused.reason)], received)
        return Answer(400, "Expected a changeNotificationCollection in JSON.")
    try:
        evidence = validation_tokens(collection)
        ingested = ingest(collection.value, recipient, evidence, queues, received, HTTP, account)
    except RetryLater:
        return Answer(503, "Storage is unavailable. Please send this again.", retry_after=10)
    if paths is not None:
        paths.refused_on_receipt(ingested.examples, received)
    return Answer(202, stored=ingested.accepted > 0)
