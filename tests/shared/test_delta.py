"""Which resources have delta queries, how they are called, and the links they go on from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import delta
from shared.delta import delta_path, kind_of
from shared.settings import StorageSettings
from shared.tables import Tables
from tests.builders import OTHER_TENANT, RESOURCE, TENANT

LINK = "https://graph.microsoft.com/v1.0/users/delta?$deltatoken=" + "Ab-_" * 500


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
        ("users/a/contacts", "users/a/contacts/delta", "Contact"),
        ("users/a/contactFolders/f/contacts", "users/a/contactFolders/f/contacts/delta", "Contact"),
        ("drives/b!x/root", "drives/b%21x/root/delta", "DriveItem"),
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
    if path is not None:
        assert kind_of(resource) == kind


@given(st.text() | st.from_regex(r"(users|drives|sites)/[^/]{1,9}(/mailFolders/[^/]{1,9}/messages|/root|/lists/[^/]+)"))
def test_whatever_is_declared_the_path_stays_below_what_was_named(resource: str) -> None:
    path = delta_path(resource)
    if path is not None:
        assert path.endswith("/delta")
        assert set(path) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%/_.-~")
        assert kind_of(resource).isalpha()


@pytest.fixture
def tables(storage_settings: StorageSettings) -> Tables:
    return Tables(storage_settings)


def test_there_is_no_link_before_the_first_query_has_ended(tables: Tables) -> None:
    assert delta.load(tables, TENANT, "users") is None


def test_the_link_kept_last_is_the_one_to_go_on_from_however_the_resource_is_spelled(tables: Tables) -> None:
    for link in ("https://graph.microsoft.com/old", LINK):
        delta.save(tables, TENANT, "/users", link)
    assert delta.load(tables, TENANT.upper(), "Users/") == LINK


def test_each_tenant_and_resource_has_a_link_of_its_own(tables: Tables) -> None:
    delta.save(tables, TENANT, "users", LINK)
    assert delta.load(tables, OTHER_TENANT, "users") is None
    assert delta.load(tables, TENANT, "groups") is None
