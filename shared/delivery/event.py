"""From a resource to a CloudEvent, with an id that is the same however a version reaches us.

The resource itself travels as the very bytes Graph sent.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from shared.delivery import version
from shared.delivery.resource import Resource, read_resource, time_of
from shared.errors import Reason, Undeliverable
from shared.graph.notification import Notification, read_resource_data
from shared.resources.path import MessagePath, encoded, message_path, segments


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """A CloudEvent 1.0 in JSON format.

    `version`: versions of one `subject` compare as strings, the greatest is the newest. `partial`: there was no
    content; `data` is only what the notification itself said.
    """

    id: str
    source: str
    subject: str
    type: str
    time: datetime
    version: str
    data: msgspec.Raw
    specversion: str = msgspec.field(default_factory=lambda: "1.0")  # a default that is written all the same
    datacontenttype: str = msgspec.field(default_factory=lambda: "application/json")
    partial: bool = False


@dataclass(frozen=True)
class ResourceName:
    """What a resource is called: `collection` percent-encoded, `subject` raw, `kind` as in `ChatMessage`."""

    collection: str
    subject: str
    kind: str


def event_of_content(content: bytes, notification: Notification, tenant: str, received: datetime) -> Event:
    """Return the event of a resource as Graph gave it, UTF-8 JSON, in a notification that came in at `received`.

    Raises Undeliverable if `content` is not a JSON object.
    """
    resource = read_resource(content)
    path = resource.path_of_message(notification.resource or "")
    name = _of_message(path) if path else _of_resource(notification)
    change = notification.change_type or resource.likely_change
    return _event_of(content, resource, name, change, tenant, received)


def event_of_message(content: bytes, tenant: str, received: datetime) -> Event:
    """Return the event of a Teams message that was read back, UTF-8 JSON: the same as if it had been pushed, but for
    the kind of change.

    Raises Undeliverable if `content` is not a message that says where it is.
    """
    resource = read_resource(content)
    path = resource.own_path()
    if path is None:
        raise Undeliverable(Reason.CONTENT_NOT_JSON, "what was read back is not a message")
    return _event_of(content, resource, _of_message(path), resource.likely_change, tenant, received)


def event_of_entry(content: bytes, collection: str, kind: str, tenant: str, read: datetime) -> Event:
    """Return the event of an entry of a delta query, UTF-8 JSON, in a collection of resources of a kind.

    read: when Graph gave it. Many entries do not say when they changed: what is read now is newer than what was
    pushed before.

    Raises Undeliverable if `content` is not a resource.
    """
    resource = read_resource(content)
    if not resource.id:
        raise Undeliverable(Reason.CONTENT_NOT_JSON, "what was read back has no id")
    parts = _named(segments(collection))
    name = ResourceName(encoded(parts), "/".join((*parts, resource.id)), kind)
    change = "deleted" if resource.is_gone else resource.likely_change
    return _event_of(content, resource, name, change, tenant, read)


def event_without_content(notification: Notification, tenant: str, received: datetime) -> Event:
    """Return the event of an item that carries no content: a basic notification, or a deletion.

    A message's content, read back later, must win over the little that is said here, so a message is ordered by its
    creation, which its id tells; unless it is gone. A deletion is the last of the changes that arrived with it.
    """
    gone = notification.change_type == "deleted"
    at = received + timedelta(microseconds=1) if gone else received
    path = message_path(notification.resource or "")
    name = _of_message(path) if path else _of_resource(notification)
    data = bytes(notification.resource_data)
    own = version.of_bare_notification(at, read_resource_data(notification).odata_etag, notification.change_type, data)
    created = version.created_at(path.message_id) if path and not gone else None
    return Event(
        id=f"{tenant}/{name.subject}@{own}",
        source=f"/tenants/{tenant}/{name.collection}",
        subject=name.subject,
        type=_type(name, notification.change_type or "updated"),
        time=at,
        version=version.of_modification(created, None) if created else own,
        data=msgspec.Raw(data if data != b"null" else b"{}"),
        partial=True,
    )


def _event_of(
    content: bytes, resource: Resource, name: ResourceName, change: str, tenant: str, arrived: datetime
) -> Event:
    changed, own = _place_in_time(content, resource, arrived)
    return Event(
        id=f"{tenant}/{name.subject}@{own}",
        source=f"/tenants/{tenant}/{name.collection}",
        subject=name.subject,
        type=_type(name, "deleted" if resource.deleted_date_time else change),
        time=changed,
        version=own,
        data=msgspec.Raw(content),
    )


def _place_in_time(content: bytes, resource: Resource, arrived: datetime) -> tuple[datetime, str]:
    """Return when a resource changed, and its version.

    A creation tells versions apart only beside an etag that counts. A chat says when it was last updated, but some of
    its changes leave that as it is (docs/graph.md, "Chats"); a team, a channel, a group or a user say nothing at all.
    """
    said = Resource() if resource.is_gone else resource
    etag = said.etag or said.odata_etag
    created = said.created_date_time if etag and etag.isdecimal() else None
    if changed := time_of(said.last_modified_date_time) or time_of(created):
        return changed, version.of_modification(changed, etag)
    changed = time_of(said.last_updated_date_time) or arrived
    return changed, version.of_arrival(changed, arrived, content)


def _type(name: ResourceName, change: str) -> str:
    return f"Microsoft.Graph.{name.kind}{change[:1].upper()}{change[1:]}"


def _of_message(path: MessagePath) -> ResourceName:
    return ResourceName(path.source, path.subject, "ChatMessage")


def _of_resource(notification: Notification) -> ResourceName:
    """Directory objects, mail, files and so on: the path is the identity, `@odata.type` the kind."""
    parts = _named(segments(notification.resource or ""))
    kind = read_resource_data(notification).odata_type.rpartition(".")[2] or "Resource"
    return ResourceName(encoded(parts[:-1]), "/".join(parts), kind[:1].upper() + kind[1:])


def _named(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Names of collections come in any case, `Users` and `users`; ids, which hold digits, are left as they are."""
    return tuple(part.lower() if part.isascii() and part.isalpha() else part for part in parts)
