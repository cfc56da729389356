"""Which requests Graph limits together."""

import pytest

from shared.graph.limits import limited_with

ROOT = "https://graph.microsoft.com/v1.0/"


@pytest.mark.parametrize(
    ("path", "other"),
    [
        ("users/a/messages/1", "users/b/messages/1"),
        ("users/a/messages/1", "chats/c/messages/1"),
        ("chats/c/messages/1", "chats/d/messages/1"),
        ("teams/t/channels/c/messages/1", "teams/t/channels/d/messages/1"),
        ("teams/t/channels/getAllMessages", "teams/t/channels/c/messages/1"),
        ("users/a/chats/getAllMessages", "users/a/messages/1"),
        ("drives/a/items/1", "drives/b/items/1"),
        ("drives/a/items/1", "sites/s/lists/l/items/1"),
        ("users", "users/a/messages"),
        ("subscriptions", "subscriptions/1"),
        ("groups/delta", "users/delta"),
    ],
)
def test_a_429_of_one_says_nothing_about_the_other(path: str, other: str) -> None:
    assert limited_with("GET", ROOT + path) != limited_with("GET", ROOT + other)


@pytest.mark.parametrize(
    ("path", "other"),
    [
        ("users/a/messages/1", "users/a/mailFolders/f/messages/delta?$deltatoken=x"),
        ("users/a/messages/1", "users('A')/events"),
        ("users/a/chats/getAllMessages?$top=50", "users/b/chats/getAllMessages"),
        ("users/a/chats/getAllMessages", "teams/t/channels/getAllMessages"),
        ("chats/c/messages/1", "chats('c')/messages/2"),
        ("drives/a/root/delta", "drives/a/items/1"),
        ("subscriptions", "subscriptions?$skiptoken=x"),
    ],
)
def test_what_graph_counts_together_waits_together(path: str, other: str) -> None:
    assert limited_with("GET", ROOT + path) == limited_with("GET", ROOT + other)


def test_writing_has_limits_of_its_own() -> None:
    assert limited_with("PATCH", f"{ROOT}subscriptions/1") != limited_with("GET", f"{ROOT}subscriptions/1")


@pytest.mark.parametrize("url", ["", "https://", ROOT, "https://graph.microsoft.com/beta/x", f"{ROOT}/////"])
def test_any_address_has_a_limit(url: str) -> None:
    assert isinstance(limited_with("GET", url), str)
