"""One event of a delivered batch, in the format of CloudEvents 1.0."""

import json
import re
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

_CONVERSATION = re.compile(r"(/tenants/[^/]+/(?:chats/[^/]+|teams/[^/]+/channels/[^/]+))/messages")

Name = Annotated[str, msgspec.Meta(min_length=1)]


class NotEvents(Exception):
    """The body is not a batch of events. The message contains the expectation, never the content."""


class Event(msgspec.Struct, frozen=True):
    """A CloudEvent whose `data` keeps the original JSON: numbers, order and repetition of keys."""

    specversion: Literal["1.0"]
    id: Name
    source: Name
    subject: Name
    type: Name
    time: Annotated[datetime, msgspec.Meta(tz=True)]
    version: Name
    data: msgspec.Raw
    partial: bool = False

    @property
    def conversation(self) -> str:
        """The chat or channel of `source`; for resources of other kinds, `source` itself."""
        inside = _CONVERSATION.match(self.source)
        return inside[1] if inside else self.source


def read_batch(body: bytes) -> list[Event]:
    """Return the events of an `application/cloudevents-batch+json` body; each `data` is an object on one line.

    Raises:
        NotEvents: not JSON, not an array of events, or nested too deep to be read.
    """
    try:
        events = _decode(body)
        return [msgspec.structs.replace(event, data=_on_one_line(event.data)) for event in events]
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise NotEvents("expected a JSON array of CloudEvents 1.0, each with a version and data") from error


def _decode(body: bytes) -> list[Event]:
    try:
        return msgspec.json.decode(body, type=list[Event])
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # A lone surrogate ("\ud83d" alone) is legal JSON that msgspec rejects; texts of people contain some.
        return _from_plain(json.loads(body.decode()))


def _from_plain(batch: object) -> list[Event]:
    if not isinstance(batch, list) or not all(isinstance(item, dict) for item in batch):
        raise NotEvents("expected an array of objects")
    return [_event_from_plain(item) for item in batch]


def _event_from_plain(item: dict[str, Any]) -> Event:
    data = json.dumps(item.pop("data", None), allow_nan=False).encode()
    json.dumps(item, ensure_ascii=False).encode()  # attributes, unlike data, must be valid Unicode text
    return msgspec.convert(item | {"data": msgspec.Raw(data)}, Event)


def _on_one_line(data: msgspec.Raw) -> msgspec.Raw:
    text = bytes(data).strip()
    if not text.startswith(b"{"):
        raise NotEvents("expected data to be an object")
    # Within JSON strings, line breaks are always escaped, so each one here is only layout.
    return msgspec.Raw(text.replace(b"\r", b" ").replace(b"\n", b" "))
