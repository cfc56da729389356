"""The fields of a resource that the feed needs: its author, whether it is deleted, its conversation."""

from typing import Any
from urllib.parse import unquote

import msgspec

from local.feed.event import Event


class Identity(msgspec.Struct, frozen=True, rename="camel"):
    """A person, app, tag or conversation as Graph names it."""

    id: str | None = None
    display_name: str | None = None


class _Sender(msgspec.Struct, frozen=True):
    user: Identity | None = None
    application: Identity | None = None
    device: Identity | None = None
    conversation: Identity | None = None


class _Mention(msgspec.Struct, frozen=True):
    mentioned: _Sender | None = None


class _EventDetail(msgspec.Struct, frozen=True, rename="camel"):
    chat_display_name: str | None = None
    channel_display_name: str | None = None


class Resource(msgspec.Struct, frozen=True, rename="camel"):
    """The necessary fields of a `chatMessage` (docs/graph.md, "Messages"); each may be absent."""

    sender: _Sender | None = msgspec.field(default=None, name="from")
    deleted_date_time: Any = None
    mentions: list[_Mention] | None = None
    event_detail: _EventDetail | None = None

    @property
    def author(self) -> Identity:
        """The author; an empty identity for system events and other kinds of resource."""
        sender = self.sender or _Sender()
        return sender.user or sender.application or sender.device or sender.conversation or Identity()


def read_resource(event: Event) -> Resource:
    """Return the fields of the event's resource; an empty resource for other kinds."""
    try:
        return msgspec.json.decode(event.data, type=Resource)
    except msgspec.MsgspecError:
        return Resource()


def is_deleted(event: Event, resource: Resource) -> bool:
    """Return whether the event deletes its resource: by type or by `deletedDateTime`."""
    return event.type.endswith("Deleted") or resource.deleted_date_time is not None


def conversation_name(event: Event, resource: Resource) -> str | None:
    """Return the name of the conversation, from a renaming or a mention in the message."""
    detail = resource.event_detail
    if detail and (detail.chat_display_name or detail.channel_display_name):
        return detail.chat_display_name or detail.channel_display_name
    thread = unquote(event.conversation.rpartition("/")[2])
    for mention in resource.mentions or ():
        place = mention.mentioned.conversation if mention.mentioned else None
        if place and place.id == thread and place.display_name:
            return place.display_name
    return None
