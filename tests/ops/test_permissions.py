"""`ops permissions`: the least set, its reasons, the granted permissions, and how to grant the rest."""

import json
from pathlib import Path
from typing import Any

import pytest

from graph_simulator.server import GraphServer
from tests.builders import TENANT
from tests.ops.conftest import ROOT, Operator, run

CHATS, TEAMS = "/chats/getAllMessages", "/teams/getAllMessages"


def written(path: Path, *entries: dict[str, Any]) -> str:
    file = path / "subscriptions.json"
    file.write_text(json.dumps([{"changeTypes": ["created"], **entry} for entry in entries]), encoding="utf-8")
    return str(file)


def grant(graph: GraphServer, *names: str) -> None:
    graph.post("permissions", tenant=TENANT, application=list(names))


def purposes(found: dict[str, Any], resource: str) -> list[tuple[str, str, str | None]]:
    (declaration,) = (declaration for declaration in found["declarations"] if declaration["resource"] == resource)
    return [(need["purpose"], need["permissions"][0], need["granted"]) for need in declaration["needs"]]


def test_a_file_is_looked_at_before_there_are_any_settings(tmp_path: Path) -> None:
    file = written(tmp_path, {"resource": CHATS}, {"resource": TEAMS}, {"resource": "/users", "hydrate": True})
    result = run("permissions", file, "--json", environment={})
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    (tenant,) = found["tenants"]
    assert tenant["needed"] == ["ChannelMessage.Read.All", "Chat.Read.All", "Team.ReadBasic.All", "User.Read.All"]
    assert tenant["granted"] is None
    assert [what for what, _, _ in purposes(found, CHATS)] == [
        "subscribe",
        "list whom to read back",
        "read back what was missed",
    ]
    assert "read one back" in [what for what, _, _ in purposes(found, "/users")]
    shown = run("permissions", file, environment={}).stdout
    assert "infra/consent.py GRAPH_CLIENT_ID ChannelMessage.Read.All Chat.Read.All" in shown
    assert "entra.microsoft.com" not in shown  # no setting names the registration yet


def test_a_list_that_an_entry_fans_out_over_takes_its_permission(tmp_path: Path) -> None:
    resource = "/users/{id}/messages"
    file = written(tmp_path, {"resource": resource, "forEach": "/groups/1/members"})
    found = json.loads(run("permissions", file, "--json", environment={}).stdout)
    (tenant,) = found["tenants"]
    assert tenant["needed"] == ["GroupMember.Read.All", "Mail.Read"]
    assert [what for what, _, _ in purposes(found, resource)][:2] == ["list whom to subscribe for"] * 2


def test_the_example_file_takes_the_least_set() -> None:
    result = run("permissions", str(ROOT / "subscriptions.json.example"), "--json", environment={})
    (tenant,) = json.loads(result.stdout)["tenants"]
    assert tenant["needed"] == ["ChannelMessage.Read.All", "Chat.Read.All", "Team.ReadBasic.All", "User.ReadBasic.All"]
    assert tenant["commands"] == ["az login", f"python3 infra/consent.py GRAPH_CLIENT_ID {' '.join(tenant['needed'])}"]


def test_what_is_granted_is_compared_and_exactly_the_rest_is_asked_for(operator: Operator, graph: GraphServer) -> None:
    grant(graph, "Chat.Read.All", "Mail.Read", "Application.Read.All")
    found = operator.json("permissions", ends=1)
    (tenant,) = found["tenants"]
    assert tenant["granted"] == ["Application.Read.All", "Chat.Read.All", "Mail.Read"]
    assert (tenant["missing"], tenant["not_needed"]) == (["User.ReadBasic.All"], ["Mail.Read"])
    client = operator.environment["GRAPH_CLIENT_ID"]
    assert tenant["commands"][-1] == f"python3 infra/consent.py {client} User.ReadBasic.All"
    assert tenant["consent_url"].startswith("https://entra.microsoft.com/")  # /adminconsent needs a reply URL
    assert tenant["consent_url"].endswith(f"/CallAnAPI/appId/{client}")
    assert purposes(found, CHATS)[0] == ("subscribe", "Chat.Read.All", "Chat.Read.All")


def test_when_all_is_granted_nothing_is_asked_for(operator: Operator, graph: GraphServer) -> None:
    grant(graph, "Chat.Read.All", "User.ReadBasic.All")
    (tenant,) = operator.json("permissions")["tenants"]
    assert (tenant["missing"], tenant["commands"], tenant["consent_url"]) == ([], [], None)
    assert "All of it is granted." in operator("permissions").stdout


def test_in_a_tenant_of_others_the_command_is_all_there_is(operator: Operator) -> None:
    other = "c7d1e2f3-0a0b-4c0d-8e0f-0000000000ff"
    declared = json.dumps([{"resource": CHATS, "changeTypes": ["created"], "tenantId": other}])
    (tenant,) = Operator(operator.environment | {"SUBSCRIPTIONS": declared}).json("permissions")["tenants"]
    assert tenant["commands"][0] == f"az login --tenant {other}"
    assert tenant["consent_url"] is None  # the registration is not in this tenant


def test_a_token_without_roles_is_reported_as_such(operator: Operator) -> None:
    (tenant,) = operator.json("permissions")["tenants"]
    assert tenant["granted"] is None
    assert "does not say" in tenant["unknown"]


def test_with_consent_for_the_resource_the_tenant_is_asked_for_nothing(tmp_path: Path) -> None:
    file = written(tmp_path, {"resource": "/teams/1/channels/2/messages", "consent": "resource", "hydrate": True})
    found = json.loads(run("permissions", file, "--json", environment={}).stdout)
    assert found["tenants"][0]["needed"] == []
    assert "ChannelMessage.Read.Group" in run("permissions", file, environment={}).stdout


@pytest.mark.parametrize(
    ("resource", "says"),
    [
        ("/communications/presences/1", "signed-in user"),
        ("/groups/1/conversations", "signed-in user"),
        ("/chat/1/messages", "chats/{id}/messages"),
    ],
)
def test_a_resource_that_no_application_can_subscribe_to_is_named(tmp_path: Path, resource: str, says: str) -> None:
    file = written(tmp_path, {"resource": resource}, {"resource": "/users"})
    result = run("permissions", file, "--json", environment={})
    assert result.exit_code == 1
    refused, users = json.loads(result.stdout)["declarations"]
    assert says in refused["complaint"]
    assert users["complaint"] is None


def test_consent_that_graph_does_not_know_is_a_wrong_declaration(tmp_path: Path) -> None:
    file = written(tmp_path, {"resource": "/chats/1/messages", "consent": "resource"})
    result = run("permissions", file, environment={})
    assert result.exit_code == 2
    assert "no resource-specific consent" in result.output


def test_further_needs_are_printed(tmp_path: Path) -> None:
    transcripts = {"resource": "communications/onlineMeetings/getAllTranscripts", "hydrate": True}
    file = written(tmp_path, transcripts, {"resource": "communications/adhocCalls/getAllTranscripts"})
    shown = run("permissions", file, environment={}).stdout
    assert "New-CsApplicationAccessPolicy" in shown
    assert "beta endpoint" in shown


def test_without_settings_and_without_a_file_the_settings_are_asked_for() -> None:
    result = run("permissions", environment={})
    assert result.exit_code == 2
    assert "GRAPH_TENANT_ID" in result.output
