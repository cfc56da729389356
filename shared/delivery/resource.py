"""The few fields that this app reads from a resource of any kind."""

from datetime import UTC, datetime

import msgspec

from shared.errors import Reason, Undeliverable
from shared.graph.json_repair import repaired
from shared.resources.identity import Identity, identify, identify_entry
from shared.resources.path import encoded


class ChannelIdentity(msgspec.Struct, rename="camel"):
    """The team and channel of a channel message."""

    team_id: str | None = None
    channel_id: str | None = None


class Resource(msgspec.Struct, rename="camel"):
    """The fields that give a resource its identity and version; most kinds lack some of them."""

    id: str = ""
    etag: str | None = None
    e_tag: str | None = None
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
        """Whether a delta query entry is a deletion: its other fields are from before the deletion.

        A drive's facet may be empty (/graph/api/driveitem-delta, "Example 1").
        """
        return self.removed is not None or self.deleted is not None

    @property
    def likely_change(self) -> str:
        """The likely change of a resource that was read back: `created` or `updated`."""
        untouched = self.created_date_time and self.created_date_time == self.last_modified_date_time
        return "created" if untouched else "updated"

    @property
    def version_tag(self) -> str | None:
        """The etag that the resource has: Teams, SharePoint and the others each have a member of their own."""
        return self.etag or self.e_tag or self.odata_etag

    def identity_in(self, place: str) -> Identity | None:
        """Return the identity of what a path names, or of an entry of what it lists; None if the path does not say.

        A resource says itself what its id is, a Teams message also where it is: a path may say less, or otherwise.
        """
        named = identify(place)
        if named.kind in ("", "ChatMessage") and (own := self._message()):
            return named if named.parts == own else identify(encoded(own))
        if named.type is None:
            return identify_entry(place, self.id)
        return identify(encoded((*named.parts[:-1], self.id))) if self.id else named

    def _message(self) -> tuple[str, ...] | None:
        """Return the raw path of a Teams message by its own fields; None if they do not name its chat or channel."""
        channel = self.channel_identity
        if not self.id:
            return None
        if self.chat_id:
            return "chats", self.chat_id, "messages", self.id
        if channel and channel.team_id and channel.channel_id:
            root = ("teams", channel.team_id, "channels", channel.channel_id, "messages")
            replies = (*root, self.reply_to_id, "replies") if self.reply_to_id else root
            return *replies, self.id
        return None


_resource = msgspec.json.Decoder(Resource)


def read_resource(content: bytes) -> Resource:
    """Read a resource as Graph sent it, UTF-8 JSON. Raises Undeliverable if it is not a JSON object."""
    try:
        content.decode("utf-8")
        try:
            return _resource.decode(content)
        except msgspec.DecodeError:
            return _resource.decode(repaired(content))
    except (ValueError, RecursionError):  # UnicodeDecodeError and msgspec's errors are ValueErrors
        raise Undeliverable(Reason.CONTENT_NOT_JSON, "the decrypted content is not a JSON resource") from None


def time_of(text: str | None) -> datetime | None:
    """Read a date-time of Graph: any offset, up to seven fractional digits. None if it is not a date-time."""
    try:
        timestamp = datetime.fromisoformat(text or "")
        return (timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
