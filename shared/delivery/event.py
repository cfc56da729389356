"""From a resource to a CloudEvent, with an id that is the same however a version reaches us.

The resource itself travels as the very bytes Graph sent.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from shared.errors import Reason, Undeliverable
from shared.graph.json_repair import repaired
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
class _Identity:
    """What a resource is called: `collection` percent-encoded, `subject` raw, `kind` as in `ChatMessage`."""

    collection: str
    subject: str
    kind: str


class _ChannelIdentity(msgspec.Struct, rename="camel"):
    team_id: str | None = None
    channel_id: str | None = None


class _Resource(msgspec.Struct, rename="camel"):
    """The few members of a resource that make its identity and version; of most resources, some are absent."""

    id: str = ""
    etag: str | None = None
    odata_etag: str | None = msgspec.field(name="@odata.etag", default=None)
    reply_to_id: str | None = None
    chat_id: str | None = None
    channel_identity: _ChannelIdentity | None = None
    created_date_time: str | None = None
    last_modified_date_time: str | None = None
    last_updated_date_time: str | None = None
    deleted_date_time: str | None = None
    removed: dict[str, object] | None = msgspec.field(name="@removed", default=None)
    deleted: dict[str, object] | None = None


_resource = msgspec.json.Decoder(_Resource)


def event_of_content(content: bytes, notification: Notification, tenant: str, received: datetime) -> Event:
    """Return the event of a resource as Graph gave it, UTF-8 JSON, in a notification that came in at `received`.

    Raises Undeliverable if `content` is not a JSON object.
    """
    resource = _read(content)
    path = _path_of_message(resource, notification.resource or "")
    identity = _of_message(path) if path else _of_resource(notification)
    change = notification.change_type or _change(resource)
    return _event_of(content, resource, identity, change, tenant, received)


def event_of_message(content: bytes, tenant: str, received: datetime) -> Event:
    """Return the event of a Teams message that was read back, UTF-8 JSON: the same, but for what is said of the
    kind of change, as if it had been pushed.

    Raises Undeliverable if `content` is not a message that says where it is.
    """
    resource = _read(content)
    path = _own_path(resource)
    if path is None:
        raise Undeliverable(Reason.CONTENT_NOT_JSON, "what was read back is not a message")
    return _event_of(content, resource, _of_message(path), _change(resource), tenant, received)


def event_of_entry(content: bytes, collection: str, kind: str, tenant: str, read: datetime) -> Event:
    """Return the event of an entry of a delta query, UTF-8 JSON, in a collection of resources of a kind.

    read: when Graph gave it. Many entries don't say when they changed: what is read now is newer than what was
    pushed before.

    Raises Undeliverable if `content` is not a resource.
    """
    resource = _read(content)
    if not resource.id:
        raise Undeliverable(Reason.CONTENT_NOT_JSON, "what was read back has no id")
    parts = _named(segments(collection))
    identity = _Identity(encoded(parts), "/".join((*parts, resource.id)), kind)
    change = "deleted" if _is_gone(resource) else _change(resource)
    return _event_of(content, resource, identity, change, tenant, read)


def event_without_content(notification: Notification, tenant: str, received: datetime) -> Event:
    """Return the event of an item that carries no content: a basic notification, or a deletion.

    Nothing in it tells one version from the next, so the time of receipt does, and what it says beside that: a re-send
    may be delivered twice, two changes are never taken for one. A message's content, read back later, must win over
    the little that is said here, so a message is ordered by its creation, which its id tells; unless it is gone. A
    deletion is the last of the changes that came with it.
    """
    gone = notification.change_type == "deleted"
    moment = received + timedelta(microseconds=1) if gone else received
    path = message_path(notification.resource or "")
    identity = _of_message(path) if path else _of_resource(notification)
    data = bytes(notification.resource_data)
    said = hashlib.sha256(f"{notification.change_type}:".encode() + data).hexdigest()
    received_version = f"{_version(moment, read_resource_data(notification).odata_etag)}.{said}"
    created = _created(path.message_id) if path and not gone else None
    return Event(
        id=f"{tenant}/{identity.subject}@{received_version}",
        source=f"/tenants/{tenant}/{identity.collection}",
        subject=identity.subject,
        type=_type(identity, notification.change_type or "updated"),
        time=moment,
        version=_version(created, None) if created else received_version,
        data=msgspec.Raw(data if data != b"null" else b"{}"),
        partial=True,
    )


def _event_of(
    content: bytes, resource: _Resource, identity: _Identity, change: str, tenant: str, came: datetime
) -> Event:
    changed, version = _place_in_time(content, resource, came)
    return Event(
        id=f"{tenant}/{identity.subject}@{version}",
        source=f"/tenants/{tenant}/{identity.collection}",
        subject=identity.subject,
        type=_type(identity, "deleted" if resource.deleted_date_time else change),
        time=changed,
        version=version,
        data=msgspec.Raw(content),
    )


def _place_in_time(content: bytes, resource: _Resource, came: datetime) -> tuple[datetime, str]:
    """Return when a resource changed, and its version.

    A creation tells versions apart only beside an etag that counts. A chat says when it was last updated, but some of
    its changes leave that as it is (Graph contract §5, `notifyOnUserSpecificProperties`); a team, a channel, a group
    or a user say nothing at all. There, when it came makes the version, and its content beside that: only what is
    equal and came together is one version, and what was changed back is a third.
    """
    said = _Resource() if _is_gone(resource) else resource
    etag = said.etag or said.odata_etag
    created = said.created_date_time if etag and etag.isdecimal() else None
    if changed := _moment(said.last_modified_date_time) or _moment(created):
        return changed, _version(changed, etag)
    changed = _moment(said.last_updated_date_time) or came
    return changed, _version(changed, f"{_microseconds(came)}.{hashlib.sha256(content).hexdigest()}")


def _is_gone(resource: _Resource) -> bool:
    """Whether an entry of a delta query speaks of what is no more (§7): what else it says dates from before."""
    return bool(resource.removed or resource.deleted)


def _type(identity: _Identity, change: str) -> str:
    return f"Microsoft.Graph.{identity.kind}{change[:1].upper()}{change[1:]}"


def _read(content: bytes) -> _Resource:
    try:
        content.decode("utf-8")
        try:
            return _resource.decode(content)
        except msgspec.DecodeError:
            return _resource.decode(repaired(content))
    except (ValueError, RecursionError):  # what is raised for bad UTF-8, and by msgspec, are ValueErrors
        raise Undeliverable(Reason.CONTENT_NOT_JSON, "the decrypted content is not a JSON resource") from None


def _path_of_message(resource: _Resource, named: str) -> MessagePath | None:
    """The message's own word for where it is, else the path that the notification names.

    Only what the notification calls a message is one: other resources have `id` and `chatId` too.
    """
    own = _own_path(resource) if "messages" in named else None
    if own is not None:
        return own
    path = message_path(named)
    return MessagePath(path.collection, resource.id) if path and resource.id else path


def _own_path(resource: _Resource) -> MessagePath | None:
    channel = resource.channel_identity
    if not resource.id:
        return None
    if resource.chat_id:
        return MessagePath(("chats", resource.chat_id, "messages"), resource.id)
    if channel and channel.team_id and channel.channel_id:
        root = ("teams", channel.team_id.lower(), "channels", channel.channel_id, "messages")
        replies = (*root, resource.reply_to_id, "replies") if resource.reply_to_id else root
        return MessagePath(replies, resource.id)
    return None


def _change(resource: _Resource) -> str:
    """What must have happened to a resource that nobody told us of."""
    untouched = resource.created_date_time and resource.created_date_time == resource.last_modified_date_time
    return "created" if untouched else "updated"


def _of_message(path: MessagePath) -> _Identity:
    return _Identity(path.source, path.subject, "ChatMessage")


def _of_resource(notification: Notification) -> _Identity:
    """Directory objects, mail, files and so on: the path is the identity, `@odata.type` the kind."""
    parts = _named(segments(notification.resource or ""))
    kind = read_resource_data(notification).odata_type.rpartition(".")[2] or "Resource"
    return _Identity(encoded(parts[:-1]), "/".join(parts), kind[:1].upper() + kind[1:])


def _named(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Names of collections come in any case, `Users` and `users`; ids, which hold digits, are left as they are."""
    return tuple(part.lower() if part.isascii() and part.isalpha() else part for part in parts)


def _moment(text: str | None) -> datetime | None:
    """Read a date-time of Graph's: any offset, up to seven digits of a fraction (contract §2)."""
    try:
        moment = datetime.fromisoformat(text or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _created(message_id: str) -> datetime | None:
    """When a message was created: its id is that time, in milliseconds (contract §9)."""
    if not re.fullmatch(r"\d{12,14}", message_id, re.ASCII):
        return None
    return _EPOCH + timedelta(milliseconds=int(message_id))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _version(changed: datetime, etag: str | None) -> str:
    """Order by the time of the change, then by etag (contract §9): fixed widths, so that strings compare."""
    return f"{_microseconds(changed)}.{(etag or '').rjust(15, '0')}"


def _microseconds(moment: datetime) -> str:
    return f"{(moment - _EPOCH) // timedelta(microseconds=1):018d}"
