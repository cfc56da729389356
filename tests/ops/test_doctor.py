import base64
import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from azure.storage.blob import BlobServiceClient

from graph_simulator.authority import Authority
from graph_simulator.server import GraphServer
from local.feed.server import RunningFeed
from ops.checks.connectivity import subscriptions
from ops.checks.result import Verdict
from ops.subscription_state import Listed
from shared import relay
from shared.configuration.settings import Settings
from shared.graph.validation_token import PUBLISHER
from shared.relay import Relay
from shared.storage.clients import StorageClients
from shared.subscriptions.subscription import Subscription
from tests import builders
from tests.ops.conftest import Operator, variables
from tests.ops.letters import give_up
from tests.servers import RecordedRequest, ScriptedResponse, Server, in_json, serving

Findings = dict[str, dict[str, Any]]


def diagnosed(operator: Operator, ends: int) -> Findings:
    """Run the command and return the results by check, without the tenant."""
    found = operator.json("doctor", ends=ends)["findings"]
    return {result["check"].removesuffix(f" in {builders.TENANT}"): result for result in found}


def with_verdict(findings: Findings, verdict: str) -> set[str]:
    return {check for check, result in findings.items() if result["verdict"] == verdict}


@pytest.fixture
def healthy(operator: Operator) -> Operator:
    operator.json("reconcile")
    return operator


def test_a_healthy_system_is_fine_except_for_what_the_simulator_does_not_show_and_its_destination_takes_nothing_in(
    healthy: Operator, feed: RunningFeed
) -> None:
    found = diagnosed(healthy, 0)
    assert with_verdict(found, "unseen") == {"permission", "validation tokens"}
    assert with_verdict(found, "fine") == set(found) - {"permission", "validation tokens"}
    assert {"settings", "queue", "dead letters", "tables", "key store", "clock", "signing keys", "identity", "endpoint",
            "destination", "subscription to /chats/getAllMessages"} <= set(found)  # fmt: skip
    summary = feed.summary()
    assert (summary["events"], summary["refused"]) == (0, {})


def test_everything_that_is_not_fine_says_what_to_do_and_looking_makes_no_key(operator: Operator, keys: Path) -> None:
    found = diagnosed(operator, 1)
    assert found["key store"]["verdict"] == "attention"
    assert not keys.exists()
    assert [result for result in found.values() if result["verdict"] == "attention" and not result["todo"]] == []
    table = operator("doctor").stdout
    assert "rotate-keys" in table


def test_invalid_settings_are_named_without_values_and_storage_is_still_checked(unchanged: Operator) -> None:
    wrong = Operator(unchanged.environment | {"CLIENT_STATE_SECRET": "hunter2", "KEY_STORE": ""})
    result = wrong("doctor", "--json")
    assert result.exit_code == 2
    assert "hunter2" not in result.output
    assert all(name in result.stdout for name in ("CLIENT_STATE_SECRET", "KEY_STORE", '"queue"', '"tables"'))


def test_a_timer_too_rare_for_a_short_lifetime_is_reported_with_a_remedy(unchanged: Operator) -> None:
    hourly = unchanged.environment | {
        "RENEW_SCHEDULE": "0 0 * * * *",
        "SUBSCRIPTIONS": '[{"resource": "/unheard/of", "changeTypes": ["updated"]}]',
    }
    found = diagnosed(Operator(hourly), 1)["schedule"]
    assert "lives 59 minutes: it expires between two of them" in found["says"]
    assert "Set RENEW_SCHEDULE so that it runs at least every 29 minutes" in found["todo"]


def test_a_subscription_made_with_another_secret_or_key_needs_attention(unchanged: Operator, tmp_path: Path) -> None:
    other = base64.b64encode(b"z" * 32).decode()
    found = diagnosed(Operator(unchanged.environment | {"CLIENT_STATE_SECRET": other}), 1)
    assert "created with another CLIENT_STATE_SECRET" in found["clientState of /chats/getAllMessages"]["says"]
    elsewhere = tmp_path / "elsewhere"
    found = diagnosed(Operator(unchanged.environment | {"KEY_STORE": f"file:{elsewhere}"}), 1)
    assert "which is not in the key store" in found["key of /chats/getAllMessages"]["says"]
    assert not any(check.startswith(("key of", "clientState of")) for check in diagnosed(unchanged, 0))


def test_each_secret_and_key_of_many_subscriptions_is_looked_at(tmp_path: Path) -> None:
    """Only those of the twenty with the least time left were."""
    declared = [builders.declaration(f"/users/{number:02}/messages") for number in range(25)]
    text = msgspec.json.encode(declared).decode()
    with variables(builders.environment(SUBSCRIPTIONS=text, KEY_STORE=f"file:{tmp_path}")):
        relay.forget()
        desired = relay.relay().desired_state(None)
        strange = replace(desired, client_state_secret=b"z" * 32)
        held = [
            Subscription(
                id=str(number),
                resource=each.resource,
                change_type=",".join(each.change_types),
                notification_url=(strange if number > 22 else desired).url_for(each),
                expiration_date_time=datetime.now(UTC) + timedelta(hours=10 + number),
                encryption_certificate_id="lost" if number == 24 else None,
            )
            for number, each in enumerate(declared)
        ]
        found = list(subscriptions(Listed({builders.TENANT: held}, {builders.TENANT: {}})))
    relay.forget()
    report = {result.check: result.says for result in found if result.verdict is Verdict.ATTENTION}
    assert "like 1 more, was created with another CLIENT_STATE_SECRET" in report["clientState of /users/23/messages"]
    assert "names the key lost, which is not in the key store" in report["key of /users/24/messages"]
    assert len(report) == 2


def test_a_permission_to_list_is_not_one_to_read(operator: Operator, graph: GraphServer) -> None:
    graph.post("permissions", tenant=builders.TENANT, application=["User.ReadBasic.All"])
    found = diagnosed(operator, 1)["reading back /chats/getAllMessages"]
    assert found["verdict"] == "attention"
    assert "Chat.Read.All" in found["todo"]


def test_a_secret_that_entra_refuses_needs_attention(unchanged: Operator) -> None:
    found = diagnosed(Operator(unchanged.environment | {"GRAPH_CLIENT_SECRET": "another"}), 1)
    assert found["identity"]["verdict"] == "attention"
    assert "GRAPH_CLIENT_SECRET" in found["identity"]["says"]


def test_an_unavailable_authority_is_reported_as_unreachable(healthy: Operator, graph: GraphServer) -> None:
    graph.post("faults", unavailable=["keys", "login"])
    found = diagnosed(healthy, 3)
    assert {"signing keys", "identity"} <= with_verdict(found, "unreachable")


def test_consent_withdrawn_shows_where_graph_is_asked(healthy: Operator, graph: GraphServer) -> None:
    graph.post("consent", tenant=builders.TENANT, granted=False)
    found = diagnosed(healthy, 1)
    assert {"reading back /chats/getAllMessages", "subscriptions"} <= with_verdict(found, "attention")
    assert "User.ReadBasic.All" in found["reading back /chats/getAllMessages"]["todo"]


def test_a_failed_handshake_needs_attention_unless_it_is_a_403(healthy: Operator, endpoint: Server) -> None:
    endpoint.script = lambda _: ScriptedResponse(404)
    assert diagnosed(healthy, 1)["endpoint"]["verdict"] == "attention"
    endpoint.script = lambda _: ScriptedResponse(403)
    assert diagnosed(healthy, 0)["endpoint"]["verdict"] == "unseen"


def test_an_event_hub_has_no_handshake_and_is_judged_by_its_subscriptions(operator: Operator, endpoint: Server) -> None:
    hub = "EventHub:https://relay.servicebus.windows.net/eventhubname/graph?tenantId=contoso.example"
    namespace = {"EventHubConnection__fullyQualifiedNamespace": "relay.servicebus.windows.net"}
    fed_by_hub = Operator(operator.environment | {"NOTIFICATION_URL": hub} | namespace)
    fed_by_hub.json("reconcile")
    found = diagnosed(fed_by_hub, 0)
    assert found["endpoint"]["verdict"] == "unseen"
    assert found["subscription to /chats/getAllMessages"]["verdict"] == "fine"
    assert endpoint.asked == []


@pytest.mark.parametrize(
    ("status", "verdict", "ends"),
    [
        (204, "fine", 0),
        (302, "attention", 1),
        (400, "unseen", 0),
        (401, "attention", 1),
        (404, "attention", 1),
        (429, "unreachable", 3),
        (503, "unreachable", 3),
    ],
)
def test_what_the_destination_answers_is_judged(unchanged: Operator, status: int, verdict: str, ends: int) -> None:
    with serving(lambda _: ScriptedResponse(status)) as destination:
        found = diagnosed(Operator(unchanged.environment | {"DESTINATION_URL": destination.url}), ends)
        assert found["destination"]["verdict"] == verdict
        (asked,) = destination.asked
    assert asked.body == b"[]"
    assert asked.headers["webhook-signature"].startswith("v1,")


def test_a_wrong_destination_secret_is_found_out_by_the_feed(unchanged: Operator) -> None:
    wrong = Operator(unchanged.environment | {"DESTINATION_SECRET": builders.destination_secret()})
    assert diagnosed(wrong, 1)["destination"]["verdict"] == "attention"


def test_an_unavailable_destination_is_reported_as_unreachable(unchanged: Operator) -> None:
    away = Operator(unchanged.environment | {"DESTINATION_URL": "http://127.0.0.1:9/events"})
    assert diagnosed(away, 3)["destination"]["verdict"] == "unreachable"


def test_dead_letters_need_attention(healthy: Operator, storage: StorageClients) -> None:
    give_up(storage, builders.changes(builders.change()))
    assert with_verdict(diagnosed(healthy, 1), "attention") == {"dead letters"}


def test_a_key_whose_file_is_open_to_others_is_named(healthy: Operator, keys: Path) -> None:
    (file,) = keys.glob("*.pem")
    file.with_name("brought.pem").write_bytes(file.read_bytes())
    file.with_name("brought.pem").chmod(0o644)
    found = diagnosed(healthy, 1)["key store"]
    assert "there is no valid key" not in found["says"]
    report = healthy("doctor", "--json").stdout
    assert "chmod 600" in report


@pytest.mark.parametrize(("ahead", "verdict"), [(0, "fine"), (-300, "attention"), (300, "attention")])
def test_a_clock_that_differs_from_graphs_needs_attention(
    storage_operator: Operator, authority: Authority, ahead: int, verdict: str
) -> None:
    def refuse(_: RecordedRequest) -> ScriptedResponse:
        date = formatdate(datetime.now(UTC).timestamp() + ahead, usegmt=True)
        return ScriptedResponse(401, headers={"Date": date})

    with serving(refuse, authority) as graph:
        urls = {"GRAPH_BASE_URL": graph.url, "LOGIN_BASE_URL": graph.url, "NOTIFICATION_URL": graph.url}
        away = {"DESTINATION_URL": "http://127.0.0.1:9/"}
        assert diagnosed(Operator(storage_operator.environment | urls | away), 3)["clock"]["verdict"] == verdict


class Entra:
    """A Graph and an authority whose tokens have roles, and where the app may read service principals."""

    def __init__(self, roles: list[str], *, required: bool, publisher: bool = True, assigned: bool = False) -> None:
        self.url = ""
        self._token = jwt.encode({"roles": roles}, builders.client_state_secret(), algorithm="HS256")
        self._required, self._publisher, self._assigned = required, publisher, assigned

    def __call__(self, request: RecordedRequest) -> ScriptedResponse:
        path = request.path.partition("?")[0]
        if path.endswith("/openid-configuration"):
            names = ("issuer", "token_endpoint", "authorization_endpoint", "jwks_uri")
            return in_json({name: f"{self.url}/{name}" for name in names})
        if path.endswith(f"(appId='{PUBLISHER}')") and not self._publisher:
            return in_json({"error": {"code": "NotFound"}}, 404)
        last = {
            "jwks_uri": {"keys": []},
            "token_endpoint": {"token_type": "Bearer", "expires_in": 3599, "access_token": self._token},
            f"servicePrincipals(appId='{PUBLISHER}')": {"id": "publisher"},
            f"servicePrincipals(appId='{builders.CLIENT_ID}')": {
                "id": "app",
                "appRoleAssignmentRequired": self._required,
            },
            "appRoleAssignedTo": {"value": [{"principalId": "publisher" if self._assigned else "somebody"}]},
        }
        return in_json(last.get(path.rpartition("/")[2], {"value": []}))


def asked_of(entra: Entra, storage_operator: Operator, authority: Authority) -> Findings:
    with serving(entra, authority) as server:
        entra.url = server.url
        urls = {"GRAPH_BASE_URL": server.url, "LOGIN_BASE_URL": server.url, "NOTIFICATION_URL": server.url}
        with serving(lambda _: ScriptedResponse(204)) as destination:
            return diagnosed(Operator(storage_operator.environment | urls | {"DESTINATION_URL": destination.url}), 1)


@pytest.mark.parametrize(
    ("roles", "says"),
    [
        (["Chat.Read.All", "User.ReadBasic.All"], {"Chat.Read.All": "fine", "User.ReadBasic.All": "fine"}),
        (["Chat.Read.All", "User.Read.All", "Mail.Read"], {"Chat.Read.All": "fine", "User.Read.All": "fine"}),
        (
            ["Chat.ReadWrite.All", "User.Read.All"],  # subscribing to all chats needs no other
            {"Chat.ReadWrite.All": "fine", "User.Read.All": "fine", "Chat.Read.All is missing": "attention"},
        ),
        ([], {"Chat.Read.All is missing": "attention", "User.ReadBasic.All is missing": "attention"}),
    ],
)
def test_a_permission_that_a_declaration_needs_is_looked_for_in_the_token(
    storage_operator: Operator, authority: Authority, roles: list[str], says: dict[str, str]
) -> None:
    with serving(entra := Entra(roles, required=False), authority) as server:
        entra.url = server.url
        urls = {"GRAPH_BASE_URL": server.url, "LOGIN_BASE_URL": server.url, "NOTIFICATION_URL": server.url}
        away = {"DESTINATION_URL": "http://127.0.0.1:9/"}
        found = Operator(storage_operator.environment | urls | away).json("doctor", ends=3)["findings"]
    assert {result["says"]: result["verdict"] for result in found if result["check"].startswith("permission ")} == says


class Chats(Entra):
    """A Graph that lists users, a page for each entry, and refuses to read the chats of some with a status."""

    def __init__(self, *users: tuple[str, int] | None) -> None:
        super().__init__(["Chat.Read.All", "User.Read.All"], required=False)
        self._users = users

    def __call__(self, request: RecordedRequest) -> ScriptedResponse:
        path, _, query = request.path.removeprefix("/v1.0/").partition("?")
        if path == "users":
            number = int(query.partition("$skiptoken=")[2] or 0)
            user = self._users[number] if self._users else None
            following = {"@odata.nextLink": f"{self.url}/v1.0/users?$skiptoken={number + 1}"}
            return in_json(
                {"value": [{"id": user[0]}] if user else []} | (following if number + 1 < len(self._users) else {})
            )
        refused = next((user[1] for user in self._users if user and path.startswith(f"users/{user[0]}/")), 0)
        return (
            in_json({"error": {"code": "Forbidden", "message": "No."}}, refused)
            if refused
            else super().__call__(request)
        )


@pytest.mark.parametrize(
    ("users", "verdict"),
    [
        ([("ada", 0)], "fine"),
        ([None, None, ("ada", 0)], "fine"),  # a page may be empty, and lead to others
        ([("room", 404), ("guest", 403), ("ada", 0)], "fine"),
        ([None, ("ada", 403)], "attention"),
        ([("ada", 403), ("grace", 403)], "attention"),
        ([None, None], "unseen"),
        ([], "unseen"),
    ],
)
def test_reading_back_is_fine_once_somebodys_messages_were_read(
    storage_operator: Operator, authority: Authority, users: list[tuple[str, int] | None], verdict: str
) -> None:
    found = asked_of(Chats(*users), storage_operator, authority)["reading back /chats/getAllMessages"]
    assert found["verdict"] == verdict


@pytest.mark.parametrize(
    ("entra", "verdict", "todo"),
    [
        (Entra([], required=False), "fine", ""),
        (Entra([], required=True, assigned=True), "fine", ""),
        (Entra([], required=True), "attention", "appRoleAssignmentRequired=false"),
        (Entra([], required=False, publisher=False), "attention", PUBLISHER),
    ],
)
def test_without_its_prerequisite_no_validation_tokens_come(
    storage_operator: Operator, authority: Authority, entra: Entra, verdict: str, todo: str
) -> None:
    found = asked_of(entra, storage_operator, authority)["validation tokens"]
    assert found["verdict"] == verdict
    assert todo in found["todo"]


def test_unavailable_storage_hides_no_other_result(unchanged: Operator) -> None:
    nowhere = unchanged.environment["AzureWebJobsStorage"].replace("http://127.0.0.1:", "http://127.0.0.2:")
    found = diagnosed(Operator(unchanged.environment | {"AzureWebJobsStorage": nowhere}), 3)
    assert with_verdict(found, "unreachable") == {"queue", "tables"}
    assert found["destination"]["verdict"] == "fine"


def test_what_a_blob_holds_is_compared_with_what_is_in_force(healthy: Operator, storage: StorageClients) -> None:
    connection = healthy.environment["AzureWebJobsStorage"]
    with BlobServiceClient.from_connection_string(connection) as service:
        blob = service.get_blob_client(f"config-{uuid.uuid4().hex[:12]}", "subscriptions.json")
        service.create_container(blob.container_name)
        blob.upload_blob(healthy.environment["SUBSCRIPTIONS"])
        operator = Operator(healthy.environment | {"SUBSCRIPTIONS": blob.url})
        check = "SUBSCRIPTIONS in a blob"
        assert diagnosed(operator, 1)[check]["says"].startswith("nothing is in force, not what it holds now: it adds")
        settings = Settings.from_environment(operator.environment)
        app = Relay(settings, storage)
        app.read_blobs()
        assert diagnosed(operator, 0)[check]["verdict"] == "fine"
        blob.upload_blob('[{"resource": "/users", "changeTypes": ["updated"]}]', overwrite=True)
        found = diagnosed(operator, 1)[check]
        assert "it adds /users in" in found["says"]
        assert "it removes /chats/getAllMessages in" in found["says"]
        blob.upload_blob('[{"resource": "/users"}]', overwrite=True)
        app.read_blobs()
        found = diagnosed(operator, 1)[check]
        assert "it is invalid: expected a JSON list of declarations" in found["says"]
        blob.delete_blob()
        assert "there is no blob" in diagnosed(operator, 1)[check]["says"]


def test_impossible_declarations_are_named_with_a_remedy(healthy: Operator, graph: GraphServer) -> None:
    person = graph.get("people")[0]
    declared: list[dict[str, Any]] = [
        {"resource": "/users/nobody@example.org/messages", "hydrate": True},
        {"resource": f"/users/{person['userPrincipalName']}/messages", "hydrate": True},
        {"resource": f"/users/{uuid.uuid4()}/drive/root"},
        {"resource": "/users?$filter=accountEnabled eq true"},
        {"resource": "/chats/getAllMessages?$search=x"},
        {"resource": "/solutions/approval/approvalItems", "hydrate": True},
    ]
    entries = json.dumps([{"changeTypes": ["updated"], **entry} for entry in declared])
    found = diagnosed(Operator(healthy.environment | {"SUBSCRIPTIONS": entries}), 1)
    assert found[f"names in /users/{person['userPrincipalName']}/messages"]["verdict"] == "fine"
    for check, says in {
        "names in /users/nobody@example.org/messages": "does not resolve to an id",
        f"names in {declared[2]['resource']}": "does not resolve to an id",
        "reading back /users/nobody@example.org/messages": "404",
        f"reading back {declared[2]['resource']}": "404",
        "reading back /users?$filter=accountEnabled eq true": "can't be read back as it is declared",
        "reading back /chats/getAllMessages?$search=x": "can't be read back as it is declared",
        "hydrating /solutions/approval/approvalItems": "does not let an application read it",
    }.items():
        assert (found[check]["verdict"], says in found[check]["says"]) == ("attention", True), (check, found[check])
        assert found[check]["todo"]


def test_lists_that_declarations_fan_out_over_are_named_with_their_members(
    healthy: Operator, graph: GraphServer, storage: StorageClients
) -> None:
    (group,) = {person["tenant"] for person in graph.get("people")}  # everybody
    entry = {"resource": "/users/{id}/messages", "changeTypes": ["created"], "forEach": f"/groups/{group}/members"}
    operator = Operator(healthy.environment | {"SUBSCRIPTIONS": json.dumps([entry])})
    check = f"members of /groups/{group}/members"
    assert "was not read yet" in diagnosed(operator, 1)[check]["says"]
    with variables(operator.environment):
        app = Relay(Settings.from_environment(operator.environment), storage)
    app.declarations.refresh()
    people = len(graph.get("people"))
    found = diagnosed(operator, 1)[check]
    assert found["verdict"] == "fine"
    assert f"{people} subscriptions to /users/{{id}}/messages" in found["says"]
    (shown,) = operator.json("status", ends=1)["member_lists"]
    assert (shown["lists"], shown["members"], shown["missing"]) == ([f"/groups/{group}/members"], people, 0)
    assert f"/groups/{group}/members" in operator("status").output.replace("\n", "")
    graph.post("consent", tenant=builders.TENANT, granted=False)
    app.declarations.refresh()
    assert "it can't be read" in diagnosed(operator, 1)[check]["says"]


def test_declarations_that_can_not_be_read_at_all_hide_nothing_else(unchanged: Operator) -> None:
    with BlobServiceClient.from_connection_string(unchanged.environment["AzureWebJobsStorage"]) as service:
        blob = service.get_blob_client("nothing", "subscriptions.json").url
    found = diagnosed(Operator(unchanged.environment | {"SUBSCRIPTIONS": blob}), 3)
    assert found["queue"]["verdict"] == "fine"
    assert found["endpoint"]["verdict"] == "fine"
    assert found["declarations and destinations"]["verdict"] == "unreachable"
