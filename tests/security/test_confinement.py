"""A known clientState allows nothing but forged items of its own declaration."""

import json
from collections import Counter
from pathlib import Path

import pytest

from graph_simulator.authority import Authority
from graph_simulator.server import GraphServer
from local.azurite import Azurite
from shared.resources.identity import identify
from shared.resources.matching import is_certainly_elsewhere, is_certainly_within
from shared.resources.path import has_dot_segments, segments
from tests.builders import (
    CHANNEL,
    CHAT,
    OTHER_TENANT,
    TEAM,
    TENANT,
    body,
    change,
    channel_path,
    chat_path,
    lifecycle,
    minted,
)
from tests.security.harness import staged, until

ONE_CHAT = f"/chats/{CHAT}/messages"
ONE_CHANNEL = f"/teams/{TEAM}/channels/{CHANNEL}/messages"
HYDRATED = "/users"
CLIMBING = (
    "users/../../beta/users",
    "users('..')/x",
    "users/%2e%2e/groups",
    "./users/5d",
    "users/..?$select=id",
)
ELSEWHERE = ("users/5d/messages/AA1", "groups/5d")
NEVER = ("chats('19:a')/messages('1')", "teams/1/channels/19:a/messages/1")
STRAY_IDS = ("../users/5d", "3f1c0a52-7a3e-4d0e-9f0e-0c6a4f2d9b11/../../users", "", "*", "..", "%2e%2e")


def test_nothing_can_be_read_from_graph_but_what_is_named(
    tmp_path: Path, azurite: Azurite, authority: Authority, simulator: GraphServer
) -> None:
    declared = [{"resource": HYDRATED, "changeTypes": ["updated"], "hydrate": True}]
    with staged(tmp_path, azurite, authority, simulator, SUBSCRIPTIONS=json.dumps(declared)) as harness:
        state = minted(TENANT, HYDRATED, harness.secret)
        items = [change(path, clientState=state) for path in CLIMBING]
        items += [lifecycle(clientState=state, subscriptionId=stray) for stray in STRAY_IDS]
        items += [change(path, clientState=state) for path in (*ELSEWHERE, *NEVER)]
        before = simulator.get("calls")
        assert harness.post(body(*items)).status_code == 202
        refused = len(CLIMBING) + len(STRAY_IDS)
        expected = Counter(
            {"refused malformed": refused, "refused client_state": len(NEVER), "delivered": len(ELSEWHERE)}
        )
        until(lambda: harness.ends() == expected)
        assert harness.ends() == expected
        assert simulator.get("calls") == before
        assert harness.post(body(change("users/5d", clientState=state))).status_code == 202
        assert until(lambda: simulator.get("calls") != before)  # paths that name nothing else are requested


@pytest.mark.parametrize("path", CLIMBING)
def test_a_climbing_path_is_reported(path: str) -> None:
    assert has_dot_segments(segments(path))


@pytest.mark.parametrize("path", ["users/5d", chat_path(), "users/a..b/messages/...", "drives/.hidden/root"])
def test_dots_that_do_not_climb_are_let_through(path: str) -> None:
    assert not has_dot_segments(segments(path))


@pytest.mark.parametrize(
    ("declared", "named"),
    [
        (ONE_CHAT, chat_path()),
        (ONE_CHAT, f"Chats('{CHAT.upper()}')/Messages('1')"),
        (ONE_CHAT.replace(":", "%3A").replace("@", "%40"), f"users/5d/chats/{CHAT}/messages/1"),
        (f"{ONE_CHAT}?$search=word", chat_path()),
        (ONE_CHANNEL, channel_path("1")),
        (ONE_CHANNEL, channel_path("2", "1")),
        (ONE_CHANNEL.replace(TEAM, TEAM.upper()), f"/teams/{TEAM}/channels/{CHANNEL}/messages/1/replies/2"),
        ("/chats/getAllMessages", chat_path()),
        ("chats/GetAllMessages?model=A", chat_path()),
        ("/teams/getAllMessages", channel_path("2", "1")),
        ("/users/5d/chats/getAllMessages", chat_path()),
        ("/appCatalogs/teamsApps/1/installedToChats/getAllMessages", chat_path()),
        ("/users/müller@example.org/messages", "Users/5d/Messages/AAMk"),
        ("/users", "Users/5d"),
        (ONE_CHAT, "communications/somethingNew('1')"),  # its place is unknown: no certain contradiction
        (OTHER_TENANT, chat_path()),
        ("", chat_path()),
    ],
)
def test_whatever_may_be_genuine_is_not_certainly_elsewhere(declared: str, named: str) -> None:
    assert not is_certainly_elsewhere(declared, identify(named))


@pytest.mark.parametrize(
    ("declared", "named"),
    [
        (ONE_CHAT, chat_path(chat="19:another@thread.v2")),
        (ONE_CHAT, chat_path(chat=CHAT[:-1])),
        (ONE_CHAT, channel_path("1")),
        (ONE_CHANNEL, chat_path()),
        (ONE_CHANNEL, f"teams/{TEAM}/channels/19:another@thread.tacv2/messages/1"),
        (ONE_CHANNEL, f"teams/{OTHER_TENANT}/channels/{CHANNEL}/messages/1/replies/2"),
        ("/chats/getAllMessages", channel_path("1")),
        ("/users/5d/chats/getAllMessages", channel_path("1")),
        ("/teams/getAllMessages", chat_path()),
        ("/users", chat_path()),
        ("/users/5d/messages", channel_path("1")),
    ],
)
def test_what_contradicts_the_declaration_is_certainly_elsewhere(declared: str, named: str) -> None:
    assert is_certainly_elsewhere(declared, identify(named))


@pytest.mark.parametrize(
    ("declared", "named"),
    [
        ("/users", "Users/5d"),
        ("/users/5d/messages", "Users/5d/Messages/AA1"),
        ("/users/5d/mailFolders('inbox')/messages", "Users/5d/Messages/AA1"),
        ("/communications/callRecords", "communications/callRecords/1"),
        ("/communications/presences?$filter=id in ('5d')", "communications/presences('5d')"),
        ("/communications/onlineMeetings/getAllTranscripts", "communications/onlineMeetings('1')/transcripts('2')"),
        ("/drives/b1/root", "drives/b1/items/01"),
        ("/groups/5d/members", "Groups/5d"),
        ("/teams/getAllChannels", "teams('1')/channels('19:2')"),
        ("/chats/getAllMessages", "chats('19:a')/messages('1')"),
        (ONE_CHAT, chat_path("1")),
    ],
)
def test_what_was_declared_is_certainly_within(declared: str, named: str) -> None:
    assert is_certainly_within(declared, named)


@pytest.mark.parametrize(
    ("declared", "named"),
    [
        ("/users", "users/5d/messages/AA1"),
        ("/users", "users"),
        ("/users", "groups/5d"),
        ("/users/5d/messages", "Users/6e/Messages/AA1"),
        ("/users/5d/messages", "Users/5d/Events/AA1"),
        ("/teams/getAllChannels", "teams('1')/channels('19:2')/messages('3')"),
        ("/chats/getAllMessages", "users/5d"),
        (ONE_CHAT, "users/5d/messages/AA1"),
        (ONE_CHAT, "chats('19:another@thread.v2')/messages('1')"),
        ("", "users/5d"),
        ("/users", "users/delta"),
        ("/users", "users/$count"),
        ("/users/5d/messages", "users/5d/chats/19:a/messages/1"),
        ("/users/5d/messages", "users/5d/messages/delta"),
        ("/users/5d/mailFolders/inbox/messages", "users/5d/mailFolders/sentitems/messages/AA1"),
        ("/users/5d/contacts", "users/5d/contactFolders/f/contacts/delta"),
        ("/users/ada@example.org/messages", "Users/5d/Messages/AA1"),
        ("/drives/b1/root", "drives/b1/root"),
        ("/drives/b1/root", "drives/b2/items/01"),
        ("/sites/h,1,2/lists/l", "sites/h,1,2/lists/m/items/1"),
        ("/teams/1/channels/19:2/messages", "teams/1/channels/19:3/messages/4"),
        ("/communications/onlineMeetings/m1/transcripts", "communications/onlineMeetings('m2')/transcripts('t')"),
    ],
)
def test_what_was_not_declared_is_not_certainly_within(declared: str, named: str) -> None:
    assert not is_certainly_within(declared, named)
