"""Items without content: their own data, or the resource that a scripted Graph returns."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import msgspec
import pytest
import requests

from graph_simulator.authority import Authority
from process_queue.hydration import SETTLES_WITHIN
from shared.configuration.declaration import Declaration
from shared.delivery.event import Event, event_of_content
from shared.errors import Reason, Refused, RetryLater
from shared.graph.client import GraphClient
from shared.graph.notification import read_notification
from tests.builders import NOW, TENANT, Clock, change, channel_path, chat_path, message, minted, raw
from tests.process_queue.verification import hydration
from tests.servers import ScriptedResponse, Server, in_json, serving
from tests.shared.graph.test_client import Bearer, WithRoles

CHATS = "/chats/getAllMessages"


@dataclass
class HydratedItems:
    server: Server
    graph: GraphClient
    later: timedelta = SETTLES_WITHIN
    declared: str = CHATS

    def event(self, path: str | None = None, *, hydrate: bool = True, **item: object) -> Event:
        """Return the event of an item of what is declared."""
        declared = Declaration(self.declared, ("created",), tenant_id=TENANT, hydrate=hydrate)
        written = change(path or chat_path(), clientState=minted(TENANT, CHATS), **item)
        reads = hydration(self.graph, Clock(NOW + self.later))
        return reads.event(read_notification(raw(written)), declared, TENANT, NOW)


@pytest.fixture
def items(authority: Authority, session: requests.Session) -> Iterator[HydratedItems]:
    with serving(lambda _: in_json(message()), authority) as server:
        yield HydratedItems(server, GraphClient(server.url, Bearer(), session, Clock()))


def test_a_hydrated_event_equals_the_event_with_content(items: HydratedItems) -> None:
    event = items.event()
    pushed = event_of_content(msgspec.json.encode(message()), read_notification(raw(change(chat_path()))), TENANT, NOW)
    assert (event.id, event.version, event.data, event.partial) == (pushed.id, pushed.version, pushed.data, False)
    assert items.server.paths() == ["/v1.0/chats/19%3A9e11111111111111%40thread.v2/messages/1700000000000"]


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("?$select=subject,from&$filter=isRead eq false", "?$select=subject,from"),
        ("?%24SELECT=id&$expand=attachments($select=name)", "?$select=id&$expand=attachments%28%24select%3Dname%29"),
        ("", ""),
    ],
)
def test_no_more_is_read_than_the_declaration_selects(items: HydratedItems, query: str, asked: str) -> None:
    items.server.script = lambda _: in_json({"id": "M1", "lastModifiedDateTime": "2031-02-03T04:00:00Z"})
    items.declared = f"/users/{TENANT}/messages{query}"
    items.event(f"Users/{TENANT}/Messages/M1")
    assert items.server.paths() == [f"/v1.0/users/{TENANT}/messages/M1{asked}"]


def test_without_hydrate_nothing_is_read(items: HydratedItems) -> None:
    assert items.event(hydrate=False).partial
    assert items.server.asked == []


def test_a_deletion_sorts_by_its_own_time_not_by_the_time_of_receipt(items: HydratedItems) -> None:
    deleted = message(deletedDateTime="2023-11-14T22:14:20Z", lastModifiedDateTime="2023-11-14T22:14:20Z")
    items.server.script = lambda _: in_json(deleted)
    event = items.event(changeType="deleted")
    pushed = event_of_content(msgspec.json.encode(deleted), read_notification(raw(change(chat_path()))), TENANT, NOW)
    assert (event.type, event.partial) == ("Microsoft.Graph.ChatMessageDeleted", False)
    assert (event.id, event.version) == (pushed.id, pushed.version)


def test_a_resource_restored_since_its_deletion_is_not_delivered_as_deleted(items: HydratedItems) -> None:
    event = items.event(changeType="deleted")
    assert (event.type, event.partial) == ("Microsoft.Graph.ChatMessageUpdated", False)


@pytest.mark.parametrize("change_type", ["created", "updated", "deleted"])
def test_a_404_of_graph_is_a_deletion(items: HydratedItems, change_type: str) -> None:
    items.server.script = lambda _: in_json({"error": {"code": "NotFound", "message": "gone"}}, 404)
    event = items.event(changeType=change_type)
    assert (event.type, event.partial) == ("Microsoft.Graph.ChatMessageDeleted", True)


@pytest.mark.parametrize(
    ("change_type", "answer"),
    [
        ("created", in_json({"error": {"code": "NotFound", "message": "not yet"}}, 404)),
        ("updated", in_json({"error": {"code": "NotFound", "message": "not yet"}}, 404)),
        ("deleted", in_json(message())),
    ],
)
def test_an_answer_that_contradicts_the_notification_is_not_believed_for_some_minutes(
    items: HydratedItems, change_type: str, answer: ScriptedResponse
) -> None:
    items.server.script = lambda _: answer
    items.later = SETTLES_WITHIN - timedelta(seconds=1)
    with pytest.raises(RetryLater) as not_yet:
        items.event(changeType=change_type)
    assert not_yet.value.reason is Reason.GRAPH_LAGS


@pytest.mark.parametrize(
    ("change_type", "answer"),
    [
        ("deleted", in_json({"error": {"code": "NotFound", "message": "gone"}}, 404)),
        ("deleted", in_json(message(deletedDateTime="2023-11-14T22:14:20Z"))),
        ("updated", in_json(message())),
    ],
)
def test_an_answer_that_agrees_is_believed_at_once(
    items: HydratedItems, change_type: str, answer: ScriptedResponse
) -> None:
    items.server.script = lambda _: answer
    items.later = timedelta(0)
    assert items.event(changeType=change_type)


@pytest.mark.parametrize(
    ("age", "believed"),
    [(timedelta(seconds=1), False), (SETTLES_WITHIN - timedelta(seconds=1), False), (SETTLES_WITHIN, True)],
)
@pytest.mark.parametrize("path", [chat_path, partial(channel_path, root="1700000000000")])
def test_a_deleted_message_may_be_too_new_for_a_replica(
    items: HydratedItems, path: Callable[[str], str], age: timedelta, believed: bool
) -> None:
    """Graph still returns it, with the time of its deletion."""
    items.declared = "/chats/getAllMessages" if path is chat_path else "/teams/getAllMessages"
    items.server.script = lambda _: in_json({"error": {"code": "NotFound", "message": "not yet"}}, 404)
    items.later = timedelta(0)
    with nullcontext() if believed else pytest.raises(RetryLater, match="soon after its creation"):
        items.event(path(str(int((NOW - age).timestamp() * 1_000))), changeType="deleted")


@pytest.mark.parametrize("message_id", ["9" * 300, "AAMkAD", "-1"])
def test_an_id_that_is_no_time_says_nothing_about_age(items: HydratedItems, message_id: str) -> None:
    items.server.script = lambda _: in_json({"error": {"code": "NotFound", "message": "gone"}}, 404)
    items.later = timedelta(0)
    assert items.event(chat_path(message_id), changeType="deleted").partial


@pytest.mark.parametrize("code", ["MailboxNotEnabledForRESTAPI", "ErrorNonExistentMailbox", "ErrorInvalidUser"])
def test_a_404_that_speaks_of_the_mailbox_is_no_deletion(items: HydratedItems, code: str) -> None:
    items.server.script = lambda _: in_json({"error": {"code": code, "message": "inactive"}}, 404)
    with pytest.raises(RetryLater) as kept:
        items.event()
    assert kept.value.reason is Reason.GRAPH_REFUSED
    assert code in str(kept.value)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (in_json({"error": {"code": "Forbidden", "message": "no consent"}}, 403), Reason.GRAPH_REFUSED),
        (in_json({"error": {"code": "BadRequest", "message": "what?"}}, 400), Reason.GRAPH_REFUSED),
        (ScriptedResponse(503), Reason.GRAPH),
        (ScriptedResponse(429), Reason.GRAPH_THROTTLED),
    ],
)
def test_an_item_that_cannot_be_read_now_is_kept(
    items: HydratedItems, answer: ScriptedResponse, reason: Reason
) -> None:
    items.server.script = lambda _: answer
    with pytest.raises(RetryLater) as kept:
        items.event()
    assert kept.value.reason is reason


@pytest.mark.parametrize("text", [b"", b"<html>", b"[]", b"\xff"])
def test_an_answer_other_than_a_resource_is_read_again_later(items: HydratedItems, text: bytes) -> None:
    items.server.script = lambda _: ScriptedResponse(200, text)
    with pytest.raises(RetryLater) as kept:
        items.event()
    assert kept.value.reason is Reason.GRAPH


@pytest.mark.parametrize(
    "path", ["users/../../beta/users", "users/%2e%2e/x", "users('..')/messages('1')", "./users/1", "users/.", ".."]
)
def test_a_path_that_climbs_is_refused_and_never_asked_for(items: HydratedItems, path: str) -> None:
    with pytest.raises(Refused) as refused:
        items.event(path)
    assert refused.value.reason is Reason.MALFORMED
    assert items.server.asked == []


@pytest.mark.parametrize("path", ["chats/a/messages/1?$select=b", "chats/a/messages/1#b", "chats/a%2Fb/messages/1"])
def test_any_named_resource_is_requested_as_a_path(items: HydratedItems, path: str) -> None:
    items.event(path)
    (asked,) = items.server.paths()
    assert asked.startswith("/v1.0/chats/a")
    assert "?" not in asked
    assert "#" not in asked


@pytest.mark.parametrize("path", ["users/5d", "https://elsewhere.example/users/1", "//elsewhere.example/x"])
def test_an_undeclared_resource_is_not_read(items: HydratedItems, path: str) -> None:
    assert items.event(path).partial
    assert items.server.asked == []


TRANSCRIPTS = "communications/onlineMeetings/getAllTranscripts"
TRANSCRIPT = "communications/onlineMeetings('m1')/transcripts('t1')"


def transcript(server: Server, session: requests.Session, roles: list[str]) -> Event:
    """Return the event of a transcript that Graph refuses to give to a token with these roles."""
    declared = Declaration(TRANSCRIPTS, ("created",), tenant_id=TENANT, hydrate=True)
    data = {"@odata.type": "#Microsoft.Graph.callTranscript", "id": "t1", "@odata.id": TRANSCRIPT}
    written = change(TRANSCRIPT, clientState=minted(TENANT, TRANSCRIPTS), tenantId=TENANT, resourceData=data)
    graph = GraphClient(server.url, WithRoles(*roles), session, Clock())
    return hydration(graph).event(read_notification(raw(written)), declared, TENANT, NOW)


@pytest.mark.parametrize(
    "error",
    [
        {"code": "Forbidden", "message": "No application access policy found for this app 1 on the user 2."},
        {"code": "Forbidden", "message": "Disabled.", "innerError": {"code": "GraphAccessToTranscriptsDisabled"}},
        {"code": "Forbidden", "message": "Neither is allowed access through RSC permission evaluation."},
        {"code": "Forbidden", "message": "no"},
    ],
)
def test_a_resource_withheld_by_policy_is_delivered_without_content(
    authority: Authority, session: requests.Session, caplog: pytest.LogCaptureFixture, error: dict[str, object]
) -> None:
    with serving(lambda _: in_json({"error": error}, 403), authority) as server:
        event = transcript(server, session, ["OnlineMeetingTranscript.Read.All"])
    assert (event.type, event.partial) == ("Microsoft.Graph.CallTranscriptCreated", True)
    assert "application access policy" in caplog.text
    assert "Transcript API access" in caplog.text


def test_an_item_that_lacks_a_permission_waits_until_it_is_granted(
    authority: Authority, session: requests.Session
) -> None:
    refused = in_json({"error": {"code": "Forbidden", "message": "Missing role."}}, 403)
    with serving(lambda _: refused, authority) as server, pytest.raises(RetryLater) as kept:
        transcript(server, session, ["Mail.Read"])
    assert kept.value.reason is Reason.GRAPH_REFUSED
    assert "Grant the application permission OnlineMeetingTranscript.Read.All" in kept.value.detail
