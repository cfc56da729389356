"""Creating, reading, renewing, re-keying and losing subscriptions."""

import ssl
import uuid
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from graph_simulator.server import GraphServer
from tests.graph_simulator.client import EncryptionKey, GraphClient, certificate, encryption_key
from tests.graph_simulator.receiver import Receiver
from tests.waiting import eventually

ONE_HOUR_TEXT = (
    "lifecycleNotificationUrl is a required property for subscription creation on this resource when the "
    "expirationDateTime value is set to greater than 1 hour"
)
CERTIFICATE_TEXT = "Certificate validation error: Cannot find the requested object."
BASIC = {"includeResourceData": None, "encryptionCertificate": None, "encryptionCertificateId": None}


def pem() -> str:
    return ssl.DER_cert_to_PEM_cert(encryption_key().der)


def private_key() -> str:
    encoding, form = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8
    return b64encode(encryption_key().private.private_bytes(encoding, form, serialization.NoEncryption())).decode()


def public_key() -> str:
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return b64encode(encryption_key().private.public_key().public_bytes(encoding, form)).decode()


def encoded(private: Any) -> str:
    return b64encode(certificate(private)).decode()


def test_what_is_created_can_be_read_but_never_its_secrets(app: GraphClient) -> None:
    created = app.subscribed()
    assert created["clientState"] == "a-secret-of-the-test"
    for read in (
        app.call("GET", f"subscriptions/{created['id']}").json(),
        app.call("PATCH", f"subscriptions/{created['id']}", {"expirationDateTime": app.moment(hours=40)}).json(),
    ):
        assert (read["clientState"], read["encryptionCertificate"]) == (None, None)
        assert read["encryptionCertificateId"] == encryption_key().id
        assert read["resource"] == "/chats/getAllMessages"


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"changeType": None}, "'changeType' is a required property"),
        ({"notificationUrl": None}, "'notificationUrl' is a required property"),
        ({"resource": None}, "'resource' is a required property"),
        ({"expirationDateTime": None}, "'expirationDateTime' is a required property"),
        ({"expirationDateTime": "tomorrow"}, "not a date-time"),
        ({"expirationDateTime": "2090-01-01T00:00:00"}, "not a date-time"),
        ({"notificationUrl": "http://127.0.0.1/hook"}, "scheme HTTPS"),
        ({"notificationUrl": "https:///hook"}, "scheme HTTPS"),
        ({"lifecycleNotificationUrl": "ftp://127.0.0.1/hook"}, "scheme HTTPS"),
        ({"changeType": "created,changed"}, "is not supported"),
        ({"changeType": "created,created"}, "is not supported"),
        ({"resource": "/chats/getEverything/now"}, "Unsupported resource"),
        ({"resource": "/chats/getAllMessages?$select=body"}, "$select is not supported"),
        ({"resource": "/users/someone/messages"}, "$select is required"),
        ({"resource": "/users", "changeType": "updated"}, "includeResourceData is not supported"),
        ({"resource": "/communications/presences/x", "changeType": "updated", **BASIC}, "is required"),
        ({"clientState": "x" * 129}, "clientState exceeds"),
        ({"encryptionCertificate": None}, "'encryptionCertificate' is a required property"),
        ({"encryptionCertificateId": None}, "'encryptionCertificateId' is a required property"),
        ({"encryptionCertificateId": "x" * 129}, "encryptionCertificateId exceeds"),
        ({"encryptionCertificate": "not base64!"}, CERTIFICATE_TEXT),
        ({"encryptionCertificate": pem()}, CERTIFICATE_TEXT),
        ({"encryptionCertificate": private_key()}, CERTIFICATE_TEXT),
        ({"encryptionCertificate": public_key()}, CERTIFICATE_TEXT),
        ({"encryptionCertificate": encoded(ec.generate_private_key(ec.SECP256R1()))}, "RSA key of 2048 to 4096"),
        ({"encryptionCertificate": encoded(rsa.generate_private_key(65537, 1024))}, "RSA key of 2048 to 4096"),
        ({"includeResourceData": "yes"}, "must be a Boolean"),
        ({"includeResourceData": False}, "of use with includeResourceData only"),
        ({"latestSupportedTlsVersion": "v0_9"}, "latestSupportedTlsVersion"),
        ({"notificationUrlAppId": "app"}, "notificationUrlAppId"),
        ({"vapidPublicKey": "x"}, "'vapidPublicKey' cannot be set"),
        ({"id": str(uuid.uuid4())}, "'id' cannot be set"),
        ({"somethingElse": 1}, "'somethingElse' cannot be set"),
    ],
)
def test_what_graph_refuses_is_refused_before_any_handshake(
    app: GraphClient, receiver: Receiver, properties: dict[str, Any], message: str
) -> None:
    response = app.subscribe(**properties)
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]
    assert receiver.handshakes == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a":' * 5000, b"\xff"])
def test_a_body_other_than_an_object_is_refused(app: GraphClient, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {app.token()}"}
    response = app.http.post(f"{app.graph.url}/v1.0/subscriptions", content=body, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "BadRequest")


@pytest.mark.parametrize(
    ("properties", "minutes"),
    [
        ({}, 4320),
        ({"resource": "/chats", "changeType": "created"}, 4320),
        ({"resource": "/users/x/messages?$select=subject"}, 1440),
        ({"resource": "/users/x/messages", **BASIC}, 10_080),
        ({"resource": "/communications/callRecords", "changeType": "created", **BASIC}, 4230),
        ({"resource": "/solutions/approval/approvalItems", "changeType": "created", **BASIC}, 43_200),
        ({"resource": "/users", "changeType": "updated", **BASIC}, 41_760),
    ],
)
def test_each_resource_has_its_longest_life(app: GraphClient, properties: dict[str, Any], minutes: int) -> None:
    too_long = app.subscribe(**properties, expirationDateTime=app.moment(minutes=minutes + 1))
    assert too_long.json()["error"]["message"].endswith(f"can only be {minutes} minutes in the future.")
    app.subscribed(**properties, expirationDateTime=app.moment(minutes=minutes - 1))


def test_more_than_an_hour_needs_a_lifecycle_url_in_exactly_these_words(app: GraphClient) -> None:
    refused = app.subscribe(lifecycleNotificationUrl=None, expirationDateTime=app.moment(minutes=61))
    assert (refused.status_code, refused.json()["error"]["message"]) == (400, ONE_HOUR_TEXT)
    subscription = app.subscribed(lifecycleNotificationUrl=None, expirationDateTime=app.moment(minutes=59))
    renewal = {"expirationDateTime": app.moment(minutes=61)}
    refused = app.call("PATCH", f"subscriptions/{subscription['id']}", renewal)
    assert (refused.status_code, refused.json()["error"]["message"]) == (400, ONE_HOUR_TEXT)


def test_less_than_forty_five_minutes_become_forty_five(app: GraphClient) -> None:
    expected = datetime.fromisoformat(app.moment(minutes=45))
    for ahead in (30, -100):
        subscription = app.subscribed(expirationDateTime=app.moment(minutes=ahead))
        expires = datetime.fromisoformat(subscription["expirationDateTime"])
        assert timedelta() <= expires - expected < timedelta(minutes=1)
        app.call("DELETE", f"subscriptions/{subscription['id']}")


def test_a_duplicate_is_a_conflict_that_names_the_one_that_exists(app: GraphClient) -> None:
    first = app.subscribed()
    response = app.subscribe(resource="chats/getallmessages", changeType="deleted,updated,created")
    assert response.status_code == 409
    expected = f"Subscription Id {first['id']} already exists for the requested combination"
    assert response.json()["error"]["message"] == expected


def test_two_creations_at_once_leave_one_subscription(graph: GraphServer, app: GraphClient, receiver: Receiver) -> None:
    app.token()
    receiver.silent = True
    properties = app.properties()
    with ThreadPoolExecutor() as threads:
        answers = threads.map(lambda _: app.call("POST", "subscriptions", properties).status_code, range(2))
        eventually(lambda: len(receiver.handshakes) == 2)
        receiver.silent = False
        assert sorted(answers) == [201, 409]
    assert graph.get("summary")["subscriptions"] == 1


def test_quotas_answer_403(app: GraphClient) -> None:
    app.subscribed(changeType="created")
    assert app.subscribe(changeType="updated").status_code == 403
    user = "/users/9a6d0d57-67d4-4d2c-9a37-06a1d6b3a0c3/chats/getAllMessages"
    sets = ["created", "updated", "deleted", "created,updated", "created,deleted", "updated,deleted",
            "created,updated,deleted"]  # fmt: skip
    for change_types in sets:
        app.subscribed(resource=user, changeType=change_types)


def test_other_tenants_have_subscriptions_of_their_own(app: GraphClient) -> None:
    other = str(uuid.uuid4())
    ours, theirs = app.subscribed(), app.subscribed(other)
    assert app.call("GET", f"subscriptions/{theirs['id']}").status_code == 404
    assert [subscription["id"] for subscription in pages(app, "subscriptions", other)] == [theirs["id"]]
    assert [subscription["id"] for subscription in pages(app, "subscriptions")] == [ours["id"]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "expirationDateTime or notificationUrl is required"),
        ({"encryptionCertificateId": "x", "encryptionCertificate": "y"}, "expirationDateTime or notificationUrl"),
        ({"clientState": "new"}, "'clientState' cannot be updated"),
        ({"lifecycleNotificationUrl": "https://127.0.0.1/x"}, "cannot be updated"),
        ({"resource": "/chats"}, "cannot be updated"),
        ({"changeType": "created"}, "cannot be updated"),
    ],
)
def test_patch_changes_only_what_graph_lets_it(app: GraphClient, changes: dict[str, Any], message: str) -> None:
    subscription = app.subscribed()
    if "cannot" in message:
        changes = changes | {"expirationDateTime": app.moment(hours=3)}
    response = app.call("PATCH", f"subscriptions/{subscription['id']}", changes)
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]


def test_renewal_answers_with_the_new_expiry(app: GraphClient) -> None:
    subscription = app.subscribed()
    moment = app.moment(hours=70)
    answer = app.call("PATCH", f"subscriptions/{subscription['id']}", {"expirationDateTime": moment}).json()
    assert datetime.fromisoformat(answer["expirationDateTime"]) == datetime.fromisoformat(moment)


def test_both_certificate_properties_change_together(app: GraphClient) -> None:
    subscription = app.subscribed()
    half = {"expirationDateTime": app.moment(hours=3), "encryptionCertificateId": "only-the-id"}
    assert app.call("PATCH", f"subscriptions/{subscription['id']}", half).status_code == 400


def test_the_old_key_is_used_for_a_while_after_a_new_one_is_set(
    graph: GraphServer, app: GraphClient, receiver: Receiver
) -> None:
    subscription, new = app.subscribed(), EncryptionKey.create()
    rekeying = {
        "expirationDateTime": app.moment(hours=3),
        "encryptionCertificate": b64encode(new.der).decode(),
        "encryptionCertificateId": new.id,
    }
    answer = app.call("PATCH", f"subscriptions/{subscription['id']}", rekeying)
    assert (answer.status_code, answer.json()["encryptionCertificateId"]) == (200, new.id)
    graph.post("messages", count=40)
    eventually(lambda: len(receiver.changes()) == 40)
    keys = {key.id: key for key in (encryption_key(), new)}
    contents = [item["encryptedContent"] for item in receiver.changes()]
    assert {content["encryptionCertificateId"] for content in contents} == keys.keys()
    assert all(keys[content["encryptionCertificateId"]].open(content)["id"] for content in contents)
    graph.post("clock", advance_seconds=130)
    graph.post("messages", count=40)
    eventually(lambda: len(receiver.changes()) == 80)
    assert {item["encryptedContent"]["encryptionCertificateId"] for item in receiver.changes()[40:]} == {new.id}


def test_an_expired_subscription_is_gone(graph: GraphServer, app: GraphClient) -> None:
    subscription = app.subscribed(expirationDateTime=app.moment(minutes=50))
    graph.post("clock", advance_seconds=51 * 60)
    for method, body in (("GET", None), ("PATCH", {"expirationDateTime": app.moment(hours=2)}), ("DELETE", None)):
        response = app.call(method, f"subscriptions/{subscription['id']}", body)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "ResourceNotFound")
    assert app.call("POST", f"subscriptions/{subscription['id']}/reauthorize").status_code == 404
    assert graph.get("summary")["subscriptions"] == 0


def test_a_deleted_subscription_notifies_no_more(graph: GraphServer, app: GraphClient, receiver: Receiver) -> None:
    gone, kept = app.subscribed(), app.subscribed(resource="/chats/19:kept@thread.v2/messages")
    assert app.call("DELETE", f"subscriptions/{gone['id']}").status_code == 204
    assert app.call("DELETE", f"subscriptions/{gone['id']}").status_code == 404
    graph.post("messages", chat="19:kept@thread.v2")
    eventually(receiver.changes)
    assert [item["subscriptionId"].lower() for item in receiver.changes()] == [kept["id"]]


def test_a_subscription_can_vanish_behind_the_apps_back(graph: GraphServer, app: GraphClient) -> None:
    subscription = app.subscribed()
    graph.delete(f"subscriptions/{subscription['id']}")
    assert app.call("GET", f"subscriptions/{subscription['id']}").status_code == 404


def test_reauthorize_and_patch_close_together_are_flagged(graph: GraphServer, app: GraphClient) -> None:
    subscription = app.subscribed()
    path = f"subscriptions/{subscription['id']}"
    assert app.call("POST", f"{path}/reauthorize").status_code == 204
    assert graph.get("summary")["flagged"] == []
    graph.post("clock", advance_seconds=601)
    app.call("PATCH", path, {"expirationDateTime": app.moment(hours=3)})
    assert graph.get("summary")["flagged"] == []
    graph.post("clock", advance_seconds=590)
    app.call("POST", f"{path}/reauthorize")
    assert graph.get("summary")["flagged"] == [f"reauthorize and PATCH of {subscription['id']} within 10 minutes"]


def pages(app: GraphClient, path: str, tenant: str | None = None) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    link: str | None = path
    while link:
        page = app.call("GET", link, tenant=tenant).json()
        items += page["value"]
        link = page.get("@odata.nextLink")
    return items


def test_the_list_comes_in_pages_with_opaque_links(app: GraphClient) -> None:
    created = {app.subscribed(resource=f"/chats/19:{number}@thread.v2/messages")["id"] for number in range(105)}
    first = app.call("GET", "subscriptions").json()
    assert len(first["value"]) == 100
    assert first["@odata.nextLink"].startswith(f"{app.graph.url}/v1.0/subscriptions?$skiptoken=")
    listed = pages(app, "subscriptions")
    assert {subscription["id"] for subscription in listed} == created
    assert len(listed) == 105
    assert all(
        subscription["clientState"] is None and subscription["encryptionCertificate"] is None for subscription in listed
    )


def test_the_list_takes_no_options(app: GraphClient) -> None:
    assert app.call("GET", "subscriptions", params={"$top": "5"}).status_code == 400


def test_the_list_is_limited_to_twenty_five_calls_in_twenty_seconds(graph: GraphServer, app: GraphClient) -> None:
    answers = [app.call("GET", "subscriptions") for _ in range(26)]
    assert [answer.status_code for answer in answers] == [200] * 25 + [429]
    assert answers[-1].json()["error"]["code"] == "TooManyRequests"
    graph.post("clock", advance_seconds=20)
    assert app.call("GET", "subscriptions").status_code == 200
