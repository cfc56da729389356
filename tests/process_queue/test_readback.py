"""Reading back: with a scripted Graph and destination, and a real Azurite between."""

import uuid
from datetime import timedelta
from urllib.parse import parse_qs, quote, urlsplit

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.configuration.declaration import Declaration
from shared.delivery.event import event_of_content
from shared.errors import Reason, RetryLater
from shared.graph.notification import read_notification
from shared.messages.envelope import ReadbackPage, read_dead_letter
from shared.readback.pages import read_by
from shared.resources.path import segments
from tests.builders import (
    CHANNEL,
    CHAT,
    NOW,
    TEAM,
    TENANT,
    change,
    channel_message,
    chat_path,
    message,
    raw,
)
from tests.process_queue.readback_harness import DONE, ReadbackHarness, asked_for, names
from tests.servers import ScriptedResponse, in_json

CHAT_LIST = f"/v1.0/chats/{CHAT.replace(':', '%3A').replace('@', '%40')}/messages"


def test_a_delivered_version_is_not_delivered_again(harness: ReadbackHarness) -> None:
    harness.pages[CHAT_LIST] = {"value": [message("1"), message("2")]}
    harness.read(asked_for(f"/chats/{CHAT}/messages"))
    harness.pages[CHAT_LIST] = {"value": [message("1"), message("3"), message("2")]}
    harness.read(asked_for(f"/chats/{CHAT}/messages"))
    assert names(harness) == ["1", "2", "3"]


def test_a_chat_is_read_with_the_orderby_that_its_filter_needs(harness: ReadbackHarness) -> None:
    harness.pages[CHAT_LIST] = {"value": []}
    harness.read(asked_for(f"/chats/{CHAT}/messages"))
    query = parse_qs(urlsplit(harness.graph.asked[0].path).query)
    assert query["$orderby"] == ["lastModifiedDateTime desc"]
    assert query["$filter"] == [
        "lastModifiedDateTime gt 2031-02-02T04:05:06.000Z and lastModifiedDateTime lt 2031-02-03T04:05:06.000Z"
    ]


def test_a_version_read_back_has_the_id_of_the_pushed_one(harness: ReadbackHarness) -> None:
    written = message("1700000000000")
    harness.pages[CHAT_LIST] = {"value": [written]}
    harness.read(asked_for(f"/chats/{CHAT}/messages"))
    pushed = event_of_content(
        msgspec.json.encode(written), read_notification(raw(change(chat_path("1700000000000")))), TENANT, NOW
    )
    (event,) = harness.delivered
    assert (event["id"], event["version"], event["source"]) == (pushed.id, pushed.version, pushed.source)


def test_the_next_page_is_a_message_of_its_own(harness: ReadbackHarness) -> None:
    link = f"{harness.graph.url}/v1.0/next?$skiptoken=x"
    harness.pages[CHAT_LIST] = {"value": [message("1")], "@odata.nextLink": link}
    harness.read(asked_for(f"/chats/{CHAT}/messages"))
    assert [page.link for page in harness.queued()] == [link]


def test_no_page_follows_one_that_the_destination_did_not_accept(harness: ReadbackHarness) -> None:
    harness.pages[CHAT_LIST] = {"value": [message("1")], "@odata.nextLink": f"{harness.graph.url}/v1.0/next"}
    harness.destination_answers = ScriptedResponse(503)
    with pytest.raises(RetryLater, match=Reason.DESTINATION):
        harness.read(asked_for(f"/chats/{CHAT}/messages"))
    assert harness.queued() == []
    harness.destination_answers = DONE
    harness.read(asked_for(f"/chats/{CHAT}/messages"))
    assert names(harness) == ["1"]


GOOD, REJECTED, STUMBLED = "good", "rejected", "stumbled over"
kinds = st.lists(st.sampled_from([GOOD, GOOD, REJECTED, STUMBLED]), min_size=1, max_size=7)


@given(kinds, kinds)
@example([STUMBLED, STUMBLED, STUMBLED, STUMBLED, GOOD], [STUMBLED, GOOD])
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_event_that_makes_the_destination_fail_delays_no_other(
    harness: ReadbackHarness, first: list[str], second: list[str]
) -> None:
    named = {str(uuid.uuid4().int): kind for kind in (*first, *second)}
    messages = [message(name) for name in named]
    link = f"{harness.graph.url}/v1.0/next"
    harness.start_over()
    harness.pages[CHAT_LIST] = {"value": messages[: len(first)], "@odata.nextLink": link}
    harness.pages["/v1.0/next"] = {"value": messages[len(first) :]}
    harness.pages |= {f"{CHAT_LIST}/{message['id']}": message for message in messages}
    harness.rejects = {name for name, kind in named.items() if kind == REJECTED}
    harness.stumbles_over = {name for name, kind in named.items() if kind == STUMBLED}
    harness.read_to_the_end(asked_for(f"/chats/{CHAT}/messages"))
    assert sorted(names(harness)) == sorted(name for name, kind in named.items() if kind == GOOD)
    expected = dict.fromkeys(harness.rejects, "rejected")
    expected |= dict.fromkeys(harness.stumbles_over, "error")
    ends = {  # as long as nothing is accepted, nothing shows that the rejected event is at fault
        Reason.DESTINATION_REJECTED: "rejected",
        Reason.DESTINATION_REJECTS: "rejected",
        Reason.DESTINATION_ERROR: "error",
    }
    assert sorted((name, ends[reason]) for name, reason in harness.dead()) == sorted(expected.items())


def test_a_page_is_not_split_on_the_first_failure_of_the_destination(harness: ReadbackHarness) -> None:
    harness.pages[CHAT_LIST] = {"value": [message("1"), message("2")]}
    harness.stumbles_over = {"1"}
    with pytest.raises(RetryLater, match=Reason.DESTINATION_ERROR):
        harness.read(asked_for(f"/chats/{CHAT}/messages"))
    assert (harness.delivered, harness.queued()) == ([], [])


def test_what_a_list_showed_a_moment_ago_is_not_gone_because_a_replica_lags(harness: ReadbackHarness) -> None:
    harness.pages[CHAT_LIST] = {"value": [message("1"), message("2")]}
    harness.stumbles_over = {"1"}
    harness.read(msgspec.structs.replace(asked_for(f"/chats/{CHAT}/messages"), attempt=1))
    (alone,) = harness.queued()
    harness.stumbles_over = set()
    harness.pages[f"{CHAT_LIST}/1"] = in_json({"error": {"code": "NotFound", "message": "not here yet"}}, 404)
    with pytest.raises(RetryLater, match=Reason.GRAPH_LAGS):
        harness.read(alone)
    harness.clock.advance(minutes=5)
    harness.read(alone)
    assert harness.delivered[-1]["type"].endswith("Deleted")


def test_an_event_that_fails_alone_is_retried_without_its_page(harness: ReadbackHarness) -> None:
    harness.pages[CHAT_LIST] = {
        "value": [message("1"), message("2")],
        "@odata.nextLink": f"{harness.graph.url}/v1.0/next",
    }
    harness.stumbles_over = {"1"}
    again = msgspec.structs.replace(asked_for(f"/chats/{CHAT}/messages"), attempt=1)
    harness.read(again)
    assert names(harness) == ["2"]
    alone, further = harness.queued()
    assert (segments(alone.resource), alone.attempt) == (("chats", CHAT, "messages", "1"), 1)
    assert (further.resource, further.link, further.attempt) == (again.resource, f"{harness.graph.url}/v1.0/next", 0)


@pytest.mark.parametrize(
    ("resource", "listing", "each"),
    [
        ("/teams/getAllMessages", "/v1.0/teams", "teams/{}/channels/getAllMessages"),
        ("/chats/getAllMessages", "/v1.0/users", "users/{}/chats/getAllMessages"),
    ],
)
def test_a_tenant_wide_resource_fans_out(harness: ReadbackHarness, resource: str, listing: str, each: str) -> None:
    link = f"{harness.graph.url}/v1.0/more"
    harness.pages[listing] = {"value": [{"id": "a"}, {"id": "b"}], "@odata.nextLink": link}
    harness.read(asked_for(resource))
    assert [(page.resource, page.link) for page in harness.queued()] == [
        (each.format("a"), ""),
        (each.format("b"), ""),
        (resource, link),
    ]


def test_a_channel_is_read_from_its_team_and_others_are_left_out(harness: ReadbackHarness) -> None:
    other = channel_message("2") | {"channelIdentity": {"teamId": TEAM, "channelId": "19:other@thread.tacv2"}}
    harness.pages[f"/v1.0/teams/{TEAM}/channels/getAllMessages"] = {"value": [channel_message("1"), other]}
    harness.read(asked_for(f"/teams/{TEAM}/channels/{CHANNEL}/messages"))
    assert names(harness) == ["1"]


def test_with_consent_for_one_team_a_channel_is_read_by_its_own_changes(
    harness: ReadbackHarness,
) -> None:
    reply = channel_message("2") | {"replyToId": "1"}
    link = f"{harness.graph.url}/v1.0/more-replies"
    root = channel_message("1") | {"replies": [reply], "replies@odata.nextLink": link}
    path = f"/v1.0/teams/{TEAM}/channels/{quote(CHANNEL, safe='')}/messages/delta"
    harness.pages[path] = {"value": [root, channel_message("3")], "@odata.deltaLink": f"{harness.graph.url}/v1.0/later"}
    declared = Declaration(f"/teams/{TEAM}/channels/{CHANNEL}/messages", ("created",), consent="resource")
    harness.read(asked_for(read_by(declared)))
    assert sorted(names(harness)) == ["1", "2", "3"]
    assert [event["data"]["replies"] for event in harness.delivered if event["subject"].endswith("/1")] == [[]]
    (asked,) = harness.graph.paths()
    assert "$expand=replies" in asked
    (further,) = harness.queued()
    assert further.link == link


def test_with_consent_for_the_tenant_a_channel_is_read_from_its_team() -> None:
    declared = Declaration(f"/teams/{TEAM}/channels/{CHANNEL}/messages", ("created",))
    assert read_by(declared) == declared.resource


def test_contacts_are_read_by_the_time_of_their_change(harness: ReadbackHarness) -> None:
    contact = {"id": "c1", "changeKey": "Eg==", "lastModifiedDateTime": "2023-11-14T22:13:20Z"}
    harness.pages["/v1.0/users/5d/contacts"] = {"value": [contact]}
    harness.read(asked_for("/users/5d/contacts"))
    assert [event["type"] for event in harness.delivered] == ["Microsoft.Graph.ContactUpdated"]
    (asked,) = harness.graph.paths()
    assert "lastModifiedDateTime%20ge" in asked


def test_what_the_destination_rejects_is_kept_by_name_and_without_content(harness: ReadbackHarness) -> None:
    rejected = message("1", body={"contentType": "text", "content": "private words"})
    harness.pages[CHAT_LIST] = {"value": [rejected, message("2")]}
    harness.rejects = {"1"}
    harness.read(asked_for(f"/chats/{CHAT}/messages"))
    (text,) = harness.dead_texts()
    letter = read_dead_letter(text)
    assert isinstance(letter.envelope, ReadbackPage)
    assert letter.reason is Reason.DESTINATION_REJECTED
    assert segments(letter.envelope.resource) == ("chats", CHAT, "messages", "1")
    assert "private words" not in text


def test_a_dead_letter_of_one_message_reads_that_message_again(harness: ReadbackHarness) -> None:
    harness.pages[f"{CHAT_LIST}/1"] = message("1")
    harness.read(asked_for(f"chats/{CHAT}/messages/1"))
    assert names(harness) == ["1"]


def test_a_chat_that_is_gone_has_nothing_to_read(harness: ReadbackHarness) -> None:
    harness.pages[CHAT_LIST] = in_json({"error": {"code": "NotFound", "message": "gone"}}, 404)
    harness.read(asked_for(f"/chats/{CHAT}/messages"))
    assert (harness.delivered, harness.queued()) == ([], [])


def test_missing_consent_keeps_the_page_for_later(harness: ReadbackHarness) -> None:
    harness.pages[CHAT_LIST] = in_json({"error": {"code": "Forbidden", "message": "no"}}, 403)
    with pytest.raises(RetryLater, match="403 Forbidden"):
        harness.read(asked_for(f"/chats/{CHAT}/messages"))


def test_a_refused_link_restarts_the_read_later(harness: ReadbackHarness) -> None:
    harness.pages["/v1.0/users/5d/chats/getAllMessages"] = in_json(
        {"error": {"code": "BadRequest", "message": "no"}}, 400
    )
    link = f"{harness.graph.url}/v1.0/users/5d/chats/getAllMessages"
    harness.read(msgspec.structs.replace(asked_for("/chats/getAllMessages"), link=link))
    (again,) = harness.queued()
    assert again.link == ""
    assert harness.delays == [timedelta(minutes=10)]


def test_a_malformed_entry_of_a_list_does_not_affect_its_page(harness: ReadbackHarness) -> None:
    harness.pages["/v1.0/users"] = {"value": ["odd", {"id": 7}, {"id": "5d"}]}
    harness.read(asked_for("/chats/getAllMessages"))
    assert [page.resource for page in harness.queued()] == ["users/5d/chats/getAllMessages"]
    harness.pages["/v1.0/teams/t1/channels/getAllMessages"] = {"value": [7, {"channelIdentity": 7}]}
    harness.read(asked_for("/teams/t1/channels/c1/messages"))
    assert (harness.delivered, harness.dead()) == ([], [])


def test_a_range_that_is_read_once_more_delivers_only_what_is_missing(harness: ReadbackHarness) -> None:
    harness.pages[CHAT_LIST] = {"value": [message("1")]}
    harness.read(asked_for(f"/chats/{CHAT}/messages"))
    harness.pages[CHAT_LIST] = {"value": [message("1"), message("2")]}
    harness.read(msgspec.structs.replace(asked_for(f"/chats/{CHAT}/messages"), replayed=NOW))
    assert names(harness) == ["1", "2"]


def test_a_page_skips_an_unreadable_entry_and_a_single_one_is_dead_lettered(
    harness: ReadbackHarness,
) -> None:
    harness.pages[CHAT_LIST] = {"value": [{"odd": True}, message("1")]}
    harness.read(asked_for(f"/chats/{CHAT}/messages"))
    assert (names(harness), harness.dead()) == (["1"], [])
    harness.pages[f"{CHAT_LIST}/2"] = {"odd": True}
    harness.read(asked_for(f"chats/{CHAT}/messages/2"))
    assert (names(harness), harness.dead()) == (["1"], [("2", Reason.CONTENT_NOT_JSON)])


def test_an_unsupported_page_is_dead_lettered(harness: ReadbackHarness) -> None:
    harness.read(asked_for("/communications/callRecords"))
    (text,) = harness.dead_texts()
    assert read_dead_letter(text).reason is Reason.READBACK_UNKNOWN
    assert harness.graph.asked == []
