"""The delivered events in SQLite: every event's id once, every message in its last version."""

import os
import re
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

import msgspec

from local.feed.event import Event
from local.feed.message import Conversation, Counts, DeliveryRow, Message, ReceivedRequest, RefusedRequest
from local.feed.resource import conversation_name, is_deleted, read_resource

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL; -- a crash of this process loses nothing; only one of the machine may
PRAGMA wal_autocheckpoint = 0; -- see Store.tidy
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, arrived TEXT NOT NULL, lag_ms REAL NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
    position INTEGER PRIMARY KEY, conversation TEXT NOT NULL, source TEXT NOT NULL, subject TEXT NOT NULL,
    type TEXT NOT NULL, version TEXT NOT NULL, time TEXT NOT NULL, arrived TEXT NOT NULL, lag_ms REAL NOT NULL,
    deleted INTEGER NOT NULL, partial INTEGER NOT NULL, revisions INTEGER NOT NULL,
    author_id TEXT, author TEXT, data BLOB NOT NULL, UNIQUE (source, subject));
CREATE INDEX IF NOT EXISTS messages_of_conversation ON messages (conversation);
CREATE INDEX IF NOT EXISTS people_of_conversation ON messages (conversation, author, deleted);
CREATE TABLE IF NOT EXISTS requests (
    number INTEGER PRIMARY KEY, at TEXT NOT NULL, webhook_id TEXT, signed_at TEXT, status INTEGER NOT NULL,
    reason TEXT NOT NULL, events INTEGER NOT NULL, bytes INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS refused_requests ON requests (number) WHERE status >= 300;
CREATE TABLE IF NOT EXISTS deliveries (
    number INTEGER PRIMARY KEY, event_id TEXT NOT NULL, source TEXT NOT NULL, subject TEXT NOT NULL,
    type TEXT NOT NULL, version TEXT NOT NULL, time TEXT NOT NULL, request INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS deliveries_of_message ON deliveries (source, subject);
CREATE INDEX IF NOT EXISTS deliveries_of_event ON deliveries (event_id);
CREATE TABLE IF NOT EXISTS names (conversation TEXT PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, n INTEGER NOT NULL);
"""

_LINES = 500  # read at a time

_COLUMNS = ", ".join(Message.__struct_fields__)

_NEW_EVENT = "INSERT OR IGNORE INTO events (id, arrived, lag_ms) VALUES (?, ?, ?)"

# Versions compare as strings, as the sender promises; a known author is kept if a later event names none.
_LAST_VERSION_WINS = f"""
INSERT INTO messages ({_COLUMNS})
VALUES (NULL, :conversation, :source, :subject, :type, :version, :time, :arrived, :lag_ms, :deleted, :partial, 1,
        :author_id, :author, :data)
ON CONFLICT (source, subject) DO UPDATE SET
    type = excluded.type, version = excluded.version, time = excluded.time, arrived = excluded.arrived,
    lag_ms = excluded.lag_ms, deleted = excluded.deleted, partial = excluded.partial, revisions = revisions + 1,
    author_id = COALESCE(excluded.author_id, author_id), author = COALESCE(excluded.author, author),
    data = excluded.data
WHERE excluded.version > version
RETURNING {_COLUMNS}
"""

_REQUEST = """
INSERT INTO requests (at, webhook_id, signed_at, status, reason, events, bytes)
VALUES (:at, :webhook_id, :signed_at, :status, :reason, :events, :bytes)
"""
_DELIVERY = """
INSERT INTO deliveries (event_id, source, subject, type, version, time, request)
VALUES (:event_id, :source, :subject, :type, :version, :time, :request)
"""
_REFUSALS_KEPT = 1_000

_SEARCHED = """
(m.subject LIKE :like ESCAPE '\\' OR m.author LIKE :like ESCAPE '\\' OR n.name LIKE :like ESCAPE '\\'
 OR CAST(m.data AS TEXT) LIKE :like ESCAPE '\\'
 OR EXISTS (SELECT 1 FROM deliveries d WHERE d.event_id = :text AND d.source = m.source AND d.subject = m.subject))
"""
_STATES = {
    "edited": "m.revisions > 1 AND NOT m.deleted",
    "deleted": "m.deleted",
    "partial": "m.partial AND NOT m.deleted",
    "late": "m.lag_ms >= 10000",
}

_COUNT = "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = n + excluded.n"
_NAME = "INSERT INTO names VALUES (?, ?) ON CONFLICT (conversation) DO UPDATE SET name = excluded.name"
_NAME_UNLESS_KNOWN = "INSERT OR IGNORE INTO names VALUES (?, ?)"


@dataclass(frozen=True)
class Applied:
    """The changes of a batch: messages in their new state, and the lag in milliseconds of each new event."""

    messages: list[Message]
    lags: list[float]


@dataclass(frozen=True)
class Selection:
    """A selection of messages; a field that is None selects all. text: searched in ids, authors, names and content."""

    conversation: str | None = None
    text: str | None = None
    state: str | None = None

    @staticmethod
    def states() -> Sequence[str]:
        """Return the possible values of `state`."""
        return tuple(_STATES)

    def condition(self) -> str:
        """Return the SQL condition for a message `m` with its conversation's name `n`."""
        conditions = ["(:before IS NULL OR m.position < :before)"]
        if self.conversation:
            conditions.append("m.conversation = :conversation")
        if self.text:
            conditions.append(_SEARCHED)
        if self.state:
            conditions.append(_STATES[self.state])
        return " AND ".join(conditions)

    def parameters(self) -> dict[str, str | None]:
        """Return the parameters of the condition."""
        literal = re.sub(r"([\\%_])", r"\\\1", self.text or "")
        return {"conversation": self.conversation, "text": self.text, "like": f"%{literal}%"}


EVERYTHING = Selection()


class Store:
    """The database of the feed. Any thread may use it: writes are serialized, reads see the last committed state."""

    def __init__(self, path: Path) -> None:
        """Raises sqlite3.OperationalError if the database can't be opened. Only the owner may read its files."""
        self._path = path
        self._turn = threading.Lock()
        with suppress(OSError):  # SQLite reports errors, and gives its other files the mode of this one
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            path.chmod(0o600)
        self._writer = sqlite3.connect(path, check_same_thread=False)
        self._writer.executescript(_SCHEMA)

    def close(self) -> None:
        """Checkpoint the log and close the database."""
        self._writer.close()

    def apply(self, events: Sequence[Event], request: ReceivedRequest) -> Applied:
        """Store a batch completely or, on an exception, not at all. Known ids and older versions change nothing."""
        messages: list[Message] = []
        lags: list[float] = []
        arrived = request.at
        with self._turn, self._writer:
            number = self._writer.execute(_REQUEST, _request_row(request, 204, "", len(events))).lastrowid
            self._writer.executemany(_DELIVERY, [_delivery_row(event, number) for event in events])
            for event in events:
                lag_ms = (arrived - event.time).total_seconds() * 1000
                if self._writer.execute(_NEW_EVENT, (event.id, arrived.isoformat(), lag_ms)).rowcount == 0:
                    continue
                lags.append(lag_ms)
                messages += self._keep(event, arrived, lag_ms)
            known = len(events) - len(lags)
            self._writer.executemany(_COUNT, [("events", len(events)), ("duplicates", known)])
        return Applied(messages, lags)

    def _keep(self, event: Event, arrived: datetime, lag_ms: float) -> list[Message]:
        resource = read_resource(event)
        if name := conversation_name(event, resource):
            self._writer.execute(_NAME, (event.conversation, name))
        state = {
            "conversation": event.conversation,
            "source": event.source,
            "subject": event.subject,
            "type": event.type,
            "version": event.version,
            "time": event.time.isoformat(),
            "arrived": arrived.isoformat(),
            "lag_ms": lag_ms,
            "deleted": is_deleted(event, resource),
            "partial": event.partial,
            "author_id": resource.author.id,
            "author": resource.author.display_name,
            "data": bytes(event.data),
        }
        return [_message(row) for row in self._writer.execute(_LAST_VERSION_WINS, state).fetchall()]

    def refuse(self, request: ReceivedRequest, status: int, reason: str) -> None:
        """Count a refused request, and store the latest ones."""
        with self._turn, self._writer:
            self._writer.execute(_COUNT, (f"refused:{reason}", 1))
            last = self._writer.execute(_REQUEST, _request_row(request, status, reason, 0)).lastrowid
            self._writer.execute(
                "DELETE FROM requests WHERE status >= 300 AND number <= (SELECT number FROM requests "
                "WHERE status >= 300 AND number <= ? ORDER BY number DESC LIMIT 1 OFFSET ?)",
                (last, _REFUSALS_KEPT),
            )

    def name(self, names: Mapping[str, str]) -> None:
        """Store names of conversations, unless a message has named the conversation already."""
        with self._turn, self._writer:
            self._writer.executemany(_NAME_UNLESS_KNOWN, list(names.items()))

    def tidy(self) -> None:
        """Move committed changes from the log into the file: at intervals, so that no batch has to wait for it."""
        with closing(sqlite3.connect(self._path)) as tidier:
            tidier.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def counts(self) -> Counts:
        """Return the totals since the database was made."""
        with closing(self._reader()) as reader:
            counters = dict(reader.execute("SELECT name, n FROM counters").fetchall())
            messages, deleted = reader.execute("SELECT count(*), total(deleted) FROM messages").fetchone()
        refused = {name.partition(":")[2]: n for name, n in counters.items() if name.startswith("refused:")}
        return Counts(counters.get("events", 0), counters.get("duplicates", 0), messages, int(deleted), refused)

    def messages(self, limit: int, before: int | None = None, selection: Selection = EVERYTHING) -> list[Message]:
        """Return up to `limit` messages, newest arrival first; `before` is a position, exclusive."""
        columns = ", ".join(f"m.{column}" for column in Message.__struct_fields__)
        with closing(self._reader()) as reader:
            rows = reader.execute(
                f"SELECT {columns} FROM messages m LEFT JOIN names n USING (conversation) "
                f"WHERE {selection.condition()} ORDER BY m.position DESC LIMIT :limit",
                {**selection.parameters(), "limit": limit, "before": before},
            ).fetchall()
        return [_message(row) for row in rows]

    def at(self, position: int) -> Message | None:
        """Return the message at a position."""
        with closing(self._reader()) as reader:
            row = reader.execute(f"SELECT {_COLUMNS} FROM messages WHERE position = ?", (position,)).fetchone()
        return row and _message(row)

    def deliveries(self, source: str, subject: str) -> list[DeliveryRow]:
        """Return every delivery of every version of one message, oldest first."""
        with closing(self._reader()) as reader:
            rows = reader.execute(
                "SELECT d.event_id, d.type, d.version, d.time, r.at, r.webhook_id, r.signed_at, r.events, r.bytes "
                "FROM deliveries d JOIN requests r ON r.number = d.request "
                "WHERE d.source = ? AND d.subject = ? ORDER BY d.number",
                (source, subject),
            ).fetchall()
        return [DeliveryRow(*row) for row in rows]

    def refusals(self, limit: int) -> list[RefusedRequest]:
        """Return the last requests that were refused, newest first."""
        with closing(self._reader()) as reader:
            rows = reader.execute(
                "SELECT number, at, webhook_id, signed_at, status, reason, bytes FROM requests "
                "WHERE status >= 300 ORDER BY number DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return [RefusedRequest(*row) for row in rows]

    def message(self, source: str, subject: str) -> Message | None:
        """Return one message, by its identity."""
        with closing(self._reader()) as reader:
            query = f"SELECT {_COLUMNS} FROM messages WHERE source = ? AND subject = ?"
            row = reader.execute(query, (source, subject)).fetchone()
        return row and _message(row)

    def conversations(self) -> list[Conversation]:
        """Return every conversation, the one with the newest message first."""
        with closing(self._reader()) as reader:
            places = reader.execute(
                "SELECT conversation, name, count(*), max(position) FROM messages LEFT JOIN names "
                "USING (conversation) GROUP BY conversation ORDER BY max(position) DESC"
            ).fetchall()
            writers = reader.execute(
                "SELECT conversation, author FROM messages WHERE author IS NOT NULL "
                "GROUP BY conversation, author ORDER BY count(*) DESC"
            ).fetchall()
        people: dict[str, list[str]] = {}
        for conversation, author in writers:
            people.setdefault(conversation, []).append(author)
        return [
            Conversation(conversation, name, people.get(conversation, [])[:3], messages, latest)
            for conversation, name, messages, latest in places
        ]

    def contents(self) -> Iterator[bytes]:
        """Yield every message as a line of JSON with its original data; many lines per piece."""
        columns = ("source", "subject", "version", "type", "deleted", "data")
        with closing(self._reader()) as reader:
            rows = reader.execute(f"SELECT {', '.join(columns)} FROM messages ORDER BY position")
            while piece := rows.fetchmany(_LINES):
                yield b"".join(_line(dict(zip(columns, row, strict=True))) for row in piece)

    def arrivals(self, since: datetime) -> list[tuple[datetime, float]]:
        """Return the arrival of each later event and its lag in milliseconds, oldest first."""
        with closing(self._reader()) as reader:
            # From the newest back, so that a long history is not read for its last minutes.
            rows = reader.execute("SELECT arrived, lag_ms FROM events ORDER BY number DESC")
            recent = takewhile(lambda row: row[0] >= since.isoformat(), rows)
            return [(datetime.fromisoformat(arrived), lag_ms) for arrived, lag_ms in recent][::-1]

    def _reader(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)


def _message(row: tuple[Any, ...]) -> Message:
    columns: dict[str, Any] = dict(zip(Message.__struct_fields__, row, strict=True))
    flags = {"deleted": bool(columns["deleted"]), "partial": bool(columns["partial"])}
    return Message(**columns | flags | {"data": msgspec.Raw(columns["data"])})


def _request_row(request: ReceivedRequest, status: int, reason: str, events: int) -> dict[str, Any]:
    row = {"at": request.at.isoformat(), "webhook_id": request.webhook_id, "signed_at": request.signed_at}
    return row | {"status": status, "reason": reason, "events": events, "bytes": request.bytes}


def _delivery_row(event: Event, request: int | None) -> dict[str, Any]:
    identity = {"event_id": event.id, "source": event.source, "subject": event.subject, "type": event.type}
    return identity | {"version": event.version, "time": event.time.isoformat(), "request": request}


def _line(columns: dict[str, Any]) -> bytes:
    columns |= {"deleted": bool(columns["deleted"]), "data": msgspec.Raw(columns["data"])}
    return msgspec.json.encode(columns) + b"\n"
