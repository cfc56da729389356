import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import msgspec
import pytest

from local.feed.event import read_batch
from local.feed.message import ReceivedRequest
from local.feed.store import Applied, Selection, Store
from tests.local.feed.sender import channel_message, chat_message, event

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "feed.db")
    yield store
    store.close()


def request(at: datetime = NOON) -> ReceivedRequest:
    return ReceivedRequest(at, "msg_1", "1795478400", 2)


def apply(store: Store, *events: dict[str, Any], arrived: datetime = NOON) -> Applied:
    return store.apply(read_batch(json.dumps(events).encode()), request(arrived))


def contents(store: Store) -> list[dict[str, Any]]:
    return [json.loads(line) for line in b"".join(store.contents()).splitlines()]


def test_an_event_whose_id_is_known_changes_nothing_and_is_counted(store: Store) -> None:
    first = event(chat_message())
    altered = first | {"data": chat_message("altered"), "version": "9"}
    assert len(apply(store, first).messages) == 1
    assert apply(store, altered, first) == Applied([], [])
    assert [line["data"] for line in contents(store)] == [first["data"]]
    assert (store.counts().events, store.counts().duplicates, store.counts().messages) == (3, 2, 1)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_last_version_wins_whatever_the_order_of_arrival(store: Store, order: tuple[int, ...]) -> None:
    message = chat_message()
    versions = [event(message | {"body": {"content": f"take {n}"}}, "Updated", revision=n) for n in range(3)]
    for n in order:
        apply(store, versions[n])
    assert [(line["version"], line["data"]["body"]) for line in contents(store)] == [
        (versions[2]["version"], {"content": "take 2"})
    ]


def test_versions_compare_as_strings(store: Store) -> None:
    message = chat_message()
    apply(store, event(message, id="a", version="9"))
    apply(store, event(message, id="b", version="10"))
    assert contents(store)[0]["version"] == "9"


def test_replies_with_one_id_under_two_roots_are_two_messages(store: Store) -> None:
    reply = channel_message(replyToId="1")
    apply(store, event(reply), event(reply | {"replyToId": "2"}))
    assert store.counts().messages == 2


def test_a_message_can_be_deleted_and_brought_back(store: Store) -> None:
    message = chat_message()
    apply(store, event(message))
    apply(store, event(message | {"deletedDateTime": "2026-11-23T12:00:00Z"}, "Deleted", revision=1))
    assert (store.counts().deleted, contents(store)[0]["deleted"]) == (1, True)
    apply(store, event(message, "Updated", revision=2))
    assert (store.counts().deleted, contents(store)[0]["deleted"]) == (0, False)


def test_the_author_is_remembered_when_a_later_event_names_none(store: Store) -> None:
    message = chat_message(author="Lin Okafor")
    apply(store, event(message))
    apply(store, event(message, "Deleted", revision=1, data={"id": message["id"]}, partial=True))
    [kept] = store.messages(10)
    assert (kept.author, kept.partial, kept.deleted, kept.revisions) == ("Lin Okafor", True, True, 2)


def test_lag_is_arrival_minus_the_time_of_the_change_also_for_late_versions(store: Store) -> None:
    message = chat_message()
    newer = event(message, revision=2, time=(NOON - timedelta(seconds=1)).isoformat())
    older = event(message, revision=1, time=(NOON - timedelta(seconds=3)).isoformat())
    assert apply(store, newer, older).lags == [1000, 3000]
    assert store.arrivals(NOON - timedelta(minutes=5)) == [(NOON, 1000), (NOON, 3000)]
    assert store.arrivals(NOON + timedelta(seconds=1)) == []


def test_pages_follow_each_other_newest_first_and_can_keep_to_one_conversation(store: Store) -> None:
    chat = [event(chat_message()) for _ in range(3)]
    channel = event(channel_message())
    apply(store, chat[0], channel, *chat[1:])
    newest = store.messages(2)
    assert [message.subject for message in newest] == [chat[2]["subject"], chat[1]["subject"]]
    rest = store.messages(9, before=newest[-1].position)
    assert [message.subject for message in rest] == [channel["subject"], chat[0]["subject"]]
    only = store.messages(9, selection=Selection(rest[0].conversation))
    assert [message.subject for message in only] == [channel["subject"]]


def test_conversations_know_their_size_their_name_and_who_writes_most(store: Store) -> None:
    names = ["Ada", "Lin", "Lin", "Jonas", "Sam", "Sam", "Sam", "Jonas"]
    apply(store, *(event(chat_message(author=name)) for name in names))
    apply(store, event(channel_message(author=None, eventDetail={"channelDisplayName": "Dock"})))
    channel, chat = store.conversations()
    assert (channel.name, channel.people, channel.messages) == ("Dock", [], 1)
    assert (chat.name, chat.people[0], set(chat.people[1:]), chat.messages) == (None, "Sam", {"Lin", "Jonas"}, 8)


def test_a_batch_that_fails_half_way_leaves_no_trace(store: Store) -> None:
    good, bad = read_batch(json.dumps([event(chat_message()), event(chat_message())]).encode())
    unstorable = msgspec.structs.replace(bad, subject="\ud83d")
    with pytest.raises(UnicodeEncodeError):
        store.apply([good, unstorable], request())
    assert (store.counts().events, contents(store)) == (0, [])


def test_everything_outlives_the_process(tmp_path: Path) -> None:
    first = Store(tmp_path / "feed.db")
    apply(first, event(chat_message("still here")))
    first.refuse(request(), 401, "signature")
    first.close()
    again = Store(tmp_path / "feed.db")
    assert contents(again)[0]["data"]["body"]["content"] == "still here"
    assert again.counts().refused == {"signature": 1}
    again.close()


def test_tidying_moves_what_is_committed_into_the_file_itself(store: Store, tmp_path: Path) -> None:
    apply(store, event(chat_message()))
    store.tidy()
    copy = shutil.copy(tmp_path / "feed.db", tmp_path / "copy.db")
    assert len(contents(Store(Path(copy)))) == 1
