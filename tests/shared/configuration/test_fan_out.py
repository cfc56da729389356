"""Declarations that fan out: what is refused at start, and what the declaration of a member is."""

import json

import pytest

from shared.configuration.declaration import Declarations, read_declarations, with_tenant
from shared.configuration.values import InvalidValue
from tests.builders import OTHER_TENANT, TENANT

GROUP = "/groups/1a2b3c4d-0a0b-4c0d-8e0f-000000000001/members"
INBOX = "/users/{id}/mailFolders('inbox')/messages"
TEAMS = ["/teams", "/teams/{id}/channels"]


def declared(*entries: tuple[str, object]) -> Declarations:
    texts = [{"resource": resource, "changeTypes": ["created"], "forEach": lists} for resource, lists in entries]
    return with_tenant(read_declarations(json.dumps(texts)), TENANT)


def test_a_template_is_no_subscription_itself() -> None:
    declarations = declared((INBOX, GROUP))
    (template,) = declarations.templates
    assert (len(declarations), list(declarations), template.sources) == (0, [], (GROUP,))
    assert list(declarations.by_tenant(TENANT)) == [TENANT]
    assert list(declarations.by_tenant(OTHER_TENANT)) == [OTHER_TENANT, TENANT]


def test_a_member_has_the_declaration_that_could_be_written_by_hand() -> None:
    (template,) = declared((INBOX, GROUP)).templates
    (by_hand,) = with_tenant(
        read_declarations('[{"resource": "/users/5D/mailFolders(\'inbox\')/messages", "changeTypes": ["created"]}]'),
        TENANT,
    )
    member = template.member("5d")
    assert (member.id, member.resource, member.sources) == (by_hand.id, INBOX.replace("{id}", "5d"), ())


def test_of_two_lists_both_ids_can_be_in_the_resource() -> None:
    (template,) = declared(("/teams/{parent}/channels/{id}/messages", TEAMS)).templates
    assert template.member("19:c@thread.tacv2", "t1").resource == "/teams/t1/channels/19:c@thread.tacv2/messages"


@pytest.mark.parametrize(
    ("resource", "lists"),
    [
        (INBOX, GROUP),
        (INBOX, "/groups/1/transitiveMembers"),
        (INBOX, "/users"),
        (INBOX, "/users?$filter=department eq 'Sales'"),
        ("/teams/{id}/channels", "/teams"),
        ("/groups/{id}/drive/root", "/teams"),
        ("/teams/t1/channels/{id}/messages", "/teams/t1/channels"),
        ("/drives/{id}/root", "/users/5d/drives"),
        ("/drives/{id}/root", [GROUP, "/users/{id}/drives"]),
        ("/sites/s1/lists/{id}", "/sites/s1/lists"),
    ],
)
def test_every_list_is_taken(resource: str, lists: object) -> None:
    assert len(declared((resource, lists)).templates) == 1


@pytest.mark.parametrize(
    ("resource", "lists", "complaint"),
    [
        (INBOX, "/groups/1/owners", "forEach: '/groups/1/owners' is none of /groups/{id}/members"),
        (INBOX, "/users?$search=x", "forEach: '/users?$search=x' is none of"),
        (INBOX, f"{GROUP}?$filter=x", "is none of"),
        (INBOX, "", "forEach: '' is none of"),
        ("/users/messages", GROUP, "resource: expected users/{id} in it, once"),
        ("/users/{id}/mailFolders('{id}')/messages", GROUP, "resource: expected users/{id} in it, once"),
        ("/chats/{id}/messages", GROUP, "resource: {id} stands behind chats, and is of users; expected users/{id}"),
        ("/users/x{id}/messages", GROUP, "resource: expected users/{id} in it, once"),
        (INBOX, "/users/{id}/drives", "forEach: the first list contains {id}"),
        ("/drives/{id}/root", [GROUP, "/users/5d/drives"], "forEach: the second list: expected users/{id} in it, once"),
        ("/drives/{id}/root", ["/teams", "/users/{id}/drives"], "forEach: the second list: {id} stands behind users"),
        ("/drives/{id}/root", ["/teams", *TEAMS], "forEach: nested too deep"),
        ("/teams/{parent}/channels/{id}/messages", "/teams/t1/channels", "resource: {parent} is the id of the outer"),
        (INBOX, [], "forEach: missing; expected a list"),
        (INBOX, 7, "forEach"),
    ],
)
def test_what_makes_no_sense_is_refused_with_entry_and_field(resource: str, lists: object, complaint: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        declared(("/users/{id}/messages", GROUP), (resource, lists))
    assert complaint in str(refused.value)
    assert "declaration 2" in str(refused.value) or "$[1]" in str(refused.value)


def test_reading_back_from_joining_takes_members() -> None:
    with pytest.raises(InvalidValue, match="declaration 1: forEach: missing"):
        read_declarations('[{"resource": "/users", "changeTypes": ["updated"], "readBack": true}]')


def test_a_duplicate_template_is_refused_and_one_resource_of_two_lists_is_not() -> None:
    with pytest.raises(InvalidValue, match="two declarations name the same resource"):
        declared((INBOX, GROUP), (INBOX, GROUP))
    assert len(declared((INBOX, GROUP), (INBOX, "/groups/2/members")).templates) == 2
