"""What is answered to a POST of Graph's, and what is stored before the answer.

The answer does not show whether an item was accepted (docs/graph.md, "Invalid notifications").
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from shared import telemetry
from shared.errors import Refused, RetryLater
from shared.graph.notification import read_collection
from shared.messages.account import Account
from shared.messages.ingest import ExpectedRecipient, ingest, validation_tokens
from shared.paths import Paths
from shared.storage.queues import Sender

LARGEST_BODY = 32 << 20
"""Bytes. Graph names no limit; ordinary collections have some hundred KB."""

TIME_LIMIT = timedelta(seconds=2.4)
"""For storing: Graph stops listening after 3 s, and an answer over 2.9 s counts as slow."""


@dataclass(frozen=True)
class Answer:
    """Status, plain text and `Retry-After` (seconds) of an HTTP answer."""

    status: Literal[200, 202, 400, 413, 503]
    text: str = ""
    retry_after: int | None = None


def receive(
    body: bytes,
    recipient: ExpectedRecipient,
    queues: Sender,
    received: datetime,
    paths: Paths | None = None,
    account: Account | None = None,
) -> Answer:
    """Store what is ours in `body`, a changeNotificationCollection, and return the answer. Never raises.

    `paths` notes what is refused, `account` what is queued; None: nothing is noted.
    """
    if len(body) > LARGEST_BODY:
        return Answer(413, f"The body exceeds {LARGEST_BODY} bytes.")
    try:
        collection = read_collection(body)
    except Refused as refused:
        telemetry.REFUSED.add(1, {"reason": refused.reason})
        if paths is not None:
            paths.refused_on_receipt([(None, refused.reason)], received)
        return Answer(400, "Expected a changeNotificationCollection in JSON.")
    try:
        evidence = validation_tokens(collection)
        refused_items = ingest(collection.value, recipient, evidence, queues, received, TIME_LIMIT, account)
    except RetryLater:
        return Answer(503, "Storage is unavailable. Please send this again.", retry_after=10)
    if paths is not None:
        paths.refused_on_receipt(refused_items, received)
    return Answer(202)
