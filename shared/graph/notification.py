"""Graph's wire format: the collection, its items, and the encrypted content (docs/graph.md, "Notifications").

Reading tolerates what Graph may vary (unknown fields, missing optional fields, letter case) and raises only `Refused`.
Anybody can send a body: the cost of reading is bounded by its length.
"""

import codecs
import re
from contextlib import suppress
from functools import cache
from typing import Annotated, TypeVar
from urllib.parse import unquote

import msgspec

from shared.errors import Reason, Refused, Undeliverable
from shared.graph.json_repair import repaired
from shared.graph.member_names import in_known_case

T = TypeVar("T")

MAX_ITEMS = 10_000
"""Items in one collection. Graph sends some dozens; each item costs time even if it is refused."""

MAX_TOKENS = 1_000
"""Validation tokens in one collection. Graph sends one for each app and tenant."""

_MAX_COMMAS = 100 * MAX_ITEMS
_CHUNK = 65_536

CHANGE_TYPES = ("created", "updated", "deleted")

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
"""Ids, a clientState, the name of an event: Graph's are at most 128 characters. Limited, since each is copied."""

Path = Annotated[str, msgspec.Meta(max_length=4096)]
"""The path of a resource."""


Printable = Annotated[str, msgspec.Meta(max_length=255, pattern=r"^[ -~]*\Z")]
"""ASCII without control characters."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that attributes of a CloudEvent must not contain."""

_TYPE = re.compile(r"(#?[A-Za-z][\w.]*)?", re.ASCII)


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


class _ClientState(msgspec.Struct, rename="camel"):
    client_state: str | None = None


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
    """The fields of `resourceData` that every kind of resource has. Graph does not encrypt them."""

    odata_type: Short = msgspec.field(name="@odata.type", default="")
    odata_id: Path = msgspec.field(name="@odata.id", default="")
    odata_etag: Printable = msgspec.field(name="@odata.etag", default="")
    id: Path = ""


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
    if bytes(collection.validation_tokens).count(b",") >= MAX_TOKENS:  # before any of them is an object
        raise Refused(Reason.MALFORMED, "the body has more tokens than any that Graph sends")
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
    if any(name not in body and _in_any_case(name).search(body) for name in _MEMBERS):
        body = bytes(in_known_case(body, _COLLECTION_NAMES))
    complaint = "the body is not a changeNotificationCollection"
    try:
        return _decode(body, _collection, complaint)
    except Refused:
        repaired_body = repaired(body)
        if repaired_body == body:
            raise
        return _decode(repaired_body, _collection, complaint)


def read_notification(item: msgspec.Raw) -> Notification:
    """Read one item of a collection, names in any letter case. Raises Refused if a required field is missing or of
    another type.
    """
    notification = _decode(in_known_case(item, _NAMES), _notification, "the item is not a changeNotification")
    if notification.lifecycle_event is not None:
        known = _EVENTS.get(notification.lifecycle_event.lower(), notification.lifecycle_event)
        return msgspec.structs.replace(notification, lifecycle_event=known)
    if not (notification.resource and notification.change_type):
        raise Refused(Reason.MALFORMED, "a change notification needs resource and changeType")
    if _has_control(notification.resource):
        raise Refused(Reason.MALFORMED, "the resource path has control characters")
    return _with_known_change(notification)


def read_client_state(item: msgspec.Raw) -> str | None:
    """Return the clientState of an accepted item, parsing nothing else. Raises Refused."""
    with suppress(msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        found = _client_state.decode(item).client_state
        if found is not None:
            return found
    return read_notification(item).client_state  # the name is in another case


def _with_known_change(notification: Notification) -> Notification:
    """Return the notification with its change type in lower case; Graph varies it.

    An unknown type is ignored if there is content, which shows the change; otherwise the notification is refused.
    """
    change_type = (notification.change_type or "").lower()
    if change_type == notification.change_type and change_type in CHANGE_TYPES:
        return notification
    if change_type not in CHANGE_TYPES and not notification.is_encrypted:
        raise Refused(Reason.MALFORMED, "changeType must be created, updated or deleted")
    known = change_type if change_type in CHANGE_TYPES else None
    return msgspec.structs.replace(notification, change_type=known)


def read_encrypted_content(notification: Notification) -> EncryptedContent:
    """Read the encrypted content of a proven item. Raises Undeliverable if a field is missing or of another type."""
    try:
        return _encrypted_content.decode(in_known_case(notification.encrypted_content, _CONTENT_NAMES))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Undeliverable(Reason.CONTENT_UNREADABLE, "encryptedContent lacks a required field") from None


def read_resource_data(notification: Notification) -> ResourceData:
    """Read `resourceData`; a malformed one reads as empty, as do a type that is not a name, and an id with control
    characters.
    """
    try:
        known = in_known_case(notification.resource_data, _DATA_NAMES)
        read = _resource_data.decode(known) or ResourceData()
    except (msgspec.DecodeError, RecursionError):
        return ResourceData()
    kind = read.odata_type if _TYPE.fullmatch(read.odata_type) else ""
    odata_id, name = ("" if _has_control(path) else path for path in (read.odata_id, read.id))
    return msgspec.structs.replace(read, odata_type=kind, odata_id=odata_id, id=name)


def _has_control(path: str) -> bool:
    """Whether a path has control characters, percent-encoded ones included."""
    return bool(_CONTROL.search(path) or _CONTROL.search(unquote(path)))


_collection = msgspec.json.Decoder(Collection)
_notification = msgspec.json.Decoder(Notification)
_client_state = msgspec.json.Decoder(_ClientState)
_encrypted_content = msgspec.json.Decoder(EncryptedContent)
_resource_data = msgspec.json.Decoder(ResourceData | None)


@cache
def _in_any_case(name: bytes) -> re.Pattern[bytes]:
    return re.compile(name, re.IGNORECASE)


def _names(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(field.encode_name for field in msgspec.structs.fields(kind))


_NAMES, _CONTENT_NAMES, _DATA_NAMES = _names(Notification), _names(EncryptedContent), _names(ResourceData)
_COLLECTION_NAMES = _names(Collection)
_MEMBERS = tuple(f'"{name}"'.encode() for name in _COLLECTION_NAMES)
_EVENTS = {event.lower(): event for event in LIFECYCLE_EVENTS}


def _decode(text: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T], complaint: str) -> T:
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Refused(Reason.MALFORMED, complaint) from None
