"""Which subscriptions are known to be the app's."""

from datetime import timedelta

from shared.configuration.declaration import Declarations
from shared.subscriptions.known import KnownSubscriptions
from shared.subscriptions.subscription import Subscription
from tests.builders import NOW, OTHER_TENANT, RESOURCE, TENANT, Clock, declaration
from tests.memory import MemoryTables

FIRST, SECOND, THIRD = (f"3f1c0a52-7a3e-4d0e-9f0e-00000000000{number}" for number in (1, 2, 3))
CHATS, CHANNELS = declaration(), declaration("/teams/getAllMessages")
DECLARED = Declarations([CHATS, CHANNELS])


def subscription(name: str, resource: str = RESOURCE) -> Subscription:
    return Subscription(name, resource, "created", "https://hooks.example.org", NOW + timedelta(hours=1))


def test_what_graph_shows_is_known_and_what_it_shows_no_more_is_forgotten_after_a_day() -> None:
    clock = Clock()
    known = KnownSubscriptions(MemoryTables(), clock)
    known.note(TENANT, DECLARED, [subscription(FIRST.upper()), subscription(SECOND, "Teams/GetAllMessages/")])
    assert known.declaration_of(TENANT, FIRST) == CHATS.id
    assert known.declaration_of(TENANT, SECOND.upper()) == CHANNELS.id
    assert known.declaration_of(TENANT, THIRD) is None
    for hours, remembered in ((0, CHATS.id), (23, CHATS.id), (2, None)):
        clock.advance(hours=hours)
        known.note(TENANT, DECLARED, [subscription(SECOND, CHANNELS.resource), subscription(THIRD)])
        assert known.declaration_of(TENANT, FIRST) == remembered
    assert known.declaration_of(TENANT, SECOND) == CHANNELS.id
    assert known.declaration_of(TENANT, THIRD) == CHATS.id


def test_what_is_not_declared_is_not_known() -> None:
    known = KnownSubscriptions(MemoryTables(), Clock())
    known.note(TENANT, DECLARED, [subscription(FIRST, "/users")])
    assert known.declaration_of(TENANT, FIRST) is None


def test_each_tenant_has_its_own() -> None:
    known = KnownSubscriptions(MemoryTables(), Clock())
    known.note(TENANT, DECLARED, [subscription(FIRST)])
    known.note(OTHER_TENANT, Declarations([declaration(tenant=OTHER_TENANT)]), [])
    assert known.declaration_of(TENANT, FIRST) == CHATS.id
    assert known.declaration_of(OTHER_TENANT, FIRST) is None


def test_what_did_not_change_is_not_written_again() -> None:
    tables = MemoryTables()
    KnownSubscriptions(tables, Clock()).note(TENANT, DECLARED, [subscription(FIRST)])
    tables.put_all = None  # type: ignore[method-assign, assignment]
    KnownSubscriptions(tables, Clock()).note(TENANT, DECLARED, [subscription(FIRST)])
