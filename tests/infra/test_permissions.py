"""docs/permissions.md and infra/ request the same permissions: each has a reason, each reason has a permission."""

import re
from collections.abc import Iterable
from typing import Any

import pytest

from infra.graph_permissions import needed
from shared.readback import pages
from shared.resources.catalog import KINDS
from shared.resources.member_sources import MEMBER_SOURCES
from shared.resources.permissions import OPTIONAL_PERMISSION, every_need
from tests.infra.bicep import INFRA, properties, template, templates, text, walk
from tools import permission_page

PAGE = (INFRA.parent / "docs" / "permissions.md").read_text(encoding="utf-8")
FUNCTIONS = {"notify_http", "notify_event_hub", "process_queue", "renew_timer"}
_GUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading, without its head."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def quoted(cells: Iterable[str]) -> set[str]:
    """Return the text in backquotes."""
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


def test_graph_permissions_are_those_of_the_table() -> None:
    assert permission_page.section() in PAGE, "python -m tools.permission_page"


def test_the_documents_name_no_permission_that_no_row_needs() -> None:
    known = {name for _, need in every_need() for name in (*need.accepted, *need.specific)}
    known |= {name for source in MEMBER_SOURCES for operation in source.operations for name in operation.accepted}
    known |= {OPTIONAL_PERMISSION, "FileStorageContainer.Selected"}
    known |= {"Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All"}  # of the deployment, not of the app
    for page in (*(INFRA.parent / "docs").rglob("*.md"), INFRA.parent / "README.md"):
        named = re.findall(r"\b[A-Z]\w+\.(?:Read|Manage)\w*(?:\.\w+)?\b", page.read_text("utf-8"))
        assert set(named) - known == set(), page.name


def test_the_documents_send_nobody_to_a_form_that_is_gone() -> None:
    for page in (INFRA.parent / "docs").rglob("*.md"):
        assert "protected api" not in page.read_text("utf-8").lower(), page.name


def test_the_table_has_read_back_permissions_only_where_reading_back_works() -> None:
    for kind in KINDS:
        for path in kind.paths:
            assert pages.can_read(path.replace("{}", "1")) is bool(kind.sweep), path


def test_the_network_lets_all_that_the_firewall_judges_come_to_it() -> None:
    rules = [properties(node) for node in walk(template("modules/network.bicep").root) if node.type == "object"]
    (graph,) = (rule["properties"] for rule in rules if "name" in rule and text(rule["name"]) == "'graph'")
    assert text(properties(graph)["sourceAddressPrefix"]) == "'Internet'"
    assert "graphAddresses" in template("modules/gateway.bicep").used


def test_azure_roles_are_those_that_are_assigned() -> None:
    assigned = {word for template in templates() for word in template.strings() if re.fullmatch(_GUID, word)}
    assert quoted(row[1] for row in rows("Azure roles")) - {"ours"} == assigned


def test_our_own_role_has_the_actions_that_the_page_names() -> None:
    actions = {
        word for word in template("modules/keys.bicep").strings() if word.startswith("Microsoft.KeyVault/vaults/cert")
    }
    (row,) = (row for row in rows("Azure roles") if row[1] == "`ours`")
    assert {f"Microsoft.KeyVault/vaults/certificates/{action}" for action in quoted([row[4]])} == actions


def test_ways_into_the_network_are_those_that_are_opened() -> None:
    opened = {
        text(rule["name"]).strip("'")
        for rule in (properties(node) for node in walk(template("modules/network.bicep").root) if node.type == "object")
        if "name" in rule and "properties" in rule and "direction" in properties(rule["properties"])
    }
    opened |= {"gateway", "graph-0"}  # the app's own lists: the gateway's subnet, or the addresses of Graph
    assert quoted(row[0] for row in rows("Network paths in")) == opened


@pytest.mark.parametrize("heading", ["Azure roles", "Network paths in", "Network paths out"])
def test_each_has_a_reason_and_names_who_needs_it(heading: str) -> None:
    for row in rows(heading):
        assert all(row), row
        assert quoted(row) & FUNCTIONS or "gateway" in " ".join(row) or "person" in " ".join(row), row


def test_the_script_prints_the_least_set_of_all_declarations() -> None:
    assert needed([{"resource": "teams/getAllMessages?model=A"}]) == ["ChannelMessage.Read.All", "Team.ReadBasic.All"]
    assert needed([{"resource": "/chats/1/messages"}]) == ["Chat.Read.All"]
    assert needed([{"resource": "/teams/1/channels/2/messages", "consent": "resource"}]) == []
    fan_out = {"resource": "/drives/{id}/root", "forEach": ["/groups/1/members", "/users/{id}/drives"]}
    assert needed([fan_out]) == ["Files.Read.All", "GroupMember.Read.All"]
    assert needed([{"resource": "/users/{id}/events", "forEach": "/users"}]) == ["Calendars.Read", "User.Read.All"]


@pytest.mark.parametrize("entries", [[], [7], [{}], [{"resource": 7}], [{"resource": "/communications/presences/1"}]])
def test_the_script_refuses_malformed_and_impossible_declarations(entries: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"declar|signed-in user"):
        needed(entries)
