"""The fields of a dead letter that `dead-letters` shows: only those named here.

Encrypted content stays encrypted. clientState, tokens and links are credentials, `resourceData` may be content.
"""

import re
from datetime import datetime
from typing import Any

import msgspec

from shared.errors import Refused, Undeliverable
from shared.graph.client_state import id_in_client_state
from shared.graph.notification import Notification, read_encrypted_content, read_notification, read_resource_data
from shared.messages.dead_letters import ListedDeadLetter
from shared.messages.envelope import ChangeBatch, Envelope, LifecycleBatch, ReadbackPage, attempts, destination_of


class DeadLetterSummary(msgspec.Struct):
    """A row of the list. kind: change, lifecycle, readback or unreadable. destination: None for all destinations."""

    id: str
    reason: str
    age_seconds: float
    kind: str
    tenant: str | None
    resource: str | None
    destination: str | None = None


def summary(letter: ListedDeadLetter, now: datetime) -> DeadLetterSummary:
    """Return the row of a dead letter in the list."""
    first = _first(letter.envelope)
    return DeadLetterSummary(
        letter.id,
        letter.reason,
        round((now - letter.since).total_seconds()),
        _kind(letter.envelope),
        first.get("tenant"),
        first.get("resource") or first.get("lifecycle_event"),
        destination_named(letter),
    )


def destination_named(letter: ListedDeadLetter) -> str | None:
    """Return the only destination that a dead letter is for; None if it is for all destinations."""
    return (destination_of(letter.envelope) or None) if letter.envelope else None


def all_fields(letter: ListedDeadLetter, now: datetime) -> dict[str, Any]:
    """Return all fields of a dead letter that may be shown."""
    fields: dict[str, Any] = {
        "id": letter.id,
        "queue": letter.queued.queue.name.lower(),
        "reason": letter.reason,
        "given_up": letter.since,
        "age_seconds": round((now - letter.since).total_seconds()),
        "kind": _kind(letter.envelope),
    }
    envelope = letter.envelope
    if envelope is None:
        return fields
    fields |= {"received": envelope.received, "attempts": envelope.attempt}
    if destination := destination_of(envelope):
        fields["destination"] = destination
    if failures := attempts(envelope):
        fields["failures"] = [{"at": failure.at, "detail": failure.detail} for failure in failures]
    fields["runbook"] = "docs/runbook/dead-letters.md"
    if isinstance(envelope, ReadbackPage):
        return fields | {"since": envelope.since, "until": envelope.until, **_readback(envelope)}
    tokens = None if envelope.tokens is None else len(envelope.tokens)
    return fields | {"validation_tokens": tokens, "items": [_item(item) for item in envelope.items]}


def plain_path(resource: str | None) -> str | None:
    """Return a path as events spell it: `chats('19:…')/messages('1')` → `chats/19:…/messages/1`."""
    return resource and re.sub(r"\('([^']*)'\)", r"/\1", resource)


def _kind(envelope: Envelope | None) -> str:
    match envelope:
        case ChangeBatch():
            return "change"
        case LifecycleBatch():
            return "lifecycle"
        case ReadbackPage():
            return "readback"
    return "unreadable"


def _first(envelope: Envelope | None) -> dict[str, Any]:
    if isinstance(envelope, ReadbackPage):
        return _readback(envelope)
    return _item(envelope.items[0]) if envelope and envelope.items else {}


def _readback(readback: ReadbackPage) -> dict[str, Any]:
    return {"tenant": readback.tenant_id, "resource": readback.resource, "is_first_page": not readback.link}


def _item(item: msgspec.Raw) -> dict[str, Any]:
    try:
        notification = read_notification(item)
    except Refused:
        return {"bytes": len(bytes(item))}
    fields = {
        "tenant": notification.tenant(""),
        "resource": notification.resource,
        "subscription": notification.subscription_id,
        "declaration": id_in_client_state(notification.client_state or ""),
        "change_type": notification.change_type,
        "lifecycle_event": notification.lifecycle_event,
        "type": read_resource_data(notification).odata_type or None,
        **_sealed(notification),
        "bytes": len(bytes(item)),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _sealed(notification: Notification) -> dict[str, Any]:
    if not notification.is_encrypted:
        return {}
    try:
        content = read_encrypted_content(notification)
    except Undeliverable:
        return {"encrypted": "incomplete"}
    return {
        "encryption_certificate_id": content.encryption_certificate_id,
        "encryption_certificate_thumbprint": content.encryption_certificate_thumbprint,
    }
