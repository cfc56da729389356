"""From a resource to a CloudEvent. Pushed or read back, the same version has the same id.

`data` is the resource, byte for byte as Graph sent it.
"""

from datetime import datetime, timedelta

import msgspec

from shared.delivery import version
from shared.delivery.resource import Resource, read_resource, time_of
from shared.errors import Reason, Undeliverable
from shared.graph.notification import Notification, read_resource_data
from shared.resources.identity import Identity, identify


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

    @property
    def tenant(self) -> str:
        """The id of the tenant that the resource belongs to."""
        return self.source.split("/")[2]


def event_of_content(content: bytes, notification: Notification, tenant: str, received: datetime) -> Event:
    """Return the event of a resource, UTF-8 JSON as Graph sent it, from a notification received at `received`.

    Raises Undeliverable if `content` is not a JSON object.
    """
    resource = read_resource(content)
    named = named_by(notification)
    identity = resource.identity_in(named) or identify(named)
    change = notification.change_type or resource.likely_change
    return _event_of(content, resource, identity, _kind(identity, notification), change, tenant, received)


def event_read_back(content: bytes, place: str, tenant: str, read: datetime) -> Event:
    """Return the event of a resource that was read back, UTF-8 JSON: the same event as after a push, except for the
    type of change.

    place: the path of the resource, or of the list that contains it. read: when Graph was asked. Many resources have no
    modification time: a read counts as newer than pushes before it, and older than pushes after it.

    Raises Undeliverable if `content` is not a resource with an identity.
    """
    resource = read_resource(content)
    identity = resource.identity_in(place) if resource.id else None
    if identity is None:
        raise Undeliverable(
            Reason.CONTENT_NOT_JSON, "the resource that was read back has no id, or its kind is unknown"
        )
    change = "deleted" if resource.is_gone else resource.likely_change
    return _event_of(content, resource, identity, identity.kind or "Resource", change, tenant, read)


def event_without_content(notification: Notification, tenant: str, received: datetime) -> Event:
    """Return the event of an item without content: a basic notification, or a deletion.

    Content that is read back later must be newer than this event, so the version of a message is its creation time,
    which its id holds. A deletion orders after the other changes that arrived with it.
    """
    is_deletion = notification.change_type == "deleted"
    at = received + timedelta(microseconds=1) if is_deletion else received
    identity = identify(named_by(notification))
    data = bytes(notification.resource_data)
    version_text = version.of_bare_notification(
        at, read_resource_data(notification).odata_etag, notification.change_type, data
    )
    is_message = identity.kind == "ChatMessage" and not is_deletion
    created = version.created_at(identity.parts[-1]) if is_message else None
    return Event(
        id=f"{tenant}/{identity.subject}@{version_text}",
        source=f"/tenants/{tenant}/{identity.collection}",
        subject=identity.subject,
        type=_type(_kind(identity, notification), notification.change_type or "updated"),
        time=at,
        version=version.of_modification(created, None) if created else version_text,
        data=msgspec.Raw(data if data != b"null" else b"{}"),
        partial=True,
    )


def named_by(notification: Notification) -> str:
    """Return the path of the changed resource in a notification: sometimes only `@odata.id` has it."""
    named = notification.resource or ""
    if identify(named).type is not None:
        return named
    also = read_resource_data(notification).odata_id
    return also if identify(also).type is not None else named


def _event_of(
    content: bytes, resource: Resource, identity: Identity, kind: str, change: str, tenant: str, arrived: datetime
) -> Event:
    changed, version_text = _time_and_version(content, resource, arrived)
    return Event(
        id=f"{tenant}/{identity.subject}@{version_text}",
        source=f"/tenants/{tenant}/{identity.collection}",
        subject=identity.subject,
        type=_type(kind, "deleted" if resource.deleted_date_time else change),
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
    etag = version.sortable(dated.version_tag)
    created = dated.created_date_time if etag and etag.isdecimal() else None
    if changed := time_of(dated.last_modified_date_time) or time_of(created):
        return changed, version.of_modification(changed, etag or version.of_content(content))
    changed = time_of(dated.last_updated_date_time) or arrived
    return changed, version.of_arrival(changed, arrived, content)


def _type(kind: str, change: str) -> str:
    return f"Microsoft.Graph.{kind}{change[:1].upper()}{change[1:]}"


def _kind(identity: Identity, notification: Notification) -> str:
    """Return the kind by the path; otherwise by `@odata.type`."""
    kind = identity.kind or read_resource_data(notification).odata_type.rpartition(".")[2].lstrip("#") or "Resource"
    return kind[:1].upper() + kind[1:]
