"""Which resources have delta queries, and how they are called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.resources.delta_query import delta_path
from tests.builders import RESOURCE


@pytest.mark.parametrize(
    ("resource", "path"),
    [
        ("users", "users/delta"),
        ("/Users/", "users/delta"),
        ("/users?$filter=x", "users/delta"),
        ("groups", "groups/delta"),
        ("/users/a@x.de/mailFolders('inbox')/messages", "users/a%40x.de/mailFolders/inbox/messages/delta"),
        ("users/a/contacts", None),  # Graph documents delta queries of contact folders alone
        ("users/a/contactFolders/f/contacts", "users/a/contactFolders/f/contacts/delta"),
        ("drives/b!x/root", "drives/b%21x/root/delta"),
        ("sites/h,1,2/drives/b!x/root", "drives/b%21x/root/delta"),
        ("me/drive/root", None),
        ("groups/g/drive/root", "groups/g/drive/root/delta"),
        ("sites/h,1,2/lists/l", "sites/h%2C1%2C2/lists/l/items/delta"),
        ("users/a/todo/lists/l/tasks", "users/a/todo/lists/l/tasks/delta"),
        (RESOURCE, None),
        ("users/a/messages", None),
        ("users/a/b/contacts", None),
        ("groups/g/members", None),
        ("", None),
    ],
)
def test_a_resource_is_asked_for_its_changes_where_graph_can_tell(resource: str, path: str | None) -> None:
    assert delta_path(resource) == path


@given(st.text() | st.from_regex(r"(users|drives|sites)/[^/]{1,9}(/mailFolders/[^/]{1,9}/messages|/root|/lists/[^/]+)"))
def test_whatever_is_declared_the_path_stays_below_what_was_named(resource: str) -> None:
    path = delta_path(resource)
    if path is not None:
        assert path.endswith("/delta")
        assert set(path) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%/_.-~")
