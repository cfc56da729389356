"""Graph's wire format: the collection, its items, and the encrypted content (docs/graph.md, "Notifications").

Reading is lenient where Graph may vary (unknown fields, missing optionals, letter case) and never raises anything
but `Refused`. A body comes from anybody: what reading it costs is bounded by its length, and small beside it.
"""

import codecs
from typing import Annotated, TypeVar

import msgspec

from shared.errors import Reason, Refused, Undeliverable
from shared.graph.json_repair import repaired

T = TypeVar("T")

MOST_ITEMS = 10_000
"""Of one collection. Graph sends some dozens; each one costs time even if it is nobody's."""

_MOST_COMMAS = 100 * MOST_ITEMS
_CHUNK = 65_536

LIFECYCLE_EVENTS = ("reauthorizationRequired", "subscriptionRemoved", "missed")


class Collection(msgspec.Struct, frozen=True, rename="camel"):
    """A changeNotificationCollection: `value`, items as they came, each still unread."""

    value: list[msgspec.Raw]
    validation_tokens: msgspec.Raw = msgspec.Raw(b"[]")

    def tokens(self) -> list[str] | None:
        """The validation tokens; None if Graph says it couldn't get one (`null`; docs/graph.md, "Rich notifications").

        What is not a list of strings counts as none.
        """
        try:
            tokens = msgspec.json.decode(self.validation_tokens, type=list[object] | None)
        except msgspec.DecodeError:
            return []
        return None if tokens is None else [token for token in tokens if isinstance(token, str)]


Short = Annotated[str, msgspec.Meta(max_length=255)]
"""Ids, a clientState, the name of an event: Graph's are at most 128 characters. Bounded, since each is copied."""

Path = Annotated[str, msgspec.Meta(max_length=4096)]
"""The path of a resource."""


class Notification(msgspec.Struct, frozen=True, rename="camel"):
    """One changeNotification: a change item, or a lifecycle item if `lifecycle_event` is set."""

    subscription_id: Short
    client_state: Short | None = None
    change_type: Short | None = None
    lifecycle_event: Short | None = None
    resource: Path | None = None
    tenant_id: Short | None = None
    organization_id: Short | None = None
    resource_data: msgspec.Raw = msgspec.Raw(b"null")
    encrypted_content: msgspec.Raw = msgspec.Raw(b"null")

    def tenant(self, home: str) -> str:
        """The tenant, lower case, in which the change happened; `home` if the item names none."""
        return (self.tenant_id or self.organization_id or home).lower()

    @property
    def is_encrypted(self) -> bool:
        """Whether the item carries content, of whatever kind."""
        return bytes(self.encrypted_content) != b"null"


class EncryptedContent(msgspec.Struct, frozen=True, rename="camel"):
    """What an item of a rich subscription encloses (docs/graph.md, "Rich notifications"); three fields are Base64.

    The others name the key, each by itself; either may be absent.
    """

    data: str
    data_key: str
    data_signature: str
    encryption_certificate_id: str | None = None
    encryption_certificate_thumbprint: str | None = None


class ResourceData(msgspec.Struct, frozen=True):
    """The few members of `resourceData` that every kind of resource has."""

    odata_type: str = msgspec.field(name="@odata.type", default="")
    odata_etag: str = msgspec.field(name="@odata.etag", default="")
    id: str = ""


def read_collection(body: bytes) -> Collection:
    """Read the body of a POST, UTF-8 JSON. Raises Refused if it isn't a collection at all."""
    if not _is_utf8(body):
        raise Refused(Reason.MALFORMED, "the body is not UTF-8")
    # A comma stands between any two items: a list of millions is told before any of them has been made.
    if body.count(b",") > _MOST_COMMAS:
        raise Refused(Reason.MALFORMED, "the body holds more than Graph ever sends")
    collection = _read_or_mend(body)
    if len(collection.value) > MOST_ITEMS:
        raise Refused(Reason.MALFORMED, "the body holds more items than Graph ever sends")
    return collection


def _is_utf8(body: bytes) -> bool:
    """A decoder that skips what it doesn't need doesn't check it. In one piece, the text could take four times as much
    memory.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for first in range(0, len(body), _CHUNK):
            decoder.decode(body[first : first + _CHUNK])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _read_or_mend(body: bytes) -> Collection:
    complaint = "the body is not a changeNotificationCollection"
    try:
        return _decode(body, _collection, complaint)
    except Refused:
        again = repaired(body)
        if again == body:
            raise
        return _decode(again, _collection, complaint)


def read_notification(item: msgspec.Raw) -> Notification:
    """Read one item of a collection. Raises Refused if what every item must have is missing or of another type."""
    notification = _decode(item, _notification, "the item is not a changeNotification")
    if notification.lifecycle_event is None and not (notification.resource and notification.change_type):
        raise Refused(Reason.MALFORMED, "a change item needs resource and changeType")
    return notification


def read_encrypted_content(notification: Notification) -> EncryptedContent:
    """Read the encrypted content of a proven item. Raises Undeliverable if a field is missing or of another type."""
    try:
        return _encrypted_content.decode(notification.encrypted_content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Undeliverable(Reason.CONTENT_UNREADABLE, "encryptedContent lacks what opens it") from None


def read_resource_data(notification: Notification) -> ResourceData:
    """Read what the item says in the clear of its resource; whatever is odd about it reads as absent."""
    try:
        return _resource_data.decode(notification.resource_data) or ResourceData()
    except (msgspec.DecodeError, RecursionError):
        return ResourceData()


_collection = msgspec.json.Decoder(Collection)
_notification = msgspec.json.Decoder(Notification)
_encrypted_content = msgspec.json.Decoder(EncryptedContent)
_resource_data = msgspec.json.Decoder(ResourceData | None)


def _decode(text: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T], complaint: str) -> T:
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Refused(Reason.MALFORMED, complaint) from None
