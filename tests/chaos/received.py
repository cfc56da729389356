"""Who sees every notification at the door, opens it with our own keys, and remembers what it stood for.

The process that is looked at may be killed at any moment, and its counters with it; this log is not.
"""

import hashlib
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from graph_simulator.hostile import TEXT
from shared.delivery.event import event_of_content
from shared.errors import Refused, Undeliverable
from shared.graph.notification import Collection, read_collection, read_encrypted_content, read_notification
from shared.keys.decryption import open_content
from shared.keys.directory import KeyDirectory
from shared.keys.key import EncryptionKey
from shared.resources.identity import identify


@dataclass(frozen=True)
class Seen:
    """What an item stands for: the event id of a `version`, a `lifecycle` event, or the fingerprint of a change that
    came without content (`bare`) or of a forgery.

    `message` is the part of an event id before the version, of what a change without content has us read.
    """

    version: str | None = None
    bare: str | None = None
    message: str | None = None
    lifecycle: str | None = None
    forgery: str | None = None


@dataclass
class Received:
    """How often each was acknowledged: every count is of items in POSTs that were answered 2xx."""

    versions: Counter[str] = field(default_factory=Counter)
    bare: Counter[str] = field(default_factory=Counter)
    lifecycle: Counter[str] = field(default_factory=Counter)
    forgeries: Counter[str] = field(default_factory=Counter)

    @property
    def items(self) -> int:
        """All of them."""
        return self.versions.total() + self.bare.total() + self.lifecycle.total() + self.forgeries.total()


class NotificationLog:
    """Looks at collections; `keys` is the app's own key store, `tenant` its home. One object serves all threads."""

    def __init__(self, keys: KeyDirectory, tenant: str) -> None:
        self.received = Received()
        self._key_store = keys
        self._tenant = tenant
        self._keys: dict[str, EncryptionKey] = {}
        self._lock = threading.Lock()

    def look(self, body: bytes) -> list[Seen]:
        """Return what the items of a POST stand for; none if it is no collection at all."""
        try:
            collection: Collection = read_collection(body)
        except Refused:
            return []
        return [self.recognise(item) for item in collection.value]

    def acknowledged(self, items: list[Seen]) -> None:
        """Remember that these were taken in."""
        with self._lock:
            for seen in items:
                self.received.versions.update([seen.version] if seen.version else [])
                self.received.bare.update([seen.bare] if seen.bare else [])
                self.received.lifecycle.update([seen.lifecycle] if seen.lifecycle else [])
                self.received.forgeries.update([seen.forgery] if seen.forgery else [])

    def recognise(self, item: msgspec.Raw) -> Seen:
        """Tell what one item stands for. A forgery says so itself, is no notification, or does not open."""
        fingerprint = hashlib.sha256(item).hexdigest()
        try:
            notification = read_notification(item)
            if notification.lifecycle_event is not None:
                return Seen(lifecycle=notification.lifecycle_event)
            if not notification.is_encrypted:
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
