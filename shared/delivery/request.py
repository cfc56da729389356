"""Events as HTTP requests, in the content modes of the CloudEvents HTTP binding 1.0, and how each request is signed.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote

import msgspec
from standardwebhooks import Webhook

from shared.configuration.destinations import Mode
from shared.delivery.event import Event

BATCH = "application/cloudevents-batch+json; charset=utf-8"
STRUCTURED = "application/cloudevents+json; charset=utf-8"

# HTTP binding, 3.1.3.2: space, the double quote, the percent sign and everything outside printable ASCII are encoded.
_UNENCODED = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


@dataclass(frozen=True)
class EncodedEvent:
    """An event and its JSON in UTF-8: the whole event or, in binary mode, its data."""

    event: Event
    body: bytes


@dataclass(frozen=True)
class RequestFormat:
    """The form of requests. max_events, max_bytes: of one request; a single larger event is sent alone.

    headers: additional headers of every request.
    """

    mode: Mode = Mode.BATCH
    max_events: int = 100
    max_bytes: int = 1_000_000
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def batches(self, events: Sequence[Event], most_events: int | None = None) -> Iterator[list[EncodedEvent]]:
        """Yield the events of each request in order; at most `most_events`, and no more than the destination
        accepts.
        """
        most = min(self.max_events, most_events or self.max_events) if self.mode is Mode.BATCH else 1
        batch: list[EncodedEvent] = []
        size = 2
        for event in events:
            encoded = self._encoded(event)
            if batch and (len(batch) >= most or size + len(encoded.body) + 1 > self.max_bytes):
                yield batch
                batch, size = [], 2
            batch.append(encoded)
            size += len(encoded.body) + 1
        if batch:
            yield batch

    def body(self, batch: Sequence[EncodedEvent]) -> bytes:
        """Return the body of a request; without events, that of an empty batch."""
        if self.mode is Mode.BATCH:
            return b"[" + b",".join(encoded.body for encoded in batch) + b"]"
        return batch[0].body

    def content_headers(self, batch: Sequence[EncodedEvent]) -> dict[str, str]:
        """Return the headers that describe the body, and the additional ones."""
        match self.mode:
            case Mode.BATCH:
                own = {"Content-Type": BATCH}
            case Mode.STRUCTURED:
                own = {"Content-Type": STRUCTURED}
            case Mode.BINARY:
                own = {"Content-Type": batch[0].event.datacontenttype, **_attributes(batch[0].event)}
        replaced = {name.lower() for name in self.headers}
        return {name: value for name, value in own.items() if name.lower() not in replaced} | dict(self.headers)

    def _encoded(self, event: Event) -> EncodedEvent:
        return EncodedEvent(event, bytes(event.data) if self.mode is Mode.BINARY else encode(event))


def encode(event: Event) -> bytes:
    """Return a CloudEvent in the JSON format, with the extensions `partitionkey` and `sequence`."""
    extensions = msgspec.json.encode({"partitionkey": partition_key(event), "sequence": event.version})
    return extensions[:-1] + b"," + msgspec.json.encode(event)[1:]


def partition_key(event: Event) -> str:
    """Return the key that keeps the order in a partitioned log: a message's chat or channel, otherwise the resource
    itself.
    """
    parts = event.subject.split("/")
    if len(parts) >= 4 and parts[0] == "chats" and parts[2] == "messages":
        return "/".join(parts[:2])
    if len(parts) >= 6 and parts[0] == "teams" and parts[2] == "channels" and parts[4] == "messages":
        return "/".join(parts[:4])
    return event.subject


def message_id(batch: Sequence[EncodedEvent]) -> str:
    """Return the webhook-id of a request: the same for every attempt to deliver the same events."""
    digest = hashlib.sha256("\n".join(encoded.event.id for encoded in batch).encode())
    return f"msg_{digest.hexdigest()[:32]}"


def signature_headers(webhooks: Sequence[Webhook], identity: str, now: datetime, body: bytes) -> dict[str, str]:
    """Sign as Standard Webhooks specifies; with two secrets, both sign, so that the receiver can rotate its secret."""
    if not webhooks:
        return {}
    text = body.decode("utf-8")
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(webhook.sign(identity, now, text) for webhook in webhooks),
    }


def _attributes(event: Event) -> dict[str, str]:
    """Return the attributes as headers of binary mode."""
    attributes = {
        "specversion": event.specversion,
        "id": event.id,
        "source": event.source,
        "subject": event.subject,
        "type": event.type,
        "time": msgspec.to_builtins(event.time),
        "version": event.version,
        "partitionkey": partition_key(event),
        "sequence": event.version,
        **({"partial": "true"} if event.partial else {}),
    }
    return {f"ce-{name}": quote(value, safe=_UNENCODED) for name, value in attributes.items()}
