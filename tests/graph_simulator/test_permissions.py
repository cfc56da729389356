"""The simulator refuses like Graph: by Microsoft's permission reference, given the grants of a tenant."""

from typing import Any

import jwt
import pytest

from graph_simulator.permissions import place, reference
from graph_simulator.server import GraphServer
from graph_simulator.watchable import KINDS, WatchedResource, parse_resource
from tests.graph_simulator.client import GraphClient

BASIC = {"includeResourceData": None, "encryptionCertificate": None, "encryptionCertificateId": None}


def granted(app: GraphClient, *application: str, **specific: list[str]) -> None:
    """Have the tenant grant exactly these permissions, and get a token with them."""
    tenant = app.graph.registration.tenant
    app.graph.post("permissions", tenant=tenant, application=list(application), specific=specific)
    app.tokens.clear()


def status(app: GraphClient, resource: str, **properties: Any) -> int:
    properties = {**BASIC, "changeType": "created", "expirationDateTime": app.moment(minutes=50), **properties}
    return app.subscribe(resource=resource, **properties).status_code


@pytest.mark.parametrize(
    ("resource", "permission"),
    [
        ("/teams/getAllMessages", "ChannelMessage.Read.All"),
        ("/chats/getAllMessages", "Chat.Read.All"),
        ("/appCatalogs/teamsApps/1/installedToChats", "Chat.ReadBasic.WhereInstalled"),
        ("/users/1/messages", "Mail.Read"),
        ("/teams/1/schedule/shifts", "Schedule.Read.All"),
        ("/solutions/approval/approvalItems", "ApprovalSolution.Read.All"),
        ("/users/1/adhocCalls/getAllTranscripts", "CallTranscripts.Read.All"),
    ],
)
def test_a_subscription_takes_its_permission_and_no_other(app: GraphClient, resource: str, permission: str) -> None:
    granted(app, "Chat.ReadBasic.All", "User.Read.All")
    refused = app.subscribe(resource=resource, **BASIC, changeType="created", expirationDateTime=app.moment(minutes=50))
    assert refused.status_code == 403
    assert permission in refused.json()["error"]["message"]
    granted(app, permission)
    assert status(app, resource) == 201


@pytest.mark.parametrize("resource", ["/communications/presences/1", "/groups/1/conversations"])
def test_what_no_application_can_watch_is_refused_whatever_was_granted(app: GraphClient, resource: str) -> None:
    properties = {"changeType": "updated", "expirationDateTime": app.moment(minutes=50)}
    refused = app.subscribe(resource=resource, **properties, **({} if "presences" in resource else BASIC))
    assert refused.status_code == 403
    assert "application permissions are not supported" in refused.json()["error"]["message"]


def test_what_only_beta_offers_is_unknown_to_v1(app: GraphClient) -> None:
    assert status(app, "/communications/onlineMeetings(joinWebUrl='https%3A%2F%2Fx')/meetingCallEvents") == 400


def test_a_token_has_roles_once_permissions_are_granted_one_by_one(app: GraphClient) -> None:
    granted(app, "Mail.Read", "Chat.Read.All")
    claims = jwt.decode(app.token(), options={"verify_signature": False})
    assert claims["roles"] == ["Chat.Read.All", "Mail.Read"]


def test_reads_take_theirs(app: GraphClient) -> None:
    granted(app, "Team.ReadBasic.All")
    assert app.call("GET", "teams").status_code == 200
    assert app.call("GET", "groups").status_code == 403
    assert app.call("GET", "users").status_code == 403


def test_a_channel_can_be_watched_and_read_with_consent_for_its_team(graph: GraphServer, app: GraphClient) -> None:
    team, name = channel_of(graph)
    (written,) = graph.post("messages", team=team, channel=name)["messages"]
    granted(app, **{f"teams/{team}": ["ChannelMessage.Read.Group"]})
    assert status(app, f"/teams/{team}/channels/{name}/messages") == 201
    assert app.call("GET", f"teams/{team}/channels/{name}/messages/delta").status_code == 200
    graph.post("clock", advance_seconds=2)  # one read a second of a channel
    assert app.call("GET", written["path"]).status_code == 200
    assert app.call("GET", f"teams/{team}/channels/getAllMessages").status_code == 403
    assert status(app, "/teams/getAllMessages") == 403


def channel_of(graph: GraphServer) -> tuple[str, str]:
    world = graph.simulator.tenant(graph.registration.tenant).world
    found = next(place for place in world.places.values() if place.team is not None)
    return str(found.team), str(found.channel)


def test_renewing_takes_what_its_page_names_where_that_is_asked_for(graph: GraphServer, app: GraphClient) -> None:
    granted(app, "Files.Read.All")
    created = app.subscribe(resource="/drives/1/root", **BASIC, changeType="updated").json()
    renewal = {"expirationDateTime": app.moment(minutes=60)}
    assert app.call("PATCH", f"subscriptions/{created['id']}", renewal).status_code == 200
    graph.post("faults", renewing_takes_more=True)
    assert app.call("PATCH", f"subscriptions/{created['id']}", renewal).status_code == 403
    assert app.call("DELETE", f"subscriptions/{created['id']}").status_code == 204


def test_an_unknown_permission_cannot_be_granted(app: GraphClient) -> None:
    with pytest.raises(ValueError, match="No application permission"):
        granted(app, "Chat.Read.Everything")


def test_every_kind_has_its_facts() -> None:
    for kind in KINDS:
        for path in kind.paths:
            watched = parse_resource(path.replace("{}", "1"))
            assert isinstance(watched, WatchedResource)
            assert watched.kind is kind
    assert all(facts["accepted"] for facts in reference()["operations"].values())


def test_where_a_consent_counts() -> None:
    assert place(("teams", "A", "channels", "b", "messages")) == "teams/a"
    assert place(("copilot", "users", "A", "interactionHistory")) == "users/a"
    assert place(("communications", "onlineMeetings", "A", "transcripts")) == "communications/onlinemeetings/a"
