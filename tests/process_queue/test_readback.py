"""What is read back from Graph: to a scripted Graph and destination, with a real Azurite between."""

import json
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import msgspec
import pytest
import requests
from azure.storage.queue import QueueClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from local.authority import Authority
from process_queue.changes import Delivering
from process_queue.readback import Reader, relay_readback
from process_queue.settle import Settlement
from shared.dead_letters import DeadLetters
from shared.destination import Destination
from shared.envelope import Readback, read, read_dead_letter, write
from shared.errors import NotNow, Reason
from shared.event import event_of_content, event_of_entry
from shared.graph import Graph
from shared.ledger import Ledger
from shared.notification import read_notification
from shared.resource_path import segments
from shared.settings import StorageSettings
from shared.silence import Silence
from shared.storage import PATIENT, Shelf
from shared.tables import Tables
from tests.builders import (
    CHANNEL,
    CHAT,
    NOW,
    TEAM,
    TENANT,
    Clock,
    change,
    channel_message,
    chat_path,
    destination_secret,
    message,
    raw,
)
from tests.hurried import Hurried
from tests.servers import Answer, Asked, in_json, serving
from tests.shared.test_graph import Bearer

DONE = Answer(204)
DAY_BEFORE = NOW - timedelta(days=1)


class Away:
    """Graph and the destination, as a test scripts them, and the queue between."""

    def __init__(self, storage_settings: StorageSettings, authority: Authority, session: requests.Session) -> None:
        self.pages: dict[str, Any] = {}
        self.delivered: list[dict[str, Any]] = []
        self.destination_answers = DONE
        self.stumbles_over: set[str] = set()
        self.rejects: set[str] = set()
        self.clock = Clock(NOW)
        self._settings = storage_settings
        self._storage = Hurried(storage_settings, PATIENT)
        self._storage.ready()
        self.delays = self._storage.delays
        self._settlement = Settlement(self._storage, timedelta(hours=72), self.clock, lambda: 0.0)
        self._tables = Tables(storage_settings)
        self._session = session
        self._authority = authority

    def __enter__(self) -> "Away":
        self._graph_server = serving(self._page, self._authority)
        self.graph = self._graph_server.__enter__()
        self._destination_server = serving(self._take)
        self._url = self._destination_server.__enter__().url
        self._destination = self._destination_untried()
        return self

    def __exit__(self, *_: object) -> None:
        self._graph_server.__exit__(None, None, None)
        self._destination_server.__exit__(None, None, None)

    def _destination_untried(self) -> Destination:
        return Destination(self._url, [destination_secret()], self._session, self.clock)

    def read(self, readback: Readback) -> None:
        reader = Reader(Graph(self.graph.url, Bearer(), self._session, self.clock), self._tables, self._storage)
        delivering = Delivering(self._destination, Ledger(self._tables), Silence(self._tables), self.clock)
        relay_readback(readback, reader, delivering, self._settlement)

    def read_to_the_end(self, readback: Readback) -> None:
        """Read, and then whatever is queued, an hour each time, until nothing is."""
        self._storage.put(write(readback))
        while taken := self._storage.take(Shelf.QUEUED, timedelta(minutes=5)):
            for one in taken:
                self.clock.advance(hours=1)
                self._process(one.text)
                self._storage.remove(one)

    def _process(self, text: str) -> None:
        readback = read(text)
        assert isinstance(readback, Readback)
        try:
            self.read(readback)
        except NotNow as not_now:
            self._settlement.postpone(readback, not_now)

    def begin_anew(self) -> None:
        """Forget what an example before has left."""
        self.delivered.clear()
        self.pages.clear()
        self.clock.now = NOW
        self._destination = self._destination_untried()
        QueueClient.from_connection_string(
            self._settings.connection_string, f"{self._settings.queue}-dead-letters"
        ).clear_messages()

    def dead(self) -> list[tuple[str, Reason]]:
        """Return the ids of the messages among the dead letters, with the reasons."""
        letters = [read_dead_letter(text) for text in self.dead_texts()]
        return [
            (segments(one.envelope.resource)[-1], one.reason) for one in letters if isinstance(one.envelope, Readback)
        ]

    def queued(self) -> list[Readback]:
        found = []
        for text in self._texts(""):
            envelope = read(text)
            assert isinstance(envelope, Readback)
            found.append(envelope)
        return found

    def replay(self) -> Readback:
        """Replay the only dead letter, and take from the queue what that puts there."""
        with closing(DeadLetters(self._storage, self.clock).each()) as letters:
            for letter in letters:
                DeadLetters(self._storage, self.clock).replay(letter)
        (again,) = self.queued()
        return again

    def dead_texts(self) -> list[str]:
        return self._texts("-dead-letters")

    def _texts(self, suffix: str) -> list[str]:
        name = f"{self._settings.queue}{suffix}"
        queue = QueueClient.from_connection_string(self._settings.connection_string, name)
        return [one.content for one in queue.peek_messages(32)]

    def _page(self, asked: Asked) -> Answer:
        found = self.pages.get(urlsplit(asked.path).path, self.pages.get(asked.path))
        return found if isinstance(found, Answer) else in_json(found)

    def _take(self, asked: Asked) -> Answer:
        events = json.loads(asked.body)
        held = {event["data"]["id"] for event in events}
        if held & self.rejects:
            return Answer(422)
        if held & self.stumbles_over:
            return Answer(500)
        if self.destination_answers is DONE:
            self.delivered += events
        return self.destination_answers


@pytest.fixture
def away(storage_settings: StorageSettings, authority: Authority, session: requests.Session) -> Iterator[Away]:
    with Away(storage_settings, authority, session) as away:
        yield away


def asked_for(resource: str, since: datetime = DAY_BEFORE) -> Readback:
    return Readback(NOW, TENANT, resource, since, NOW)


def names(away: Away) -> list[str]:
    return [event["data"]["id"] for event in away.delivered]


ENTRY = {"id": "a/b=", "lastModifiedDateTime": "2023-11-14T22:14:20Z", "name": "x"}
CHAT_LIST = f"/v1.0/chats/{CHAT.replace(':', '%3A').replace('@', '%40')}/messages"


def test_what_was_delivered_before_is_not_delivered_again(away: Away) -> None:
    away.pages[CHAT_LIST] = {"value": [message("1"), message("2")]}
    away.read(asked_for(f"/chats/{CHAT}/messages"))
    away.pages[CHAT_LIST] = {"value": [message("1"), message("3"), message("2")]}
    away.read(asked_for(f"/chats/{CHAT}/messages"))
    assert names(away) == ["1", "2", "3"]


def test_a_chat_is_asked_for_with_the_order_without_which_graph_ignores_the_filter(away: Away) -> None:
    away.pages[CHAT_LIST] = {"value": []}
    away.read(asked_for(f"/chats/{CHAT}/messages"))
    query = parse_qs(urlsplit(away.graph.asked[0].path).query)
    assert query["$orderby"] == ["lastModifiedDateTime desc"]
    assert query["$filter"] == [
        "lastModifiedDateTime gt 2031-02-02T04:05:06.000Z and lastModifiedDateTime lt 2031-02-03T04:05:06.000Z"
    ]


def test_a_version_has_the_id_it_would_have_had_if_it_had_been_pushed(away: Away) -> None:
    written = message("1700000000000")
    away.pages[CHAT_LIST] = {"value": [written]}
    away.read(asked_for(f"/chats/{CHAT}/messages"))
    pushed = event_of_content(
        msgspec.json.encode(written), read_notification(raw(change(chat_path("1700000000000")))), TENANT, NOW
    )
    (event,) = away.delivered
    assert (event["id"], event["version"], event["source"]) == (pushed.id, pushed.version, pushed.source)


def test_the_next_page_is_a_message_of_its_own(away: Away) -> None:
    link = f"{away.graph.url}/v1.0/next?$skiptoken=x"
    away.pages[CHAT_LIST] = {"value": [message("1")], "@odata.nextLink": link}
    away.read(asked_for(f"/chats/{CHAT}/messages"))
    assert [one.link for one in away.queued()] == [link]


def test_nothing_follows_a_page_that_the_destination_did_not_take(away: Away) -> None:
    away.pages[CHAT_LIST] = {"value": [message("1")], "@odata.nextLink": f"{away.graph.url}/v1.0/next"}
    away.destination_answers = Answer(503)
    with pytest.raises(NotNow, match=Reason.DESTINATION):
        away.read(asked_for(f"/chats/{CHAT}/messages"))
    assert away.queued() == []
    away.destination_answers = DONE
    away.read(asked_for(f"/chats/{CHAT}/messages"))
    assert names(away) == ["1"]


GOOD, REJECTED, STUMBLED = "good", "rejected", "stumbled over"
kinds = st.lists(st.sampled_from([GOOD, GOOD, REJECTED, STUMBLED]), min_size=1, max_size=7)


@given(kinds, kinds)
@example([STUMBLED, STUMBLED, STUMBLED, STUMBLED, GOOD], [STUMBLED, GOOD])
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_event_that_the_destination_stumbles_over_holds_up_none_of_the_others(
    away: Away, first: list[str], second: list[str]
) -> None:
    named = {str(uuid.uuid4().int): kind for kind in (*first, *second)}
    messages = [message(name) for name in named]
    link = f"{away.graph.url}/v1.0/next"
    away.begin_anew()
    away.pages[CHAT_LIST] = {"value": messages[: len(first)], "@odata.nextLink": link}
    away.pages["/v1.0/next"] = {"value": messages[len(first) :]}
    away.pages |= {f"{CHAT_LIST}/{one['id']}": one for one in messages}
    away.rejects = {name for name, kind in named.items() if kind == REJECTED}
    away.stumbles_over = {name for name, kind in named.items() if kind == STUMBLED}
    away.read_to_the_end(asked_for(f"/chats/{CHAT}/messages"))
    assert sorted(names(away)) == sorted(name for name, kind in named.items() if kind == GOOD)
    expected = dict.fromkeys(away.rejects, Reason.DESTINATION_REJECTED)
    expected |= dict.fromkeys(away.stumbles_over, Reason.DESTINATION_ERROR)
    assert sorted(away.dead()) == sorted(expected.items())


def test_a_page_is_not_parted_the_first_time_the_destination_stumbles(away: Away) -> None:
    away.pages[CHAT_LIST] = {"value": [message("1"), message("2")]}
    away.stumbles_over = {"1"}
    with pytest.raises(NotNow, match=Reason.DESTINATION_ERROR):
        away.read(asked_for(f"/chats/{CHAT}/messages"))
    assert (away.delivered, away.queued()) == ([], [])


def test_a_page_goes_on_while_what_was_stumbled_over_is_tried_again_by_itself(away: Away) -> None:
    away.pages[CHAT_LIST] = {
        "value": [message("1"), message("2")],
        "@odata.nextLink": f"{away.graph.url}/v1.0/next",
    }
    away.stumbles_over = {"1"}
    again = msgspec.structs.replace(asked_for(f"/chats/{CHAT}/messages"), attempt=1)
    away.read(again)
    assert names(away) == ["2"]
    alone, further = away.queued()
    assert (segments(alone.resource), alone.attempt) == (("chats", CHAT, "messages", "1"), 1)
    assert (further.resource, further.link, further.attempt) == (again.resource, f"{away.graph.url}/v1.0/next", 0)


@pytest.mark.parametrize(
    ("resource", "listing", "each"),
    [
        ("/teams/getAllMessages", "/v1.0/groups", "teams/{}/channels/getAllMessages"),
        ("/chats/getAllMessages", "/v1.0/users", "users/{}/chats/getAllMessages"),
    ],
)
def test_a_tenant_wide_resource_fans_out(away: Away, resource: str, listing: str, each: str) -> None:
    link = f"{away.graph.url}/v1.0/more"
    away.pages[listing] = {"value": [{"id": "a"}, {"id": "b"}], "@odata.nextLink": link}
    away.read(asked_for(resource))
    assert [(one.resource, one.link) for one in away.queued()] == [
        (each.format("a"), ""),
        (each.format("b"), ""),
        (resource, link),
    ]


def test_a_channel_is_read_from_its_team_and_others_are_left_out(away: Away) -> None:
    other = channel_message("2") | {"channelIdentity": {"teamId": TEAM, "channelId": "19:other@thread.tacv2"}}
    away.pages[f"/v1.0/teams/{TEAM}/channels/getAllMessages"] = {"value": [channel_message("1"), other]}
    away.read(asked_for(f"/teams/{TEAM}/channels/{CHANNEL}/messages"))
    assert names(away) == ["1"]


def test_what_the_destination_rejects_is_kept_by_name_and_without_content(away: Away) -> None:
    away.pages[CHAT_LIST] = {"value": [message("1", body={"contentType": "text", "content": "private words"})]}
    away.destination_answers = Answer(422)
    away.read(asked_for(f"/chats/{CHAT}/messages"))
    (text,) = away.dead_texts()
    letter = read_dead_letter(text)
    assert isinstance(letter.envelope, Readback)
    assert letter.reason is Reason.DESTINATION_REJECTED
    assert segments(letter.envelope.resource) == ("chats", CHAT, "messages", "1")
    assert "private words" not in text


def test_a_dead_letter_of_one_message_reads_that_message_again(away: Away) -> None:
    away.pages[f"{CHAT_LIST}/1"] = message("1")
    away.read(asked_for(f"chats/{CHAT}/messages/1"))
    assert names(away) == ["1"]


def test_a_chat_that_is_gone_has_nothing_to_read(away: Away) -> None:
    away.pages[CHAT_LIST] = in_json({"error": {"code": "NotFound", "message": "gone"}}, 404)
    away.read(asked_for(f"/chats/{CHAT}/messages"))
    assert (away.delivered, away.queued()) == ([], [])


def test_missing_consent_keeps_the_page_for_later(away: Away) -> None:
    away.pages[CHAT_LIST] = in_json({"error": {"code": "Forbidden", "message": "no"}}, 403)
    with pytest.raises(NotNow, match="403 Forbidden"):
        away.read(asked_for(f"/chats/{CHAT}/messages"))


def test_a_link_that_is_refused_begins_anew_and_not_at_once(away: Away) -> None:
    away.pages["/v1.0/users/5d/chats/getAllMessages"] = in_json({"error": {"code": "BadRequest", "message": "no"}}, 400)
    link = f"{away.graph.url}/v1.0/users/5d/chats/getAllMessages"
    away.read(msgspec.structs.replace(asked_for("/chats/getAllMessages"), link=link))
    (again,) = away.queued()
    assert again.link == ""
    assert away.delays == [timedelta(minutes=10)]


def test_an_odd_entry_of_a_list_costs_its_page_nothing(away: Away) -> None:
    away.pages["/v1.0/users"] = {"value": ["odd", {"id": 7}, {"id": "5d"}]}
    away.read(asked_for("/chats/getAllMessages"))
    assert [one.resource for one in away.queued()] == ["users/5d/chats/getAllMessages"]
    away.pages["/v1.0/teams/t1/channels/getAllMessages"] = {"value": [7, {"channelIdentity": 7}]}
    away.read(asked_for("/teams/t1/channels/c1/messages"))
    assert (away.delivered, away.dead()) == ([], [])


def test_a_range_that_is_read_once_more_delivers_only_what_is_missing(away: Away) -> None:
    away.pages[CHAT_LIST] = {"value": [message("1")]}
    away.read(asked_for(f"/chats/{CHAT}/messages"))
    away.pages[CHAT_LIST] = {"value": [message("1"), message("2")]}
    away.read(msgspec.structs.replace(asked_for(f"/chats/{CHAT}/messages"), replayed=NOW))
    assert names(away) == ["1", "2"]


def test_an_answer_that_is_no_message_costs_its_page_nothing_and_is_kept_if_nothing_else_was_asked_for(
    away: Away,
) -> None:
    away.pages[CHAT_LIST] = {"value": [{"odd": True}, message("1")]}
    away.read(asked_for(f"/chats/{CHAT}/messages"))
    assert (names(away), away.dead()) == (["1"], [])
    away.pages[f"{CHAT_LIST}/2"] = {"odd": True}
    away.read(asked_for(f"chats/{CHAT}/messages/2"))
    assert (names(away), away.dead()) == (["1"], [("2", Reason.CONTENT_NOT_JSON)])


def test_what_nobody_can_read_back_is_kept_as_a_dead_letter(away: Away) -> None:
    away.read(asked_for("/communications/callRecords/1"))
    (text,) = away.dead_texts()
    assert read_dead_letter(text).reason is Reason.READBACK_UNKNOWN
    assert away.graph.asked == []


class TestARejectedEntry:
    """An entry of a delta query that the destination did not take, replayed when it would."""

    @pytest.fixture(params=["groups", "users", "drives/b!x/root"])
    def resource(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def replayed(self, away: Away, resource: str) -> Readback:
        away.pages[f"/v1.0/{quote(resource)}/delta"] = {"value": [ENTRY]}
        away.destination_answers = Answer(422)
        away.read(asked_for(resource))
        away.destination_answers = DONE
        return away.replay()

    @pytest.fixture
    def path(self, resource: str) -> str:
        """Where Graph has that one entry."""
        return f"/v1.0/{quote(resource).replace('/root', '/items')}/a%2Fb%3D"

    def test_is_read_by_itself(self, away: Away, replayed: Readback, resource: str, path: str) -> None:
        away.pages[path] = ENTRY
        away.read(replayed)
        (event,) = away.delivered
        entry = event_of_entry(msgspec.json.encode(ENTRY), resource, "", TENANT, NOW)
        assert (event["id"], event["subject"]) == (entry.id, f"{resource}/a/b=")

    def test_is_a_deletion_if_it_is_gone_by_now(self, away: Away, replayed: Readback, resource: str, path: str) -> None:
        away.pages[path] = in_json({"error": {"code": "NotFound", "message": "gone"}}, 404)
        away.read(replayed)
        (event,) = away.delivered
        assert event["type"].endswith("Deleted")
        assert (event["subject"], event["data"]["id"]) == (f"{resource}/a/b=", "a/b=")

    def test_is_kept_while_graph_does_not_give_it(self, away: Away, replayed: Readback, path: str) -> None:
        away.pages[path] = in_json({"error": {"code": "Forbidden", "message": "no"}}, 403)
        with pytest.raises(NotNow, match="403 Forbidden"):
            away.read(replayed)


class TestDelta:
    """Resources other than messages: what has changed since Graph was asked last."""

    @pytest.fixture
    def begun(self, away: Away) -> Away:
        """A first query, over an empty range, found the link to go on from."""
        away.pages["/v1.0/users/delta"] = {
            "value": [{"id": "u1", "displayName": "Ada"}],
            "@odata.deltaLink": f"{away.graph.url}/v1.0/users/delta-1",
        }
        away.read(asked_for("/users", since=NOW))
        return away

    def test_the_first_query_delivers_nothing(self, begun: Away) -> None:
        assert begun.delivered == []

    def test_later_ones_deliver_what_changed_and_what_is_gone(self, begun: Away) -> None:
        begun.pages["/v1.0/users/delta-1"] = {
            "value": [{"id": "u2", "displayName": "Lin"}, {"id": "u3", "@removed": {"reason": "deleted"}}],
            "@odata.deltaLink": f"{begun.graph.url}/v1.0/users/delta-2",
        }
        begun.read(asked_for("/users"))
        assert [(event["type"], event["subject"]) for event in begun.delivered] == [
            ("Microsoft.Graph.UserUpdated", "users/u2"),
            ("Microsoft.Graph.UserDeleted", "users/u3"),
        ]
        begun.pages["/v1.0/users/delta-2"] = {"value": []}
        begun.read(asked_for("/users"))
        assert begun.graph.paths()[-1] == "/v1.0/users/delta-2"

    def test_each_state_of_what_does_not_say_when_it_was_modified_is_delivered(self, begun: Away) -> None:
        for number, name in enumerate("ABA"):
            begun.clock.advance(hours=1)
            begun.pages[f"/v1.0/users/delta-{number + 1}"] = {
                "value": [{"id": "u2", "createdDateTime": "2023-11-14T22:13:20Z", "displayName": name}],
                "@odata.deltaLink": f"{begun.graph.url}/v1.0/users/delta-{number + 2}",
            }
            begun.read(asked_for("/users"))
        assert [event["data"]["displayName"] for event in begun.delivered] == ["A", "B", "A"]
        versions = [event["version"] for event in begun.delivered]
        assert versions == sorted(set(versions))

    def test_the_link_is_not_moved_on_before_all_is_delivered(self, begun: Away) -> None:
        begun.pages["/v1.0/users/delta-1"] = {
            "value": [{"id": "u2"}],
            "@odata.deltaLink": f"{begun.graph.url}/v1.0/users/delta-2",
        }
        begun.destination_answers = Answer(503)
        with pytest.raises(NotNow):
            begun.read(asked_for("/users"))
        begun.destination_answers = DONE
        begun.read(asked_for("/users"))
        assert [event["subject"] for event in begun.delivered] == ["users/u2"]

    def test_a_first_query_that_comes_late_passes_nothing_over(self, begun: Away) -> None:
        """It was queued as the resource was declared; consent came later, and a gap was read in between."""
        begun.pages["/v1.0/users/delta-1"] = {
            "value": [{"id": "u2"}],
            "@odata.deltaLink": f"{begun.graph.url}/v1.0/users/delta-2",
        }
        begun.read(asked_for("/users", since=NOW))
        begun.read(asked_for("/users"))
        assert [event["subject"] for event in begun.delivered] == ["users/u2"]

    @pytest.mark.parametrize(("status", "code"), [(410, "resyncRequired"), (400, "badRequest")])
    def test_a_link_too_old_starts_over(self, begun: Away, status: int, code: str) -> None:
        begun.pages["/v1.0/users/delta-1"] = in_json({"error": {"code": code, "message": "old"}}, status)
        begun.read(asked_for("/users"))
        assert [event["subject"] for event in begun.delivered] == ["users/u1"]

    def test_a_query_that_is_refused_from_the_start_is_kept_for_later(self, away: Away) -> None:
        away.pages["/v1.0/users/delta"] = in_json({"error": {"code": "badRequest", "message": "no"}}, 400)
        with pytest.raises(NotNow, match="400 badRequest"):
            away.read(asked_for("/users"))
