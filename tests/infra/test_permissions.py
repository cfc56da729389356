"""docs/permissions.md and infra/ ask for the same: nothing without a reason, no reason without a need."""

import re
from collections.abc import Iterable

import pytest

from infra.graph_permissions import READ_BACK, needed
from shared import permissions
from shared.readback import pages
from tests.infra.bicep import INFRA, properties, template, templates, text, walk

PAGE = (INFRA.parent / "docs" / "permissions.md").read_text(encoding="utf-8")
FUNCTIONS = {"notify_http", "notify_event_hub", "process_queue", "renew_timer"}
_GUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading, without its head."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def quoted(cells: Iterable[str]) -> set[str]:
    """Return what stands in backquotes."""
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


def test_graph_permissions_are_those_that_declarations_can_need() -> None:
    known = {name for _, name in permissions._PERMISSIONS} | set(READ_BACK.values())
    assert quoted(row[0] for row in rows("Graph permissions")) == known


@pytest.mark.parametrize(
    "resource",
    [
        "users",
        "groups",
        "users/1/mailFolders/2/messages",
        "users/1/contacts",
        "drives/1/root",
        "sites/1/lists/2",
        "users/1/todo/lists/2/tasks",
        "chats/getAllMessages",
        "teams/getAllMessages",
    ],
)
def test_what_is_read_back_is_read_by_process_queue(resource: str) -> None:
    assert pages.can_read(resource)
    (row,) = (row for row in rows("Graph permissions") if row[0] == f"`{permissions.permission(resource)}`")
    assert quoted([row[2]]) == {"renew_timer", "process_queue"}


def test_the_network_lets_all_that_the_firewall_judges_come_to_it() -> None:
    rules = [properties(one) for one in walk(template("modules/network.bicep").root) if one.type == "object"]
    (graph,) = (rule["properties"] for rule in rules if "name" in rule and text(rule["name"]) == "'graph'")
    assert text(properties(graph)["sourceAddressPrefix"]) == "'Internet'"
    assert "graphAddresses" in template("modules/gateway.bicep").used


def test_azure_roles_are_those_that_are_assigned() -> None:
    assigned = {word for one in templates() for word in one.strings() if re.fullmatch(_GUID, word)}
    assert quoted(row[1] for row in rows("Azure roles")) - {"ours"} == assigned


def test_our_own_role_has_the_actions_that_the_page_names() -> None:
    actions = {
        word for word in template("modules/keys.bicep").strings() if word.startswith("Microsoft.KeyVault/vaults/cert")
    }
    (row,) = (row for row in rows("Azure roles") if row[1] == "`ours`")
    assert {f"Microsoft.KeyVault/vaults/certificates/{one}" for one in quoted([row[4]])} == actions


def test_ways_into_the_network_are_those_that_are_opened() -> None:
    opened = {
        text(rule["name"]).strip("'")
        for rule in (properties(one) for one in walk(template("modules/network.bicep").root) if one.type == "object")
        if "name" in rule and "properties" in rule and "direction" in properties(rule["properties"])
    }
    opened |= {"gateway", "graph-0"}  # the app's own lists: the gateway's subnet, or the addresses of Graph
    assert quoted(row[0] for row in rows("Network paths in")) == opened


@pytest.mark.parametrize("heading", ["Graph permissions", "Azure roles", "Network paths in", "Network paths out"])
def test_each_has_a_reason_and_names_who_needs_it(heading: str) -> None:
    for row in rows(heading):
        assert all(row), row
        assert quoted(row) & FUNCTIONS or "gateway" in " ".join(row) or "person" in " ".join(row), row


def test_reading_back_a_whole_tenant_needs_to_list_it() -> None:
    assert needed([{"resource": "teams/getAllMessages"}]) == ["ChannelMessage.Read.All", "GroupMember.Read.All"]
    assert needed([{"resource": "/chats/1/messages"}]) == ["Chat.Read.All"]
