"""Builders with defaults, so that a test shows only the values that matter to it.

Tokens and encryption follow docs/graph.md, independent of the app's own code.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from shared.configuration.declaration import Declaration, Declarations, declaration_id
from shared.configuration.destinations import Destinations
from shared.configuration.settings import Settings
from shared.graph import client_state
from shared.graph.notification import EncryptedContent
from shared.keys.key import EncryptionKey, new_key
from shared.messages.admission import Admission
from shared.messages.authentication import EnvelopeKeys
from shared.messages.envelope import ChangeBatch, DeadLetter, ItemBatch, LifecycleBatch, ReadbackPage, write
from shared.messages.ingest import ExpectedRecipient

TENANT = "c7d1e2f3-0a0b-4c0d-8e0f-000000000001"
OTHER_TENANT = "c7d1e2f3-0a0b-4c0d-8e0f-000000000002"
CLIENT_ID = "8e46a1b2-0a0b-4c0d-8e0f-000000000003"
CHAT = "19:9e11111111111111@thread.v2"
TEAM = "1a2b3c4d-0a0b-4c0d-8e0f-000000000004"
CHANNEL = "19:7c22222222222222@thread.tacv2"
NOW = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
RESOURCE = "/chats/getAllMessages"
NOTIFICATION_URL = "https://hooks.example.org/api/notifications"


@dataclass
class Clock:
    """A clock that a test sets and advances."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **time: float) -> None:
        self.now += timedelta(**time)

    def advance_to(self, began: datetime, seconds: float) -> None:
        """Advance the clock to `seconds` after a time, or leave it: waits that other threads make overlap."""
        self.now = max(self.now, began + timedelta(seconds=seconds))


def destinations_of(settings: Settings) -> Destinations:
    """Return the destinations in the settings."""
    assert isinstance(settings.destinations, Destinations)
    return settings.destinations


def declarations_of(settings: Settings) -> Declarations:
    """Return the declarations in the settings."""
    assert isinstance(settings.declarations, Declarations)
    return settings.declarations


@cache
def client_state_secret(name: str = "current") -> bytes:
    return hashlib.sha256(name.encode() + secrets.token_bytes(32)).digest()


@cache
def encryption_key(key_id: str = "enc-1") -> EncryptionKey:
    return new_key(key_id, NOW - timedelta(days=1), timedelta(days=365))


@cache
def rsa_key(name: str, bits: int = 2048) -> RSAPrivateKey:
    """A key for a name: the same key in each call."""
    return rsa.generate_private_key(65537, bits)


def minted(tenant: str = TENANT, resource: str = RESOURCE, secret: bytes | None = None) -> str:
    named = declaration_id(tenant, resource)
    return client_state.mint(secret or client_state_secret(), tenant, named, secrets.token_bytes)


def message(message_id: str = "1700000000000", **changes: Any) -> dict[str, Any]:
    """A chat message as Graph returns it (docs/graph.md)."""
    return {
        "@odata.context": "https://graph.microsoft.com/$metadata#chats/messages/$entity",
        "id": message_id,
        "replyToId": None,
        "etag": "1700000060000",
        "messageType": "message",
        "createdDateTime": "2023-11-14T22:13:20Z",
        "lastModifiedDateTime": "2023-11-14T22:14:20.123Z",
        "lastEditedDateTime": None,
        "deletedDateTime": None,
        "chatId": CHAT,
        "channelIdentity": None,
        "from": {"user": {"id": "5d", "displayName": "Ada Marsh"}},
        "body": {"contentType": "text", "content": "Grüße 🎈"},
        "reactions": [],
        **changes,
    }


def channel_message(message_id: str = "1700000000000", root: str | None = None, **changes: Any) -> dict[str, Any]:
    identity = {"teamId": TEAM, "channelId": CHANNEL}
    return message(message_id, replyToId=root, chatId=None, channelIdentity=identity, **changes)


def seal(resource: bytes, symmetric_key: bytes, iv: bytes | None = None) -> tuple[bytes, bytes]:
    """Encrypt and sign as Graph does: ciphertext and HMAC."""
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(symmetric_key), modes.CBC(iv or symmetric_key[:16])).encryptor()
    ciphertext = encryptor.update(padder.update(resource) + padder.finalize()) + encryptor.finalize()
    return ciphertext, hmac.digest(symmetric_key, ciphertext, "sha256")


def wrap(symmetric_key: bytes, key: EncryptionKey, digest: hashes.HashAlgorithm | None = None) -> bytes:
    """Encrypt the symmetric key to the app's public key; SHA-1 by default."""
    digest = digest or hashes.SHA1()
    public = key.certificate.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    return public.encrypt(symmetric_key, OAEP(MGF1(digest), digest, None))


def encrypted(resource: bytes | dict[str, Any], key: EncryptionKey | None = None, **changes: Any) -> dict[str, Any]:
    """An `encryptedContent` (docs/graph.md)."""
    key = key or encryption_key()
    symmetric_key = secrets.token_bytes(32)
    plain = resource if isinstance(resource, bytes) else msgspec.json.encode(resource)
    ciphertext, signature = seal(plain, symmetric_key)
    return {
        "data": base64.b64encode(ciphertext).decode(),
        "dataKey": base64.b64encode(wrap(symmetric_key, key)).decode(),
        "dataSignature": base64.b64encode(signature).decode(),
        "encryptionCertificateId": key.key_id,
        "encryptionCertificateThumbprint": key.thumbprint,
        **changes,
    }


def content(resource: bytes | dict[str, Any], key: EncryptionKey | None = None, **changes: Any) -> EncryptedContent:
    return msgspec.convert(encrypted(resource, key, **changes), EncryptedContent)


def chat_path(message_id: str = "1700000000000", chat: str = CHAT) -> str:
    return f"chats('{chat}')/messages('{message_id}')"


def channel_path(message_id: str, root: str | None = None) -> str:
    channel = f"teams('{TEAM}')/channels('{CHANNEL}')/messages"
    return f"{channel}('{root}')/replies('{message_id}')" if root else f"{channel}('{message_id}')"


def change(resource: str | None = None, **changes: Any) -> dict[str, Any]:
    """A basic change notification for the app (docs/graph.md)."""
    path = resource or chat_path()
    return {
        "subscriptionId": "3f1c0a52-7a3e-4d0e-9f0e-0c6a4f2d9b11",
        "subscriptionExpirationDateTime": "2031-02-03T05:05:06.1234567+00:00",
        "clientState": minted(changes.get("tenantId") or TENANT),
        "changeType": "created",
        "tenantId": TENANT,
        "resource": path,
        "resourceData": {"id": "1700000000000", "@odata.type": "#Microsoft.Graph.ChatMessage", "@odata.id": path},
        **changes,
    }


def rich(written: dict[str, Any] | None = None, key: EncryptionKey | None = None, **changes: Any) -> dict[str, Any]:
    """A change notification for the app with an encrypted message."""
    written = written or message()
    return change(chat_path(written["id"]), **{"encryptedContent": encrypted(written, key), **changes})


def armoured(text: str) -> str:
    """Text with the armour of a PEM private key, but no key."""
    label = "PRIVATE KEY"
    return f"-----BEGIN {label}-----\n{text}\n-----END {label}-----\n"


def lifecycle(event: str = "reauthorizationRequired", **changes: Any) -> dict[str, Any]:
    return {
        "subscriptionId": "3f1c0a52-7a3e-4d0e-9f0e-0c6a4f2d9b11",
        "subscriptionExpirationDateTime": "2031-02-03T05:05:06Z",
        "tenantId": TENANT,
        "clientState": minted(),
        "lifecycleEvent": event,
        **changes,
    }


def body(*items: object, tokens: object = (), **more: object) -> bytes:
    """The body of a POST: a changeNotificationCollection."""
    return msgspec.json.encode({"value": items, "validationTokens": tokens, **more})


def raw(item: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(item))


def changes(*items: object, tokens: Iterable[str] | None = (), attempt: int = 0) -> ChangeBatch:
    held = None if tokens is None else tuple(tokens)
    return ChangeBatch(NOW, tuple(raw(item) for item in items), held, attempt)


def lifecycle_items(*items: object) -> LifecycleBatch:
    return LifecycleBatch(NOW, tuple(raw(item) for item in items))


def envelope_keys() -> EnvelopeKeys:
    """The keys that authenticate the envelopes of an app with the clientState secret above."""
    return EnvelopeKeys([client_state_secret()])


def signed(content: ItemBatch | ReadbackPage | DeadLetter) -> str:
    """The queue message of that app with an envelope."""
    return envelope_keys().sign(write(content))


def admission(clock: Callable[[], datetime] = lambda: NOW) -> Admission:
    """The admission check of that app, which declares RESOURCE."""
    recipient = ExpectedRecipient(TENANT, [client_state_secret()])
    return Admission(envelope_keys(), recipient, Declarations([declaration()]), timedelta(days=9), clock)


def declaration(resource: str = RESOURCE, *, rich: bool = True, tenant: str = TENANT, types: str = "") -> Declaration:
    change_types = tuple(types.split(",")) if types else ("created", "updated", "deleted")
    return Declaration(resource, change_types, include_resource_data=rich, tenant_id=tenant)


def environment(**changes: str | None) -> dict[str, str]:
    """Settings as environment variables; None removes one. Secrets are new each time, except the one that
    mints the clientStates here.
    """
    settings: dict[str, str | None] = {
        "AzureWebJobsStorage": "DefaultEndpointsProtocol=https;AccountName=relay;AccountKey="
        + base64.b64encode(secrets.token_bytes(64)).decode(),
        "GRAPH_TENANT_ID": TENANT,
        "GRAPH_CLIENT_ID": CLIENT_ID,
        "GRAPH_CLIENT_SECRET": secrets.token_urlsafe(),
        "NOTIFICATION_URL": NOTIFICATION_URL,
        "CLIENT_STATE_SECRET": base64.b64encode(client_state_secret()).decode(),
        "SUBSCRIPTIONS": '[{"resource": "/chats/getAllMessages", "changeTypes": ["created", "updated", "deleted"]}]',
        "KEY_STORE": "file:keys",
        "DESTINATION_URL": "https://feed.example.org/events",
        "DESTINATION_SECRET": destination_secret(),
        **changes,
    }
    return {name: value for name, value in settings.items() if value is not None}


def destination_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def pem_of(private_key: RSAPrivateKey) -> bytes:
    return private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
