"""Paths of resources in Graph's many spellings (docs/graph.md, "Resource strings")."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.resources.path import MessagePath, encoded, message_path, segments
from tests.builders import CHANNEL, CHAT, TEAM

raw_ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@pytest.mark.parametrize(
    "spelling",
    [
        f"chats('{CHAT}')/messages('1')",
        f"/chats('{CHAT}')/messages('1')",
        f"chats/{CHAT}/messages/1",
        f"/chats/{quote(CHAT, safe='')}/messages/1/",
        f"Chats('{CHAT}')/Messages('1')",
        f"users('5d')/chats('{CHAT}')/messages('1')",
        f"users/5d/chats/{CHAT}/messages/1?$select=id",
    ],
)
def test_a_chat_message_is_known_in_each_spelling(spelling: str) -> None:
    path = message_path(spelling)
    assert path == MessagePath(("chats", CHAT, "messages"), "1")
    assert path.subject == f"chats/{CHAT}/messages/1"
    assert path.source == f"chats/{quote(CHAT, safe='')}/messages"


@pytest.mark.parametrize(
    "spelling",
    [
        f"teams('{TEAM}')/channels('{CHANNEL}')/messages('1')/replies('2')",
        f"/teams/{TEAM.upper()}/channels/{quote(CHANNEL)}/messages/1/replies/2",
    ],
)
def test_a_reply_is_known_by_its_root_too(spelling: str) -> None:
    path = message_path(spelling)
    assert path == MessagePath(("teams", TEAM, "channels", CHANNEL, "messages", "1", "replies"), "2")


def test_a_channel_message_is_known() -> None:
    path = message_path(f"teams('{TEAM}')/channels('{CHANNEL}')/messages('1')")
    assert path == MessagePath(("teams", TEAM, "channels", CHANNEL, "messages"), "1")


@pytest.mark.parametrize(
    "other",
    [
        "",
        "/",
        "users/5d",
        "chats/1",
        "chats/1/messages",
        "chats/getAllMessages",
        "users/5d/messages/1",
        "chats/1/members/2",
    ],
)
def test_what_is_no_message_is_told_apart(other: str) -> None:
    assert message_path(other) is None


@given(st.lists(st.tuples(st.sampled_from(["chats", "messages", "users"]), raw_ids), min_size=1, max_size=4))
def test_quoted_and_plain_spellings_have_the_same_parts(pairs: list[tuple[str, str]]) -> None:
    parts = tuple(part for pair in pairs for part in pair)
    quoted = "/".join(f"{name}('{quote(one, safe='').replace(chr(39), chr(39) * 2)}')" for name, one in pairs)
    assert segments(quoted) == segments("/" + encoded(parts)) == parts


def test_a_quote_in_an_id_is_doubled_in_quotes() -> None:
    assert segments("users('o''brien')/messages('a/b')") == ("users", "o'brien", "messages", "a/b")


@given(st.text())
def test_any_text_is_split_and_can_stand_in_a_url(text: str) -> None:
    assert encoded(segments(text)).isascii()
    message_path(text)


def test_a_long_hostile_path_is_split_at_once() -> None:
    for unit in ("a", "('", "a('", "')", "/", "''"):
        segments(unit * 300_000)
