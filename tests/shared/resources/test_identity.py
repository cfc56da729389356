"""One identity for a resource, whatever its spelling (docs/graph.md, "Resource strings")."""

import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.resources.catalog import KINDS
from shared.resources.identity import belongs, identify, identify_entry, kinds_in, read_path
from shared.resources.item_types import ITEM_TYPES
from shared.resources.path import encoded, segments
from tests.builders import CHANNEL, CHAT, TEAM, TENANT

USER = "5d5d5d5d-0a0b-4c0d-8e0f-000000000005"
MEETING = "MSo1ZDVkNWQ1ZC0wYTBiLTRjMGQtOGUwZi0wMDAwMDAwMDAwMDUqMCoqMTk6bWVldGluZ19hQHRocmVhZC52Mg=="

FORMS = [(item, path) for item in ITEM_TYPES for path in (item.path, *item.spellings)]


@pytest.mark.parametrize(
    ("spelling", "subject"),
    [
        (f"chats('{CHAT}')/messages('1')", f"chats/{CHAT}/messages/1"),
        (f"/chats/{quote(CHAT, safe='')}/messages/1/", f"chats/{CHAT}/messages/1"),
        (f"Chats('{CHAT}')/Messages('1')", f"chats/{CHAT}/messages/1"),
        (f"users('5d')/chats('{CHAT}')/messages('1')?$select=id", f"chats/{CHAT}/messages/1"),
        (
            f"/teams/{TEAM.upper()}/channels/{quote(CHANNEL)}/messages/1/replies/2",
            f"teams/{TEAM}/channels/{CHANNEL}/messages/1/replies/2",
        ),
        (f"Users/{USER}/Messages/AAMk/=".replace("/=", "%2F="), f"users/{USER}/messages/AAMk/="),
        (f"Users/{USER.upper()}@{TENANT}/Messages/AAMkB", f"users/{USER}/messages/AAMkB"),
        (f"users/{USER}/mailFolders('Inbox')/messages('AAMkB')", f"users/{USER}/messages/AAMkB"),
        (f"users/{USER}/mailFolders/a/childFolders/b/messages/AAMkB", f"users/{USER}/messages/AAMkB"),
        ("users/Ada@Example.org/messages/AAMkB", "users/ada@example.org/messages/AAMkB"),
        (f"users/{USER}/contactFolders/f/contacts/c1", f"users/{USER}/contacts/c1"),
        (f"users/{USER}/calendarGroups/g/calendars/c/events/e1", f"users/{USER}/events/e1"),
        (f"users/{USER}/calendar/calendarView/e1", f"users/{USER}/events/e1"),
        (f"https://graph.microsoft.com/v1.0/Users/{USER}@{TENANT}/Messages/AAMkB", f"users/{USER}/messages/AAMkB"),
        (f"/beta/users('{USER}')/messages('AAMkB')", f"users/{USER}/messages/AAMkB"),
        (f"users(id='{USER}')/messages(id='AAMk%2FB')", f"users/{USER}/messages/AAMk/B"),
        ("drives/b!x/root/01ABC", "drives/b!x/items/01ABC"),  # of a dead letter of version 0.1
        ("sites/h,1,2/drives/b!x/items/01ABC", "drives/b!x/items/01ABC"),
        ("sites/h,1,2/lists/l/7", "sites/h,1,2/lists/l/items/7"),
        (f"users/{USER}/onlineMeetings('m1')/transcripts('t1')", "communications/onlinemeetings/m1/transcripts/t1"),
    ],
)
def test_each_way_to_name_a_resource_is_one_identity(spelling: str, subject: str) -> None:
    identity = identify(spelling)
    assert identity.kind
    assert identity.subject == subject
    assert identity == identify(encoded(identity.parts))


@pytest.mark.parametrize(("item", "path"), FORMS)
def test_every_form_of_the_table_is_found_and_names_what_it_is(item: object, path: str) -> None:
    plain = re.sub(r"\{(\w+)\}", r"\1-1", path)
    quoted = re.sub(r"\b([a-z]+)/([a-z]+-1)", r"\1('\2')", plain)
    assert identify(plain).type is item
    assert identify(plain) == identify(quoted) == identify(f"/{plain.replace('messages', 'Messages')}?x=y")
    assert identify(plain).parts[-1] in plain


@pytest.mark.parametrize("path", [path for kind in KINDS for path in kind.paths])
def test_whatever_can_be_declared_says_of_what_it_notifies(path: str) -> None:
    assert kinds_in(path.replace("{}", "x1"))


@pytest.mark.parametrize(
    "path",
    ["", "/", "chats/getAllMessages", "users/delta", "users/$count", "drives/d/root", "chats/1/messages", "me/x/y/z"],
)
def test_an_unknown_resource_is_distinguished(path: str) -> None:
    assert identify(path).type is None


@pytest.mark.parametrize(
    ("place", "entry", "subject"),
    [
        ("groups", "G1", "groups/G1"),
        ("/users/A@x.de/mailFolders('inbox')/messages", "AA/=", "users/a@x.de/messages/AA/="),
        ("users/a/contacts", "c", "users/a/contacts/c"),
        ("drives/b!x/root", "i", "drives/b!x/items/i"),
        ("groups/g/drive/root", "i", "groups/g/drive/items/i"),
        ("sites/h,1,2/lists/l?$expand=x", "7", "sites/h,1,2/lists/l/items/7"),
        ("users/a/todo/lists/l/tasks", "t", "users/a/todo/lists/l/tasks/t"),
        ("chats/getAllMessages", "1", None),  # a message has its own place
        ("users/a/messages", "..", None),
        ("users/a/messages", "", None),
        ("somewhere/else", "1", None),
    ],
)
def test_an_entry_has_the_identity_of_what_is_pushed(place: str, entry: str, subject: str | None) -> None:
    found = identify_entry(place, entry)
    assert (found and found.subject) == subject


@pytest.mark.parametrize(
    ("declared", "named", "expected"),
    [
        (f"/users/{USER}/messages", f"Users/{USER.upper()}@{TENANT}/Messages/AA", True),
        (f"/users/{USER}/mailFolders('Inbox')/messages", f"users/{USER}/mailFolders/inbox/messages/AA", True),
        (f"/users/{USER}/mailFolders/inbox/messages", f"users/{USER}/mailFolders/sentitems/messages/AA", False),
        (f"/users/{USER}/messages", f"users/{USER}/chats/19:a/messages/1", False),
        ("/users/ada@x.de/messages", f"Users/{USER}/Messages/AA", None),
        ("/users", "users/delta", None),
        ("/somewhere", "users/5d", None),
    ],
)
def test_what_belongs_is_decided_by_the_whole_path(declared: str, named: str, expected: bool | None) -> None:
    assert belongs(declared, identify(named)) is expected


@pytest.mark.parametrize(
    ("named", "declared", "path"),
    [
        (f"Users/{USER}@{TENANT}/Messages/A%2FA", "", f"users/{USER}/messages/A%2FA"),
        (
            f"Users/{USER}/Messages/AA",
            f"/users/{USER}/mailFolders/f/messages",
            f"users/{USER}/mailFolders/f/messages/AA",
        ),
        ("drives/b!x/root/01", "", "drives/b%21x/items/01"),
        (
            "communications/onlineMeetings('m1')/transcripts('t1')",
            "/users/6e/onlineMeetings/getAllTranscripts",
            "users/6e/onlinemeetings/m1/transcripts/t1",
        ),
        (
            f"communications/onlineMeetings('{MEETING}')/transcripts('t1')",
            "/communications/onlineMeetings/getAllTranscripts",
            f"users/{USER}/onlinemeetings/{quote(MEETING)}/transcripts/t1",
        ),
        (
            "communications/onlineMeetings('m1')/transcripts('t1')",
            "",
            "communications/onlinemeetings/m1/transcripts/t1",
        ),
        ("somewhere/1", "", None),
    ],
)
def test_one_resource_is_read_where_graph_has_it(named: str, declared: str, path: str | None) -> None:
    assert read_path(identify(named), declared) == path


@given(st.text())
def test_any_text_has_an_identity_that_stays(text: str) -> None:
    identity = identify(text)
    if all(identity.parts):
        assert identify(encoded(identity.parts)) == identity
    read_path(identity, text)
    assert len(segments(encoded(identity.parts))) <= len(segments(text)) or not all(identity.parts)
