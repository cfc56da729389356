"""Whether a notification belongs to a declaration. See tests/security/test_confinement.py for hostile spellings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.resources.identity import identify
from shared.resources.matching import is_certainly_elsewhere, is_certainly_within
from tests.builders import CHANNEL, CHAT, RESOURCE, TEAM, channel_path, chat_path

DECLARED = (
    RESOURCE,
    "/teams/getAllMessages",
    "/users/5d/chats/getAllMessages",
    f"/chats/{CHAT}/messages",
    f"/teams/{TEAM}/channels/{CHANNEL}/messages",
    "/users",
    "/users/5d/messages",
    "/drives/d/root",
)
NAMED = (
    chat_path(),
    chat_path(chat="19:other@thread.v2"),
    channel_path("17"),
    channel_path("17", "1"),
    f"teams('{TEAM.upper()}')/channels('{CHANNEL}')/messages('17')",
    "users('5d')",
    "users('5d')/messages('1')",
    "users('6e')/messages('1')",
    "groups('5d')",
)
paths = st.sampled_from([*DECLARED, *NAMED]) | st.text(max_size=40)


@pytest.mark.parametrize(
    ("declared", "named"),
    [
        (RESOURCE, chat_path()),
        ("/users/5d/chats/getAllMessages", chat_path()),
        (f"/chats/{CHAT}/messages", chat_path()),
        ("/teams/getAllMessages", channel_path("17", "1")),
        (f"/teams/{TEAM}/channels/{CHANNEL}/messages", channel_path("17", "1")),
        (f"/teams/{TEAM}/channels/{CHANNEL}/messages", f"teams('{TEAM.upper()}')/channels('{CHANNEL}')/messages('17')"),
        ("/users", "Users('5d')"),
        ("/users/5d/messages", "users('5d')/mailFolders('inbox')/messages('1')"),
        ("/users/5d/messages", "Users/5D/Messages/1"),
    ],
)
def test_what_a_subscription_is_about_is_within_it(declared: str, named: str) -> None:
    assert is_certainly_within(declared, named)
    assert not is_certainly_elsewhere(declared, identify(named))


@pytest.mark.parametrize(
    ("declared", "named"),
    [
        (RESOURCE, channel_path("17")),
        (f"/chats/{CHAT}/messages", chat_path(chat="19:other@thread.v2")),
        ("/teams/getAllMessages", chat_path()),
        (f"/teams/{TEAM}/channels/19:other@thread.tacv2/messages", channel_path("17")),
    ],
)
def test_a_message_of_another_place_is_elsewhere(declared: str, named: str) -> None:
    assert is_certainly_elsewhere(declared, identify(named))
    assert not is_certainly_within(declared, named)


@pytest.mark.parametrize(
    ("declared", "named"),
    [
        ("/users", "groups('5d')"),
        ("/users", "users('5d')/messages('1')"),
        ("/users/5d/messages", "users('6e')/messages('1')"),
        ("/users/5d/messages", "users('5d')/events('1')"),
        (RESOURCE, "users('5d')"),
        ("/users", "users"),
        ("/users", ""),
        ("", "users('5d')"),
    ],
)
def test_in_doubt_a_notification_is_neither_rejected_nor_read_with_our_token(declared: str, named: str) -> None:
    assert not is_certainly_within(declared, named)
    assert not is_certainly_elsewhere(declared, identify(named))


@given(paths, paths)
def test_nothing_is_both_within_and_elsewhere(declared: str, named: str) -> None:
    assert not (is_certainly_within(declared, named) and is_certainly_elsewhere(declared, identify(named)))
