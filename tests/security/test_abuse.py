"""The cost of an anonymous request: no signature check, no Graph call, no log line, little memory, and for its path
a few rows in ten seconds, whatever its body.
"""

import json
import logging
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import jwt
import pytest

from notify_http.receive import LARGEST_BODY, receive
from shared.configuration.settings import StorageSettings
from shared.graph.notification import MAX_ITEMS, MAX_TOKENS
from shared.messages.ingest import ExpectedRecipient
from shared.paths import MOST_ON_RECEIPT, ON_RECEIPT_EVERY, Paths
from shared.storage.queues import Queues
from shared.storage.tables import Row
from tests.accounts import queues
from tests.builders import (
    NOW,
    OTHER_TENANT,
    TENANT,
    body,
    change,
    client_state_secret,
    lifecycle,
    minted,
    rich,
    rsa_key,
)
from tests.memory import MemoryTables, account_of_items
from tests.token_cases import Mint
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
RECIPIENT = ExpectedRecipient(TENANT, [client_state_secret()])
MEGABYTE = 1 << 20

JUNK: dict[str, Callable[[], bytes]] = {
    "a million numbers": lambda: listed(b"1", MEGABYTE),
    "millions of empty objects": lambda: listed(b"{}", 2 * MEGABYTE),
    "as many items as are read": lambda: listed(b'{"subscriptionId":"1","resource":"a","changeType":"b"}', MAX_ITEMS),
    "a number of a million digits": lambda: b'{"value":[' + b"9" * MEGABYTE + b"]}",
    "a number beyond all floats": lambda: b'{"value":[{"subscriptionId":1e' + b"9" * 400 + b"}]}",
    "deep lists": lambda: b'{"value":' + b"[" * MEGABYTE,
    "deep lists in an item": lambda: b'{"value":[{"subscriptionId":"1","new":' + b"[" * 900 + b"]" * 900 + b"}]}",
    "deep objects": lambda: b'{"value":' + b'{"value":' * 800_000,
    "an item's names over and over again": lambda: b'{"value":[{' + b'"subscriptionId":"1",' * 390_000 + b'"a":1}]}',
    "the collection's names over and over": lambda: b"{" + b'"value":[],' * 700_000 + b'"value":[]}',
    "halves of surrogates": lambda: b'{"value":["' + rb"\ud83d" * 1_390_000 + b'"]}',
    "backslashes and a half": lambda: b'{"value":["' + rb"\\" * 4_190_000 + rb'\ud83d"]}',
    "a character that makes Python's strings long": lambda: (
        b'{"value":["' + b"a" * (8_388_000) + "🎈".encode() + b'"]}'
    ),
    "bytes that are not UTF-8": lambda: b'{"value":["' + b"\xff" * MEGABYTE + b'"]}',
    "a clientState of eight megabytes": lambda: body(change(clientState="A" * (8 * MEGABYTE - 999))),
    "a token of eight megabytes": lambda: body(tokens=["A" * (8 * MEGABYTE - 999)]),
    "a million tokens": lambda: body(tokens=["a.b.c"] * 900_000),
    "one byte too many": lambda: b" " * (LARGEST_BODY + 1),
}


def listed(item: bytes, count: int) -> bytes:
    return b'{"value":[' + (item + b",") * (count - 1) + item + b"]}"


class _Lines(logging.Handler):
    """Every log record, of any library."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {record.getMessage()}")

    def requests(self) -> list[str]:
        return [line for line in self.lines if line.startswith("urllib3.connectionpool")]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[_Lines]:
    handler, root = _Lines(), logging.getLogger()
    with ExitStack() as levels:
        for name in ("", "azure", "urllib3"):  # those of libraries too: whoever imports function_app raises them
            levels.enter_context(caplog.at_level(logging.DEBUG, name))
        root.addHandler(handler)
        yield handler
        root.removeHandler(handler)


class CountingTables(MemoryTables):
    """Tables that count writes."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def put_all(self, table: str, partition: str, rows: Mapping[str, Row]) -> None:
        self.writes += 1
        super().put_all(table, partition, rows)


@pytest.fixture
def storage(storage_settings: StorageSettings) -> Queues:
    return queues(storage_settings)


def post(text: bytes, storage: Queues, paths: Paths | None = None) -> int:
    """Post a body; return the status."""
    return receive(text, RECIPIENT, storage, NOW, paths, account_of_items()).status


def strangers(count: int) -> list[object]:
    """Items with an invalid clientState; tokens and content are genuine."""
    kinds = (
        lambda: rich(clientState="guess"),
        lambda: change(clientState=minted(OTHER_TENANT)),
        lambda: change(clientState=None),
        lambda: lifecycle(clientState=minted(secret=client_state_secret("theirs"))),
        lambda: 7,
    )
    return [kinds[number % len(kinds)]() for number in range(count)]


def test_a_flood_of_strangers_causes_no_request_and_no_log_line(storage: Queues, lines: _Lines) -> None:
    token = Mint(rsa_key("authority")).token()
    for _ in range(20):
        assert post(body(*strangers(50), tokens=[token] * 100), storage) == 202
    assert lines.lines == []


def test_a_flood_of_strangers_causes_few_rows_at_a_bounded_rate(storage: Queues) -> None:
    tables = CountingTables()
    paths = Paths(tables, lambda: NOW, lambda: 0.0, TENANT)
    began = time.monotonic()
    for _ in range(20):
        assert post(body(*strangers(50)), storage, paths) == 202
    eventually(lambda: tables.writes)
    pauses = (time.monotonic() - began) // ON_RECEIPT_EVERY.total_seconds()
    assert tables.writes <= 1 + pauses
    assert len(paths.failures()) <= (1 + pauses) * MOST_ON_RECEIPT


def test_one_authentic_item_among_them_costs_what_it_costs_alone(storage: Queues, lines: _Lines) -> None:
    storage.create_missing()
    costs = []
    for others in ([], strangers(500)):
        lines.lines.clear()
        assert post(body(change(), *others), storage) == 202
        costs.append(len(lines.requests()))
    assert costs[0] == costs[1] == 1


@pytest.mark.parametrize("kind", JUNK)
def test_junk_causes_no_request_and_no_log_line(kind: str, storage: Queues, lines: _Lines) -> None:
    assert post(JUNK[kind](), storage) in (202, 400, 413)
    assert lines.lines == []


PROGRAM = """
import json, os, pathlib, re
from tests.builders import NOW
from tests.security.test_abuse import JUNK, RECIPIENT
from notify_http.receive import receive
def peak(): return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) * 1024
for kind, made in JUNK.items():
    if os.fork() == 0:
        text = made()
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins here, whatever it took to make the text
        before = peak()
        receive(text, RECIPIENT, None, NOW, None, None)
        print(json.dumps([kind, len(text), peak() - before]), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def memory() -> dict[str, tuple[int, int]]:
    """Return the bytes of each kind of junk, and the memory that a fresh process needs to answer it."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    measured = [json.loads(line) for line in done.stdout.splitlines()]
    return {kind: (length, grown) for kind, length, grown in measured}


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports peak memory this way")
@pytest.mark.parametrize("kind", JUNK)
def test_junk_costs_little_memory_beside_its_length(memory: dict[str, tuple[int, int]], kind: str) -> None:
    length, grown = memory[kind]
    assert grown < 3 * length + 32 * MEGABYTE  # copies of the text, never an object for each of its parts


def test_input_of_strangers_is_never_verified_with_a_key(storage: Queues, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()
    monkeypatch.setattr(jwt, "decode", lambda *_, **__: calls.update(["decode"]))
    monkeypatch.setattr(jwt, "get_unverified_header", lambda *_, **__: calls.update(["header"]))
    token = Mint(rsa_key("authority")).token()
    assert post(body(*strangers(200), tokens=[token] * 200), storage) == 202
    assert not calls


def test_tokens_are_stored_once_for_many_items_however_many_there_are(
    storage: Queues, lines: _Lines, storage_settings: StorageSettings
) -> None:
    """A known clientState must not multiply the stored size of a POST."""
    token = Mint(rsa_key("authority")).token()
    stem, _, signature = token.rpartition(".")
    tokens = [f"{stem}.{number:06}{signature[6:]}" for number in range(MAX_TOKENS)]
    text = body(*(change(filler="x" * 1000) for _ in range(100)), tokens=tokens)
    storage.create_missing()
    lines.lines.clear()
    assert post(text, queues(storage_settings)) == 202
    assert len(lines.requests()) <= 10
