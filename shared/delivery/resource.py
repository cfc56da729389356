"""The few fields that are read from a resource, whatever its kind."""

from datetime import UTC, datetime

import msgspec

from shared.errors import Reason, Undeliverable
from shared.graph.json_repair import repaired
from shared.resources.path import MessagePath, message_path


class ChannelIdentity(msgspec.Struct, rename="camel"):
    """Where a channel message is."""

    team_id: str | None = None
    channel_id: str | None = None


class Resource(msgspec.Struct, rename="camel"):
    """The members of a resource that make its identity and version; of most resources, some are absent."""

    id: str = ""
    etag: str | None = None
    odata_etag: str | None = msgspec.field(name="@odata.etag", default=None)
    reply_to_id: str | None = None
    chat_id: str | None = None
    channel_identity: ChannelIdentity | None = None
    created_date_time: str | None = None
    last_modified_date_time: str | None = None
    last_updated_date_time: str | None = None
    deleted_date_time: str | None = None
    removed: dict[str, object] | None = msgspec.field(name="@removed", default=None)
    deleted: dict[str, object] | None = None

    @property
    def is_gone(self) -> bool:
        """Whether an entry of a delta query is of a deleted resource: its other fields are from before the deletion."""
        return bool(self.removed or self.deleted)

    @property
    def likely_change(self) -> str:
        """What must have happened to a resource that was read back rather than pushed."""
        untouched = self.created_date_time and self.created_date_time == self.last_modified_date_time
        return "created" if untouched else "updated"

    def own_path(self) -> MessagePath | None:
        """Return where a Teams message says that it is; None if it does not say."""
        channel = self.channel_identity
        if not self.id:
            return None
        if self.chat_id:
            return MessagePath(("chats", self.chat_id, "messages"), self.id)
        if channel and channel.team_id and channel.channel_id:
            root = ("teams", channel.team_id.lower(), "channels", channel.channel_id, "messages")
            replies = (*root, self.reply_to_id, "replies") if self.reply_to_id else root
            return MessagePath(replies, self.id)
        return None

    def path_of_message(self, named: str) -> MessagePath | None:
        """Return the message's own word for where it is, else the path that the notification names.

        Only what the notification calls a message is one: other resources have `id` and `chatId` too.
        """
        own = self.own_path() if "messages" in named else None
        if own is not None:
            return own
        path = message_path(named)
        return MessagePath(path.collection, self.id) if path and self.id else path


_resource = msgspec.json.Decoder(Resource)


def read_resource(content: bytes) -> Resource:
    """Read a resource as Graph gave it, UTF-8 JSON. Raises Undeliverable if it is not a JSON object."""
    try:
        content.decode("utf-8")
        try:
            return _resource.decode(content)
        except msgspec.DecodeError:
            return _resource.decode(repaired(content))
    except (ValueError, RecursionError):  # what is raised for bad UTF-8, and by msgspec, are ValueErrors
        raise Undeliverable(Reason.CONTENT_NOT_JSON, "the decrypted content is not a JSON resource") from None


def time_of(text: str | None) -> datetime | None:
    """Read a date-time of Graph's: any offset, up to seven digits of a fraction. None if it is none."""
    try:
        moment = datetime.fromisoformat(text or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
