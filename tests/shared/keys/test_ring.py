"""Encryption keys by id."""

import base64
from collections import Counter
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from shared.errors import RetryLater, Reason, Undeliverable
from shared.keys.ring import (
    LOOK_AGAIN,
    STORE_COOLDOWN,
    BrokenKey,
    EncryptionKey,
    KeyRing,
    is_key_id,
    new_key,
    read_pem,
    write_pem,
)
from tests.builders import NOW, Clock, armoured, encryption_key, pem_of, rsa_key

LONG_AGO = NOW - timedelta(days=30)


class Queue:
    """A key store in memory that counts how often it is looked into, and can be away."""

    def __init__(self, *keys: EncryptionKey) -> None:
        self.keys = {key.key_id: key for key in keys}
        self.broken: set[str] = set()
        self.withheld: set[str] = set()
        self.away = False
        self.calls: Counter[str] = Counter()

    def ids(self) -> list[str]:
        self.calls["ids"] += 1
        if self.away:
            raise RetryLater(Reason.KEY_STORE, "the shelf is away")
        return sorted(self.keys)

    def get(self, key_id: str) -> EncryptionKey | None:
        self.calls["get"] += 1
        if key_id in self.broken:
            raise BrokenKey(Reason.KEY_STORE, f"key {key_id}: broken")
        if key_id in self.withheld:
            raise RetryLater(Reason.KEY_STORE, "the shelf gives nothing out")
        return self.keys.get(key_id)

    def create(self, now: datetime) -> EncryptionKey:
        self.calls["create"] += 1
        made = new_key(f"made-{len(self.keys)}", now, timedelta(days=365))
        self.keys[made.key_id] = made
        return made

    def retire(self, key_id: str) -> None:
        self.keys.pop(key_id, None)


def test_a_key_is_found_by_its_id() -> None:
    ring = KeyRing(Queue(encryption_key("one"), encryption_key("two")), Clock())
    assert ring.find("two", "", LONG_AGO) is encryption_key("two")


@pytest.mark.parametrize("lower", [True, False])
def test_a_key_is_found_by_its_thumbprint_if_the_id_is_unknown(lower: bool) -> None:
    ring = KeyRing(Queue(encryption_key("one"), encryption_key("two")), Clock())
    thumbprint = encryption_key("two").thumbprint
    assert ring.find("", thumbprint.lower() if lower else thumbprint, LONG_AGO) is encryption_key("two")


def test_the_id_decides_where_both_are_known() -> None:
    ring = KeyRing(Queue(encryption_key("one"), encryption_key("two")), Clock())
    assert ring.find("one", encryption_key("two").thumbprint, LONG_AGO) is encryption_key("one")


def test_a_key_once_seen_is_not_looked_for_again_even_if_the_store_is_away() -> None:
    shelf = Queue(encryption_key("one"))
    ring = KeyRing(shelf, Clock())
    ring.find("one", "", LONG_AGO)
    shelf.away = True
    assert ring.find("one", "", LONG_AGO) is encryption_key("one")
    assert shelf.calls["ids"] == 1


def test_unknown_ids_cause_a_bounded_number_of_looks() -> None:
    clock = Clock()
    shelf = Queue(encryption_key("one"))
    ring = KeyRing(shelf, clock)
    for number in range(100):
        with pytest.raises(Undeliverable) as unknown:
            ring.find(f"nobody's-{number}", "", LONG_AGO)
        assert unknown.value.reason is Reason.KEY_UNKNOWN
    assert shelf.calls == {"ids": 1, "get": 1}
    clock.advance(seconds=LOOK_AGAIN.total_seconds())
    with pytest.raises(Undeliverable):
        ring.find("nobody's", "", LONG_AGO)
    assert shelf.calls == {"ids": 2, "get": 1}


@pytest.mark.parametrize(
    "hostile", ["../../etc/passwd", "https://example.org/key", "", "a" * 100_000, "one.pem", "é\0"]
)
def test_an_id_of_an_item_is_never_used_to_look(hostile: str) -> None:
    asked: list[str] = []

    class Watched(Queue):
        def get(self, key_id: str) -> EncryptionKey | None:
            asked.append(key_id)
            return super().get(key_id)

    with pytest.raises(Undeliverable) as unknown:
        KeyRing(Watched(encryption_key("one")), Clock()).find(hostile, hostile, LONG_AGO)
    assert asked == ["one"]
    assert not hostile or hostile not in str(unknown.value)


def test_a_key_that_came_later_is_found_at_the_next_look_and_the_item_waits_for_it() -> None:
    clock = Clock()
    shelf = Queue(encryption_key("one"))
    ring = KeyRing(shelf, clock)
    ring.find("one", "", LONG_AGO)
    shelf.keys["two"] = encryption_key("two")
    with pytest.raises(RetryLater) as retry_later:
        ring.find("two", "", clock())
    assert retry_later.value.retry_after == LOOK_AGAIN
    clock.advance(seconds=LOOK_AGAIN.total_seconds())
    assert ring.find("two", "", NOW) is encryption_key("two")


def test_an_item_waits_while_the_store_is_away() -> None:
    shelf = Queue(encryption_key("one"))
    shelf.away = True
    with pytest.raises(RetryLater) as retry_later:
        KeyRing(shelf, Clock()).find("one", "", LONG_AGO)
    assert retry_later.value.reason is Reason.KEY_STORE


def test_a_store_that_is_away_is_not_asked_for_each_item_that_waits_for_it() -> None:
    shelf, clock = Queue(encryption_key("one")), Clock()
    shelf.away, ring = True, KeyRing(shelf, clock)
    for _ in range(24):
        with pytest.raises(RetryLater):
            ring.find("one", "", LONG_AGO)
    assert shelf.calls["ids"] == 1
    shelf.away = False
    clock.advance(seconds=STORE_COOLDOWN.total_seconds())
    assert ring.find("one", "", LONG_AGO) is encryption_key("one")


def test_a_broken_key_costs_the_others_nothing_and_items_that_may_be_its_own_wait() -> None:
    shelf = Queue(encryption_key("one"), encryption_key("two"))
    shelf.broken = {"two"}
    clock = Clock()
    ring = KeyRing(shelf, clock)
    assert ring.find("one", "", LONG_AGO) is encryption_key("one")
    with pytest.raises(RetryLater):
        ring.find("two", "", LONG_AGO)
    shelf.broken = set()
    clock.advance(seconds=LOOK_AGAIN.total_seconds())
    assert ring.find("two", "", LONG_AGO) is encryption_key("two")


def test_the_newest_valid_key_is_for_new_subscriptions() -> None:
    year = timedelta(days=365)
    older = new_key("z-older", NOW - timedelta(days=9), year)
    newer = new_key("a-newer", NOW - timedelta(days=1), year)
    expired = new_key("expired", NOW - timedelta(hours=2), timedelta(hours=1))
    future = new_key("future", NOW + timedelta(hours=1), year)
    assert KeyRing(Queue(older, newer, expired, future), Clock()).current() == newer


def test_a_key_is_made_where_there_is_none_and_only_then() -> None:
    shelf = Queue()
    ring = KeyRing(shelf, Clock())
    made = ring.current()
    assert ring.current() == made == ring.find(made.key_id, "", LONG_AGO)
    assert shelf.calls["create"] == 1


def test_while_the_store_is_away_the_newest_key_seen_before_goes_on() -> None:
    shelf = Queue(encryption_key("one"))
    ring = KeyRing(shelf, Clock())
    ring.current()
    shelf.away = True
    assert ring.current() is encryption_key("one")
    assert shelf.calls["create"] == 0


def test_while_the_store_is_away_no_key_is_made_that_was_not_seen_before() -> None:
    shelf = Queue()
    shelf.away = True
    ring = KeyRing(shelf, Clock())
    with pytest.raises(RetryLater):
        ring.current()
    assert ring.current_if_any() is None
    assert shelf.calls["create"] == 0


@pytest.mark.parametrize("seen", [True, False], ids=["another is known", "none is known"])
def test_a_key_that_is_not_given_out_just_now_may_be_the_newest_and_neither_is_made_nor_taken(seen: bool) -> None:
    shelf = Queue(encryption_key("one"), encryption_key("two"))
    shelf.withheld = {"two"} if seen else {"one", "two"}
    ring = KeyRing(shelf, Clock())
    for _ in range(3):
        with pytest.raises(RetryLater):
            ring.current()
    assert shelf.calls["create"] == 0
    shelf.withheld = set()
    assert ring.current() in (encryption_key("one"), encryption_key("two"))


def test_a_broken_key_keeps_no_other_from_being_the_current_one() -> None:
    shelf = Queue(encryption_key("one"), encryption_key("two"))
    shelf.broken = {"two"}
    assert KeyRing(shelf, Clock()).current() is encryption_key("one")


def test_a_retired_key_is_found_no_more() -> None:
    ring = KeyRing(Queue(encryption_key("one"), encryption_key("two")), Clock())
    assert len(ring.every()) == 2
    ring.retire("one")
    with pytest.raises(Undeliverable):
        ring.find("one", "", LONG_AGO)
    assert [key.key_id for key in ring.every()] == ["two"]


def test_a_key_retired_by_another_process_is_forgotten_at_the_next_look() -> None:
    shelf = Queue(encryption_key("one"), encryption_key("two"))
    ring = KeyRing(shelf, Clock())
    ring.find("one", "", LONG_AGO)
    del shelf.keys["one"]
    ring.every()
    with pytest.raises(Undeliverable):
        ring.find("one", "", LONG_AGO)


def test_the_public_certificate_is_what_graph_takes() -> None:
    key = encryption_key()
    text = key.public_certificate
    certificate = x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
    assert certificate.public_key() == key.private_key.public_key()
    assert "\n" not in text
    assert "PRIVATE" not in text
    assert key.thumbprint == certificate.fingerprint(hashes.SHA1()).hex().upper()
    assert (key.made, key.expires) == (NOW - timedelta(days=1), NOW + timedelta(days=364))
    assert 2048 <= key.private_key.key_size <= 4096


def test_what_was_written_as_pem_is_read() -> None:
    again = read_pem("other-id", write_pem(encryption_key()))
    assert again.certificate == encryption_key().certificate
    assert again.key_id == "other-id"


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"\xff\xfe",
        armoured("AAAA").encode(),
        pem_of(rsa_key("alone")),
        pem_of(rsa_key("foreign")) + write_pem(encryption_key()).split(b"-----END PRIVATE KEY-----\n")[1],
        write_pem(encryption_key()).split(b"-----END PRIVATE KEY-----\n")[1],
        # PKCS#8 of an algorithm that nobody knows
        armoured("MA0CAQAwBgYEKgMEBQQA").encode()
        + write_pem(encryption_key()).split(b"-----END PRIVATE KEY-----\n")[1],
    ],
    ids=["empty", "bytes", "garbage", "key alone", "key of another", "certificate alone", "unknown algorithm"],
)
def test_a_pem_that_is_no_key_with_its_certificate_is_named_for_a_person(pem: bytes) -> None:
    with pytest.raises(RetryLater, match="key dropped: expected") as retry_later:
        read_pem("dropped", pem)
    assert retry_later.value.reason is Reason.KEY_STORE


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("enc-2031-02", True),
        ("0a1b.c_d-E", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("", False),
        (".hidden", False),
        ("../a", False),
        ("a/b", False),
        ("a b", False),
        ("a\n", False),
        ("é", False),
    ],
)
def test_what_can_be_the_id_of_a_key(text: str, good: bool) -> None:
    assert is_key_id(text) is good
