import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.feed.event import Event, NotEvents, read_batch
from local.feed.resource import conversation_name, is_deleted, read_resource
from tests.local.feed.sender import CHANNEL, TEAM, TENANT, channel_message, chat_message, event

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def read(**changes: Any) -> Event:
    return read_batch(json.dumps([event(chat_message()) | changes]).encode())[0]


@given(data=st.dictionaries(st.text(), JSON), indent=st.sampled_from([None, 2]), ascii_only=st.booleans())
def test_data_comes_out_equal_and_on_one_line(data: dict[str, Any], indent: int | None, ascii_only: bool) -> None:
    body = json.dumps([event(chat_message()) | {"data": data}], indent=indent, ensure_ascii=ascii_only)
    kept = bytes(read_batch(body.encode())[0].data)
    assert json.loads(kept) == data
    assert b"\n" not in kept


def test_data_keeps_the_digits_of_its_numbers_and_its_repeated_keys() -> None:
    data = '{"a": 1.10, "a": 12345678901234567890123, "b": 1e400}'
    body = json.dumps([event(chat_message()) | {"data": {}}]).replace('"data": {}', f'"data": {data}')
    assert bytes(read_batch(body.encode())[0].data).decode() == data


def test_an_unpaired_surrogate_in_a_text_survives() -> None:
    kept = read(data={"body": {"content": "half of an emoji: \ud83d"}}).data
    assert json.loads(bytes(kept)) == {"body": {"content": "half of an emoji: \ud83d"}}


@pytest.mark.parametrize(
    "changes",
    [
        {"specversion": "0.3"},
        {"id": ""},
        {"id": "\ud83d"},
        {"source": None},
        {"version": 7},
        {"time": "yesterday"},
        {"time": "2026-11-23T10:00:00"},
        {"data": []},
        {"data": None},
        {"data": "{}"},
    ],
)
def test_an_event_out_of_shape_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(NotEvents):
        read(**changes)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[1]", b"[", b"\xff", b"[" * 100_000, b'[{"data":' + b"[" * 100_000, b'["\\ud83d"]', b"NaN"]
)
def test_a_body_other_than_a_batch_is_refused(body: bytes) -> None:
    with pytest.raises(NotEvents):
        read_batch(body)


@given(body=st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_events_or_refused(body: bytes) -> None:
    with suppress(NotEvents):
        read_batch(body)


def test_a_message_belongs_to_its_chat_and_a_reply_to_its_channel() -> None:
    reply = event(channel_message(replyToId="17"))
    assert read().conversation == f"/tenants/{TENANT}/chats/19%3A9e4410aa%40thread.v2"
    assert (
        read(source=reply["source"]).conversation
        == f"/tenants/{TENANT}/teams/{TEAM}/channels/19%3A7c9e22f0%40thread.tacv2"
    )
    assert read(source=f"/tenants/{TENANT}/users").conversation == f"/tenants/{TENANT}/users"


def test_a_message_is_deleted_by_type_or_by_its_own_word() -> None:
    for found, expected in (
        (read(), False),
        (read(type="Microsoft.Graph.ChatMessageDeleted"), True),
        (read(data=chat_message(deletedDateTime="2026-11-23T10:00:00Z")), True),
    ):
        assert is_deleted(found, read_resource(found)) is expected


def test_a_place_is_named_by_its_renaming_or_by_a_mention_of_it() -> None:
    def name_from(**fields: Any) -> str | None:
        found = read_batch(json.dumps([event(channel_message(**fields))]).encode())[0]
        return conversation_name(found, read_resource(found))

    def mention(place: str) -> list[dict[str, Any]]:
        return [{"id": 0, "mentioned": {"user": None, "conversation": {"id": place, "displayName": "Dock"}}}]

    assert name_from() is None
    assert name_from(eventDetail={"channelDisplayName": "Night shift"}) == "Night shift"
    assert name_from(mentions=mention(CHANNEL)) == "Dock"
    assert name_from(mentions=mention("19:elsewhere@thread.tacv2")) is None


def test_a_resource_of_another_kind_simply_has_no_author() -> None:
    found = read(data={"from": {"user": "a string"}, "mentions": 3})
    assert read_resource(found).author == msgspec.convert({}, type(read_resource(found).author))
