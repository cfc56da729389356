"""Encryption keys by id, through a cache in front of their store."""

from datetime import timedelta

import pytest

from shared import threads
from shared.errors import NotAttempted, Reason, RetryLater, Undeliverable
from shared.keys.key import EncryptionKey, new_key
from shared.keys.ring import REFRESH_INTERVAL, STORE_COOLDOWN, KeyRing
from tests.builders import NOW, Clock, encryption_key
from tests.memory import MemoryKeys

LONG_AGO = NOW - timedelta(days=30)


def test_a_key_is_found_by_its_id() -> None:
    ring = KeyRing(MemoryKeys(encryption_key("one"), encryption_key("two")), Clock())
    assert ring.find("two", "", LONG_AGO) is encryption_key("two")


@pytest.mark.parametrize("lower", [True, False])
def test_a_key_is_found_by_its_thumbprint_if_the_id_is_unknown(lower: bool) -> None:
    ring = KeyRing(MemoryKeys(encryption_key("one"), encryption_key("two")), Clock())
    thumbprint = encryption_key("two").thumbprint
    assert ring.find("", thumbprint.lower() if lower else thumbprint, LONG_AGO) is encryption_key("two")


def test_the_id_decides_where_both_are_known() -> None:
    ring = KeyRing(MemoryKeys(encryption_key("one"), encryption_key("two")), Clock())
    assert ring.find("one", encryption_key("two").thumbprint, LONG_AGO) is encryption_key("one")


def test_a_known_key_is_used_while_the_store_is_unavailable() -> None:
    store = MemoryKeys(encryption_key("one"))
    ring = KeyRing(store, Clock())
    ring.find("one", "", LONG_AGO)
    store.unavailable = True
    assert ring.find("one", "", LONG_AGO) is encryption_key("one")
    assert store.calls["ids"] == 1


def test_unknown_ids_cause_a_bounded_number_of_looks() -> None:
    clock = Clock()
    store = MemoryKeys(encryption_key("one"))
    ring = KeyRing(store, clock)
    for number in range(100):
        with pytest.raises(Undeliverable) as unknown:
            ring.find(f"nobody's-{number}", "", LONG_AGO)
        assert unknown.value.reason is Reason.KEY_UNKNOWN
    assert store.calls == {"ids": 1, "get": 1}
    clock.advance(seconds=REFRESH_INTERVAL.total_seconds())
    with pytest.raises(Undeliverable):
        ring.find("nobody's", "", LONG_AGO)
    assert store.calls == {"ids": 2, "get": 1}


@pytest.mark.parametrize(
    "hostile", ["../../etc/passwd", "https://example.org/key", "", "a" * 100_000, "one.pem", "é\0"]
)
def test_an_id_of_an_item_is_never_used_to_look(hostile: str) -> None:
    asked: list[str] = []

    class Watched(MemoryKeys):
        def get(self, key_id: str) -> EncryptionKey | None:
            asked.append(key_id)
            return super().get(key_id)

    with pytest.raises(Undeliverable) as unknown:
        KeyRing(Watched(encryption_key("one")), Clock()).find(hostile, hostile, LONG_AGO)
    assert asked == ["one"]
    assert not hostile or hostile not in str(unknown.value)


def test_an_item_waits_for_a_new_key_until_the_store_is_read_again() -> None:
    clock = Clock()
    store = MemoryKeys(encryption_key("one"))
    ring = KeyRing(store, clock)
    ring.find("one", "", LONG_AGO)
    store.keys["two"] = encryption_key("two")
    with pytest.raises(RetryLater) as retry_later:
        ring.find("two", "", clock())
    assert retry_later.value.retry_after == REFRESH_INTERVAL
    clock.advance(seconds=REFRESH_INTERVAL.total_seconds())
    assert ring.find("two", "", NOW) is encryption_key("two")


def test_an_item_waits_while_the_store_is_unavailable() -> None:
    store = MemoryKeys(encryption_key("one"))
    store.unavailable = True
    with pytest.raises(RetryLater) as retry_later:
        KeyRing(store, Clock()).find("one", "", LONG_AGO)
    assert retry_later.value.reason is Reason.KEY_STORE


def test_an_unavailable_store_is_not_asked_once_per_waiting_item() -> None:
    store, clock = MemoryKeys(encryption_key("one")), Clock()
    store.unavailable, ring = True, KeyRing(store, clock)
    for _ in range(24):
        with pytest.raises(RetryLater):
            ring.find("one", "", LONG_AGO)
    assert store.calls["ids"] == 1
    store.unavailable = False
    clock.advance(seconds=STORE_COOLDOWN.total_seconds())
    assert ring.find("one", "", LONG_AGO) is encryption_key("one")


def test_a_broken_key_affects_no_other_and_items_that_may_need_it_wait() -> None:
    store = MemoryKeys(encryption_key("one"), encryption_key("two"))
    store.broken = {"two"}
    clock = Clock()
    ring = KeyRing(store, clock)
    assert ring.find("one", "", LONG_AGO) is encryption_key("one")
    with pytest.raises(RetryLater):
        ring.find("two", "", LONG_AGO)
    store.broken = set()
    clock.advance(seconds=REFRESH_INTERVAL.total_seconds())
    assert ring.find("two", "", LONG_AGO) is encryption_key("two")


def test_the_newest_valid_key_is_for_new_subscriptions() -> None:
    year = timedelta(days=365)
    older = new_key("z-older", NOW - timedelta(days=9), year)
    newer = new_key("a-newer", NOW - timedelta(days=1), year)
    expired = new_key("expired", NOW - timedelta(hours=2), timedelta(hours=1))
    future = new_key("future", NOW + timedelta(hours=1), year)
    assert KeyRing(MemoryKeys(older, newer, expired, future), Clock()).current() == newer


def test_a_key_is_created_only_if_there_is_none() -> None:
    store = MemoryKeys()
    ring = KeyRing(store, Clock())
    made = ring.current()
    assert ring.current() == made == ring.find(made.key_id, "", LONG_AGO)
    assert store.calls["create"] == 1


def test_while_the_store_is_unavailable_the_newest_key_seen_before_goes_on() -> None:
    store = MemoryKeys(encryption_key("one"))
    ring = KeyRing(store, Clock())
    ring.current()
    store.unavailable = True
    assert ring.current() is encryption_key("one")
    assert store.calls["create"] == 0


def test_while_the_store_is_unavailable_no_key_is_created() -> None:
    store = MemoryKeys()
    store.unavailable = True
    ring = KeyRing(store, Clock())
    with pytest.raises(RetryLater):
        ring.current()
    assert ring.current_if_any() is None
    assert store.calls["create"] == 0


@pytest.mark.parametrize("seen", [True, False], ids=["another is known", "none is known"])
def test_while_a_key_cannot_be_read_none_is_newest_and_none_is_created(seen: bool) -> None:
    store = MemoryKeys(encryption_key("one"), encryption_key("two"))
    store.withheld = {"two"} if seen else {"one", "two"}
    ring = KeyRing(store, Clock())
    for _ in range(3):
        with pytest.raises(RetryLater):
            ring.current()
    assert store.calls["create"] == 0
    store.withheld = set()
    assert ring.current() in (encryption_key("one"), encryption_key("two"))


def test_a_broken_key_keeps_no_other_from_being_the_current_one() -> None:
    store = MemoryKeys(encryption_key("one"), encryption_key("two"))
    store.broken = {"two"}
    assert KeyRing(store, Clock()).current() is encryption_key("one")


def test_a_retired_key_is_found_no_more() -> None:
    ring = KeyRing(MemoryKeys(encryption_key("one"), encryption_key("two")), Clock())
    assert len(ring.all()) == 2
    ring.retire("one")
    with pytest.raises(Undeliverable):
        ring.find("one", "", LONG_AGO)
    assert [key.key_id for key in ring.all()] == ["two"]


def test_a_key_retired_by_another_process_is_forgotten_at_the_next_look() -> None:
    store = MemoryKeys(encryption_key("one"), encryption_key("two"))
    ring = KeyRing(store, Clock())
    ring.find("one", "", LONG_AGO)
    del store.keys["one"]
    ring.all()
    with pytest.raises(Undeliverable):
        ring.find("one", "", LONG_AGO)


def test_a_store_that_hangs_is_asked_for_one_key_and_not_for_each() -> None:
    store = MemoryKeys(*(encryption_key(name) for name in ("one", "two", "three")))
    store.hanging = set(store.keys)
    ring = KeyRing(store, Clock())
    with pytest.raises(RetryLater):
        ring.find("two", "", LONG_AGO)
    assert store.calls["get"] == 1


def test_the_pause_after_a_failure_begins_at_its_end() -> None:
    """A hanging store takes longer than the pause: otherwise every waiting call would ask at once."""
    clock = Clock()

    class Hanging(MemoryKeys):
        def ids(self) -> list[str]:
            clock.advance(seconds=2 * STORE_COOLDOWN.total_seconds())
            return super().ids()

    store = Hanging(encryption_key("one"))
    store.unavailable = True
    ring = KeyRing(store, clock)
    for _ in range(5):
        with pytest.raises(RetryLater):
            ring.find("one", "", LONG_AGO)
    assert store.calls["ids"] == 1


def test_a_hanging_store_delays_one_caller_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "LOCK_PATIENCE", timedelta(0))
    refused: list[Reason] = []

    class Hanging(MemoryKeys):
        def ids(self) -> list[str]:
            with pytest.raises(NotAttempted) as raised:  # by another invocation, meanwhile
                ring.find("one", "", LONG_AGO)
            refused.append(raised.value.reason)
            return super().ids()

    ring = KeyRing(Hanging(encryption_key("one")), Clock())
    assert ring.find("one", "", LONG_AGO)
    assert refused == [Reason.KEY_STORE]


def test_a_key_known_recently_is_good_enough_for_a_lifecycle_notification() -> None:
    store = MemoryKeys(encryption_key("one"))
    ring = KeyRing(store, Clock())
    assert [ring.current_if_any() for _ in range(50)] == [encryption_key("one")] * 50
    assert store.calls["ids"] == 1
