"""What the users and groups of a tenant were like when they were listed or changed last.

They do not say when they changed. Where Graph has forgotten a delta link and lists everybody again (docs/graph.md,
"Delta queries"), only these rows tell who changed meanwhile, and who is gone. A row holds digests and no property: the
entries of a delta query show some properties of a resource, a list shows them all.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import msgspec

from shared.delivery.resource import read_resource
from shared.errors import RetryLater, Undeliverable
from shared.storage.state import time_in
from shared.storage.tables import Row, Tables

_TABLE = "directory"
_DIGEST_BYTES = 6
_UNKNOWN = ""
"""Of a property that a delta query told a change of, and not its value: `members@delta`."""

Digests = dict[str, str]


class _Entry(NamedTuple):
    """An entry of a delta query, parsed once. digests: of the properties that have a value. shown: the names of all."""

    id: str
    is_gone: bool
    digests: Digests
    shown: frozenset[str]


class DirectoryStates:
    """The digests, by the id of a declaration; one object serves all threads. Methods raise RetryLater."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def changed(self, declaration_id: str, listed: Iterable[msgspec.Raw]) -> list[msgspec.Raw]:
        """Return the entries of a list of everything that are not as they were known to be.

        A list names some that are gone (/graph/delta-query-overview, "Resource representation"): of interest only if
        they were known.
        """
        return [entry for entry in listed if self._differs(declaration_id, _read(entry))]

    def note(self, declaration_id: str, entries: Iterable[msgspec.Raw], asked: datetime, *, is_list: bool) -> None:
        """Remember entries of a list of everything, or of changes. asked: when the query was begun that showed them."""
        rows: dict[str, Row] = {}
        for entry in map(_read, entries):
            if not entry.id:
                continue
            if entry.is_gone:
                self._tables.remove(_TABLE, declaration_id, _key(entry.id))
                rows.pop(_key(entry.id), None)
                continue
            known = None if is_list else self._known(declaration_id, entry.id)
            digests = entry.digests if known is None else _merged(known, entry)
            rows[_key(entry.id)] = {
                "id": entry.id,
                "digests": msgspec.json.encode(digests, order="sorted").decode(),
                "seen": asked.isoformat(),
            }
        self._tables.put_all(_TABLE, declaration_id, rows)

    def missing(self, declaration_id: str, asked: datetime) -> list[str]:
        """Return the ids that are known and not in the list of everything that was asked for then, and is complete."""
        return [
            str(row["id"])
            for row in self._tables.partition(_TABLE, declaration_id, columns=("RowKey", "id", "seen"))
            if "id" in row and _is_older(row, asked)
        ]

    def forget(self, declaration_id: str, entry_ids: Iterable[str]) -> None:
        """Remove what is known of some."""
        for entry_id in entry_ids:
            self._tables.remove(_TABLE, declaration_id, _key(entry_id))

    def _differs(self, declaration_id: str, entry: _Entry) -> bool:
        known = self._known(declaration_id, entry.id)
        return known is not None if entry.is_gone else known != entry.digests

    def _known(self, declaration_id: str, entry_id: str) -> Digests | None:
        row = self._tables.get(_TABLE, declaration_id, _key(entry_id))
        try:
            return None if row is None else msgspec.json.decode(str(row.get("digests")), type=Digests)
        except msgspec.DecodeError:  # somebody else wrote it: what it is of counts as changed
            return {}


def _is_older(row: Row, asked: datetime) -> bool:
    """Whether what a row is of was not seen since a time. Of an unreadable row too: Graph is asked for it by its id."""
    try:
        return time_in(row, "seen") < asked
    except RetryLater:
        return True


def _merged(known: Digests, entry: _Entry) -> Digests:
    """What is known, with the properties that an entry of a delta query shows."""
    kept = {name: digest for name, digest in known.items() if name not in entry.shown}
    told = {name: _UNKNOWN for name in entry.shown if _is_told(name)}
    return kept | entry.digests | told


def _read(entry: msgspec.Raw) -> _Entry:
    """Parse an entry. A list leaves out what a delta query shows as null; what is no resource has no id."""
    try:
        resource, members = read_resource(bytes(entry)), msgspec.json.decode(entry, type=dict[str, msgspec.Raw])
    except (Undeliverable, ValueError, RecursionError):
        return _Entry("", False, {}, frozenset())
    digests = {
        name: _digest(resource.id, name, value)
        for name, value in members.items()
        if bytes(value) != b"null" and ("@" not in name or _is_told(name))
    }
    return _Entry(resource.id, resource.is_gone, digests, frozenset(members))


def _digest(entry_id: str, name: str, value: msgspec.Raw) -> str:
    """Members come in any order. A group of more than one page of them comes several times, and counts as changed."""
    text = bytes(value)
    if _is_told(name) and text.startswith(b"["):
        text = b",".join(sorted(map(bytes, msgspec.json.decode(text, type=list[msgspec.Raw]))))
    return hashlib.sha256(f"{entry_id}\n{name}\n".encode() + text).digest()[:_DIGEST_BYTES].hex()


def _is_told(name: str) -> bool:
    """Whether a member tells changes of a property, and not its value."""
    return name.endswith("@delta")


def _key(entry_id: str) -> str:
    return hashlib.sha256(entry_id.encode()).hexdigest()[:32]
