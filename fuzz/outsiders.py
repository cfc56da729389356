"""Further targets: single fields, queue messages and headers that outsiders control."""

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests

from fuzz.promises import promise
from ops.dead_letter_fields import all_fields, summary
from shared.configuration.declaration import Declaration, Declarations
from shared.delivery.event import Event, event_without_content
from shared.errors import Reason, Refused, RetryLater, Undeliverable
from shared.graph.client import address
from shared.graph.notification import CHANGE_TYPES, read_notification
from shared.http_client import retry_after
from shared.messages.admission import Admission
from shared.messages.authentication import EnvelopeKeys
from shared.messages.dead_letters import ListedDeadLetter
from shared.messages.envelope import ChangeBatch, DeadLetter, Envelope, ItemBatch, ReadbackPage, read_dead_letter
from shared.messages.ingest import ExpectedRecipient
from shared.storage.claim_check import Opened, claimed_blob
from shared.storage.queues import Queue, QueuedMessage

TENANT = "c7d1e2f3-0a0b-4c0d-8e0f-000000000001"
NOW = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
LONGEST = timedelta(hours=1)
GRAPH = "https://graph.example.org"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_FIELDS = ("changeType", "resource", "subscriptionId", "tenantId", "clientState")
_DATA_FIELDS = ("@odata.type", "@odata.id", "@odata.etag", "id")


def item(text: bytes) -> None:
    """Whatever the fields of an item contain, its event is short, printable, and of one of three change types."""
    values = text.decode("utf-8", "replace").split("\0")
    fields = dict(zip((*_FIELDS, *_DATA_FIELDS), values, strict=False))
    data = {name: fields.pop(name) for name in _DATA_FIELDS if name in fields}
    raw = msgspec.Raw(msgspec.json.encode({"subscriptionId": "1", **fields, "resourceData": data}))
    try:
        notification = read_notification(raw)
    except Refused as refused:
        promise(refused.reason is Reason.MALFORMED, "another reason")
        return
    promise(notification.change_type in CHANGE_TYPES, "another kind of change")
    event = event_without_content(notification, TENANT, NOW)
    for attribute in (event.id, event.source, event.subject, event.type, event.version):
        promise(not _CONTROL.search(attribute), "a control character in an attribute")
        promise(len(attribute) < 20_000, "an attribute is too long")
    promise(re.fullmatch(r"Microsoft\.Graph\.\w+", event.type, re.ASCII) is not None, "a kind that is no name")
    promise(_reads_back(event), "an event is not JSON")


def queue_message(text: bytes) -> None:
    """Content that this app did not write is not trusted, in the queue or in a dead letter; both can be shown."""
    message = text.decode("utf-8", "replace")
    for envelope in (_admitted(message), _replayed(message)):
        if envelope is None:
            continue
        promise(envelope.attempt == 0 and not envelope.trace, "a claim of earlier attempts is believed")
        promise(not isinstance(envelope, ChangeBatch) or envelope.proven == (), "a verdict is believed")
        promise(not isinstance(envelope, ItemBatch) or envelope.items == (), "an item without a clientState passed")
        promise(not isinstance(envelope, ReadbackPage) or envelope.link == "", "a link is believed")
    try:
        letter = read_dead_letter(message)
    except Undeliverable:
        letter = None
    listed = _listed(message, letter)
    promise(bool(msgspec.json.encode([summary(listed, NOW), all_fields(listed, NOW)])), "a dead letter can't be shown")


def claim(text: bytes) -> None:
    """A reference names a blob by a UUID, or is refused."""
    message = text.decode("utf-8", "replace")
    for reference in (message, f"claim:{message}"):
        try:
            name = claimed_blob(reference)
        except Undeliverable as undeliverable:
            promise(undeliverable.reason is Reason.MALFORMED, "another reason")
            continue
        promise(name is None or str(uuid.UUID(name)) == name, "a name that is no UUID")
        promise((name is None) == (not reference.startswith("claim:")), "a reference is taken for a text")


def retry_delay(text: bytes) -> None:
    """A requested delay is within limits, or None."""
    delay = retry_after({"Retry-After": text.decode("latin-1")}, NOW, LONGEST)
    promise(delay is None or timedelta(0) <= delay <= LONGEST, "a delay out of bounds")


def link(text: bytes) -> None:
    """Whatever link Graph returns, the app's token goes to Graph alone."""
    path = text.decode("utf-8", "replace")
    try:
        prepared = requests.Request("GET", address(GRAPH, path)).prepare().url or ""
    except (RetryLater, requests.RequestException):
        return
    except UnicodeError:  # requests encodes it when it sends
        return
    parts = urlsplit(prepared)
    promise((parts.scheme, parts.hostname, parts.port) == ("https", urlsplit(GRAPH).hostname, None), "another host")
    promise("@" not in parts.netloc, "credentials in an address")


def _admitted(message: str) -> Envelope | None:
    try:
        return _admission().read(message).envelope
    except (Undeliverable, Refused):
        return None


def _replayed(message: str) -> Envelope | None:
    try:
        return _admission().replayed(read_dead_letter(message).envelope, authentic=_admission().is_authentic(message))
    except (Undeliverable, Refused):
        return None


def _listed(message: str, letter: DeadLetter | None) -> ListedDeadLetter:
    queued = QueuedMessage(Queue.DEAD_LETTERS, "1", message, NOW, NOW)
    reason, since = (letter.reason, letter.given_up) if letter else (Reason.MALFORMED, NOW)
    envelopes = ((message, letter.envelope),) if letter else ()
    return ListedDeadLetter("1", reason, since, envelopes, queued, Opened(message))


def _reads_back(event: Event) -> bool:
    decoded: list[dict[str, Any]] = msgspec.json.decode(msgspec.json.encode([event]))
    return bool(decoded[0]["id"] == event.id)


@cache
def _admission() -> Admission:
    secret = bytes(32)
    declared = Declaration("/users", ("updated",), tenant_id=TENANT)
    recipient = ExpectedRecipient(TENANT, [secret])
    return Admission(EnvelopeKeys([secret]), recipient, Declarations([declared]), timedelta(days=9), lambda: NOW)


TARGETS: tuple[Callable[[bytes], None], ...] = (item, queue_message, claim, retry_delay, link)
