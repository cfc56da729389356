"""The resources of a tenant besides Teams messages: mail, events, contacts, tasks, files, list items, users, groups.

Each change is kept, in order: delta queries and lagging replicas look back.
"""

import base64
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import msgspec

from graph_simulator.clock import iso

Fields = dict[str, Any]


@dataclass(frozen=True)
class ResourceType:
    """A kind of resource: its collection, whether a move changes ids, how its version is shown.

    name: as in `@odata.type`. place: the collection in which a notification names it; "" for a bare notification. etag:
    the member with the version. dated: whether it has a time of modification.
    """

    name: str
    place: str
    etag: str = "@odata.etag"
    dated: bool = True
    movable: bool = False


TYPES = {
    "message": ResourceType("Message", "Messages", movable=True),
    "event": ResourceType("Event", "Events", movable=True),
    "contact": ResourceType("Contact", "Contacts", movable=True),
    "todoTask": ResourceType("TodoTask", "todo/lists/{container}/tasks"),
    "driveItem": ResourceType("DriveItem", "", etag="eTag"),
    "listItem": ResourceType("ListItem", "", etag="eTag"),
    "user": ResourceType("User", "Users", dated=False),
    "group": ResourceType("Group", "Groups", dated=False),
}


@dataclass(frozen=True)
class StoredResource:
    """One resource in one state.

    owner: `users/{id}`, `drives/{id}`, `sites/{id}/lists/{id}`, or "" for the directory. container: the folder, list or
    calendar in it. id: the immutable id. fields: None once deleted. sequence: grows with every change.
    """

    type: ResourceType
    owner: str
    container: str
    id: str
    fields: Fields | None
    at: datetime
    sequence: int

    @property
    def path(self) -> str:
        """The path of reads, without the folder."""
        place = self.type.place.replace("{container}", self.container).lower() or "items"
        return "/".join(filter(None, (self.owner, place, self.id)))

    def shown_id(self, *, immutable: bool) -> str:
        """Return the id as a caller sees it: without `Prefer: IdType="ImmutableId"`, a move changes it."""
        if immutable or not self.type.movable:
            return self.id
        return base64.urlsafe_b64encode(f"{self.container}\n{self.id}".encode()).decode()

    def shown(self, *, immutable: bool = True) -> Fields:
        """Return the resource as a read shows it; a deleted resource as a delta query shows it."""
        own = {"id": self.shown_id(immutable=immutable)}
        if self.fields is not None:
            return {**self.fields, **own}
        return {**own, **({"deleted": {}} if self.type.name == "DriveItem" else {"@removed": {"reason": "deleted"}})}


@dataclass(frozen=True)
class ResourceChange:
    """One change of a resource."""

    tenant: str
    kind: str
    """created, updated or deleted"""
    stored: StoredResource


@dataclass
class ResourceStore:
    """All resources of a tenant. Each change is passed to `on_change`."""

    tenant: str
    clock: Callable[[], datetime]
    on_change: Callable[[ResourceChange], None]
    history: list[StoredResource] = field(default_factory=list)
    _present: dict[tuple[str, str], StoredResource] = field(default_factory=dict)

    def __iter__(self) -> Iterator[StoredResource]:
        return iter(tuple(self._present.values()))

    def put(self, type_name: str, owner: str, container: str, holding_id: str | None, fields: Fields) -> StoredResource:
        """Create or change a resource: the members in `fields`, and the container."""
        kind = TYPES[type_name]
        holding_id = holding_id or (str(uuid.uuid4()) if not kind.dated else f"AAkA{uuid.uuid4().hex}Aa=")
        known = self._present.get((kind.name, holding_id))
        now = self.clock()
        before = (known.fields if known else None) or self._first(kind, owner, now)
        changed = {**before, **fields, kind.etag: self._etag(kind, holding_id)}
        if kind.dated:
            changed["lastModifiedDateTime"] = iso(now.replace(microsecond=0))
        if kind.name == "Message":
            changed["parentFolderId"] = container
        created = known is None or known.fields is None
        return self._note("created" if created else "updated", kind, owner, container, holding_id, changed)

    def delete(self, type_name: str, holding_id: str) -> StoredResource:
        """Delete a resource permanently. Raises KeyError if it does not exist."""
        known = self._present[TYPES[type_name].name, holding_id]
        return self._note("deleted", known.type, known.owner, known.container, holding_id, None)

    def find(self, type_name: str, owner: str, shown_id: str) -> StoredResource | None:
        """Return the last state of a resource, by either of its ids; None if it never existed."""
        held = [
            stored for stored in self._present.values() if stored.type is TYPES[type_name] and stored.owner == owner
        ]
        return next((stored for stored in held if shown_id in (stored.id, stored.shown_id(immutable=False))), None)

    def before(self, stored: StoredResource) -> StoredResource | None:
        """Return the state of a resource before its last change; None if it did not exist."""
        earlier = [former for former in self.history if former.id == stored.id and former.sequence < stored.sequence]
        return earlier[-1] if earlier else None

    def among(self, type_name: str, owner: str, container: str | None, since: int = 0) -> Iterator[StoredResource]:
        """Yield the last state of what changed after a sequence; for a container also, as deleted, what left it."""
        for stored in self._present.values():
            if stored.type is not TYPES[type_name] or stored.owner != owner or stored.sequence <= since:
                continue
            if container is None or stored.container == container:
                yield stored
            elif any(earlier.id == stored.id and earlier.container == container for earlier in self.history):
                yield replace(stored, fields=None)

    @property
    def sequence(self) -> int:
        """The number of the last change."""
        return len(self.history)

    def _note(
        self, kind: str, of: ResourceType, owner: str, container: str, holding_id: str, fields: Fields | None
    ) -> StoredResource:
        stored = StoredResource(of, owner, container, holding_id, fields, self.clock(), self.sequence + 1)
        self.history.append(stored)
        self._present[of.name, holding_id] = stored
        self.on_change(ResourceChange(self.tenant, kind, stored))
        return stored

    def _first(self, kind: ResourceType, owner: str, now: datetime) -> Fields:
        created = {"createdDateTime": iso(now.replace(microsecond=0))} if kind.dated else {}
        drive = {"parentReference": {"driveId": owner.removeprefix("drives/")}} if kind.name == "DriveItem" else {}
        return {**created, **drive}

    def _etag(self, kind: ResourceType, holding_id: str) -> str:
        number = self.sequence + 1
        if kind.etag == "eTag":
            return f'"{{{uuid.uuid5(uuid.NAMESPACE_OID, holding_id)}}},{number}"'
        key = (
            b"\x09\x00\x00\x00\x16\x00\x00\x00" + uuid.uuid5(uuid.NAMESPACE_OID, holding_id).bytes + number.to_bytes(8)
        )
        return f'W/"{base64.b64encode(key).decode()}"'


def selected(fields: Fields, names: str | None) -> bytes:
    """Return a resource, UTF-8 JSON, with the members of `$select`, and always its id and annotations."""
    wanted = set(names.split(",")) if names else None
    kept = {
        name: value for name, value in fields.items() if wanted is None or name in wanted or "@" in name or name == "id"
    }
    return msgspec.json.encode(kept)
