"""The recipient of the vectors: an app with its tenants, subscriptions and keys, and the token authority."""

import hashlib
import hmac
import re
from base64 import b64encode
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from graph_simulator.encryption import Recipient, seal
from graph_simulator.signing import SigningKey
from graph_simulator.vectors.case import NOW, Item
from graph_simulator.vectors.derivation import Draw
from graph_simulator.vectors.rsa import certificate, derived_key, encrypt_oaep
from graph_simulator.vectors.tokens import Mint, base64url

ONE_DAY = timedelta(days=1)
_IDS = re.compile(r"[^/()']+")
FIRST, SECOND, THIRD = 0, 1, 2


@dataclass(frozen=True)
class EncryptionKey:
    """A key of the app: the recipient of encrypted content, and the private key that decrypts it."""

    private_key: RSAPrivateKey
    certificate: x509.Certificate
    recipient: Recipient


@dataclass(frozen=True)
class Subscription:
    """A subscription of the app as Graph knows it; `name` is its name in the vectors."""

    name: str
    id: str
    tenant: str
    resource: str
    change_type: str
    client_state: str
    rich: bool


class World:
    """What the cases of one seed share. Creation takes some seconds: its RSA keys are derived from the seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        draw = self.draw("world")
        self.client_id = draw.guid()
        self.tenants = (draw.guid(), draw.guid(), draw.guid())
        self.client_state_secret = draw.octets(32)
        self.users = (draw.guid(), draw.guid())
        self.team = draw.guid()
        self.chat = f"19:{draw.octets(16).hex()}@thread.v2"
        self.other_chat = f"19:{draw.octets(16).hex()}@thread.v2"
        self.channel = f"19:{draw.octets(16).hex()}@thread.tacv2"
        self.other_channel = f"19:{draw.octets(16).hex()}@thread.tacv2"
        self.drive = f"b!{base64url(draw.octets(24))}"
        self.site = f"contoso.sharepoint.com,{draw.guid()},{draw.guid()}"
        self.list = draw.guid()
        self.keys = (
            self._encryption_key("enc-2031-02"),
            self._encryption_key("enc-2031-01"),
            self._encryption_key("enc-3072-bits", 3072),
        )
        self.foreign_key = self._encryption_key("enc-of-a-stranger")
        self.signing_keys = (self._signing_key("signing-1"), self._signing_key("signing-2"))
        self._stranger = derived_key(self.draw("a stranger's signing key"))
        self.subscriptions = {subscription.name: subscription for subscription in self._subscriptions()}

    def draw(self, name: str) -> Draw:
        """Return the stream of octets for a name."""
        return Draw(self.seed, name)

    def mint(self, tenant: str | None = None, signing_key: int = 0) -> Mint:
        """Return the mint of the authority's tokens, valid and invalid, for a tenant."""
        key = self.signing_keys[signing_key]
        return Mint(key.private_key, key.kid, tenant or self.tenants[FIRST], self.client_id, NOW, self._stranger)

    def token(self, tenant: int = FIRST, version: str = "2.0") -> str:
        """Return a genuine token for one of the tenants."""
        return self.mint(self.tenants[tenant]).token(version)

    def client_state(self, tenant: str, resource: str, draw: Draw, secret: bytes = b"") -> str:
        """Return a clientState that carries its own proof, for receivers that derive it instead of storing it.

        `random.resource.proof`, each part Base64url: 16 octets; the first 12 of SHA-256 of tenant and resource; an
        HMAC-SHA256 over both parts and the tenant, keyed with `secret` or the world's own. For all other receivers it
        is any text of 80 characters.
        """
        named = hashlib.sha256(f"{tenant}\n{resource.strip('/').lower()}".encode()).digest()[:12]
        stem = f"{base64url(draw.octets(16))}.{base64url(named)}"
        proof = hmac.digest(secret or self.client_state_secret, f"{stem}\n{tenant}".encode(), "sha256")
        return f"{stem}.{base64url(proof)}"

    def enclose(self, plain: bytes, draw: Draw, key: EncryptionKey | None = None) -> dict[str, Any]:
        """Return `encryptedContent` of a resource, under a symmetric key of its own."""
        symmetric_key = draw.octets(32)
        data, signature = seal(plain, symmetric_key)
        return self.content(symmetric_key, data, signature, draw, key)

    def content(
        self, symmetric_key: bytes, data: str, signature: str, draw: Draw, key: EncryptionKey | None = None
    ) -> dict[str, Any]:
        """Return `encryptedContent` with these parts; `data` and `signature` are Base64."""
        recipient = (key or self.keys[0]).recipient
        wrapped = encrypt_oaep(symmetric_key, recipient.public_key, draw.octets(20))
        return {
            "data": data,
            "dataSignature": signature,
            "dataKey": b64encode(wrapped).decode(),
            "encryptionCertificateId": recipient.certificate_id,
            "encryptionCertificateThumbprint": recipient.thumbprint,
        }

    def item(self, subscription: str, resource: str, odata_type: str, draw: Draw, /, **changes: Any) -> Item:
        """Return a basic change notification for a subscription, with `changes`."""
        sender = self.subscriptions[subscription]
        return {
            "id": draw.guid(),
            "subscriptionId": sender.id,
            "subscriptionExpirationDateTime": "2031-02-03T05:00:00.1234567+00:00",
            "clientState": sender.client_state,
            "changeType": "updated",
            "tenantId": sender.tenant,
            "resource": resource,
            "resourceData": {
                "@odata.type": odata_type,
                "@odata.id": resource,
                "id": _IDS.findall(resource)[-1],
            },
            **changes,
        }

    def lifecycle(self, event: str, subscription: str = "all-chats", **changes: Any) -> Item:
        """Return a lifecycle notification for a subscription, with `changes`."""
        sender = self.subscriptions[subscription]
        return {
            "subscriptionId": sender.id,
            "subscriptionExpirationDateTime": "2031-02-03T05:00:00Z",
            "tenantId": sender.tenant,
            "clientState": sender.client_state,
            "lifecycleEvent": event,
            **changes,
        }

    def _subscriptions(self) -> list[Subscription]:
        channel = f"/teams/{self.team}/channels/{self.channel}/messages"
        table = (
            ("all-chats", FIRST, "/chats/getAllMessages", True),
            ("all-channels", FIRST, "/teams/getAllMessages", True),
            ("one-chat", FIRST, f"/chats/{self.chat}/messages", True),
            ("one-channel", FIRST, channel, True),
            ("mail", FIRST, f"/users/{self.users[0]}/messages", False),
            ("mail-with-content", FIRST, f"/users/{self.users[1]}/messages?$select=subject,receivedDateTime", True),
            ("events", FIRST, f"/users/{self.users[0]}/events", False),
            ("contacts", FIRST, f"/users/{self.users[0]}/contacts", False),
            ("files", FIRST, f"/drives/{self.drive}/root", False),
            ("list", FIRST, f"/sites/{self.site}/lists/{self.list}", False),
            ("users", FIRST, "/users", False),
            ("groups", FIRST, "/groups", False),
            ("presence", FIRST, f"/communications/presences/{self.users[0]}", True),
            ("transcripts", FIRST, "/communications/onlineMeetings/getAllTranscripts", True),
            ("all-chats-second-tenant", SECOND, "/chats/getAllMessages", True),
            ("all-channels-second-tenant", SECOND, "/teams/getAllMessages", True),
            ("all-chats-third-tenant", THIRD, "/chats/getAllMessages", True),
        )
        return [self._subscription(*row) for row in table]

    def _subscription(self, name: str, tenant: int, resource: str, rich: bool) -> Subscription:
        draw = self.draw(f"subscription {name}")
        owner = self.tenants[tenant]
        state = self.client_state(owner, resource, draw)
        return Subscription(name, draw.guid(), owner, resource, "created,updated,deleted", state, rich)

    def _encryption_key(self, key_id: str, bits: int = 2048) -> EncryptionKey:
        draw = self.draw(f"encryption key {key_id}")
        private_key = derived_key(draw, bits)
        signed = self._certificate(private_key, f"{key_id} - a test key that anybody can derive", draw)
        return EncryptionKey(private_key, signed, Recipient.of(signed, key_id))

    def _signing_key(self, name: str) -> SigningKey:
        draw = self.draw(name)
        private_key = derived_key(draw)
        der = self._certificate(private_key, f"{name} - a test key that anybody can derive", draw).public_bytes(
            Encoding.DER
        )
        return SigningKey(base64url(hashlib.sha1(der, usedforsecurity=False).digest()), private_key, der)

    def _certificate(self, key: RSAPrivateKey, name: str, draw: Draw) -> x509.Certificate:
        serial = int.from_bytes(draw.octets(15), "big") | 1
        return certificate(key, name, serial, NOW - 30 * ONE_DAY, NOW + 3_650 * ONE_DAY)
