"""From a resource to a CloudEvent. Pushed or read back, the same version has the same id.

`data` is the resource, byte for byte as Graph sent it.
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

    version: versions of one `subject` compare as strings; the greatest is the newest. partial: the notification had no
    content; `data` is its `resourceData`.
    """

    id: str
    source: str
    subject: str
    type: str
    time: datetime
    version: str
    data: msgspec.Raw
    specversion: str = msgspec.field(default_factory=lambda: "1.0")  # omit_defaults would omit a plain default
    datacontenttype: str = msgspec.field(default_factory=lambda: "application/json")
    partial: bool = False


@dataclass(frozen=True)
class ResourceName:
    """The name of a resource: `collection` percent-encoded, `subject` raw, `kind` such as `ChatMessage`."""

    collection: str
    subject: str
    kind: str


def event_of_content(content: bytes, notification: Notification, tenant: str, received: datetime) -> Event:
    """Return the event of a resource, UTF-8 JSON as Graph sent it, from a notification received at `received`.

    Raises Undeliverable if `content` is not a JSON object.
    """
    resource = read_resource(content)
    path = resource.path_of_message(notification.resource or "")
    name = _of_message(path) if path else _of_resource(notification)
    change = notification.change_type or resource.likely_change
    return _event_of(content, resource, name, change, tenant, received)


def event_of_message(content: bytes, tenant: str, received: datetime) -> Event:
    """Return the event of a Teams message that was read back, UTF-8 JSON: the event of the pushed message, except for
    the kind of change.

    Raises Undeliverable if `content` is not a message that names its chat or channel.
    """
    resource = read_resource(content)
    path = resource.message_path()
    if path is None:
        raise Undeliverable(Reason.CONTENT_NOT_JSON, "the entry that was read back is not a message")
    return _event_of(content, resource, _of_message(path), resource.likely_change, tenant, received)


def event_of_entry(content: bytes, collection: str, kind: str, tenant: str, read: datetime) -> Event:
    """Return the event of an entry of a delta query, UTF-8 JSON, in a collection of resources of a kind.

    read: when the entry was read. Many entries do not say when they changed: an entry read now is newer than one
    pushed earlier.

    Raises Undeliverable if `content` is not a resource.
    """
    resource = read_resource(content)
    if not resource.id:
        raise Undeliverable(Reason.CONTENT_NOT_JSON, "the entry that was read back has no id")
    parts = _normalized(segments(collection))
    name = ResourceName(encoded(parts), "/".join((*parts, resource.id)), kind)
    change = "deleted" if resource.is_gone else resource.likely_change
    return _event_of(content, resource, name, change, tenant, read)


def event_without_content(notification: Notification, tenant: str, received: datetime) -> Event:
    """Return the event of an item without content: a basic notification, or a deletion.

    Content that is read back later must be newer than this event, so the version of a message is its creation time,
    which its id holds. A deletion orders after the other changes that arrived with it.
    """
    is_deletion = notification.change_type == "deleted"
    at = received + timedelta(microseconds=1) if is_deletion else received
    path = message_path(notification.resource or "")
    name = _of_message(path) if path else _of_resource(notification)
    data = bytes(notification.resource_data)
    version_text = version.of_bare_notification(
        at, read_resource_data(notification).odata_etag, notification.change_type, data
    )
    created = version.created_at(path.message_id) if path and not is_deletion else None
    return Event(
        id=f"{tenant}/{name.subject}@{version_text}",
        source=f"/tenants/{tenant}/{name.collection}",
        subject=name.subject,
        type=_type(name, notification.change_type or "updated"),
        time=at,
        version=version.of_modification(created, None) if created else version_text,
        data=msgspec.Raw(data if data != b"null" else b"{}"),
        partial=True,
    )


def _event_of(
    content: bytes, resource: Resource, name: ResourceName, change: str, tenant: str, arrived: datetime
) -> Event:
    changed, version_text = _time_and_version(content, resource, arrived)
    return Event(
        id=f"{tenant}/{name.subject}@{version_text}",
        source=f"/tenants/{tenant}/{name.collection}",
        subject=name.subject,
        type=_type(name, "deleted" if resource.deleted_date_time else change),
        time=changed,
        version=version_text,
        data=msgspec.Raw(content),
    )


def _time_and_version(content: bytes, resource: Resource, arrived: datetime) -> tuple[datetime, str]:
    """Return when a resource changed, and its version.

    A creation time distinguishes versions only together with a numeric etag. A chat has a last update, but some
    changes do not move it (docs/graph.md, "Chats"); a team, a channel, a group or a user has no time at all.
    """
    dated = Resource() if resource.is_gone else resource
    etag = dated.etag or dated.odata_etag
    created = dated.created_date_time if etag and etag.isdecimal() else None
    if changed := time_of(dated.last_modified_date_time) or time_of(created):
        return changed, version.of_modification(changed, etag)
    changed = time_of(dated.last_updated_date_time) or arrived
    return changed, version.of_arrival(changed, arrived, content)


def _type(name: ResourceName, change: str) -> str:
    return f"Microsoft.Graph.{name.kind}{change[:1].upper()}{change[1:]}"


def _of_message(path: MessagePath) -> ResourceName:
    return ResourceName(path.source, path.subject, "ChatMessage")


def _of_resource(notification: Notification) -> ResourceName:
    """Directory objects, mail, files and so on: the path identifies the resource, `@odata.type` is its kind."""
    parts = _normalized(segments(notification.resource or ""))
    kind = read_resource_data(notification).odata_type.rpartition(".")[2] or "Resource"
    return ResourceName(encoded(parts[:-1]), "/".join(parts), kind[:1].upper() + kind[1:])


def _normalized(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Collection names come in any letter case (`Users`, `users`) and are lowered; ids, which hold digits, are not."""
    return tuple(part.lower() if part.isascii() and part.isalpha() else part for part in parts)
