"""From a resource to a CloudEvent."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st

from shared.delivery.event import Event, event_of_content, event_read_back, event_without_content
from shared.errors import Reason, Undeliverable
from shared.graph.notification import Notification, read_notification
from tests.builders import (
    CHANNEL,
    CHAT,
    NOW,
    TEAM,
    TENANT,
    change,
    channel_message,
    channel_path,
    chat_path,
    message,
    raw,
)

CHATS = "chats/getAllMessages"
LATER = NOW + timedelta(hours=3)
moments = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def named(resource: str, **changes: Any) -> Notification:
    return read_notification(raw(change(resource, **changes)))


def event_of(content: dict[str, Any], resource: str = "", received: datetime = NOW, **changes: Any) -> Event:
    notification = named(resource or chat_path(content["id"]), **changes)
    return event_of_content(msgspec.json.encode(content), notification, TENANT, received)


def test_a_chat_message_becomes_an_event_with_its_whole_identity() -> None:
    event = event_of(message("17"))
    assert event.source == f"/tenants/{TENANT}/chats/{CHAT.replace(':', '%3A').replace('@', '%40')}/messages"
    assert event.subject == f"chats/{CHAT}/messages/17"
    assert event.type == "Microsoft.Graph.ChatMessageCreated"
    assert event.time == datetime(2023, 11, 14, 22, 14, 20, 123000, UTC)
    assert not event.partial


def test_two_replies_of_one_id_below_different_roots_are_different() -> None:
    reply = event_of(channel_message("17", root="1"), channel_path("17", "1"))
    other = event_of(channel_message("17", root="2"), channel_path("17", "2"))
    assert reply.id != other.id
    assert reply.subject == f"teams/{TEAM}/channels/{CHANNEL}/messages/1/replies/17"
    assert reply.source.endswith("/messages/1/replies")


@given(moments, moments, st.sampled_from(["created", "updated"]), st.sampled_from(["created", "updated"]))
def test_the_same_version_has_the_same_id_however_and_whenever_it_comes(
    received: datetime, again: datetime, change_type: str, other: str
) -> None:
    pushed = event_of(message(), received=received, changeType=change_type)
    resent = event_of(message(), received=again, changeType=other)
    read_back = event_read_back(msgspec.json.encode(message()), CHATS, TENANT, again)
    assert pushed.id == resent.id == read_back.id
    assert pushed.version == resent.version == read_back.version


@pytest.mark.parametrize("content", [message(), channel_message(), channel_message("2", root="1")])
@pytest.mark.parametrize(
    "spelling",
    [
        "chats/{chat}/messages/17",
        "/CHATS('{chat}')/messages('17')",
        "users('5d')/chats('{chat}')/messages('17')",
        "teams/{team}/channels/{channel}/messages/17",
        "teams('{upper}')/channels('{channel}')/messages('1')/replies('17')",
    ],
)
def test_a_message_says_itself_where_it_is_whatever_the_notification_calls_it(
    content: dict[str, Any], spelling: str
) -> None:
    resource = spelling.format(chat=CHAT, team=TEAM, upper=TEAM.upper(), channel=CHANNEL)
    assert event_of(content, resource).id == event_read_back(msgspec.json.encode(content), CHATS, TENANT, LATER).id


def test_a_message_without_a_path_has_that_of_the_notification() -> None:
    bare = message("17", chatId=None)
    assert event_of(bare, "/Chats/c/Messages/17").subject == "chats/c/messages/17"


@given(st.tuples(moments, st.integers(10**12, 10**13)), st.tuples(moments, st.integers(10**12, 10**13)))
def test_versions_compare_as_strings_like_the_changes_in_time(
    left: tuple[datetime, int], right: tuple[datetime, int]
) -> None:
    def version(state: tuple[datetime, int]) -> str:
        written = state[0].isoformat().replace("+00:00", "Z")
        return event_of(message(lastModifiedDateTime=written, etag=str(state[1]))).version

    assert (version(left) < version(right)) is (left < right)
    assert (version(left) == version(right)) is (left == right)


@pytest.mark.parametrize(
    "spelling",
    [
        "2023-11-14T22:14:20.123Z",
        "2023-11-14T22:14:20.1230000Z",
        "2023-11-14T14:14:20.123-08:00",
        "2023-11-14T22:14:20.123+00:00",
    ],
)
def test_a_version_does_not_depend_on_how_its_time_is_spelled(spelling: str) -> None:
    assert event_of(message(lastModifiedDateTime=spelling)).id == event_of(message()).id


@pytest.mark.parametrize(
    "odd", [None, "", "yesterday", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
)
def test_a_time_that_says_nothing_is_no_error(odd: str | None) -> None:
    event = event_of(message(lastModifiedDateTime=odd, createdDateTime=odd))
    assert msgspec.json.encode(event)


@pytest.mark.parametrize(
    ("change_type", "deleted", "kind"),
    [
        ("created", None, "Created"),
        ("updated", None, "Updated"),
        ("deleted", None, "Deleted"),
        ("updated", "2023-11-14T22:14:20Z", "Deleted"),
        ("deleted", "2023-11-14T22:14:20Z", "Deleted"),
    ],
)
def test_the_type_says_what_happened(change_type: str, deleted: str | None, kind: str) -> None:
    event = event_of(message(deletedDateTime=deleted), changeType=change_type)
    assert event.type == f"Microsoft.Graph.ChatMessage{kind}"


def test_a_message_read_back_says_created_or_updated_by_its_times() -> None:
    untouched = message(lastModifiedDateTime="2023-11-14T22:13:20Z")
    assert event_read_back(msgspec.json.encode(untouched), CHATS, TENANT, NOW).type.endswith("Created")
    assert event_read_back(msgspec.json.encode(message()), CHATS, TENANT, NOW).type.endswith("Updated")


@pytest.mark.parametrize("content", [{}, {"id": "1"}, {"chatId": "c"}, {"id": "1", "channelIdentity": {"teamId": "t"}}])
def test_what_was_read_back_and_is_no_message_is_unreadable(content: dict[str, Any]) -> None:
    with pytest.raises(Undeliverable):
        event_read_back(msgspec.json.encode(content), CHATS, TENANT, NOW)


def test_other_resources_are_named_by_their_path_and_type() -> None:
    notification = named(
        "Users('5d')/Messages('AAMk/=')",
        changeType="updated",
        resourceData={"@odata.type": "#Microsoft.Graph.Message", "id": "AAMk/=", "@odata.etag": 'W/"7"'},
    )
    event = event_of_content(b'{"id": "AAMk/=", "subject": "s"}', notification, TENANT, NOW)
    assert event.type == "Microsoft.Graph.MessageUpdated"
    assert event.subject == "users/5d/messages/AAMk/="
    assert event.source == f"/tenants/{TENANT}/users/5d/messages"


@pytest.mark.parametrize("spelling", ["users('5D')/events('a1')", "/Users/5D/Events/a1", "users/5D/events('a1')"])
def test_other_resources_have_one_identity_in_each_spelling(spelling: str) -> None:
    event = event_without_content(named(spelling), TENANT, NOW)
    assert event.subject == "users/5D/events/a1"
    assert event.source == f"/tenants/{TENANT}/users/5D/events"


CREATED = {"createdDateTime": "2023-11-14T22:13:20Z"}
WITHOUT_MODIFICATION = {
    "chats('c1')": {"id": "c1", "lastUpdatedDateTime": "2023-11-14T22:14:20Z", **CREATED},
    "teams('t1')/channels('c1')": {"id": "c1", **CREATED},
    "teams('t1')": {"id": "t1", **CREATED},
    "groups('g1')": {"id": "g1", **CREATED},
    "users('u1')": {"id": "u1"},
}
"""Resources of Graph's without a time of modification."""


def pushed(resource: str, received: datetime, **content: Any) -> Event:
    return event_of({**WITHOUT_MODIFICATION[resource], **content}, resource, received, changeType="updated")


def entry(resource: str, read: datetime, **content: Any) -> Event:
    written = msgspec.json.encode({**WITHOUT_MODIFICATION[resource], **content})
    return event_read_back(written, resource, TENANT, read)


@pytest.mark.parametrize("resource", WITHOUT_MODIFICATION)
@pytest.mark.parametrize("come", [pushed, entry])
def test_two_versions_are_two_events_and_the_later_sorts_higher(resource: str, come: Callable[..., Event]) -> None:
    earlier, later = come(resource, NOW, displayName="A"), come(resource, LATER, displayName="B")
    assert earlier.id != later.id
    assert earlier.version < later.version


@pytest.mark.parametrize("resource", WITHOUT_MODIFICATION)
@pytest.mark.parametrize("come", [pushed, entry])
def test_what_was_changed_back_is_a_third_version(resource: str, come: Callable[..., Event]) -> None:
    first, second, third = (
        come(resource, NOW + timedelta(minutes=number), displayName=name) for number, name in enumerate("ABA")
    )
    assert first.version < second.version < third.version
    assert len({first.id, second.id, third.id}) == 3


@pytest.mark.parametrize("resource", WITHOUT_MODIFICATION)
def test_of_what_came_together_only_what_is_equal_is_one_version(resource: str) -> None:
    first, second = pushed(resource, NOW, displayName="A"), pushed(resource, NOW, displayName="B")
    assert first.id != second.id
    assert first.id == pushed(resource, NOW, displayName="A").id


def test_an_old_state_of_a_chat_that_comes_late_does_not_win() -> None:
    newer = pushed("chats('c1')", NOW, lastUpdatedDateTime="2023-11-14T22:15:00Z")
    assert pushed("chats('c1')", LATER).version < newer.version


def test_a_counting_etag_distinguishes_versions_beside_the_creation() -> None:
    earlier, later = (pushed("teams('t1')", NOW, etag=etag) for etag in ("9", "10"))
    assert earlier.version < later.version
    assert earlier.id == pushed("teams('t1')", LATER, etag="9").id


def test_an_etag_that_does_not_count_orders_nothing() -> None:
    earlier, later = (pushed("teams('t1')", at, etag=etag) for at, etag in ((NOW, 'W/"z"'), (LATER, 'W/"a"')))
    assert earlier.version < later.version


@pytest.mark.parametrize("gone", [{"@removed": {"reason": "deleted"}}, {"deleted": {"state": "deleted"}}])
def test_a_deleted_entry_is_newer_than_its_last_change(gone: dict[str, Any]) -> None:
    modified = {"lastModifiedDateTime": "2023-11-14T22:14:20Z"}
    before, after = entry("groups('g1')", NOW, **modified), entry("groups('g1')", NOW, **modified, **gone)
    assert before.version < after.version
    assert after.type.endswith("Deleted")


def test_the_ids_of_messages_are_what_they_have_always_been() -> None:
    version = "001700000060123000.001700000060000"
    assert event_of(message("17")).id == f"{TENANT}/chats/{CHAT}/messages/17@{version}"
    assert event_of(message("17")).version == version


def test_the_resource_travels_as_the_very_bytes_that_graph_sent() -> None:
    content = b'{ "id":"17",  "n": 1.50, "\\u00e9": "\xc3\xa9", "big": 123456789012345678901234567890, "chatId": "c"}'
    event = event_of_content(content, named("chats('c')/messages('17')"), TENANT, NOW)
    assert content in msgspec.json.encode([event])


@given(st.dictionaries(st.text(), st.none() | st.text() | st.integers() | st.lists(st.text())))
def test_the_resource_arrives_equal(more: dict[str, Any]) -> None:
    content = {**more, **message()}
    encoded = json.dumps(content, ensure_ascii=False).encode("utf-8")
    event = event_of_content(encoded, named(chat_path()), TENANT, NOW)
    assert json.loads(msgspec.json.encode(event))["data"] == content


@pytest.mark.parametrize("partial", [True, False])
def test_the_cloudevents_sdk_reads_what_we_write(partial: bool) -> None:
    event = event_without_content(named(chat_path()), TENANT, NOW) if partial else event_of(message())
    read = JSONFormat().read(None, msgspec.json.encode(event))
    assert read.get_id() == event.id
    assert read.get_source() == event.source
    assert read.get_type() == event.type
    assert read.get_specversion() == "1.0"
    assert read.get_subject() == event.subject
    assert read.get_time() == event.time
    assert read.get_datacontenttype() == "application/json"
    assert read.get_extension("version") == event.version
    assert read.get_extension("partial") is (True if partial else None)
    assert read.get_data() == json.loads(bytes(event.data))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b'{"id": "\xff"}',
        b"[" * 200_000,
        b'{"a": ' * 100_000,
        b"\xef\xbb\xbf{}",
        b"{}{}",
    ],
    ids=lambda content: repr(content[:12]),
)
def test_content_that_is_not_a_json_object_is_unreadable(content: bytes) -> None:
    with pytest.raises(Undeliverable) as undeliverable:
        event_of_content(content, named(chat_path()), TENANT, NOW)
    assert undeliverable.value.reason is Reason.CONTENT_NOT_JSON


@given(st.binary())
def test_any_content_is_an_event_or_unreadable_and_never_shows(content: bytes) -> None:
    try:
        event_of_content(content, named(chat_path()), TENANT, NOW)
    except Undeliverable as undeliverable:
        assert str(undeliverable) == "content_not_json: the decrypted content is not a JSON resource"  # noqa: PT017


def test_an_item_without_content_is_partial_and_carries_the_notifications_data() -> None:
    event = event_without_content(named(chat_path("17"), changeType="deleted"), TENANT, NOW)
    assert event.partial
    assert event.subject == f"chats/{CHAT}/messages/17"
    assert event.type == "Microsoft.Graph.ChatMessageDeleted"
    assert json.loads(bytes(event.data))["id"] == "1700000000000"
    assert json.loads(msgspec.json.encode(event))["partial"] is True


def test_two_changes_without_content_are_never_taken_for_one() -> None:
    for resource in (chat_path(), "users/5d"):
        earlier, later = (event_without_content(named(resource), TENANT, at) for at in (NOW, LATER))
        assert earlier.id != later.id
    assert earlier.version < later.version


def test_changes_without_content_of_one_time_are_one_event_only_if_equal() -> None:
    said: list[dict[str, Any]] = [
        {"changeType": "created"},
        {"changeType": "updated"},
        {"changeType": "updated", "resourceData": {"id": "5d", "members@delta": [{"id": "1"}]}},
    ]
    ids = [event_without_content(named("groups/5d", **fields), TENANT, NOW).id for fields in [*said, *said]]
    assert len(set(ids)) == len(said)
    assert ids[: len(said)] == ids[len(said) :]


def test_a_messages_content_read_back_wins_over_what_came_without_content() -> None:
    written = message(
        "1700000000000", createdDateTime="2023-11-14T22:13:20Z", lastModifiedDateTime="2023-11-14T22:13:21Z"
    )
    content = event_read_back(msgspec.json.encode(written), CHATS, TENANT, LATER)
    bare = event_without_content(named(chat_path("1700000000000"), changeType="updated"), TENANT, LATER)
    assert bare.version < content.version


def test_a_deletion_without_content_wins_over_the_content_before_it() -> None:
    content = event_read_back(msgspec.json.encode(message("1700000000000")), CHATS, TENANT, NOW)
    gone = event_without_content(named(chat_path("1700000000000"), changeType="deleted"), TENANT, NOW)
    assert gone.version > content.version


@pytest.mark.parametrize("resource", [chat_path("1700000000000"), "users/5d"])
def test_a_deletion_without_content_differs_from_a_change_of_the_same_time(resource: str) -> None:
    changed, gone = (
        event_without_content(named(resource, changeType=change_type), TENANT, NOW)
        for change_type in ("updated", "deleted")
    )
    assert changed.id != gone.id
    assert changed.version < gone.version


def test_an_item_without_any_data_has_an_empty_object() -> None:
    assert bytes(event_without_content(named("users/5d", resourceData=None), TENANT, NOW).data) == b"{}"


@given(st.text(st.characters(exclude_categories=["C"]), min_size=1), st.sampled_from(["created", "updated", "deleted"]))
def test_any_resource_and_change_make_an_event(resource: str, change_type: str) -> None:
    event = event_without_content(named(resource, changeType=change_type), TENANT, NOW)
    assert event.source.isascii()
    assert json.loads(msgspec.json.encode([event]))
