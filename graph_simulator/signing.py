"""The authority's signing keys: rotation, metadata, and signed tokens (docs/graph.md, "Validation tokens")."""

import hashlib
import threading
import uuid
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

PUBLISHER = "0bf30f3b-4a52-48df-9a82-234910c4a086"
PUBLISHED_KEYS = 3
LIFETIMES = {1: timedelta(seconds=29_100), 2: timedelta(seconds=86_700)}
BACKDATED = timedelta(minutes=5)
REUSE_UNTIL_LEFT = timedelta(hours=1)
ISSUERS = {1: "https://sts.windows.net/{tenantid}/", 2: "https://login.microsoftonline.com/{tenantid}/v2.0"}


@dataclass(frozen=True)
class SigningKey:
    """An RSA key with a certificate of its own, as the authority publishes it."""

    kid: str
    private_key: rsa.RSAPrivateKey
    certificate: bytes

    @classmethod
    def create(cls, now: datetime) -> "SigningKey":
        """Create a key; takes about a tenth of a second."""
        private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "accounts.accesscontrol.windows.net")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=365 * 5))
            .sign(private_key, hashes.SHA256())
            .public_bytes(Encoding.DER)
        )
        kid = _base64url(hashlib.sha1(certificate, usedforsecurity=False).digest())
        return cls(kid, private_key, certificate)

    def sign(self, claims: dict[str, Any]) -> str:
        """Return a JWT, RS256, with the header that the authority writes."""
        headers = {"typ": "JWT", "kid": self.kid, "x5t": self.kid}
        return jwt.encode(claims, self.private_key, algorithm="RS256", headers=headers)

    def jwk(self) -> dict[str, Any]:
        """Return the public part as an entry of a JSON Web Key Set."""
        numbers = self.private_key.public_key().public_numbers()
        return {
            "kty": "RSA",
            "use": "sig",
            "kid": self.kid,
            "x5t": self.kid,
            "n": _base64url(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
            "e": _base64url(numbers.e.to_bytes(3, "big")),
            "x5c": [b64encode(self.certificate).decode()],
        }


class SigningKeys:
    """The present key signs; former keys stay published for a while. The first key is created when needed."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._keys: list[SigningKey] = []
        self._making = threading.Lock()
        self._tokens: dict[tuple[str, str, int], tuple[datetime, str]] = {}

    @property
    def present(self) -> SigningKey:
        """The key that signs now."""
        return self._published()[-1]

    def rotate(self) -> str:
        """Sign with a new key from now on; return its id."""
        self._keys = [*self._published(), SigningKey.create(self._clock())][-PUBLISHED_KEYS:]
        self._tokens.clear()
        return self.present.kid

    def jwks(self) -> dict[str, Any]:
        """Return the JSON Web Key Set of all published keys, newest first."""
        return {"keys": [key.jwk() for key in reversed(self._published())]}

    def validation_token(self, audience: str, tenant: str, version: int) -> str:
        """Return a validation token for an app in a tenant; the same token until an hour before it expires."""
        now = self._clock()
        expires, token = self._tokens.get((audience, tenant, version), (now, ""))
        if expires - now < REUSE_UNTIL_LEFT:
            claims = validation_claims(audience, tenant, version, now)
            expires, token = now + LIFETIMES[version] - BACKDATED, self.present.sign(claims)
            self._tokens[audience, tenant, version] = expires, token
        return token

    def _published(self) -> list[SigningKey]:
        with self._making:  # tests call this from their own threads, and creating a key takes a while
            self._keys = self._keys or [SigningKey.create(self._clock())]
            return self._keys


def validation_claims(audience: str, tenant: str, version: int, now: datetime) -> dict[str, Any]:
    """Return the claims of a validation token, version 1 or 2, issued five minutes before `now`."""
    issued = int((now - BACKDATED).timestamp())
    publisher = {"appid": PUBLISHER, "appidacr": "2"} if version == 1 else {"azp": PUBLISHER, "azpacr": "2"}
    issuer = ISSUERS[version].replace("{tenantid}", tenant)
    identity_provider = {"idp": issuer} if version == 1 else {}
    service_principal = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{tenant}/{PUBLISHER}"))
    return {
        "aud": audience,
        "iss": issuer,
        "iat": issued,
        "nbf": issued,
        "exp": issued + int(LIFETIMES[version].total_seconds()),
        "aio": uuid.uuid4().hex,
        **publisher,
        **identity_provider,
        "oid": service_principal,
        "rh": "0." + uuid.uuid4().hex,
        "sub": service_principal,
        "tid": tenant,
        "uti": uuid.uuid4().hex,
        "ver": f"{version}.0",
    }


def metadata(login: str, tenant: str, version: int) -> dict[str, Any]:
    """Return the OpenID metadata of an authority: `tenant` is a GUID or "common", `login` the root of its URLs."""
    suffix = "/v2.0" if version == 2 else ""
    issued_for = "{tenantid}" if tenant == "common" else tenant
    return {
        "issuer": ISSUERS[version].replace("{tenantid}", issued_for),
        "authorization_endpoint": f"{login}/{tenant}/oauth2{suffix}/authorize",
        "token_endpoint": f"{login}/{tenant}/oauth2{suffix}/token",
        "jwks_uri": f"{login}/{tenant}/discovery{suffix}/keys",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "response_types_supported": ["code", "id_token", "token"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid"],
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "tid", "ver"],
        "tenant_region_scope": None,
        "cloud_instance_name": "microsoftonline.com",
    }


def _base64url(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()
