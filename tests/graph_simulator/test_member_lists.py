"""The lists that an app follows: members of groups and their delta query, users, drives, lists of a site."""

import uuid

import pytest

from graph_simulator.server import GraphServer
from tests.graph_simulator.client import GraphClient
from tests.graph_simulator.test_reads import rounds

GROUP, NESTED = str(uuid.uuid4()), str(uuid.uuid4())
ADA, BEN, CARL = (str(uuid.uuid4()) for _ in range(3))


def join(graph: GraphServer, member: str, group: str = GROUP, kind: str = "user", *, leave: bool = False) -> None:
    graph.post("groups", group=group, member=member, kind=kind, removed=leave)


def test_members_are_direct_and_transitive_members_are_of_groups_within(graph: GraphServer, app: GraphClient) -> None:
    join(graph, ADA)
    join(graph, NESTED, kind="group")
    join(graph, BEN, NESTED)
    direct = rounds(app, f"groups/{GROUP}/members", {"$select": "id", "$top": "999"})[0]
    assert {(entry["id"], entry["@odata.type"]) for entry in direct} == {
        (ADA, "#microsoft.graph.user"),
        (NESTED, "#microsoft.graph.group"),
    }
    assert {entry["id"] for entry in rounds(app, f"groups/{GROUP}/transitiveMembers")[0]} == {ADA, NESTED, BEN}


def test_a_group_that_is_not_there_is_not_found(app: GraphClient) -> None:
    assert app.call("GET", f"groups/{uuid.uuid4()}/members").status_code == 404


def test_a_delta_query_of_members_says_who_came_and_who_left(graph: GraphServer, app: GraphClient) -> None:
    join(graph, ADA)
    query = {"$filter": f"id eq '{GROUP}'", "$select": "members"}
    everything, _, _ = rounds(app, "groups/delta", query)
    assert everything == [{"id": GROUP, "members@delta": [{"@odata.type": "#microsoft.graph.user", "id": ADA}]}]
    nothing, link, _ = rounds(app, "groups/delta", {**query, "$deltatoken": "latest"})
    assert nothing == []
    join(graph, BEN)
    join(graph, ADA, leave=True)
    join(graph, CARL, NESTED)
    assert link
    (changed,), link, _ = rounds(app, link)
    assert [(entry["id"], "@removed" in entry) for entry in changed["members@delta"]] == [(BEN, False), (ADA, True)]
    assert link
    assert rounds(app, link)[0] == []


def test_a_delta_query_takes_a_filter_by_id_alone(app: GraphClient) -> None:
    options = {"$select": "members", "$filter": "displayName eq 'x'"}
    assert app.call("GET", "groups/delta", params=options).status_code == 400


def test_lists_of_members_may_be_empty_for_no_reason(graph: GraphServer, app: GraphClient) -> None:
    join(graph, ADA)
    graph.post("member-lists", empty=True)
    assert rounds(app, f"groups/{GROUP}/members")[0] == []
    graph.post("member-lists", empty=False)
    assert len(rounds(app, f"groups/{GROUP}/members")[0]) == 1


def test_users_that_a_control_makes_are_listed_and_can_be_filtered(graph: GraphServer, app: GraphClient) -> None:
    graph.post("resources", kind="user", id=ADA, fields={"department": "Sales"})
    graph.post("resources", kind="user", id=BEN, fields={"department": "Legal"})
    assert {ADA, BEN} <= {user["id"] for user in rounds(app, "users")[0]}
    sales = rounds(app, "users", {"$filter": "department eq 'Sales'", "$select": "id"})[0]
    assert [user["id"] for user in sales] == [ADA]
    graph.post("resources", kind="user", id=ADA, delete=True)
    assert ADA not in {user["id"] for user in rounds(app, "users")[0]}


def test_drives_of_a_user_and_lists_of_a_site(graph: GraphServer, app: GraphClient) -> None:
    [person, *_] = graph.get("people")
    assert [entry["id"] for entry in rounds(app, f"users/{person['id']}/drives")[0]] == [person["drive"]]
    graph.post("resources", kind="listItem", owner="sites/s1/lists/l1", fields={})
    assert rounds(app, "sites/s1/lists")[0] == [{"id": "l1"}]
    assert app.call("GET", f"users/{uuid.uuid4()}/drives").status_code == 404


@pytest.mark.parametrize("path", ["groups/{}/members", "groups/{}/transitiveMembers", "users/{}/drives"])
def test_each_list_takes_its_permission(graph: GraphServer, app: GraphClient, path: str) -> None:
    graph.post("permissions", tenant=graph.registration.tenant, application=["Mail.Read"])
    answer = app.call("GET", path.format(graph.registration.tenant))
    assert answer.status_code == 403
