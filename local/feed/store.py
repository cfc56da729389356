"""What was delivered, in SQLite: every event's id once, every message in its last version."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

import msgspec

from local.feed.event import Event
from local.feed.message import Conversation, Counts, Message
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
CREATE TABLE IF NOT EXISTS names (conversation TEXT PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, n INTEGER NOT NULL);
"""

_LINES = 500  # read at a time

_COLUMNS = ", ".join(Message.__struct_fields__)

_NEW_EVENT = "INSERT OR IGNORE INTO events (id, arrived, lag_ms) VALUES (?, ?, ?)"

# Versions compare as strings, as the sender promises; an author once known outlives an event that names none.
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

_COUNT = "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = n + excluded.n"
_NAME = "INSERT INTO names VALUES (?, ?) ON CONFLICT (conversation) DO UPDATE SET name = excluded.name"


@dataclass(frozen=True)
class Applied:
    """What a batch changed: messages in their new state, and the lag in milliseconds of each event not known before."""

    messages: list[Message]
    lags: list[float]


class Store:
    """The feed's memory. Any thread may call it: writers take turns, readers see the last committed state."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = threading.Lock()
        self._writer = sqlite3.connect(path, check_same_thread=False)
        self._writer.executescript(_SCHEMA)

    def close(self) -> None:
        """Fold the log back into the file and let go of it."""
        self._writer.close()

    def apply(self, events: Sequence[Event], arrived: datetime) -> Applied:
        """Take in a batch, wholly or (on an exception) not at all. Known ids and older versions change nothing."""
        messages: list[Message] = []
        lags: list[float] = []
        with self._turn, self._writer:
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

    def refuse(self, reason: str) -> None:
        """Count a request that was turned away."""
        with self._turn, self._writer:
            self._writer.execute(_COUNT, (f"refused:{reason}", 1))

    def tidy(self) -> None:
        """Move what is committed from the log into the file: now and then, so that no batch has to wait for it."""
        with closing(sqlite3.connect(self._path)) as tidier:
            tidier.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def counts(self) -> Counts:
        """Return the totals since the database was made."""
        with closing(self._reader()) as reader:
            counters = dict(reader.execute("SELECT name, n FROM counters").fetchall())
            messages, deleted = reader.execute("SELECT count(*), total(deleted) FROM messages").fetchone()
        refused = {name.partition(":")[2]: n for name, n in counters.items() if name.startswith("refused:")}
        return Counts(counters.get("events", 0), counters.get("duplicates", 0), messages, int(deleted), refused)

    def messages(self, limit: int, before: int | None = None, conversation: str | None = None) -> list[Message]:
        """Return up to `limit` messages, newest arrival first; `before` is a position, exclusive."""
        wanted = {"limit": limit, "before": before, "conversation": conversation}
        with closing(self._reader()) as reader:
            rows = reader.execute(
                f"SELECT {_COLUMNS} FROM messages WHERE (:before IS NULL OR position < :before) "
                f"{'AND conversation = :conversation ' if conversation else ''}ORDER BY position DESC LIMIT :limit",
                wanted,
            ).fetchall()
        return [_message(row) for row in rows]

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
        """Yield every message as a line of JSON, its data exactly as it came; many lines a piece."""
        columns = ("source", "subject", "version", "type", "deleted", "data")
        with closing(self._reader()) as reader:
            rows = reader.execute(f"SELECT {', '.join(columns)} FROM messages ORDER BY position")
            while piece := rows.fetchmany(_LINES):
                yield b"".join(_line(dict(zip(columns, row, strict=True))) for row in piece)

    def arrivals(self, since: datetime) -> list[tuple[datetime, float]]:
        """Return when each event since then arrived and its lag in milliseconds, oldest first."""
        with closing(self._reader()) as reader:
            # From the newest back, so that a long history is not read for the sake of its last minutes.
            rows = reader.execute("SELECT arrived, lag_ms FROM events ORDER BY number DESC")
            recent = takewhile(lambda row: row[0] >= since.isoformat(), rows)
            return [(datetime.fromisoformat(arrived), lag_ms) for arrived, lag_ms in recent][::-1]

    def _reader(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)


def _message(row: tuple[Any, ...]) -> Message:
    columns: dict[str, Any] = dict(zip(Message.__struct_fields__, row, strict=True))
    flags = {"deleted": bool(columns["deleted"]), "partial": bool(columns["partial"])}
    return Message(**columns | flags | {"data": msgspec.Raw(columns["data"])})


def _line(columns: dict[str, Any]) -> bytes:
    columns |= {"deleted": bool(columns["deleted"]), "data": msgspec.Raw(columns["data"])}
    return msgspec.json.encode(columns) + b"\n"
