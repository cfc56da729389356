"""Resources other than messages: notifications, reads, lists and delta queries."""

from datetime import timedelta
from typing import Any

import pytest

from graph_simulator.authority import Authority
from graph_simulator.server import GraphServer
from tests.graph_simulator.client import GraphClient
from tests.graph_simulator.receiver import Receiver
from tests.waiting import eventually

BASIC = {"includeResourceData": None, "encryptionCertificate": None, "encryptionCertificateId": None}
IMMUTABLE = 'IdType="ImmutableId"'


@pytest.fixture
def person(graph: GraphServer) -> dict[str, Any]:
    found: dict[str, Any] = graph.get("people")[0]
    return found


def hold(graph: GraphServer, kind: str, **order: Any) -> dict[str, Any]:
    made: dict[str, Any] = graph.post("resources", kind=kind, **order)
    return made


def received_items(graph: GraphServer, receiver: Receiver, count: int) -> list[dict[str, Any]]:
    eventually(lambda: len(receiver.items()) >= count)
    return receiver.items()


CASES = [
    ("message", "users/{id}/messages", "users/{id}", "inbox"),
    ("message", "users/{upn}/mailFolders('inbox')/messages", "users/{id}", "inbox"),
    ("event", "users/{id}/events", "users/{id}", "calendar"),
    ("contact", "users/{id}/contactFolders/f/contacts", "users/{id}", "f"),
    ("todoTask", "users/{id}/todo/lists/l/tasks", "users/{id}", "l"),
]


@pytest.mark.parametrize("case", CASES)
def test_a_notification_names_the_user_by_id_whatever_was_declared(
    graph: GraphServer, app: GraphClient, receiver: Receiver, person: dict[str, Any],
    case: tuple[str, str, str, str],
) -> None:  # fmt: skip
    kind, resource, owner, container = case
    names = {"id": person["id"], "upn": person["userPrincipalName"]}
    app.subscribed(**BASIC, resource=resource.format(**names), changeType="created,updated,deleted")
    made = hold(graph, kind, owner=owner.format(**names), container=container, fields={"subject": "x"})
    hold(graph, kind, id=made["id"], delete=True)
    first, last = sorted(received_items(graph, receiver, 2), key=lambda item: str(item["changeType"]))
    assert (first["changeType"], last["changeType"]) == ("created", "deleted")
    assert first["resource"].lower().startswith(f"users/{person['id']}")
    assert first["resourceData"]["@odata.id"] == first["resource"]
    assert "@odata.etag" in first["resourceData"]


@pytest.mark.parametrize(
    ("kind", "resource", "owner"),
    [
        ("driveItem", "drives/b1/root", "drives/b1"),
        ("driveItem", "sites/h,1,2/drives/b1/root", "drives/b1"),
        ("listItem", "sites/h,1,2/lists/l", "sites/h,1,2/lists/l"),
    ],
)
def test_of_drives_and_lists_only_a_ping_comes(
    graph: GraphServer, app: GraphClient, receiver: Receiver, kind: str, resource: str, owner: str
) -> None:
    app.subscribed(**BASIC, resource=f"/{resource}", changeType="updated")
    hold(graph, kind, owner=owner, fields={"name": "x"})
    (item,) = received_items(graph, receiver, 1)
    assert item["resource"] == resource
    assert list(item["resourceData"]) == ["@odata.type"]


def test_users_and_groups_are_notified_as_updated(graph: GraphServer, app: GraphClient, receiver: Receiver) -> None:
    app.subscribed(**BASIC, resource="/groups", changeType="updated,deleted")
    made = hold(graph, "group", fields={"displayName": "x"})
    (item,) = received_items(graph, receiver, 1)
    assert (item["changeType"], item["resource"]) == ("updated", f"Groups/{made['id']}")


def test_without_immutable_ids_a_move_changes_the_id(
    graph: GraphServer, app: GraphClient, person: dict[str, Any]
) -> None:
    owner = f"users/{person['id']}"
    made = hold(graph, "message", owner=owner, container="inbox")
    path = f"{owner}/messages/{made['id']}"
    before = app.call("GET", path).json()["id"]
    hold(graph, "message", owner=owner, container="archive", id=made["id"])
    assert app.call("GET", path).json()["id"] != before
    assert app.call("GET", path, prefer=IMMUTABLE).json()["id"] == made["id"]
    assert app.call("GET", f"{owner}/mailFolders/inbox/messages/{made['id']}").status_code == 404


def test_outlook_is_filtered_by_time_and_members_and_refuses_the_rest(
    graph: GraphServer, app: GraphClient, person: dict[str, Any]
) -> None:
    owner = f"users/{person['id']}"
    hold(graph, "message", owner=owner, container="inbox", fields={"importance": "high", "subject": "x"})
    hold(graph, "message", owner=owner, container="inbox", fields={"importance": "low"})
    params = {
        "$filter": "lastModifiedDateTime ge 2020-01-01T00:00:00Z and (importance eq 'high')",
        "$select": "subject",
        "$top": "50",
    }
    pages = _all(app, f"{owner}/messages", params)
    assert [sorted(name for name in entry if "@" not in name) for entry in pages] == [["id", "subject"]]
    answer = app.call("GET", f"{owner}/messages", params={"$filter": "startswith(subject,'x')"})
    assert answer.status_code == 400


def _all(app: GraphClient, path: str, params: dict[str, str] | None = None) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    while path:
        page = app.call("GET", path, params=params).json()
        items, path, params = [*items, *page["value"]], page.get("@odata.nextLink", ""), None
    return items


def _delta(app: GraphClient, path: str, params: dict[str, str] | None = None) -> tuple[list[dict[str, Any]], str]:
    items: list[dict[str, Any]] = []
    while True:
        page = app.call("GET", path, params=params).json()
        items += page["value"]
        if "@odata.deltaLink" in page:
            return items, page["@odata.deltaLink"]
        path, params = page["@odata.nextLink"], None


@pytest.mark.parametrize(
    "case",
    [
        ("message", "users/{id}", "inbox", "users/{id}/mailFolders/inbox/messages/delta", None),
        ("contact", "users/{id}", "f", "users/{id}/contactFolders/f/contacts/delta", None),
        ("todoTask", "users/{id}", "l", "users/{id}/todo/lists/l/tasks/delta", None),
        ("driveItem", "drives/b1", "", "drives/b1/root/delta", {"token": "latest"}),
        ("listItem", "sites/h,1,2/lists/l", "", "sites/h,1,2/lists/l/items/delta", {"token": "latest"}),
        ("user", "", "", "users/delta", {"$deltatoken": "latest"}),
        ("group", "", "", "groups/delta", {"$deltatoken": "latest"}),
    ],
)
def test_a_delta_query_continues_from_its_link_and_can_start_from_now(
    graph: GraphServer, app: GraphClient, person: dict[str, Any],
    case: tuple[str, str, str, str, dict[str, str] | None],
) -> None:  # fmt: skip
    kind, owner, container, path, latest = case
    owner, path = owner.format(**person), path.format(**person)
    made = hold(graph, kind, owner=owner, container=container, fields={"n": 1})
    first, link = _delta(app, path)
    assert [entry["n"] for entry in first if "n" in entry] == [1]
    if latest is not None:
        items, link = _delta(app, path, latest)
        assert items == []
    else:
        assert app.call("GET", path, params={"token": "latest"}).status_code == 400
    hold(graph, kind, id=made["id"], delete=True)
    gone, link = _delta(app, link)
    assert [bool({"@removed", "deleted"} & entry.keys()) for entry in gone] == [True]
    assert _delta(app, link)[0] == []
    graph.post("clock", advance_seconds=timedelta(days=8).total_seconds())
    app.tokens.clear()
    assert app.call("GET", link).status_code == 410


def test_a_calendar_view_has_a_range_and_shows_events_outside_it_as_removed(
    graph: GraphServer, app: GraphClient, person: dict[str, Any]
) -> None:
    owner = f"users/{person['id']}"

    def event(day: str, event_id: str | None = None) -> str:
        fields = {"start": {"dateTime": f"{day}T09:00:00.0000000", "timeZone": "UTC"}}
        made: str = hold(graph, "event", owner=owner, container="calendar", id=event_id, fields=fields)["id"]
        return made

    within, outside = event("2031-02-10"), event("2031-08-10")
    path = f"{owner}/calendarView/delta"
    window = {"startDateTime": "2031-02-01T00:00:00Z", "endDateTime": "2031-03-01T00:00:00Z"}
    for refused in ({}, {"startDateTime": "soon", "endDateTime": "later"}, {**window, "$select": "subject"}):
        assert app.call("GET", path, params=refused).status_code == 400
    found, link = _delta(app, path, window)
    assert [entry["start"]["dateTime"][:10] for entry in found] == ["2031-02-10"]
    event("2031-08-11", outside)
    hold(graph, "event", id=within, delete=True)
    hold(graph, "event", owner=owner, container="another", fields={})
    gone, link = _delta(app, link)
    assert len(gone) == 2
    assert all(entry["@removed"] == {"reason": "deleted"} for entry in gone)
    graph.post("faults", calendar_tells_of_others=False)
    event("2031-08-12", outside)
    hold(graph, "event", id=outside, delete=True)
    assert _delta(app, link)[0] == []


def test_a_first_round_may_leave_out_half_of_the_entries(graph: GraphServer, app: GraphClient) -> None:
    for number in range(4):
        hold(graph, "group", fields={"displayName": str(number)})
    graph.post("faults", short_lists=True)
    assert len(_delta(app, "groups/delta")[0]) == 2
    graph.post("faults", short_lists=False)
    assert len(_delta(app, "groups/delta")[0]) == 4


def test_delta_links_may_be_forgotten(graph: GraphServer, app: GraphClient) -> None:
    _, link = _delta(app, "users/delta", {"$deltatoken": "latest"})
    graph.post("faults", forget_links=True)
    assert app.call("GET", link).status_code == 410
    graph.post("faults", forget_links=False)
    assert _delta(app, link)[0] == []


def test_a_replica_may_lag(graph: GraphServer, app: GraphClient, person: dict[str, Any]) -> None:
    owner = f"users/{person['id']}"
    graph.post("faults", lagging=1, lag_seconds=60)
    made = hold(graph, "message", owner=owner, container="inbox", fields={"subject": "a"})
    path = f"{owner}/messages/{made['id']}"
    assert app.call("GET", path).status_code == 404
    graph.post("clock", advance_seconds=61)
    assert app.call("GET", path).status_code == 200
    hold(graph, "message", id=made["id"], delete=True)
    assert app.call("GET", path).status_code == 200
    graph.post("clock", advance_seconds=61)
    assert app.call("GET", path).status_code == 404


def test_who_has_no_licence_has_no_chats_to_read(graph: GraphServer, app: GraphClient) -> None:
    people = {person["id"]: person["licensed"] for person in graph.get("people")}
    assert set(people.values()) == {True, False}
    for who, licensed in people.items():
        assert app.call("GET", f"users/{who}/chats/getAllMessages").status_code == (200 if licensed else 403)
    listed = {user["id"]: bool(user["assignedPlans"]) for user in _all(app, "users", {"$select": "id,assignedPlans"})}
    assert listed == people


def test_the_licences_of_users_may_be_left_unchecked(graph: GraphServer, app: GraphClient) -> None:
    guest = next(person["id"] for person in graph.get("people") if not person["licensed"])
    graph.post("faults", checks_licences=False)
    assert app.call("GET", f"users/{guest}/chats/getAllMessages").status_code == 200


def test_a_part_of_graph_is_throttled_with_a_wait_of_its_own(graph: GraphServer, app: GraphClient) -> None:
    graph.post("faults", throttled={"users/delta": 7, "Groups": 30})
    for path, wait in (("users/delta", "7"), ("groups/delta", "30"), ("users", None)):
        answer = app.call("GET", path)
        assert (answer.status_code, answer.headers.get("Retry-After")) == (429 if wait else 200, wait)


@pytest.mark.parametrize("share", [0, 1])
def test_a_mailbox_may_be_named_with_its_tenant(
    graph: GraphServer, app: GraphClient, receiver: Receiver, person: dict[str, Any], share: int
) -> None:
    graph.post("faults", names_tenant=share)
    app.subscribed(**BASIC, resource=f"users/{person['id']}/messages", changeType="created")
    hold(graph, "message", owner=f"users/{person['id']}", container="inbox")
    (item,) = received_items(graph, receiver, 1)
    assert (f"@{graph.registration.tenant}/" in item["resource"]) is bool(share)


def test_a_user_is_found_by_principal_name_and_has_a_drive(
    graph: GraphServer, app: GraphClient, person: dict[str, Any]
) -> None:
    assert app.call("GET", f"users/{person['userPrincipalName']}").json()["id"] == person["id"]
    assert app.call("GET", f"users/{person['userPrincipalName']}/drive").json()["id"] == person["drive"]
    nobody = app.call("GET", "users/nobody@example.org")
    assert (nobody.status_code, nobody.json()["error"]["code"]) == (404, "Request_ResourceNotFound")


def test_nobody_can_be_subscribed_to(app: GraphClient) -> None:
    answer = app.subscribe(**BASIC, resource="/users/nobody@example.org/messages", changeType="created")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ExtensionError")
    for path in ("users/nobody@example.org/messages", f"users/{app.graph.registration.tenant}/drive"):
        answer = app.call("GET", path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ErrorInvalidUser")


def test_the_list_of_subscriptions_has_pages_and_may_be_stale_or_empty(graph: GraphServer, app: GraphClient) -> None:
    for number in range(3):
        app.subscribed(**BASIC, resource=f"/users/{number}/messages", changeType="created")
    assert len(_all(app, "subscriptions")) == 3
    graph.post("faults", listing="stale")
    app.subscribed(**BASIC, resource="/users/9/messages", changeType="created")
    assert len(_all(app, "subscriptions")) == 3
    graph.post("faults", listing="empty")
    assert _all(app, "subscriptions") == []
    graph.post("faults", listing="true")
    assert len(_all(app, "subscriptions")) == 4


def test_subscriptions_may_be_shown_otherwise_than_they_were_given(
    graph: GraphServer, app: GraphClient, person: dict[str, Any]
) -> None:
    made = app.subscribed(
        **BASIC, resource=f"/users/{person['userPrincipalName']}/messages?$filter=isRead eq false", changeType="created"
    )
    graph.post("faults", respell=True)
    shown = app.call("GET", f"subscriptions/{made['id']}").json()
    assert shown["resource"] == f"users/{person['id']}/messages?$filter=isRead%20eq%20false"
    assert (shown["lifecycleNotificationUrl"], shown["encryptionCertificateId"]) == (None, "")


def test_members_may_begin_with_a_capital(graph: GraphServer, app: GraphClient, receiver: Receiver) -> None:
    graph.post("faults", spell_members=1)
    app.subscribed(**BASIC, resource="/groups", changeType="updated")
    hold(graph, "group")
    (item,) = received_items(graph, receiver, 1)
    assert {"ChangeType", "Resource", "ResourceData", "SubscriptionId"} <= item.keys()


def test_a_link_may_lead_to_its_own_page(graph: GraphServer, app: GraphClient) -> None:
    for _ in range(3):
        hold(graph, "driveItem", owner="drives/b1")
    link = f"{app.graph.url}/v1.0/drives/b1/root/delta?$top=1"
    graph.post("faults", loop_links=True)
    page = app.call("GET", link).json()
    again = app.call("GET", page["@odata.nextLink"]).json()
    assert again["@odata.nextLink"] == page["@odata.nextLink"]


def test_each_answer_has_ids_to_find_it_by(app: GraphClient) -> None:
    answer = app.call("GET", "users")
    assert answer.headers["request-id"]
    assert "Date" in answer.headers


def test_a_resource_that_makes_no_sense_is_refused(graph: GraphServer, authority: Authority) -> None:
    for order in ({"kind": "cheese"}, {"kind": "message", "delete": True}, {"kind": "user", "id": "x", "delete": True}):
        with pytest.raises(ValueError, match=r"40[04]"):
            graph.post("resources", **order)
