"""A setting in a blob: the value in force while the blob changes, is invalid, or is unavailable."""

import threading
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from shared.configuration.in_blob import InBlob, blob_address
from shared.configuration.values import InvalidValue
from shared.errors import RetryLater
from shared.in_force import READ_AGAIN_AFTER, InForce, StoredCopies
from shared.storage.documents import Document
from shared.storage.state import STATE
from tests.builders import Clock, client_state_secret
from tests.memory import MemoryAccount

ADDRESS = "https://config.blob.core.windows.net/relay/subscriptions.json"


def numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split()]
    except ValueError:
        raise InvalidValue("expected numbers") from None


@dataclass
class Instances:
    """Instances of the app on one storage account, and the blob."""

    clock: Clock = field(default_factory=Clock)
    account: MemoryAccount = field(init=False)

    def __post_init__(self) -> None:
        self.account = MemoryAccount(self.clock)

    def start(self, *, secret: bytes | None = None, keeps: bool = True) -> InForce[list[int]]:
        copies = StoredCopies(self.account.tables, [secret or client_state_secret()], keeps=keeps)
        return InForce(InBlob("NUMBERS", ADDRESS, numbers), self.account.documents, copies, self.clock)

    def write(self, text: str) -> None:
        self.clock.advance(seconds=1)
        self.account.documents.put(ADDRESS, text)

    def later(self) -> None:
        self.clock.advance(seconds=READ_AGAIN_AFTER.total_seconds())


@pytest.fixture
def instances() -> Instances:
    return Instances()


def test_a_value_in_the_setting_itself_needs_no_blob(instances: Instances) -> None:
    instances.account.documents.available = instances.account.tables.available = False
    in_force = InForce(
        [1], instances.account.documents, StoredCopies(instances.account.tables, [b"s"]), instances.clock
    )
    assert in_force.get() == in_force.refresh() == [1]


def test_a_change_of_the_blob_takes_effect_within_a_minute(instances: Instances) -> None:
    instances.write("1 2")
    in_force = instances.start()
    assert in_force.get() == [1, 2]
    instances.write("1 2 3")
    assert in_force.get() == [1, 2]
    instances.later()
    assert in_force.get() == [1, 2, 3]
    assert in_force.problem is None


def test_a_refresh_reads_at_once_and_an_unchanged_blob_is_not_sent_again(instances: Instances) -> None:
    instances.write("1")
    in_force = instances.start()
    held = in_force.get()
    assert in_force.refresh() is held
    instances.write("2")
    assert in_force.refresh() == [2]


def test_a_wrong_blob_leaves_the_last_good_value_in_force(instances: Instances) -> None:
    instances.write("1")
    in_force = instances.start()
    in_force.get()
    instances.write("one")
    assert in_force.refresh() == [1]
    assert in_force.problem is not None
    assert "expected numbers" in in_force.problem
    assert in_force.refresh() == [1]
    assert in_force.problem is not None  # although the ETag is the same
    instances.write("2")
    assert in_force.refresh() == [2]
    assert in_force.problem is None


def test_an_unavailable_blob_leaves_the_last_good_value_in_force(instances: Instances) -> None:
    instances.write("1")
    in_force = instances.start()
    in_force.get()
    instances.account.documents.available = False
    assert in_force.refresh() == [1]
    assert in_force.problem is not None
    instances.account.documents.available = True
    assert in_force.refresh() == [1]
    assert in_force.problem is None


def test_a_new_instance_starts_with_the_last_good_value(instances: Instances) -> None:
    instances.write("1")
    instances.start().get()
    instances.write("one")
    assert instances.start().get() == [1]
    instances.account.documents.available = False
    assert instances.start().get() == [1]


def test_without_any_good_value_work_waits(instances: Instances) -> None:
    in_force = instances.start()
    with pytest.raises(RetryLater, match="there is no blob"):
        in_force.get()
    reads = instances.account.documents.reads
    with pytest.raises(RetryLater):
        in_force.get()
    assert instances.account.documents.reads == reads  # concurrent threads do not wait one after the other
    instances.write("1")
    instances.clock.advance(seconds=10)
    assert in_force.get() == [1]


def test_what_another_instance_has_read_is_known_to_one_that_finds_the_blob_wrong(instances: Instances) -> None:
    """The other instance may have subscribed to it."""
    instances.write("1")
    behind, ahead = instances.start(), instances.start()
    behind.get()
    instances.write("1 2")
    ahead.get()
    instances.write("one")
    assert behind.refresh() == [1, 2]
    assert ahead.refresh() == [1, 2]


def test_an_older_copy_replaces_nothing(instances: Instances) -> None:
    instances.write("1")
    in_force = instances.start()
    in_force.get()
    copies = StoredCopies(instances.account.tables, [client_state_secret()])
    copies.keep("NUMBERS", ADDRESS, Document("0", "old", instances.clock() - timedelta(hours=1)))
    instances.account.documents.available = False
    assert in_force.refresh() == [1]


def test_nothing_is_in_force_before_its_copy_is_kept(instances: Instances) -> None:
    instances.write("1")
    in_force = instances.start()
    in_force.get()
    instances.account.tables.available = False
    instances.write("2")
    assert in_force.refresh() == [1]
    instances.account.tables.available = True
    assert in_force.refresh() == [2]


def test_who_reads_the_table_learns_nothing_and_who_writes_to_it_changes_nothing(instances: Instances) -> None:
    instances.write("12345")
    instances.start().get()
    (row,) = list(instances.account.tables.partition(STATE, "settings"))
    assert b"12345" not in b"".join(value for value in row.values() if isinstance(value, bytes))
    instances.account.documents.available = False
    with pytest.raises(RetryLater):
        instances.start(secret=client_state_secret("other")).get()
    changed = dict(row) | {"modified": (instances.clock() + timedelta(days=1)).isoformat()}
    instances.account.tables.put(STATE, "settings", "NUMBERS", changed)
    with pytest.raises(RetryLater):
        instances.start().get()


def test_a_process_that_observes_puts_nothing_in_force(instances: Instances) -> None:
    instances.write("1")
    assert instances.start(keeps=False).get() == [1]
    instances.account.documents.available = False
    with pytest.raises(RetryLater):
        instances.start().get()


def test_a_large_value_is_kept_and_an_excessive_one_is_refused_by_name(
    instances: Instances, monkeypatch: pytest.MonkeyPatch
) -> None:
    instances.write(" ".join(str(number * 7919 % 1_000_003) for number in range(20_000)))
    instances.start().get()
    instances.account.documents.available = False
    assert len(instances.start().get()) == 20_000
    instances.account.documents.available = True
    monkeypatch.setattr("shared.in_force._CHUNKS", 1)
    instances.write(" ".join(str(hash(str(number))) for number in range(20_000)))
    in_force = instances.start()
    with pytest.raises(RetryLater, match="after compression"):
        in_force.refresh()


def test_one_thread_reads_and_the_others_do_not_wait(instances: Instances, monkeypatch: pytest.MonkeyPatch) -> None:
    instances.write("1")
    in_force = instances.start()
    in_force.get()
    instances.later()
    reading, go_on = threading.Event(), threading.Event()
    read = instances.account.documents.read

    def slow(address: str, known: str = "") -> Document | None:
        reading.set()
        go_on.wait(30)
        return read(address, known)

    monkeypatch.setattr(instances.account.documents, "read", slow)
    thread = threading.Thread(target=in_force.get)
    thread.start()
    reading.wait(30)
    assert in_force.get() == [1]
    go_on.set()
    thread.join()


@pytest.mark.parametrize(
    "text",
    [
        "https://config.blob.core.windows.net/relay/s.json?sv=2024&sig=secret",
        "https://user@config.blob.core.windows.net/relay/s.json",
        "https://config.blob.core.windows.net/s.json",
        "http://config.blob.core.windows.net/relay/s.json",
        "https://[::1/relay/s.json",
        "https:///relay/s.json",
    ],
)
def test_what_can_be_no_blob_is_refused_without_its_value(text: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        blob_address(text)
    assert "sig=secret" not in str(refused.value)


@pytest.mark.parametrize("text", ["[]", "subscriptions.json", "https.json"])
def test_json_and_paths_are_no_addresses(text: str) -> None:
    assert blob_address(text) is None
