"""Graph's wire format: the collection, its items, and the encrypted content (docs/graph.md, "Notifications").

Reading tolerates what Graph may vary (unknown fields, missing optional fields, letter case) and raises only `Refused`.
Anybody can send a body: the cost of reading is bounded by its length.
"""

import codecs
from typing import Annotated, TypeVar

import msgspec

from shared.errors import Reason, Refused, Undeliverable
from shared.graph.json_repair import repaired

T = TypeVar("T")

MAX_ITEMS = 10_000
"""Items in one collection. Graph sends some dozens; each item costs time even if it is refused."""

_MAX_COMMAS = 100 * MAX_ITEMS
_CHUNK = 65_536

LIFECYCLE_EVENTS = ("reauthorizationRequired", "subscriptionRemoved", "missed")


class Collection(msgspec.Struct, frozen=True, rename="camel"):
    """A changeNotificationCollection. value: the items, unparsed."""

    value: list[msgspec.Raw]
    validation_tokens: msgspec.Raw = msgspec.Raw(b"[]")

    def tokens(self) -> list[str] | None:
        """The validation tokens; None if Graph could not get one (`null`; docs/graph.md, "Rich notifications").

        Anything but a list of strings reads as no tokens.
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
        """The tenant, lower case, of the change; `home` if the item names none."""
        return (self.tenant_id or self.organization_id or home).lower()

    @property
    def is_encrypted(self) -> bool:
        """Whether the item has encrypted content."""
        return bytes(self.encrypted_content) != b"null"


class EncryptedContent(msgspec.Struct, frozen=True, rename="camel"):
    """The content of an item of a rich subscription (docs/graph.md, "Rich notifications"); three fields are Base64.

    The other two each name the key; either may be absent.
    """

    data: str
    data_key: str
    data_signature: str
    encryption_certificate_id: str | None = None
    encryption_certificate_thumbprint: str | None = None


class ResourceData(msgspec.Struct, frozen=True):
    """The fields of `resourceData` that every kind of resource has."""

    odata_type: str = msgspec.field(name="@odata.type", default="")
    odata_id: str = msgspec.field(name="@odata.id", default="")
    odata_etag: str = msgspec.field(name="@odata.etag", default="")
    id: str = ""


def read_collection(body: bytes) -> Collection:
    """Read the body of a POST, UTF-8 JSON. Raises Refused if it is not a collection."""
    if not _is_utf8(body):
        raise Refused(Reason.MALFORMED, "the body is not UTF-8")
    # Items are separated by commas, so counting commas rejects a huge list before any item is parsed.
    if body.count(b",") > _MAX_COMMAS:
        raise Refused(Reason.MALFORMED, "the body is larger than any that Graph sends")
    collection = _read_or_repair(body)
    if len(collection.value) > MAX_ITEMS:
        raise Refused(Reason.MALFORMED, "the body has more items than any that Graph sends")
    return collection


def _is_utf8(body: bytes) -> bool:
    """The JSON decoder does not check the fields that it skips. Decoding in chunks saves memory: as one string, a body
    can take four times its size.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for first in range(0, len(body), _CHUNK):
            decoder.decode(body[first : first + _CHUNK])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _read_or_repair(body: bytes) -> Collection:
    complaint = "the body is not a changeNotificationCollection"
    try:
        return _decode(body, _collection, complaint)
    except Refused:
        repaired_body = repaired(body)
        if repaired_body == body:
            raise
        return _decode(repaired_body, _collection, complaint)


def read_notification(item: msgspec.Raw) -> Notification:
    """Read one item of a collection. Raises Refused if a required field is missing or of another type."""
    notification = _decode(item, _notification, "the item is not a changeNotification")
    if notification.lifecycle_event is None and not (notification.resource and notification.change_type):
        raise Refused(Reason.MALFORMED, "a change item needs resource and changeType")
    return notification


def read_encrypted_content(notification: Notification) -> EncryptedContent:
    """Read the encrypted content of a proven item. Raises Undeliverable if a field is missing or of another type."""
    try:
        return _encrypted_content.decode(notification.encrypted_content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Undeliverable(Reason.CONTENT_UNREADABLE, "encryptedContent lacks a required field") from None


def read_resource_data(notification: Notification) -> ResourceData:
    """Read `resourceData`; a malformed one reads as empty."""
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
