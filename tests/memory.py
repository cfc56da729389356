"""A storage account in memory, for tests of its users. tests/shared/storage tests it together with Azurite."""

import re
import secrets
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import MAXYEAR, UTC, datetime, timedelta
from math import ceil

from shared.errors import AlreadyProcessed, Reason, RetryLater, TimedOut
from shared.keys.key import BrokenKey, EncryptionKey, new_key
from shared.messages.account import Account
from shared.storage.claim_check import Opened, claimed_blob
from shared.storage.clients import StorageClients
from shared.storage.documents import Document
from shared.storage.queues import BATCH_SIZE, MESSAGE_LIMIT, Queue, QueuedMessage
from shared.storage.tables import Row

NEVER = datetime(MAXYEAR, 12, 31, 23, 59, 59, tzinfo=UTC)
_CLAIM = "claim:"
_FORBIDDEN_IN_KEYS = re.compile(r"[/\\#?\x00-\x1f\x7f-\x9f]")


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class _Service:
    """A service of an account: while it is not `available`, every call raises RetryLater."""

    available: bool = True
    lock: threading.RLock = field(default_factory=threading.RLock)

    def check(self) -> None:
        if not self.available:
            raise RetryLater(Reason.STORAGE, "the storage account does not answer (HttpResponseError)")


class MemoryClaims(_Service):
    """Claim checks in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}

    def check_in(self, text: str) -> str:
        self.check()
        name = str(uuid.uuid4())
        self.texts[name] = text.encode("ascii").decode()
        return _CLAIM + name

    def open(self, message: str) -> Opened:
        name = claimed_blob(message)
        if name is None:
            return Opened(message)
        self.check()
        if name not in self.texts:
            raise AlreadyProcessed("the blob of a queue message is gone")
        return Opened(self.texts[name], name)

    def delete(self, opened: Opened) -> None:
        if opened.blob is not None:
            self.check()
            self.texts.pop(opened.blob, None)

    def withdraw(self, message: str) -> None:
        if self.available:
            self.texts.pop(message.removeprefix(_CLAIM), None)

    def create_missing(self) -> None:
        self.check()


@dataclass
class _Stored:
    message: QueuedMessage
    visible: datetime


class MemoryQueues(_Service):
    """Queues in memory, with the clock of the test; with `undelayed`, delayed messages are visible at once.

    delays: the delay of each notification.
    """

    def __init__(
        self, claims: MemoryClaims | None = None, clock: Callable[[], datetime] = _now, *, undelayed: bool = False
    ) -> None:
        super().__init__()
        self.claims = claims or MemoryClaims()
        self.delays: list[timedelta] = []
        self._clock = clock
        self._undelayed = undelayed
        self._stored: dict[Queue, list[_Stored]] = {queue: [] for queue in Queue}

    def send(self, text: str, queue: Queue = Queue.NOTIFICATIONS, *, delay: timedelta = timedelta(0)) -> None:
        assert delay >= timedelta(0)
        self.check()
        if queue is Queue.NOTIFICATIONS:
            self.delays.append(delay)
        message = text if len(text) <= MESSAGE_LIMIT else self.claims.check_in(text)
        self.enqueue(message, queue, NEVER, timedelta(0) if self._undelayed else delay)

    def enqueue(self, message: str, queue: Queue, expires: datetime, delay: timedelta = timedelta(0)) -> None:
        """Enqueue a message unchanged, like another program with access to the queue."""
        now = self._clock()
        message.encode("ascii")
        with self.lock:
            stored = QueuedMessage(queue, str(uuid.uuid4()), message, now, expires)
            self._stored[queue].append(_Stored(stored, now + timedelta(seconds=ceil(delay.total_seconds()))))

    def send_all(self, texts: Sequence[str], *, within: timedelta) -> None:
        for text in texts:
            self.send(text)

    def receive(self, queue: Queue, visibility_timeout: timedelta) -> list[QueuedMessage]:
        self.check()
        with self.lock:
            received = self._visible(queue)[:BATCH_SIZE]
            for stored in received:
                stored.visible = self._clock() + visibility_timeout
                stored.message = replace(stored.message, receipt=str(uuid.uuid4()))
            return [stored.message for stored in received]

    def peek(self, queue: Queue, number: int = BATCH_SIZE) -> list[QueuedMessage]:
        self.check()
        assert 1 <= number <= BATCH_SIZE
        with self.lock:
            return [replace(stored.message, receipt="") for stored in self._visible(queue)[:number]]

    def release(self, message: QueuedMessage) -> None:
        self.check()
        with self.lock:
            for stored in self._held(message):
                stored.visible = self._clock()
                stored.message = replace(stored.message, receipt=str(uuid.uuid4()))

    def delete(self, message: QueuedMessage) -> None:
        self.check()
        with self.lock:
            for stored in self._held(message):
                self._stored[message.queue].remove(stored)

    def length(self, queue: Queue = Queue.NOTIFICATIONS) -> int:
        self.check()
        return len(self._stored[queue])

    def try_write(self) -> None:
        self.check()

    def create_missing(self) -> None:
        self.check()
        self.claims.create_missing()

    def texts(self, queue: Queue = Queue.NOTIFICATIONS) -> list[str]:
        """Return the texts of all messages, hidden ones included."""
        return [self.claims.open(stored.message.text).text for stored in self._stored[queue]]

    def take(self, queue: Queue = Queue.NOTIFICATIONS) -> list[str]:
        """Remove all messages, hidden ones included; return their texts."""
        texts = self.texts(queue)
        self._stored[queue].clear()
        return texts

    def _visible(self, queue: Queue) -> list[_Stored]:
        now = self._clock()
        return [stored for stored in self._stored[queue] if stored.visible <= now]

    def _held(self, message: QueuedMessage) -> list[_Stored]:
        """Return the message itself, unless another receiver has received it since."""
        key = message.id, message.receipt
        return [stored for stored in self._stored[message.queue] if (stored.message.id, stored.message.receipt) == key]


class MemoryTables(_Service):
    """Tables in memory."""

    def __init__(self) -> None:
        super().__init__()
        self._tables: dict[str, dict[tuple[str, str], Row]] = {}

    def get(self, table: str, partition: str, key: str) -> Row | None:
        self.check()
        row = self._tables.get(table, {}).get((partition, key))
        return None if row is None else dict(row)

    def put(self, table: str, partition: str, key: str, row: Row) -> None:
        self.put_all(table, partition, {key: row})

    def put_all(self, table: str, partition: str, rows: Mapping[str, Row]) -> None:
        self.check()
        assert not any(_FORBIDDEN_IN_KEYS.search(key) for key in (partition, *rows))
        if rows:
            with self.lock:
                kept = self._tables.setdefault(table, {})
                for key, row in rows.items():
                    kept[partition, key] = {**row, "PartitionKey": partition, "RowKey": key}

    def remove(self, table: str, partition: str, key: str) -> None:
        self.check()
        with self.lock:
            self._tables.get(table, {}).pop((partition, key), None)

    def partition(self, table: str, partition: str, columns: Sequence[str] = ()) -> Iterator[Row]:
        yield from (
            {name: row[name] for name in columns or row if name in row}
            for row in self._all(table)
            if row["PartitionKey"] == partition
        )

    def rows(self, table: str) -> Iterator[Row]:
        yield from self._all(table)

    def names(self) -> list[str]:
        self.check()
        return sorted(self._tables)

    def drop(self, table: str) -> None:
        self.check()
        with self.lock:
            self._tables.pop(table, None)

    def _all(self, table: str) -> list[Row]:
        """Return the rows in the order of storage: by partition, then by key."""
        self.check()
        with self.lock:
            kept = self._tables.get(table, {})
            return [dict(kept[place]) for place in sorted(kept)]


class MemoryDocuments(_Service):
    """Blobs with the values of settings, by URL; writing a text changes the ETag."""

    def __init__(self, clock: Callable[[], datetime] = _now) -> None:
        super().__init__()
        self.reads = 0
        self._clock = clock
        self._held: dict[str, Document] = {}

    def put(self, address: str, text: str) -> None:
        """Write a blob."""
        self._held[address] = Document(text, f'"{uuid.uuid4()}"', self._clock())

    def remove(self, address: str) -> None:
        """Delete a blob."""
        del self._held[address]

    def read(self, address: str, known: str = "") -> Document | None:
        self.reads += 1
        self.check()
        held = self._held.get(address)
        if held is None:
            raise RetryLater(Reason.STORAGE, f"there is no blob {address}")
        return None if held.etag == known else held


class MemoryKeys:
    """A key store in memory that counts calls, and can be unavailable.

    broken, withheld, hanging: ids of keys that cannot be read, permanently, temporarily, or without an answer.
    """

    def __init__(self, *keys: EncryptionKey) -> None:
        self.keys = {key.key_id: key for key in keys}
        self.broken: set[str] = set()
        self.withheld: set[str] = set()
        self.hanging: set[str] = set()
        self.unavailable = False
        self.calls: Counter[str] = Counter()

    def ids(self) -> list[str]:
        self.calls["ids"] += 1
        if self.unavailable:
            raise RetryLater(Reason.KEY_STORE, "the store is unavailable")
        return sorted(self.keys)

    def get(self, key_id: str) -> EncryptionKey | None:
        self.calls["get"] += 1
        if key_id in self.broken:
            raise BrokenKey(Reason.KEY_STORE, f"key {key_id}: broken")
        if key_id in self.hanging:
            raise TimedOut(Reason.KEY_STORE, "the store does not answer")
        if key_id in self.withheld:
            raise RetryLater(Reason.KEY_STORE, "the store gives nothing out")
        return self.keys.get(key_id)

    def create(self, now: datetime) -> EncryptionKey:
        self.calls["create"] += 1
        made = new_key(f"made-{len(self.keys)}", now, timedelta(days=365))
        self.keys[made.key_id] = made
        return made

    def retire(self, key_id: str) -> None:
        self.keys.pop(key_id, None)


class MemoryAccount:
    """A storage account in memory: its services, each of which can become unavailable."""

    def __init__(self, clock: Callable[[], datetime] = _now, *, undelayed: bool = False) -> None:
        self.claims = MemoryClaims()
        self.queues = MemoryQueues(self.claims, clock, undelayed=undelayed)
        self.tables = MemoryTables()
        self.documents = MemoryDocuments(clock)

    def clients(self) -> StorageClients:
        return StorageClients(self.queues, self.queues, self.claims, self.tables, self.documents)


def account_of_items(clock: Callable[[], datetime] = _now) -> Account:
    """Return an account of queued and handled items, in tables of its own."""
    return Account(MemoryTables(), clock, secrets.token_bytes)
