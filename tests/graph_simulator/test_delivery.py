"""Which notifications reach an endpoint, and how often, over real sockets."""

from collections import Counter
from typing import Any

import httpx
import jwt
import pytest

from graph_simulator.faults import Faults
from graph_simulator.hostile import BODY_KINDS, KINDS, MIXED_KINDS, TEXT, TOKEN_KINDS
from graph_simulator.server import GraphServer
from graph_simulator.signing import PUBLISHER
from tests.graph_simulator.client import GraphClient, encryption_key, generated
from tests.graph_simulator.receiver import Receiver
from tests.waiting import eventually


def quiet(graph: GraphServer) -> bool:
    summary = graph.get("summary")
    return not summary["pending"] and not summary["generating"]


def opened(receiver: Receiver) -> list[dict[str, Any]]:
    return [encryption_key().open(item["encryptedContent"]) for item in receiver.changes()]


def test_a_written_message_arrives_encrypted_to_the_app(
    graph: GraphServer, app: GraphClient, receiver: Receiver
) -> None:
    subscription = app.subscribed()
    [written] = graph.post("messages", text="Hello, ☂")["messages"]
    eventually(receiver.changes)
    [item] = receiver.changes()
    assert item["subscriptionId"].lower() == subscription["id"]
    assert item["tenantId"].lower() == graph.registration.tenant
    assert item["clientState"] == "a-secret-of-the-test"
    assert item["changeType"] == "created"
    resource = encryption_key().open(item["encryptedContent"])
    assert next(iter(resource)) == "@odata.context"
    assert resource == written["resource"]
    assert resource["body"]["content"] == "Hello, ☂"
    assert receiver.posts[0].headers["content-type"] == "application/json; charset=utf-8"


def test_a_basic_subscription_is_notified_without_content(
    graph: GraphServer, app: GraphClient, receiver: Receiver
) -> None:
    app.subscribed(includeResourceData=None, encryptionCertificate=None, encryptionCertificateId=None)
    graph.post("messages")
    eventually(receiver.changes)
    assert receiver.changes()[0].get("encryptedContent") is None
    assert not receiver.posts[0].collection.get("validationTokens")


@pytest.mark.parametrize(("version", "publisher"), [(1, "appid"), (2, "azp")])
def test_the_validation_token_verifies_against_the_published_keys(
    graph: GraphServer, app: GraphClient, receiver: Receiver, version: int, publisher: str
) -> None:
    app.subscribed()
    graph.post("faults", token_version=version)
    graph.post("signing-keys/rotate")
    graph.post("messages")
    eventually(receiver.posts.__len__)
    [token] = receiver.posts[0].collection["validationTokens"]
    keys = jwt.PyJWKSet.from_dict(app.http.get(f"{graph.url}/common/discovery/keys").json())
    assert len(keys.keys) == 2
    key = next(key for key in keys.keys if key.key_id == jwt.get_unverified_header(token)["kid"])
    claims = jwt.decode(token, key, algorithms=["RS256"], audience=graph.registration.client_id)
    tenant = graph.registration.tenant
    issuers = {1: f"https://sts.windows.net/{tenant}/", 2: f"https://login.microsoftonline.com/{tenant}/v2.0"}
    assert claims[publisher] == PUBLISHER
    assert (claims["ver"], claims["iss"], claims["tid"]) == (f"{version}.0", issuers[version], tenant)
    assert claims["exp"] - claims["iat"] == {1: 29_100, 2: 86_700}[version]


def test_a_validation_token_is_used_again(graph: GraphServer, app: GraphClient, receiver: Receiver) -> None:
    app.subscribed()
    graph.post("faults", token_version=2)
    graph.post("messages")
    eventually(lambda: len(receiver.posts) == 1)
    graph.post("messages")
    eventually(lambda: len(receiver.posts) == 2)
    assert len({post.collection["validationTokens"][0] for post in receiver.posts}) == 1


def test_an_app_whose_assignment_is_required_gets_null_tokens_and_no_content(
    graph: GraphServer, app: GraphClient, receiver: Receiver
) -> None:
    app.subscribed()
    graph.post("faults", null_tokens=True)
    graph.post("messages")
    eventually(receiver.posts.__len__)
    collection = receiver.posts[0].collection
    assert collection["validationTokens"] is None
    assert collection["value"][0].get("encryptedContent") is None


def test_many_items_of_several_tenants_and_subscriptions_share_a_collection_with_a_token_each(
    graph: GraphServer, app: GraphClient, receiver: Receiver
) -> None:
    other = "5b0f3a34-9f36-4a0c-8c3a-0de2b3f7c1aa"
    app.subscribed(), app.subscribed(other), app.subscribed(other, resource="/chats/19:x@thread.v2/messages")
    graph.post("faults", reorder=1)  # all are held back, so that they share a collection
    graph.post("messages", count=30)
    graph.post("messages", tenant=other, chat="19:x@thread.v2", count=30)
    graph.post("clock", advance_seconds=5)
    eventually(lambda: len(receiver.items()) == 90)
    collections = [post.collection for post in receiver.posts]
    assert 10 < max(len(collection["value"]) for collection in collections) <= 40
    mixed = [
        collection for collection in collections if len({item["tenantId"].lower() for item in collection["value"]}) == 2
    ]
    assert mixed
    for collection in mixed:
        tenants = {jwt.decode(t, options={"verify_signature": False})["tid"] for t in collection["validationTokens"]}
        assert tenants == {graph.registration.tenant, other}


@pytest.mark.parametrize("status", [503, 500, 400, 403, 410, 302])
def test_whatever_is_not_a_2xx_is_sent_again_until_it_is_one(
    graph: GraphServer, app: GraphClient, receiver: Receiver, status: int
) -> None:
    app.subscribed()
    receiver.status = status
    graph.post("messages")
    eventually(lambda: graph.get("summary")["answers"].get(str(status)))
    assert graph.get("summary")["pending"] == 1
    receiver.status = 202
    graph.post("clock", advance_seconds=60)
    eventually(lambda: quiet(graph))
    summary = graph.get("summary")
    assert (summary["posted"], summary["acknowledged"]) == (1, 1)
    assert len({item["encryptedContent"]["dataKey"] for item in receiver.changes()}) == 1


def test_an_answer_after_three_seconds_counts_as_none_and_a_repetition_has_ten(
    graph: GraphServer, app: GraphClient, receiver: Receiver
) -> None:
    assert (Faults().answer_seconds, Faults().repeat_answer_seconds) == (3, 10)
    app.subscribed()
    graph.post("faults", answer_seconds=0)
    graph.post("messages")
    eventually(lambda: graph.get("summary")["answers"] == {"timeout": 1})
    graph.post("clock", advance_seconds=60)
    eventually(lambda: quiet(graph))
    assert graph.get("summary")["answers"] == {"timeout": 1, "202": 1}


def test_after_four_hours_a_notification_is_given_up(graph: GraphServer, app: GraphClient, receiver: Receiver) -> None:
    # Without a lifecycle URL, since challenges would come in between.
    app.subscribed(lifecycleNotificationUrl=None, expirationDateTime=app.moment(minutes=50))
    receiver.status = 503
    graph.post("messages")
    eventually(receiver.posts.__len__)

    def discarded() -> bool:
        graph.post("clock", advance_seconds=600)
        return bool(graph.get("summary")["discarded"])

    eventually(discarded)
    assert graph.get("summary")["pending"] == 0
    assert 10 < len(receiver.posts) < 60


def test_duplicates_and_reordering_lose_nothing(graph: GraphServer, app: GraphClient, receiver: Receiver) -> None:
    app.subscribed()
    graph.post("faults", duplicate=1, reorder=0.5)
    written = graph.post("messages", count=30)["messages"]
    graph.post("clock", advance_seconds=10)
    eventually(lambda: len(receiver.changes()) == 60)
    assert graph.get("summary")["posted"] == graph.get("summary")["acknowledged"] == 30
    arrived = [message["id"] for message in opened(receiver)]
    assert set(Counter(arrived).values()) == {2}
    assert set(arrived) == {message["resource"]["id"] for message in written}
    assert arrived != sorted(arrived)


def test_drops_are_silent(graph: GraphServer, app: GraphClient, receiver: Receiver) -> None:
    app.subscribed()
    graph.post("faults", drop=1)
    graph.post("messages", count=5)
    graph.post("faults", drop=0)
    [kept] = graph.post("messages", text="kept")["messages"]
    eventually(receiver.changes)
    assert [message["id"] for message in opened(receiver)] == [kept["resource"]["id"]]
    assert graph.get("summary")["lost"] == 5
    assert receiver.lifecycle() == []


def test_forms_vary_as_graph_varies_them(graph: GraphServer, app: GraphClient, receiver: Receiver) -> None:
    subscription = app.subscribed()
    graph.post("messages", count=400)
    eventually(lambda: len(receiver.changes()) == 400)
    items = receiver.changes()
    assert {item["subscriptionId"] for item in items} == {subscription["id"], subscription["id"].upper()}
    assert len({item["resource"].split("19:")[0] for item in items}) == 3  # chats(', chats/ and /chats/
    assert any("id" in item for item in items)
    assert not all("id" in item for item in items)
    assert any("sequenceHint" in item for item in items)
    assert any(item["subscriptionExpirationDateTime"].endswith("-08:00") for item in items)
    assert any(len(item["subscriptionExpirationDateTime"]) == len("2026-01-01T00:00:00.1234567Z") for item in items)


def test_content_can_be_left_out_of_some_items(graph: GraphServer, app: GraphClient, receiver: Receiver) -> None:
    app.subscribed()
    graph.post("faults", bare=0.5)
    graph.post("messages", count=40)
    eventually(lambda: len(receiver.changes()) == 40)
    bare = [item for item in receiver.changes() if not item.get("encryptedContent")]
    assert 0 < len(bare) < 40


def test_system_messages_have_their_name_only_for_those_who_ask(
    graph: GraphServer, app: GraphClient, receiver: Receiver
) -> None:
    chat = "19:one@thread.v2"
    app.subscribed(resource=f"/chats/{chat}/messages")
    properties = app.properties() | {"resource": "/chats/getAllMessages"}
    assert app.call("POST", "subscriptions", properties, prefer="").status_code == 201
    graph.post("messages", chat=chat, count=100)
    eventually(lambda: len(receiver.changes()) == 200)
    types = Counter(message["messageType"] for message in opened(receiver))
    assert types["systemEventMessage"] == types["unknownFutureValue"] > 0


@pytest.mark.parametrize("kind", MIXED_KINDS + TOKEN_KINDS)
def test_each_forged_item_is_sent_and_never_counted_as_a_notification(
    graph: GraphServer, app: GraphClient, receiver: Receiver, kind: str
) -> None:
    subscription = app.subscribed()
    graph.post("forge", subscriptionId=subscription["id"], kind=kind)
    eventually(receiver.posts.__len__)
    [item] = receiver.items()
    summary = graph.get("summary")
    assert (summary["hostile"], summary["posted"], summary["acknowledged"]) == (1, 0, 0)
    if kind in TOKEN_KINDS:
        assert encryption_key().open(item["encryptedContent"])["body"]["content"] == TEXT
        assert item["clientState"] == "a-secret-of-the-test"
    assert graph.messages() == []


@pytest.mark.parametrize("kind", BODY_KINDS)
def test_each_broken_body_is_sent_once(graph: GraphServer, app: GraphClient, receiver: Receiver, kind: str) -> None:
    subscription = app.subscribed()
    receiver.status = 400
    graph.post("forge", subscriptionId=subscription["id"], kind=kind)
    eventually(lambda: graph.get("summary")["hostile_answers"] == {"400": 1})
    graph.post("clock", advance_seconds=60)
    assert (len(receiver.posts), graph.get("summary")["answers"]) == (1, {})


def test_forgeries_mix_with_genuine_traffic(graph: GraphServer, app: GraphClient, receiver: Receiver) -> None:
    app.subscribed()
    graph.post("faults", forge=1)
    graph.post("messages", count=100)
    eventually(lambda: quiet(graph))
    summary = graph.get("summary")
    assert (summary["hostile"], summary["posted"], summary["acknowledged"]) == (100, 100, 100)
    with pytest.raises(ValueError, match="kind of forgery"):
        graph.post("forge", subscriptionId=app.call("GET", "subscriptions").json()["value"][0]["id"], kind="gentle")
    assert len(KINDS) == len(set(KINDS))


def test_all_that_is_generated_arrives_once_each_in_every_version(
    graph: GraphServer, app: GraphClient, receiver: Receiver
) -> None:
    app.subscribed()
    app.subscribed(resource="/teams/getAllMessages")
    graph.post("generate", rate=300, messages=100)
    eventually(lambda: generated(graph) and quiet(graph))
    summary = graph.get("summary")
    assert summary["written"] == len(graph.messages()) == 100
    assert len(receiver.changes()) == summary["changes"] == summary["acknowledged"]
    newest: dict[str, dict[str, Any]] = {}
    for message in opened(receiver):
        identity = str((message["chatId"], message["channelIdentity"], message["replyToId"], message["id"]))
        if identity not in newest or int(newest[identity]["etag"]) < int(message["etag"]):
            newest[identity] = message
    truth = [line["resource"] for line in graph.messages()]
    shown = [str(message).replace("systemEventMessage", "?") for message in newest.values()]
    assert sorted(shown) == sorted(str(message).replace("systemEventMessage", "?") for message in truth)


def test_outages_and_throttling_have_graphs_error_bodies(graph: GraphServer, app: GraphClient) -> None:
    def answer() -> httpx.Response:
        return app.call("GET", "users")

    assert answer().status_code == 200
    graph.post("faults", unavailable=["graph"])
    assert (answer().status_code, answer().json()["error"]["code"]) == (503, "serviceNotAvailable")
    graph.post("faults", unavailable=[], throttle=1, retry_after=7)
    assert (answer().status_code, answer().headers["retry-after"]) == (429, "7")
    graph.post("faults", retry_after=None)
    assert "retry-after" not in answer().headers
    calls = {(call["path"], call["status"]): call["count"] for call in graph.get("calls")}
    assert calls["/users", 200] == 1
