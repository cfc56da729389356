"""The catalogue of resource kinds, checked with Microsoft's pages: lifetimes, and permissions of each operation."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.resources.catalog import KINDS, MARGIN, Kind, Operation, find, longest_lifetime
from shared.resources.member_sources import MEMBER_SOURCES
from shared.resources.permissions import every_need

ROOT = Path(__file__).parents[3]
FACTS: dict[str, Any] = json.loads(ROOT.joinpath("graph_simulator", "permission_reference.json").read_text("utf-8"))
"""tools/permission_reference.py makes this file from clones of Microsoft's repositories."""

DOCUMENTED = [
    ("/teams/getAllMessages", True, 4_320),
    ("/chats/getAllMessages", True, 4_320),
    ("chats/getAllMessages?model=A", True, 4_320),
    ("/teams/1/channels/2/messages", True, 4_320),
    ("teams('1')/channels('2')/messages", True, 4_320),
    ("/chats/19:a@thread.v2/messages", False, 4_320),
    ("/users/5d/chats/getAllMessages", True, 4_320),
    ("/appCatalogs/teamsApps/1/installedToChats/getAllMessages", True, 4_320),
    ("/appCatalogs/teamsApps/1/installedToChats/getAllMembers", True, 4_320),
    ("/appCatalogs/teamsApps/1/installedToChats", True, 4_320),
    ("/appCatalogs/teamsApps/1/installations?$filter=scopeInfo/scope eq 'team'", True, 4_320),
    ("/appCatalogs/teamsApps/1/installedToOnlineMeetings/getAllRecordings", True, 4_320),
    ("/appCatalogs/teamsApps/1/installedToOnlineMeetings/getAllTranscripts", True, 4_320),
    ("/chats", True, 4_320),
    ("/chats/1", False, 4_320),
    ("/chats/1?notifyOnUserSpecificProperties=true", False, 4_320),
    ("/users/5d/chats", False, 4_320),
    ("/teams", False, 4_320),
    ("/teams/1", False, 4_320),
    ("/teams/getAllChannels", False, 4_320),
    ("/teams/1/channels", False, 4_320),
    ("/teams/1/members", False, 4_320),
    ("/teams/getAllMembers", False, 4_320),
    ("/teams/1/channels/getAllMembers", False, 4_320),
    ("/teams/getAllChannels/getAllMembers", False, 4_320),
    ("/chats/1/members", False, 4_320),
    ("/chats/getAllMembers", False, 4_320),
    ("communications/onlineMeetings/getAllTranscripts", True, 4_320),
    ("communications/onlineMeetings/getAllTranscripts(meetingOrganizerUserId='5d')", True, 4_320),
    ("communications/onlineMeetings/getAllRecordings()", True, 4_320),
    ("communications/onlineMeetings/1/transcripts", True, 4_320),
    ("communications/onlineMeetings/1/recordings", True, 4_320),
    ("users/5d/onlineMeetings/getAllTranscripts", True, 4_320),
    ("users/5d/onlineMeetings/getAllRecordings", True, 4_320),
    ("users/5d/adhocCalls/getAllTranscripts", True, 4_320),
    ("users/5d/adhocCalls/getAllRecordings", True, 4_320),
    ("communications/adhocCalls/getAllRecordings", True, 4_320),
    ("communications/adhocCalls/getAllTranscripts", True, 4_320),
    ("communications/adhocCalls/1/recordings", True, 4_320),
    ("communications/adhocCalls/1/transcripts", True, 4_320),
    ("/communications/onlineMeetings(joinWebUrl='https%3A%2F%2Fx%2Fl%2F19%3a')/meetingCallEvents", False, 4_230),
    ("/communications/onlineMeetings(joinWebUrl='https://x/l/19')/meetingCallEvents", False, 4_230),
    ("/communications/callRecords", False, 4_230),
    ("/communications/presences/1", True, 60),
    ("/communications/presences?$filter=id in ('a','b')", True, 60),
    ("/teams/1/schedule/shifts", False, 360),
    ("/teams('1')/schedule/timeOffRequests", False, 360),
    ("/teams/1/schedule/offerShiftRequests", False, 360),
    ("/teams/1/schedule/openShiftChangeRequests", False, 360),
    ("/teams/1/schedule/swapShiftsChangeRequests", False, 360),
    ("/solutions/approval/approvalItems", False, 43_200),
    ("/solutions/virtualEvents/events", False, 1_440),
    ("/solutions/virtualEvents/events/getEventsFromOrganizers(organizerIds=['a', 'b'])", False, 1_440),
    ("/solutions/virtualEvents/webinars/1/registrations", False, 1_440),
    ("/solutions/virtualEvents/webinars/1/sessions", False, 1_440),
    ("copilot/interactionHistory/getAllEnterpriseInteractions", True, 4_320),
    ("copilot/users/1/interactionHistory/getAllEnterpriseInteractions", True, 4_320),
    ("/users/5d/messages", False, 10_080),
    ("/users/5d/messages?$select=subject", True, 1_440),
    ("/users/5d/mailFolders('inbox')/messages", False, 10_080),
    ("/users/5d/mailFolders('inbox')/messages?$select=subject", True, 1_440),
    ("/users/5d/events?$select=subject", True, 1_440),
    ("/users/5d/contacts", False, 10_080),
    ("/users/5d/contactFolders/1/contacts", False, 10_080),
    ("/drives/1/root", False, 42_300),
    ("/users/5d/drive/root", False, 42_300),
    ("/sites/1/drive/root", False, 42_300),
    ("/sites/1/drives/2/root", False, 42_300),
    ("/groups/1/drive/root", False, 42_300),
    ("/sites/1/lists/2", False, 42_300),
    ("/users", False, 41_760),
    ("/users/5d", False, 41_760),
    ("/groups", False, 41_760),
    ("/groups/1", False, 41_760),
    ("/groups/1/members", False, 41_760),
    ("/groups/1/owners", False, 41_760),
    ("groups/1/conversations", False, 4_230),
    ("/users/5d/todo/lists/1/tasks", False, 4_230),
    ("/print/printers/1/jobs", False, 4_230),
    ("/print/taskDefinitions/1/tasks", False, 4_230),
    ("/security/alerts?$filter=status eq 'new'", False, 43_200),
    ("/security/alerts/1", False, 43_200),
    ("/reports/healthMonitoring/alerts", False, 42_300),
]
"""Every kind of resource in the documentation, in minutes, transcribed from its pages."""


@pytest.mark.parametrize(("resource", "rich", "minutes"), DOCUMENTED)
def test_a_minute_less_than_the_maximum_is_asked_for(resource: str, rich: bool, minutes: int) -> None:
    assert find(resource) is not None
    assert longest_lifetime(resource, rich=rich) == timedelta(minutes=minutes) - MARGIN
    assert longest_lifetime(resource.swapcase(), rich=rich) == timedelta(minutes=minutes) - MARGIN


@pytest.mark.parametrize(
    "resource", ["/unheard/of", "users/5d/teamwork/installedApps", "groups/1/events", "groups/1/threads"]
)
def test_what_has_no_row_gets_what_every_resource_takes(resource: str) -> None:
    assert find(resource) is None
    assert longest_lifetime(resource, rich=False) == timedelta(minutes=60) - MARGIN


def test_every_row_is_documented() -> None:
    assert {id(find(resource)) for resource, _, _ in DOCUMENTED} >= {id(kind) for kind in KINDS}


@given(st.text(), st.booleans())
def test_any_resource_has_a_lifetime_beyond_the_floor(resource: str, rich: bool) -> None:
    assert longest_lifetime(resource, rich=rich) > timedelta(minutes=45)


def test_a_pattern_fits_whole_paths_alone() -> None:
    assert find("/teams/getAllMessages/x") is None
    assert find("/teams/1/channels/getAllMessages") is None
    assert find("/chats/getAllMembers") != find("/chats/1")


def stated(kind: Kind, path: str, table: str = "subscribe") -> list[str] | None:
    """Return the application permissions that Microsoft's page states for a path of a kind; None if it has none."""
    if table == "subscribe":
        for key in (path.lower(), kind.name.lower()):
            if key in FACTS["elsewhere"]:
                names: list[str] = FACTS["elsewhere"][key]["application"]
                return names
    facts = FACTS[table]
    return next((facts[key] for key in (path.lower(), kind.name.lower()) if key in facts), None)


ROWS = [(kind, path) for kind in KINDS for path in kind.paths]


@pytest.mark.parametrize(("kind", "path"), ROWS, ids=[path for _, path in ROWS])
def test_subscribing_takes_what_microsoft_states(kind: Kind, path: str) -> None:
    names = stated(kind, path)
    assert names is not None, "no page says what it takes: see tools/permission_reference.py"
    tenant_wide = [name for name in names if not is_specific(name)]
    assert list(kind.subscribe) == tenant_wide  # in Microsoft's order: the least first
    assert set(kind.specific) == set(names) - set(tenant_wide)


@pytest.mark.parametrize(("kind", "path"), ROWS, ids=[path for _, path in ROWS])
def test_renewing_takes_the_same_unless_the_page_on_it_says_otherwise(kind: Kind, path: str) -> None:
    names = stated(kind, path, "renew")
    if kind.renew is not None:
        assert list(kind.renew) == names
    elif names is not None:
        assert names in ([*kind.specific, *kind.subscribe], [*kind.subscribe, *kind.specific], list(kind.subscribe))


OPERATIONS: list[tuple[Kind, Operation]] = [
    (kind, operation) for kind in KINDS for operation in (*kind.read, *kind.sweep, *kind.specific_sweep)
]


@pytest.mark.parametrize(("kind", "operation"), OPERATIONS, ids=[operation.path for _, operation in OPERATIONS])
def test_each_read_takes_what_the_permission_reference_states(kind: Kind, operation: Operation) -> None:
    facts = FACTS["operations"][f"GET {operation.path.lower()}"]
    assert {*operation.accepted, *operation.specific} == set(facts["accepted"])
    assert all(map(is_specific, operation.specific))
    assert not any(map(is_specific, operation.accepted))
    covered = set(kind.subscribe) & set(operation.accepted)  # no further permission has to be granted
    assert operation.accepted[0] in facts["least"] or covered or kind.not_least, "neither least nor a reason why"


@pytest.mark.parametrize(
    "operation",
    dict.fromkeys(operation for source in MEMBER_SOURCES for operation in source.operations),  # in a fixed order
    ids=lambda operation: operation.path,
)
def test_each_list_of_members_takes_what_the_permission_reference_states(operation: Operation) -> None:
    facts = FACTS["operations"][f"GET {operation.path.lower()}"]
    assert {*operation.accepted, *operation.specific} == set(facts["accepted"])


def test_every_permission_is_one_that_an_application_can_be_granted() -> None:
    names = {name for _, need in every_need() for name in (*need.accepted, *need.specific)}
    assert names <= set(FACTS["application"])


def test_the_facts_say_where_they_are_from() -> None:
    assert all(re.search(r"\d{4}-\d\d-\d\d$", edition) for edition in FACTS["sources"].values())
    assert all(fact["page"] and fact["edition"] for fact in FACTS["elsewhere"].values())
    assert all(kind.source.page.startswith("https://learn.microsoft.com/") and kind.source.edition for kind in KINDS)


def is_specific(name: str) -> bool:
    """Whether a permission is for one team, chat or user, by its last word."""
    return name.rpartition(".")[2] in ("Group", "Chat", "User")
