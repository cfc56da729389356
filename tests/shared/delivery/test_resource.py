"""The fields that the app reads from a resource."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.delivery.resource import Resource, read_resource, time_of
from shared.errors import Reason, Undeliverable
from shared.resources.identity import identify
from tests.builders import CHANNEL, CHAT, TEAM, channel_message, chat_path, message


def read(content: dict[str, Any]) -> Resource:
    return read_resource(msgspec.json.encode(content))


PAGE = "users/5d/chats/getAllMessages"


@pytest.mark.parametrize(
    ("content", "subject"),
    [
        (message("17"), f"chats/{CHAT}/messages/17"),
        (channel_message("17"), f"teams/{TEAM}/channels/{CHANNEL}/messages/17"),
        (channel_message("17", root="1"), f"teams/{TEAM}/channels/{CHANNEL}/messages/1/replies/17"),
        (
            message("17", chatId=None, channelIdentity={"teamId": TEAM.upper(), "channelId": CHANNEL}),
            f"teams/{TEAM}/channels/{CHANNEL}/messages/17",
        ),
        (message("17", chatId=None), None),
        (message(""), None),
        ({"id": "17", "channelIdentity": {"teamId": TEAM}}, None),
        ({}, None),
    ],
)
def test_a_message_says_where_it_is(content: dict[str, Any], subject: str | None) -> None:
    found = read(content).identity_in(PAGE)
    assert (found and found.subject) == subject


def test_the_message_is_believed_before_the_notification_that_names_it() -> None:
    elsewhere = chat_path("17", chat="19:other@thread.v2")
    assert read(message("17")).identity_in(elsewhere) == identify(chat_path("17"))
    assert read(message("17", chatId=None)).identity_in(elsewhere) == identify(elsewhere)


def test_only_what_the_notification_calls_a_message_is_one() -> None:
    member = f"chats('{CHAT}')/members('17')"
    assert read({"id": "17", "chatId": CHAT}).identity_in(member) == identify(member)


@pytest.mark.parametrize("name", ["etag", "eTag", "@odata.etag"])
def test_an_etag_is_found_whatever_it_is_called(name: str) -> None:
    assert read({"id": "1", name: '"7"'}).version_tag == '"7"'


@pytest.mark.parametrize("gone", [{"@removed": {"reason": "deleted"}}, {"deleted": {"state": "deleted"}}])
def test_an_entry_of_a_delta_query_says_that_it_is_gone(gone: dict[str, Any]) -> None:
    assert read({"id": "1", **gone}).is_gone
    assert not read({"id": "1"}).is_gone


def test_what_was_never_modified_is_likely_created() -> None:
    created = "2023-11-14T22:13:20Z"
    assert read({"createdDateTime": created, "lastModifiedDateTime": created}).likely_change == "created"
    assert read(message()).likely_change == "updated"
    assert read({}).likely_change == "updated"


@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b"{", b'{"id": "\xff"}', b"[" * 200_000, b'{"id": 1}', b"{}{}"]
)
def test_what_is_no_resource_is_undeliverable(content: bytes) -> None:
    with pytest.raises(Undeliverable) as undeliverable:
        read_resource(content)
    assert undeliverable.value.reason is Reason.CONTENT_NOT_JSON


@pytest.mark.parametrize(
    "spelling",
    [
        "2023-11-14T22:14:20.123Z",
        "2023-11-14T22:14:20.1230000Z",
        "2023-11-14T14:14:20.123-08:00",
        "2023-11-14T22:14:20.123",
    ],
)
def test_a_time_is_read_in_each_of_graphs_spellings_as_utc(spelling: str) -> None:
    moment = time_of(spelling)
    assert moment == datetime(2023, 11, 14, 22, 14, 20, 123_000, UTC)
    assert moment.tzinfo is UTC


@pytest.mark.parametrize("text", [None, "", "yesterday", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_meaningless_time_is_none(text: str | None) -> None:
    assert time_of(text) is None


@given(st.text())
def test_any_text_is_a_time_in_utc_or_none(text: str) -> None:
    moment = time_of(text)
    assert moment is None or moment.tzinfo is UTC
