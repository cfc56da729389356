"""From a queued item to an event: verified, decrypted, read. Nothing unproven gets past here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import msgspec

from process_queue.hydration import Hydration
from shared import telemetry
from shared.configuration.declaration import Declaration, Declarations
from shared.delivery.event import Event, event_of_content
from shared.errors import Reason, Refused, RelayError, RetryLater, Undeliverable
from shared.graph.client_state import id_in_client_state
from shared.graph.notification import EncryptedContent, Notification, read_encrypted_content, read_notification
from shared.graph.token_cache import TokenCache
from shared.graph.validation_token import SigningKey, claimed_tenant
from shared.keys.decryption import open_content
from shared.keys.key import EncryptionKey
from shared.messages.envelope import ChangeBatch
from shared.readback.declared import is_pinged
from shared.readback.pings import Ping
from shared.resources.identity import Identity, identify
from shared.resources.matching import is_certainly_elsewhere
from shared.subscriptions.silence import Source
from shared.threads import ContextThreadPool

READS_AT_ONCE = 4
"""Items of one envelope that are read from Graph at the same time."""

UNDECLARED_ATTEMPTS = 6
"""Attempts, within about four minutes, for an item without content of something that is not declared: while settings
change, another instance may know a new declaration first."""


class SigningKeyFinder(Protocol):
    """Finds the authority's keys."""

    def find(self, kid: str, version: str, received: datetime) -> SigningKey:
        """Return the key named `kid`, for a token of a version that arrived then. Raises as SigningKeys.find."""


class EncryptionKeyFinder(Protocol):
    """Finds our own keys."""

    def find(self, key_id: str, thumbprint: str, received: datetime) -> EncryptionKey:
        """Return the key that an item, received at that time, names. Raises as KeyRing.find."""


@dataclass(frozen=True)
class Verifier:
    """What is needed to verify and to decrypt items; one object serves all threads.

    declarations: what is subscribed to. readers: threads that wait for Graph.
    """

    tenant_id: str
    client_id: str
    declarations: Declarations
    signing_keys: SigningKeyFinder
    encryption_keys: EncryptionKeyFinder
    hydration: Hydration
    readers: ContextThreadPool
    tokens: TokenCache = field(default_factory=TokenCache)

    def batch(self, envelope: ChangeBatch) -> "BatchVerifier":
        """Return what verifies the items of one envelope."""
        return BatchVerifier(self, envelope)


Verdict = tuple[Notification | RelayError, Event | Ping | RelayError]
"""An item as it was read, or why it can't be read; and its event, or why there is none."""


class BatchVerifier:
    """Verifies the items of one envelope; each tenant's tokens are checked once, when an item needs them.

    `seen` tells for each declaration, by its id, from where a proven item came for it.
    """

    def __init__(self, verifier: Verifier, envelope: ChangeBatch) -> None:
        self._verifier = verifier
        self._envelope = envelope
        self._failures: dict[str, RelayError | None] = dict.fromkeys(envelope.proven)
        self.seen: dict[str, Source] = {}

    @property
    def verified_tenants(self) -> tuple[str, ...]:
        """The tenants for which a good token was found, now or at an earlier attempt."""
        return tuple(tenant for tenant, failure in self._failures.items() if failure is None)

    def verdicts(self, items: Sequence[msgspec.Raw]) -> list[Verdict]:
        """Return what becomes of each item. Those without content, which Graph may be asked for, are
        judged a few at a time.
        """
        notifications = [_read(item) for item in items]
        with_content = (
            notification
            for notification in notifications
            if isinstance(notification, RelayError) or notification.is_encrypted
        )
        verdicts = {id(notification): self._verdict(notification) for notification in with_content}
        others = [notification for notification in notifications if id(notification) not in verdicts]
        for first in range(0, len(others), READS_AT_ONCE):
            few = others[first : first + READS_AT_ONCE]
            judged = self._verifier.readers.map(self._verdict, few) if len(few) > 1 else map(self._verdict, few)
            verdicts |= zip(map(id, few), judged, strict=True)
        return [(notification, verdicts[id(notification)]) for notification in notifications]

    def _verdict(self, notification: Notification | RelayError) -> Event | Ping | RelayError:
        if isinstance(notification, RelayError):
            return notification
        try:
            return self._event(notification)
        except RelayError as error:
            return error

    def event(self, item: msgspec.Raw) -> Event | Ping:
        """Return the event of an item; a ping of one that only says that there are changes.

        Raises:
            Refused: it is not proven.
            Undeliverable: it is proven, and can't be decrypted.
            RetryLater: what proves or decrypts it is unavailable.
        """
        return self._event(read_notification(item))

    def _event(self, notification: Notification) -> Event | Ping:
        tenant = notification.tenant(self._verifier.tenant_id)
        received = self._envelope.received
        declaration = self._verifier.declarations.get(id_in_client_state(notification.client_state), tenant)
        named = identify(notification.resource or "")
        _check_place(declaration, named)
        if not notification.is_encrypted:
            return self._event_without_content(notification, declaration, tenant)
        failure = self._failure_of(tenant)
        if failure is not None:
            raise failure.copy()
        content = read_encrypted_content(notification)
        event = event_of_content(self._decrypt(content), notification, tenant, received)
        if event.subject != named.subject:
            _check_place(declaration, identify(event.subject))
        # Only now: content that can't be decrypted must neither end a silence nor name a key.
        self._note_seen(notification, content.encryption_certificate_id or "")
        return event

    def _event_without_content(
        self, notification: Notification, declaration: Declaration | None, tenant: str
    ) -> Event | Ping:
        """Only a clientState vouches for it, and that is good for what is declared."""
        if declaration is None:
            if self._envelope.attempt < UNDECLARED_ATTEMPTS:
                raise RetryLater(Reason.NOT_DECLARED, "an item belongs to no declaration that this instance knows")
            raise Refused(Reason.NOT_DECLARED)
        if is_pinged(declaration):
            self._note_seen(notification)
            return Ping(declaration)
        event = self._verifier.hydration.event(notification, declaration, tenant, self._envelope.received)
        if not (event.partial and declaration.include_resource_data):  # that is said by nobody but the item itself
            self._note_seen(notification)
        return event

    def _note_seen(self, notification: Notification, key_id: str = "") -> None:
        source = Source(notification.subscription_id.lower(), key_id)
        self.seen[id_in_client_state(notification.client_state)] = source

    def _decrypt(self, content: EncryptedContent) -> bytes:
        key_id, thumbprint = content.encryption_certificate_id, content.encryption_certificate_thumbprint
        key = self._verifier.encryption_keys.find(key_id or "", thumbprint or "", self._envelope.received)
        return open_content(content, key.private_key)

    def _failure_of(self, tenant: str) -> RelayError | None:
        """Return why no validation token proves items of `tenant`; None if one does."""
        if tenant not in self._failures:
            tokens = self._envelope.tokens
            claiming = [token for token in tokens or () if claimed_tenant(token) == tenant]
            missing = Refused(Reason.TOKENS_NULL if tokens is None else Reason.TOKEN_MISSING)
            self._failures[tenant] = self._check(claiming) if claiming else missing
        return self._failures[tenant]

    def _check(self, tokens: Iterable[str]) -> RelayError | None:
        """One good token proves its tenant; those that fail beside it are counted, as a sign of something unusual."""
        failures: list[RelayError] = []
        proven = False
        for token in tokens:
            try:
                self._verifier.tokens.check(token, self._find_key, self._verifier.client_id, self._envelope.received)
                proven = True
            except RelayError as failure:
                failures.append(failure)
        if not proven:
            return min(failures, key=_preference)
        for failed in failures:
            telemetry.SUSPICIOUS_TOKENS.add(1, {"reason": failed.reason})
        return None

    def _find_key(self, kid: str, version: str) -> SigningKey:
        return self._verifier.signing_keys.find(kid, version, self._envelope.received)


def _read(item: msgspec.Raw) -> Notification | RelayError:
    try:
        return read_notification(item)
    except Refused as refused:
        return refused


def _preference(failure: RelayError) -> int:
    """A token that could not be judged may be the good one: keep the items for it."""
    match failure:
        case RetryLater():
            return 0
        case Undeliverable():
            return 1
    return 2


def _check_place(declaration: Declaration | None, named: Identity) -> None:
    """Reject an item whose clientState belongs to a different declaration than its resource."""
    if declaration is not None and is_certainly_elsewhere(declaration.resource, named):
        raise Refused(Reason.CLIENT_STATE)
