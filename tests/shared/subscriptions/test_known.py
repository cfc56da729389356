"""Which subscriptions are known to be the app's."""

from datetime import timedelta

from shared.storage.state import STATE
from shared.subscriptions.known import KnownSubscription, KnownSubscriptions
from tests.builders import NOW, OTHER_TENANT, TENANT, Clock, declaration
from tests.memory import MemoryTables

FIRST, SECOND = (f"3f1c0a52-7a3e-4d0e-9f0e-00000000000{number}" for number in (1, 2))
CHATS, CHANNELS = declaration().id, declaration("/teams/getAllMessages").id
LATER = NOW + timedelta(hours=1)


def test_listed_subscriptions_are_known_and_removed_ones_forgotten_after_a_day() -> None:
    clock = Clock()
    known = KnownSubscriptions(MemoryTables(), clock)
    known.note(TENANT, {FIRST.upper(): KnownSubscription(CHATS, LATER), SECOND: KnownSubscription(CHANNELS, LATER)})
    assert known.declaration_of(TENANT, FIRST) == CHATS
    assert known.declaration_of(TENANT, SECOND.upper()) == CHANNELS
    for hours, remembered in ((0, CHATS), (23, CHATS), (2, None)):
        clock.advance(hours=hours)
        known.note(TENANT, {SECOND: KnownSubscription(CHANNELS, LATER)})
        assert known.declaration_of(TENANT, FIRST) == remembered
        assert list(known.all(TENANT)) == [SECOND]


def test_each_tenant_has_its_own() -> None:
    known = KnownSubscriptions(MemoryTables(), Clock())
    known.note(TENANT, {FIRST: KnownSubscription(CHATS, LATER)})
    known.note(OTHER_TENANT, {})
    assert known.declaration_of(TENANT, FIRST) == CHATS
    assert known.declaration_of(OTHER_TENANT, FIRST) is None


def test_what_did_not_change_is_not_written_again() -> None:
    tables = MemoryTables()
    KnownSubscriptions(tables, Clock()).note(
        TENANT, {FIRST: KnownSubscription(CHATS, LATER, "enc-1", "a fault", 2, NOW)}
    )
    tables.put_all = None  # type: ignore[method-assign, assignment]
    KnownSubscriptions(tables, Clock()).note(
        TENANT, {FIRST: KnownSubscription(CHATS, LATER, "enc-1", "a fault", 2, NOW)}
    )


def test_all_that_is_noted_is_read_again_and_what_is_added_replaces_nothing_else() -> None:
    known = KnownSubscriptions(MemoryTables(), Clock())
    full = {FIRST: KnownSubscription(CHATS, LATER, "enc-1", "a fault", 2, NOW)}
    known.note(TENANT, full)
    known.add(TENANT, {SECOND: KnownSubscription(CHANNELS, LATER)})
    assert known.all(TENANT) == full | {SECOND: KnownSubscription(CHANNELS, LATER)}


def test_rows_of_version_0_2_vouch_for_lifecycle_notifications_alone() -> None:
    """They were also written for subscriptions of other deployments."""
    tables = MemoryTables()
    tables.put(STATE, f"subscriptions-{TENANT}", FIRST, {"declaration": CHATS})
    known = KnownSubscriptions(tables, Clock())
    assert known.all(TENANT) == {}
    assert known.declaration_of(TENANT, FIRST) == CHATS
