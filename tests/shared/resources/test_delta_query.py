"""Which resources have delta queries, and their URLs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.resources.delta_query import delta_path, keeps_link, view_of
from tests.builders import RESOURCE


@pytest.mark.parametrize(
    ("resource", "path"),
    [
        ("users", "users/delta"),
        ("/Users/", "users/delta"),
        ("/users?$filter=x", "users/delta"),
        ("groups", "groups/delta"),
        ("/users/a@x.de/mailFolders('inbox')/messages", "users/a%40x.de/mailFolders/inbox/messages/delta"),
        ("users/a/contacts", None),  # Graph documents delta queries of contact folders only
        ("users/a/contactFolders/f/contacts", "users/a/contactFolders/f/contacts/delta"),
        ("drives/b!x/root", "drives/b%21x/root/delta"),
        ("sites/h,1,2/drives/b!x/root", "drives/b%21x/root/delta"),
        ("me/drive/root", None),
        ("groups/g/drive/root", "groups/g/drive/root/delta"),
        ("sites/h,1,2/lists/l", "sites/h%2C1%2C2/lists/l/items/delta"),
        ("users/a/todo/lists/l/tasks", "users/a/todo/lists/l/tasks/delta"),
        ("users/a/calendarView", "users/a/calendarView/delta"),
        ("users/a/calendars/c=/calendarView", "users/a/calendars/c%3D/calendarView/delta"),
        (RESOURCE, None),
        ("users/a/messages", None),
        ("users/a/b/contacts", None),
        ("groups/g/members", None),
        ("", None),
    ],
)
def test_a_resource_has_a_delta_query_where_graph_offers_one(resource: str, path: str | None) -> None:
    assert delta_path(resource) == path


@pytest.mark.parametrize(
    ("resource", "view"),
    [
        ("/users/a/events", "users/a/calendarView"),
        ("/users/a@x.de/Events?$filter=x", "users/a%40x.de/calendarView"),
        ("users('a')/calendar/events", "users/a/calendarView"),
        ("users/a/calendars('c/1=')/events", "users/a/calendars/c%2F1%3D/calendarView"),
        ("groups/a/events", None),
        ("users/a/messages", None),
    ],
)
def test_deleted_events_come_from_the_view_of_their_calendar(resource: str, view: str | None) -> None:
    assert view_of(resource) == view
    assert keeps_link(resource) is (view is not None)


@given(st.text() | st.from_regex(r"(users|drives|sites)/[^/]{1,9}(/mailFolders/[^/]{1,9}/messages|/root|/lists/[^/]+)"))
def test_whatever_is_declared_the_path_stays_below_what_was_named(resource: str) -> None:
    path = delta_path(resource)
    if path is not None:
        assert path.endswith("/delta")
        assert set(path) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%/_.-~")
