"""A client of Graph for tests: a token, calls, subscriptions, and decryption of content."""

import hashlib
import hmac
import ssl
import uuid
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import httpx
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from graph_simulator.authority import Authority
from graph_simulator.server import GraphServer


@dataclass(frozen=True)
class EncryptionKey:
    """A private key with its certificate and an id."""

    id: str
    private: rsa.RSAPrivateKey
    der: bytes

    @classmethod
    def create(cls, size: int = 2048) -> "EncryptionKey":
        private = rsa.generate_private_key(public_exponent=65537, key_size=size)
        return cls("enc-" + uuid.uuid4().hex, private, certificate(private))

    def open(self, content: dict[str, str]) -> dict[str, Any]:
        """Decrypt `encryptedContent` in five steps (docs/graph.md, "Rich notifications")."""
        oaep = OAEP(mgf=MGF1(algorithm=hashes.SHA1()), algorithm=hashes.SHA1(), label=None)
        key = self.private.decrypt(b64decode(content["dataKey"]), oaep)
        data = b64decode(content["data"])
        assert hmac.new(key, data, hashlib.sha256).digest() == b64decode(content["dataSignature"])
        resource: dict[str, Any] = msgspec.json.decode(decrypted(data, key, key[:16]))
        return resource


def decrypted(data: bytes, key: bytes, iv: bytes) -> bytes:
    """AES-256-CBC and PKCS#7, backwards."""
    decryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).decryptor()
    unpadder = padding.PKCS7(128).unpadder()
    return unpadder.update(decryptor.update(data) + decryptor.finalize()) + unpadder.finalize()


def certificate(private: Any) -> bytes:
    """Return a self-signed certificate, DER."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .sign(private, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


@cache
def encryption_key() -> EncryptionKey:
    """Return the key that most tests use."""
    return EncryptionKey.create()


@dataclass
class GraphClient:
    """Calls Graph for the registered app, by default in its home tenant."""

    graph: GraphServer
    http: httpx.Client
    hook: str
    tokens: dict[str, str] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def of(cls, graph: GraphServer, authority: Authority, hook: str) -> Iterator["GraphClient"]:
        trusted = ssl.create_default_context(cafile=authority.ca)
        with httpx.Client(verify=trusted, timeout=60) as http:
            yield cls(graph, http, hook)

    def ask_token(self, tenant: str | None = None, **form: str) -> httpx.Response:
        """Post a token request; `form` overrides valid fields, an empty value leaves a field out."""
        registration = self.graph.registration
        good = {
            "grant_type": "client_credentials",
            "client_id": registration.client_id,
            "client_secret": registration.client_secret,
            "scope": "https://graph.microsoft.com/.default",
        }
        fields = {name: value for name, value in (good | form).items() if value}
        return self.http.post(f"{self.graph.url}/{tenant or registration.tenant}/oauth2/v2.0/token", data=fields)

    def token(self, tenant: str | None = None) -> str:
        tenant = tenant or self.graph.registration.tenant
        if tenant not in self.tokens:
            self.tokens[tenant] = self.ask_token(tenant).json()["access_token"]
        return self.tokens[tenant]

    def call(
        self,
        method: str,
        path: str,
        json: Any = None,
        tenant: str | None = None,
        params: dict[str, str] | None = None,
        prefer: str = "include-unknown-enum-members",
    ) -> httpx.Response:
        """Call Graph; `path` is relative to /v1.0/ or a whole link."""
        url = path if path.startswith("https:") else f"{self.graph.url}/v1.0/{path}"
        headers = {"Authorization": f"Bearer {self.token(tenant)}", "Prefer": prefer}
        return self.http.request(method, url, json=json, headers=headers, params=params)

    def subscribe(self, tenant: str | None = None, **properties: Any) -> httpx.Response:
        """Request a subscription: rich and to all chats by default; `properties` override (None: leave out)."""
        wanted = {key: value for key, value in (self.properties() | properties).items() if value is not None}
        return self.call("POST", "subscriptions", wanted, tenant)

    def subscribed(self, tenant: str | None = None, **properties: Any) -> dict[str, Any]:
        """Create a subscription and return it."""
        response = self.subscribe(tenant, **properties)
        assert response.status_code == 201, response.text
        created: dict[str, Any] = response.json()
        return created

    def properties(self) -> dict[str, Any]:
        """Return the properties of a valid create call."""
        return {
            "changeType": "created,updated,deleted",
            "resource": "/chats/getAllMessages",
            "notificationUrl": self.hook,
            "lifecycleNotificationUrl": self.hook,
            "expirationDateTime": self.moment(hours=48),
            "clientState": "a-secret-of-the-test",
            "includeResourceData": True,
            "encryptionCertificate": b64encode(encryption_key().der).decode(),
            "encryptionCertificateId": encryption_key().id,
        }

    def moment(self, **ahead: float) -> str:
        """Return a time after the simulator's clock, in Graph's form."""
        now = datetime.fromisoformat(self.graph.post("clock", advance_seconds=0)["now"])
        return (now + timedelta(**ahead)).isoformat().replace("+00:00", "Z")


def generated(graph: GraphServer) -> bool:
    """Advance by a second; return whether every ordered message and its follow-ups are written."""
    graph.post("clock", advance_seconds=1)
    return not graph.get("summary")["generating"]
