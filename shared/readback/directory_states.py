"""The state of the users and groups of a tenant when they were last listed or changed.

They have no modification time. If Graph has expired a delta link and lists everything again (docs/graph.md, "Delta
queries"), only these rows show which entries have changed or are gone. A row holds digests, no values: an entry of a
delta query has some properties of a resource, a list has all.
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
"""The digest of a property whose changes, not value, are in a delta query: `members@delta`."""

Digests = dict[str, str]


class _Entry(NamedTuple):
    """A parsed entry of a delta query. digests: of properties with a value. shown: the names of all properties."""

    id: str
    is_gone: bool
    digests: Digests
    shown: frozenset[str]


class DirectoryStates:
    """The digests, by the id of a declaration; one object serves all threads. Methods raise RetryLater."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def changed(self, declaration_id: str, listed: Iterable[msgspec.Raw]) -> list[msgspec.Raw]:
        """Return the entries of a complete list that differ from the stored state.

        A list may contain removed entries (/graph/delta-query-overview, "Resource representation"): they are returned
        only if they were stored.
        """
        return [entry for entry in listed if self._differs(declaration_id, _read(entry))]

    def note(self, declaration_id: str, entries: Iterable[msgspec.Raw], asked: datetime, *, is_list: bool) -> None:
        """Store entries of a complete list or of changes. asked: when the query began."""
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
        """Return the stored ids that a complete list, begun at `asked`, omits."""
        return [
            str(row["id"])
            for row in self._tables.partition(_TABLE, declaration_id, columns=("RowKey", "id", "seen"))
            if "id" in row and _is_older(row, asked)
        ]

    def forget(self, declaration_id: str, entry_ids: Iterable[str]) -> None:
        """Delete the state of some entries."""
        for entry_id in entry_ids:
            self._tables.remove(_TABLE, declaration_id, _key(entry_id))

    def _differs(self, declaration_id: str, entry: _Entry) -> bool:
        known = self._known(declaration_id, entry.id)
        return known is not None if entry.is_gone else known != entry.digests

    def _known(self, declaration_id: str, entry_id: str) -> Digests | None:
        row = self._tables.get(_TABLE, declaration_id, _key(entry_id))
        try:
            return None if row is None else msgspec.json.decode(str(row.get("digests")), type=Digests)
        except msgspec.DecodeError:  # in an unknown form: the entry counts as changed
            return {}


def _is_older(row: Row, asked: datetime) -> bool:
    """Whether an entry was not seen since a time. True for an unreadable row: the entry is then read by its id."""
    try:
        return time_in(row, "seen") < asked
    except RetryLater:
        return True


def _merged(known: Digests, entry: _Entry) -> Digests:
    """The stored digests, updated with the properties of an entry."""
    kept = {name: digest for name, digest in known.items() if name not in entry.shown}
    without_values = {name: _UNKNOWN for name in entry.shown if _is_property_change(name)}
    return kept | entry.digests | without_values


def _read(entry: msgspec.Raw) -> _Entry:
    """Parse an entry. A list omits properties that a delta query shows as null. An entry that is not a resource has no
    id.
    """
    try:
        resource, members = read_resource(bytes(entry)), msgspec.json.decode(entry, type=dict[str, msgspec.Raw])
    except (Undeliverable, ValueError, RecursionError):
        return _Entry("", False, {}, frozenset())
    digests = {
        name: _digest(resource.id, name, value)
        for name, value in members.items()
        if bytes(value) != b"null" and ("@" not in name or _is_property_change(name))
    }
    return _Entry(resource.id, resource.is_gone, digests, frozenset(members))


def _digest(entry_id: str, name: str, value: msgspec.Raw) -> str:
    """Members come in any order. A group with several pages of members appears several times, and counts as changed."""
    text = bytes(value)
    if _is_property_change(name) and text.startswith(b"["):
        text = b",".join(sorted(map(bytes, msgspec.json.decode(text, type=list[msgspec.Raw]))))
    return hashlib.sha256(f"{entry_id}\n{name}\n".encode() + text).digest()[:_DIGEST_BYTES].hex()


def _is_property_change(name: str) -> bool:
    """Whether a member lists changes to a property instead of its value."""
    return name.endswith("@delta")


def _key(entry_id: str) -> str:
    return hashlib.sha256(entry_id.encode()).hexdigest()[:32]
