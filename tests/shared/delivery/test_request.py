"""Requests in each content mode, read by the CloudEvents SDK for Python; test_kit.py has JavaScript's."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1.http import from_http as from_http_v1
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.configuration.destinations import Mode
from shared.delivery.event import Event
from shared.delivery.request import RequestFormat, encode, partition_key

CHAT = "19:9e4d…@thread.v2"


def event(**changes: Any) -> Event:
    usual = Event(
        id=f"t/chats/{CHAT}/messages/1@0017.1",
        source="/tenants/t/chats/19%3A9e/messages",
        subject=f"chats/{CHAT}/messages/1",
        type="Microsoft.Graph.ChatMessageUpdated",
        time=datetime(2026, 11, 26, 9, 30, 0, 123456, UTC),
        version="0017.1",
        data=msgspec.Raw(b'{"body": {"content": "\xc3\xa4"}}'),
    )
    return msgspec.structs.replace(usual, **changes)


def request(mode: Mode, *events: Event) -> HTTPMessage:
    form = RequestFormat(mode)
    (batch,) = form.batches(events)
    return HTTPMessage(form.content_headers(batch), form.body(batch))


def attributes(event: Event) -> dict[str, Any]:
    """The attributes that a reader finds, except `datacontenttype` and `partial`."""
    return {
        "specversion": "1.0", "id": event.id, "source": event.source, "subject": event.subject, "type": event.type,
        "time": event.time, "version": event.version, "partitionkey": partition_key(event), "sequence": event.version,
    }  # fmt: skip


@given(
    st.builds(
        event,
        subject=st.text(min_size=1),
        time=st.datetimes(timezones=st.just(UTC)),
        data=st.dictionaries(st.text(), st.text() | st.integers(-(2**53), 2**53)).map(
            lambda value: msgspec.Raw(json.dumps(value).encode())
        ),
        partial=st.booleans(),
    )
)
@settings(max_examples=20)
def test_the_sdk_reads_one_event_in_either_mode(sent: Event) -> None:
    for mode in (Mode.STRUCTURED, Mode.BINARY):
        message = request(mode, sent)
        assert all(value.isascii() and value.isprintable() for value in message.headers.values())
        read = from_http(message, JSONFormat(), CloudEvent)
        found = read.get_attributes()
        assert found["datacontenttype"] == "application/json"
        assert {name: found[name] for name in attributes(sent)} == attributes(sent)
        assert ("partial" in found) == sent.partial
        assert read.get_data() == json.loads(bytes(sent.data))
    # Version 1 of the SDK leaves headers percent-encoded.
    assert from_http_v1(request(Mode.STRUCTURED, sent).headers, encode(sent))["id"] == sent.id


def test_each_event_of_a_batch_is_an_event_of_its_own() -> None:
    events = [event(id=str(number)) for number in range(3)]
    message = request(Mode.BATCH, *events)
    assert message.headers == {"Content-Type": "application/cloudevents-batch+json; charset=utf-8"}
    for sent, entry in zip(events, json.loads(message.body), strict=True):
        read = JSONFormat().read(CloudEvent, json.dumps(entry).encode())
        assert {name: read.get_attributes()[name] for name in attributes(sent)} == attributes(sent)


def test_data_is_sent_byte_for_byte_in_every_mode() -> None:
    data = b'{"b": 1.10,  "a": "\\u0000\\ud800", "a": 12345678901234567890}'
    for mode in Mode:
        assert data in request(mode, event(data=msgspec.Raw(data))).body
    assert request(Mode.BINARY, event(data=msgspec.Raw(data))).body == data


@pytest.mark.parametrize("mode", [Mode.STRUCTURED, Mode.BINARY])
def test_these_modes_send_one_event_a_request(mode: Mode) -> None:
    assert [len(batch) for batch in RequestFormat(mode).batches([event(), event()])] == [1, 1]


@pytest.mark.parametrize(
    ("subject", "key"),
    [
        ("chats/19:a@thread.v2/messages/1", "chats/19:a@thread.v2"),
        ("teams/T/channels/C/messages/1", "teams/T/channels/C"),
        ("teams/T/channels/C/messages/1/replies/2", "teams/T/channels/C"),
        ("users/U", "users/U"),
        ("users/U/messages/M", "users/U/messages/M"),
        ("chats/19:a@thread.v2", "chats/19:a@thread.v2"),
    ],
)
def test_messages_of_one_conversation_share_a_partition(subject: str, key: str) -> None:
    assert json.loads(encode(event(subject=subject)))["partitionkey"] == key
