"""A log of all notifications at the gateway, decrypted with the app's own keys.

The processes under test may be killed at any time, with their counters; this log persists.
"""

import hashlib
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus

import msgspec

from graph_simulator.hostile import TEXT
from shared.delivery.event import event_of_content
from shared.errors import Refused, Undeliverable
from shared.graph.notification import Collection, read_collection, read_encrypted_content, read_notification
from shared.keys.decryption import open_content
from shared.keys.directory import KeyDirectory
from shared.keys.key import EncryptionKey
from shared.readback.declared import PINGED
from shared.resources.identity import identify, kinds_in
from shared.storage.account import ACKNOWLEDGE_LIMITS


@dataclass(frozen=True)
class Seen:
    """What an item represents: the event id of a `version`, a `lifecycle` event, or the fingerprint of a change
    without content (`bare`), of a ping of a drive or list, or of a forgery.

    `message`: the part of an event id before the version, for a change without content, which the app reads.
    """

    version: str | None = None
    bare: str | None = None
    ping: str | None = None
    message: str | None = None
    lifecycle: str | None = None
    forgery: str | None = None


@dataclass
class Received:
    """How often each was acknowledged: every count is of items in POSTs that were answered 2xx."""

    versions: Counter[str] = field(default_factory=Counter)
    bare: Counter[str] = field(default_factory=Counter)
    pings: Counter[str] = field(default_factory=Counter)
    lifecycle: Counter[str] = field(default_factory=Counter)
    forgeries: Counter[str] = field(default_factory=Counter)

    @property
    def items(self) -> int:
        """All counted items."""
        return sum(kind.total() for kind in (self.versions, self.bare, self.pings, self.lifecycle, self.forgeries))


class NotificationLog:
    """Parses collections; `keys` is the app's own key store, `tenant` its home. One object serves all threads.

    refused_bodies: POSTs that a host answered 4xx. uncertain: items in POSTs that a host may have stored more or less
    often than once: it answered 5xx, or disconnected, or answered so late that it may have repeated the put.
    """

    def __init__(self, keys: KeyDirectory, tenant: str) -> None:
        self.received = Received()
        self.refused_bodies = 0
        self.uncertain = 0
        self._key_store = keys
        self._tenant = tenant
        self._keys: dict[str, EncryptionKey] = {}
        self._lock = threading.Lock()

    def look(self, body: bytes) -> list[Seen]:
        """Return what the items of a POST represent; empty if the body is not a collection."""
        try:
            collection: Collection = read_collection(body)
        except Refused:
            return []
        return [self.recognise(item) for item in collection.value]

    def answered(self, status: int, items: list[Seen], seconds: float) -> None:
        """Record a host's answer, after `seconds`, to the POST with these items."""
        with self._lock:
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR or seconds >= ACKNOWLEDGE_LIMITS.read:
                self.uncertain += max(len(items), 1)  # a body that is no collection is one refusal
            if status < HTTPStatus.BAD_REQUEST:
                self._acknowledged(items)
            elif status < HTTPStatus.INTERNAL_SERVER_ERROR:
                self.refused_bodies += 1

    def _acknowledged(self, items: list[Seen]) -> None:
        for seen in items:
            self.received.versions.update([seen.version] if seen.version else [])
            self.received.bare.update([seen.bare] if seen.bare else [])
            self.received.pings.update([seen.ping] if seen.ping else [])
            self.received.lifecycle.update([seen.lifecycle] if seen.lifecycle else [])
            self.received.forgeries.update([seen.forgery] if seen.forgery else [])

    def recognise(self, item: msgspec.Raw) -> Seen:
        """Return what one item represents. A forgery is marked, is not a notification, or cannot be decrypted."""
        fingerprint = hashlib.sha256(item).hexdigest()
        try:
            notification = read_notification(item)
            if notification.lifecycle_event is not None:
                return Seen(lifecycle=notification.lifecycle_event)
            if not notification.is_encrypted:
                if PINGED & kinds_in(notification.resource or ""):
                    return Seen(ping=fingerprint)
                named = identify(notification.resource or "")
                tenant = notification.tenant(self._tenant)
                return Seen(
                    bare=fingerprint, message=f"{tenant}/{named.subject}" if named.kind == "ChatMessage" else None
                )
            content = read_encrypted_content(notification)
            opened = open_content(content, self._key(content.encryption_certificate_id or "").private_key)
        except (Refused, Undeliverable):
            return Seen(forgery=fingerprint)
        if TEXT.encode() in opened:
            return Seen(forgery=fingerprint)
        tenant = notification.tenant(self._tenant)
        return Seen(version=event_of_content(opened, notification, tenant, datetime.now(UTC)).id)

    def _key(self, key_id: str) -> EncryptionKey:
        if key_id not in self._keys:
            key = self._key_store.get(key_id)
            assert key is not None, "Graph encrypts to a key that we never had"
            self._keys[key_id] = key
        return self._keys[key_id]
