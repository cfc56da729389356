"""What the users and groups of a tenant were like when they were listed or changed last.

They do not say when they changed. Where Graph has forgotten a delta link and lists everybody again (docs/graph.md,
"Delta queries"), only these rows tell who changed meanwhile, and who is gone. A row holds digests and no property: the
entries of a delta query show some properties of a resource, a list shows them all.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from shared.delivery.resource import read_resource
from shared.errors import Undeliverable
from shared.storage.tables import Row, Tables

_TABLE = "directory"
_DIGEST_BYTES = 6
_UNKNOWN = ""
"""Of a property that a delta query told a change of, and not its value: `members@delta`."""

Digests = dict[str, str]


class DirectoryStates:
    """The digests, by the id of a declaration; one object serves all threads. Methods raise RetryLater."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def changed(self, declaration_id: str, listed: Iterable[msgspec.Raw]) -> list[msgspec.Raw]:
        """Return the entries of a list of everything that are not as they were known to be."""
        return [entry for entry in listed if self._known(declaration_id, _id(entry)) != _digests(entry)]

    def note(self, declaration_id: str, entries: Iterable[msgspec.Raw], asked: datetime, *, is_list: bool) -> None:
        """Remember entries of a list of everything, or of changes. asked: when the query was begun that showed them."""
        rows: dict[str, Row] = {}
        for entry in entries:
            entry_id = _id(entry)
            if not entry_id:
                continue
            if _is_gone(entry):
                self._tables.remove(_TABLE, declaration_id, _key(entry_id))
                rows.pop(_key(entry_id), None)
                continue
            known = None if is_list else self._known(declaration_id, entry_id)
            digests = _digests(entry) if known is None else _merged(known, entry)
            rows[_key(entry_id)] = {
                "id": entry_id,
                "digests": msgspec.json.encode(digests, order="sorted").decode(),
                "seen": asked.isoformat(),
            }
        self._tables.put_all(_TABLE, declaration_id, rows)

    def missing(self, declaration_id: str, asked: datetime) -> list[str]:
        """Return the ids that are known and not in the list of everything that was asked for then, and is complete."""
        return [
            str(row["id"])
            for row in self._tables.partition(_TABLE, declaration_id, columns=("RowKey", "id", "seen"))
            if datetime.fromisoformat(str(row["seen"])) < asked
        ]

    def forget(self, declaration_id: str, entry_ids: Iterable[str]) -> None:
        """Remove what is known of some."""
        for entry_id in entry_ids:
            self._tables.remove(_TABLE, declaration_id, _key(entry_id))

    def _known(self, declaration_id: str, entry_id: str) -> Digests | None:
        row = self._tables.get(_TABLE, declaration_id, _key(entry_id))
        return None if row is None else msgspec.json.decode(str(row["digests"]), type=Digests)


def _merged(known: Digests, entry: msgspec.Raw) -> Digests:
    """What is known, with the properties that an entry of a delta query shows."""
    shown = _members(entry)
    kept = {name: digest for name, digest in known.items() if name not in shown}
    told = {name: _UNKNOWN for name in shown if name.endswith("@delta")}
    return kept | _digests(entry) | told


def _digests(entry: msgspec.Raw) -> Digests:
    """A digest of each property that has a value. A list leaves out what a delta query shows as null."""
    own = _id(entry)
    return {
        name: _digest(own, name, value)
        for name, value in _members(entry).items()
        if bytes(value) != b"null" and (not _is_annotation(name) or name.endswith("@delta"))
    }


def _digest(entry_id: str, name: str, value: msgspec.Raw) -> str:
    return hashlib.sha256(f"{entry_id}\n{name}\n".encode() + bytes(value)).digest()[:_DIGEST_BYTES].hex()


def _members(entry: msgspec.Raw) -> Mapping[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(entry, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):
        return {}  # the entry is no resource: reading it says so


def _is_annotation(name: str) -> bool:
    return "@" in name


def _id(entry: msgspec.Raw) -> str:
    try:
        return read_resource(bytes(entry)).id
    except Undeliverable:
        return ""


def _is_gone(entry: msgspec.Raw) -> bool:
    return read_resource(bytes(entry)).is_gone


def _key(entry_id: str) -> str:
    return hashlib.sha256(entry_id.encode()).hexdigest()[:32]
