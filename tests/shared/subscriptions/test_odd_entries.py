"""Entries of Graph's list that are none: they cost nothing else its subscription."""

import logging
from typing import Any

import pytest

from tests.builders import OTHER_TENANT, TENANT, declaration
from tests.servers import ScriptedResponse, in_json
from tests.shared.subscriptions.tenants_in_memory import TenantsInMemory

OURS, NEW = declaration("/users", rich=False), declaration("/groups", rich=False)
THEIRS = declaration("/users", rich=False, tenant=OTHER_TENANT)

USUAL = {
    "id": "11111111-0a0b-4c0d-8e0f-000000000001",
    "resource": "/groups",
    "changeType": "updated",
    "notificationUrl": "https://other.example.org/",
    "expirationDateTime": "2031-02-20T00:00:00Z",
    "lifecycleNotificationUrl": "https://other.example.org/",
    "includeResourceData": False,
}
TEXTS: tuple[Any, ...] = (
    None,
    "",
    7,
    [],
    {},
    True,
    "\x00",
    "a/b#?\\",
    "☂",
    "https://[::1",
    "https://h:port/",
    "EventHub:https://[",
)
DATES = (
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-23:59",
    "2031-02-30T00:00:00Z",
    "2031-02-20T00:00:00",
    "2031-02-20T23:59:60Z",
    "-2031-02-20T00:00:00Z",
)
ENTRIES: list[Any] = [
    *({**USUAL, name: value} for name in USUAL for value in TEXTS),
    *({**USUAL, "expirationDateTime": date} for date in DATES),
    *({key: value for key, value in USUAL.items() if key != name} for name in USUAL),
    *(None, 7, "x", [], {}, [USUAL], True),
]


def run_with(world: TenantsInMemory, *odd: Any) -> None:
    """Run twice while Graph shows these entries in one tenant, before the others."""

    def refuse(kind: str, _: dict[str, Any]) -> ScriptedResponse | None:
        if kind != "LIST" or world.asked[-1].split()[1] != TENANT:
            return None
        return in_json({"value": [*odd, *world.held[TENANT].values()]})

    world.refuse = refuse
    for _ in range(2):
        world.run(minutes=5)


def test_odd_entries_keep_nothing_from_being_created_or_renewed(caplog: pytest.LogCaptureFixture) -> None:
    world = TenantsInMemory(OURS, NEW, THEIRS)
    run_with(world, *ENTRIES)
    world.clock.advance(days=22)
    run_with(world, *ENTRIES)
    assert world.resources() == ["/groups", "/users"]
    assert world.resources(OTHER_TENANT) == ["/users"]
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("name", ["a/b", "a#b", "a?b", "a\\b", "\x7f", "..", "%2f", "a" * 2_000, "☂"])
def test_an_id_that_is_no_guid_keeps_nothing_from_being_created_and_noted(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = TenantsInMemory(OURS, NEW, THEIRS)
    url = world.app.desired_state(None).url_for(NEW)
    with caplog.at_level(logging.WARNING):
        served = {"changeType": ",".join(NEW.change_types), "notificationUrl": url, "lifecycleNotificationUrl": url}
        run_with(world, {**USUAL, **served, "id": name})
    assert world.resources() == ["/groups", "/users"]
    assert world.resources(OTHER_TENANT) == ["/users"]
    assert len(world.app.known_subscriptions.all(TENANT)) >= 1
    assert "Traceback" not in caplog.text
    assert "Graph lists a subscription in an unknown form; it is left alone" in caplog.text
