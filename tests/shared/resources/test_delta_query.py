"""Which resources have delta queries, how they are called and what their entries are."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.resources.delta_query import delta_path, entry, kind_of
from shared.resources.path import segments
from tests.builders import RESOURCE


@pytest.mark.parametrize(
    ("resource", "path", "kind"),
    [
        ("users", "users/delta", "User"),
        ("/Users/", "users/delta", "User"),
        ("/users?$filter=x", "users/delta", "User"),
        ("groups", "groups/delta", "Group"),
        (
            "/users/a@x.de/mailFolders('inbox')/messages",
            "users/a%40x.de/mailFolders/inbox/messages/delta",
            "Message",
        ),
        ("users/a/contacts", None, "Contact"),  # Graph documents delta queries of contact folders alone
        ("users/a/contactFolders/f/contacts", "users/a/contactFolders/f/contacts/delta", "Contact"),
        ("drives/b!x/root", "drives/b%21x/root/delta", "DriveItem"),
        ("sites/h,1,2/drives/b!x/root", "sites/h%2C1%2C2/drives/b%21x/root/delta", "DriveItem"),
        ("me/drive/root", None, ""),
        ("groups/g/drive/root", "groups/g/drive/root/delta", "DriveItem"),
        ("sites/h,1,2/lists/l", "sites/h%2C1%2C2/lists/l/items/delta", "ListItem"),
        ("users/a/todo/lists/l/tasks", "users/a/todo/lists/l/tasks/delta", "TodoTask"),
        (RESOURCE, None, ""),
        ("users/a/messages", None, ""),
        ("users/a/b/contacts", None, ""),
        ("groups/g/members", None, ""),
        ("", None, ""),
    ],
)
def test_a_resource_is_asked_for_its_changes_where_graph_can_tell(resource: str, path: str | None, kind: str) -> None:
    assert delta_path(resource) == path
    assert (kind_of(resource) or "") == kind


@pytest.mark.parametrize(
    ("resource", "collection", "path"),
    [
        ("groups/g1", "groups", "groups/g1"),
        ("/Users('a@x.de')", "Users", "users/a%40x.de"),
        ("users/a/mailFolders/f/messages/AAMk%2F=", "users/a/mailFolders/f/messages", None),
        ("users/a/contacts/c", "users/a/contacts", "users/a/contacts/c"),
        ("drives/b!x/root/i", "drives/b%21x/root", "drives/b%21x/items/i"),
        ("groups/g/drive/root/i", "groups/g/drive/root", "groups/g/drive/items/i"),
        ("sites/h,1,2/lists/l/7", "sites/h%2C1%2C2/lists/l", "sites/h%2C1%2C2/lists/l/items/7"),
        ("users/a/todo/lists/l/tasks/t", "users/a/todo/lists/l/tasks", None),
    ],
)
def test_one_entry_is_read_by_a_path_of_its_own(resource: str, collection: str, path: str | None) -> None:
    found = entry(resource)
    assert found is not None
    assert (found.collection, found.id) == (collection, segments(resource)[-1])
    assert found.path == (path or f"{collection}/{quote(found.id, safe='')}")


@pytest.mark.parametrize("resource", ["", "groups", "groups/..", "groups/g/members", "drives/d/root", "me/x", RESOURCE])
def test_what_is_no_entry_is_none(resource: str) -> None:
    assert entry(resource) is None


@given(st.text() | st.from_regex(r"(users|drives|sites)/[^/]{1,9}(/mailFolders/[^/]{1,9}/messages|/root|/lists/[^/]+)"))
def test_whatever_is_declared_the_path_stays_below_what_was_named(resource: str) -> None:
    path = delta_path(resource)
    if path is not None:
        assert path.endswith("/delta")
        assert set(path) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%/_.-~")
        assert (kind_of(resource) or "").isalpha()
