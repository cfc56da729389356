"""How long Graph lets a subscription live: the table of docs/graph.md, "Lifetimes", written again."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.lifetimes import MARGIN, longest_lifetime

TABLE = [
    ("/teams/getAllMessages", True, 4_320),
    ("/chats/getAllMessages", True, 4_320),
    ("chats/getAllMessages?model=A", True, 4_320),
    ("/teams/1/channels/2/messages", True, 4_320),
    ("teams('1')/channels('2')/messages", True, 4_320),
    ("/chats/19:a@thread.v2/messages", False, 4_320),
    ("/users/5d/chats/getAllMessages", True, 4_320),
    ("/appCatalogs/teamsApps/1/installedToChats/getAllMessages", True, 4_320),
    ("/chats", True, 4_320),
    ("/chats/1", False, 4_320),
    ("/users/5d/chats", False, 4_320),
    ("/teams", False, 4_320),
    ("/teams/1", False, 4_320),
    ("/teams/getAllChannels", False, 4_320),
    ("/teams/1/channels", False, 4_320),
    ("/teams/1/members", False, 4_320),
    ("/chats/getAllMembers", False, 4_320),
    ("communications/onlineMeetings/getAllTranscripts", True, 4_320),
    ("communications/onlineMeetings/getAllRecordings", True, 4_320),
    ("communications/onlineMeetings/1/transcripts", True, 4_320),
    ("users/5d/onlineMeetings/getAllTranscripts", True, 4_320),
    ("/communications/onlineMeetings(joinWebUrl='x')/meetingCallEvents", False, 4_230),
    ("/communications/callRecords", False, 4_230),
    ("/communications/presences/1", True, 60),
    ("/communications/presences?$filter=id in ('a','b')", True, 60),
    ("/teams/1/schedule/shifts", False, 360),
    ("/teams('1')/schedule/timeOffRequests", False, 360),
    ("copilot/users/1/interactionHistory/getAllEnterpriseInteractions", True, 4_320),
    ("/users/5d/messages", False, 10_080),
    ("/users/5d/messages?$select=subject", True, 1_440),
    ("/users/5d/mailFolders('inbox')/messages", False, 10_080),
    ("/users/5d/mailFolders('inbox')/messages?$select=subject", True, 1_440),
    ("/users/5d/events?$select=subject", True, 1_440),
    ("/users/5d/contacts", False, 10_080),
    ("/drives/1/root", False, 42_300),
    ("/users/5d/drive/root", False, 42_300),
    ("/sites/1/lists/2", False, 42_300),
    ("/users", False, 41_760),
    ("/users/5d", False, 41_760),
    ("/groups", False, 41_760),
    ("/groups/1", False, 41_760),
    ("/groups/1/members", False, 41_760),
    ("groups/1/conversations", False, 4_230),
    ("/users/5d/todo/lists/1/tasks", False, 4_230),
    ("/me/todo/lists/1/tasks", False, 4_230),
    ("/print/printers/1/jobs", False, 4_230),
    ("/security/alerts?$filter=status eq 'new'", False, 43_200),
    ("/unheard/of", False, 60),
]


@pytest.mark.parametrize(("resource", "rich", "minutes"), TABLE)
def test_a_minute_less_than_the_maximum_is_asked_for(resource: str, rich: bool, minutes: int) -> None:
    assert longest_lifetime(resource, rich=rich) == timedelta(minutes=minutes) - MARGIN
    assert longest_lifetime(resource.swapcase(), rich=rich) == timedelta(minutes=minutes) - MARGIN


def test_the_margin_is_a_minute() -> None:
    assert timedelta(minutes=1) == MARGIN


@given(st.text(), st.booleans())
def test_any_resource_has_a_lifetime_beyond_the_floor(resource: str, rich: bool) -> None:
    assert longest_lifetime(resource, rich=rich) > timedelta(minutes=45)


def test_the_page_of_the_configuration_tells_the_same() -> None:
    page = Path(__file__).parents[2].joinpath("docs", "configuration.md").read_text(encoding="utf-8")
    section = page.partition("### How long subscriptions live\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| `([^`]+)` \| ([^|]+) \|$", section, re.MULTILINE)
    assert len(rows) > 5
    for what, path, told in rows:
        lifetime = timedelta(**{f"{unit}s": int(number) for number, unit in re.findall(r"(\d+) (\w+?)s?\b", told)})
        assert longest_lifetime(path, rich="with resource data" in what) == lifetime - MARGIN, path
