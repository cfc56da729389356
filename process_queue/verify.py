"""From a queued item to an event: proven, opened, read. Nothing unproven gets past here."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from shared import telemetry
from shared.configuration.declaration import Declaration
from shared.delivery.event import Event, event_of_content
from shared.errors import Reason, Refused, RelayError, RetryLater, Undeliverable
from shared.graph.client_state import id_in_client_state
from shared.graph.notification import EncryptedContent, Notification, read_encrypted_content, read_notification
from shared.graph.validation_token import SigningKey, check, tenant_claimed
from shared.keys.decryption import open_content
from shared.keys.ring import EncryptionKey
from shared.messages.envelope import ChangeBatch
from shared.resources.path import covers
from shared.subscriptions.plan import declared
from shared.subscriptions.silence import Source


@dataclass(frozen=True)
class Proofs:
    """What is needed to prove and to open items.

    signing_key: (kid, received) → the authority's key. encryption_key: (id, thumbprint, received) → ours.
    bare_event: (item, tenant, received) → the event of an item without content. declarations: what was subscribed to.
    """

    tenant_id: str
    client_id: str
    signing_key: Callable[[str, datetime], SigningKey]
    encryption_key: Callable[[str, str, datetime], EncryptionKey]
    bare_event: Callable[[Notification, str, datetime], Event]
    declarations: Sequence[Declaration] = ()


class Verifier:
    """Judges the items of one envelope; each tenant's tokens are checked once, when an item needs them.

    `heard` tells of each declaration, by its id, from where a proven item came for it.
    """

    def __init__(self, envelope: ChangeBatch, proofs: Proofs) -> None:
        self._envelope = envelope
        self._proofs = proofs
        self._doubts: dict[str, RelayError | None] = dict.fromkeys(envelope.proven)
        self.seen: dict[str, Source] = {}

    def event(self, item: msgspec.Raw) -> Event:
        """Return the event of an item.

        Raises:
            Refused: it is not proven.
            Undeliverable: it is proven, and can't be opened.
            RetryLater: what proves or opens it is away.
        """
        notification = read_notification(item)
        tenant = notification.tenant(self._proofs.tenant_id)
        received = self._envelope.received
        declaration = declared(notification, tenant, self._proofs.declarations)
        _check_place(declaration, notification.resource or "")
        if not notification.is_encrypted:
            self._hear(notification)
            return self._proofs.bare_event(notification, tenant, received)
        doubt = self._doubt(tenant)
        if doubt is not None:
            raise doubt
        content = read_encrypted_content(notification)
        self._hear(notification, content.encryption_certificate_id or "")
        event = event_of_content(self._open(content), notification, tenant, received)
        _check_place(declaration, event.subject)
        return event

    def proven(self) -> tuple[str, ...]:
        """Return the tenants for which a good token was found, now or at an earlier attempt."""
        return tuple(tenant for tenant, doubt in self._doubts.items() if doubt is None)

    def _hear(self, notification: Notification, key_id: str = "") -> None:
        source = Source(notification.subscription_id.lower(), key_id)
        self.seen[id_in_client_state(notification.client_state or "")] = source

    def _open(self, content: EncryptedContent) -> bytes:
        key_id, thumbprint = content.encryption_certificate_id, content.encryption_certificate_thumbprint
        key = self._proofs.encryption_key(key_id or "", thumbprint or "", self._envelope.received)
        return open_content(content, key.private_key)

    def _doubt(self, tenant: str) -> RelayError | None:
        """Return why no validation token proves items of `tenant`; None if one does."""
        if tenant not in self._doubts:
            tokens = self._envelope.tokens
            claiming = [token for token in tokens or () if tenant_claimed(token) == tenant]
            missing = Refused(Reason.TOKENS_NULL if tokens is None else Reason.TOKEN_MISSING)
            self._doubts[tenant] = self._check(claiming) if claiming else missing
        return self._doubts[tenant]

    def _check(self, tokens: Iterable[str]) -> RelayError | None:
        """One good token proves its tenant; those that fail beside it are counted, as a sign of something odd."""
        doubts: list[RelayError] = []
        proven = False
        for token in tokens:
            try:
                check(token, self._find_key, self._proofs.client_id, self._envelope.received)
                proven = True
            except RelayError as doubt:
                doubts.append(doubt)
        if not proven:
            # A token that could not be judged may be the one: keep the items.
            return min(doubts, key=lambda doubt: (RetryLater, Undeliverable, Refused).index(type(doubt)))
        for failed in doubts:
            telemetry.SUSPICIOUS_TOKENS.add(1, {"reason": failed.reason})
        return None

    def _find_key(self, kid: str) -> SigningKey:
        return self._proofs.signing_key(kid, self._envelope.received)


def _check_place(declaration: Declaration | None, named: str) -> None:
    """A clientState is good for the declaration that it was minted for, not for what others were minted for."""
    if declaration is not None and not covers(declaration.resource, named):
        raise Refused(Reason.CLIENT_STATE)
