"""Mail, a calendar, a drive and a list beside Teams: what `make run` shows with `--all-kinds`."""

from typing import Any

from graph_simulator.world import populated

SITE, LIST = "contoso.example.org,11111111-2222-4333-8444-555555555555,66666666-7777-4888-9999-000000000000", "tasks"

_KINDS = ("message", "event", "driveItem", "listItem")
_AGE = 8
"""The number of changes from the beginning to the end of a resource."""


def declarations(tenant: str, seed: int = 0) -> list[dict[str, Any]]:
    """Return the declarations besides Teams: of one person, whose mailbox is named by user principal name."""
    world = populated(tenant, seed)
    person = world.people[0].id
    everything = ["created", "updated", "deleted"]
    return [
        {"resource": f"/users/{world.principal_name(person)}/messages", "changeTypes": everything, "hydrate": True},
        {"resource": f"/users/{person}/events", "changeTypes": everything, "hydrate": True},
        {"resource": f"/drives/b!{person}/root", "changeTypes": ["updated"]},
        {"resource": f"/sites/{SITE}/lists/{LIST}", "changeTypes": ["updated"]},
    ]


def order(tenant: str, number: int, seed: int = 0) -> dict[str, Any]:
    """Return the command for one more change in the simulator: a new resource, every third time an update, and
    sometimes a deletion. Mail is not deleted: no read finds an undetected deletion of mail.
    """
    if number % 5 == 0 and number >= _AGE and (number - _AGE) % 3 and (number - _AGE) % 4:
        kind = _KINDS[(number - _AGE) % 4]
        return {"kind": kind, "id": f"{kind}-{number - _AGE}", "delete": True}
    person = populated(tenant, seed).people[0].id
    kind = _KINDS[number % 4]
    owner, container, title = {
        "message": (f"users/{person}", "inbox", "subject"),
        "event": (f"users/{person}", "calendar", "subject"),
        "driveItem": (f"drives/b!{person}", "", "name"),
        "listItem": (f"sites/{SITE}/lists/{LIST}", "", "webUrl"),
    }[kind]
    thing = number // 12 if number % 3 == 0 else number
    return {
        "kind": kind,
        "owner": owner,
        "container": container,
        "id": f"{kind}-{thing}",
        "fields": {title: f"{kind} {thing}, version {number}"},
    }
