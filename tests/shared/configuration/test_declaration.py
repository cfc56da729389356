"""Declarations by id, and by tenant."""

import pytest

from shared.configuration.declaration import Declarations, declaration_id
from tests.builders import OTHER_TENANT, RESOURCE, TENANT, declaration

CHATS, USERS, OTHER_CHATS = declaration(), declaration("/users"), declaration(tenant=OTHER_TENANT)
DECLARED = Declarations([CHATS, USERS, OTHER_CHATS])


@pytest.mark.parametrize("spelling", ["chats/getAllMessages", "/Chats/GetAllMessages/", "/chats/getallmessages"])
def test_a_declaration_keeps_its_id_in_each_spelling_of_its_path(spelling: str) -> None:
    assert declaration_id(TENANT.upper(), spelling) == declaration_id(TENANT, RESOURCE) == CHATS.id


def test_each_tenant_and_resource_has_an_id_of_its_own() -> None:
    assert len({CHATS.id, USERS.id, OTHER_CHATS.id}) == 3


def test_ids_stay_what_they_are_since_subscriptions_and_rows_carry_them() -> None:
    assert CHATS.id == "TJ6iVclcI_yQzzNi"


def test_declarations_are_in_the_order_in_which_they_were_given() -> None:
    assert list(DECLARED) == [CHATS, USERS, OTHER_CHATS]
    assert len(DECLARED) == 3


def test_a_declaration_is_found_by_its_id_in_its_own_tenant_alone() -> None:
    assert DECLARED.get(CHATS.id, TENANT) == CHATS
    assert DECLARED.get(CHATS.id, OTHER_TENANT) is None
    assert DECLARED.get("", TENANT) is None
    assert CHATS.id in DECLARED
    assert declaration("/groups").id not in DECLARED


def test_each_tenant_has_its_own_and_home_is_there_even_without_any() -> None:
    assert list(DECLARED.of_tenant(OTHER_TENANT)) == [OTHER_CHATS]
    by_tenant = DECLARED.of_tenant(OTHER_TENANT).by_tenant(TENANT)
    assert {tenant: list(declared) for tenant, declared in by_tenant.items()} == {
        TENANT: [],
        OTHER_TENANT: [OTHER_CHATS],
    }
