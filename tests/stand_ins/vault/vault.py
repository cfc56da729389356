"""The vault: certificates that it creates and signs, version by version, each with its key as a secret.

It imitates the real one in what this app depends on: a creation is an operation that is pending for a while and
completes without further calls; a second one meanwhile is a conflict; a certificate begins ten minutes before
its creation; a disabled version is listed and its secret refused. Secrets have other version numbers than
certificates: only a certificate names its secret.
"""

import secrets
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from tests.stand_ins.vault.policy import PKCS12, Policy
from tests.stand_ins.vault.refusal import VaultRefusal, not_found

BACKDATED = timedelta(minutes=10)
MONTH = timedelta(days=30)


@dataclass(frozen=True)
class Version:
    """One version of a certificate. `secret`: the key and the certificate, in the form that the policy requests."""

    id: str
    secret_id: str
    certificate: x509.Certificate
    secret: str
    policy: Policy
    created: datetime
    enabled: bool = True


@dataclass
class _Named:
    versions: dict[str, Version] = field(default_factory=dict)
    last_policy: Policy | None = None
    pending: datetime | None = None
    """When the pending creation began."""


class Vault:
    """All certificates by name. `takes`: how long a creation is pending."""

    def __init__(self, clock: Callable[[], datetime], takes: timedelta = timedelta(0)) -> None:
        self._clock = clock
        self._named: dict[str, _Named] = {}
        self.takes = takes

    def create(self, name: str, policy: Policy) -> None:
        """Start creating a new version.

        Raises:
            VaultRefusal: 409, another creation is pending.
        """
        named = self._named.setdefault(name, _Named())
        self._complete(named)
        if named.pending is not None:
            message = "A new certificate cannot be created while a pending certificate's status is inProgress."
            raise VaultRefusal(HTTPStatus.CONFLICT, "Conflict", message)
        named.pending, named.last_policy = self._clock(), policy

    def is_pending(self, name: str) -> bool:
        """Whether the last creation is still pending.

        Raises:
            VaultRefusal: 404, there was none.
        """
        return self._find(name).pending is not None

    def versions(self, name: str) -> list[Version]:
        """Return the versions of a certificate by their ids, which do not show their order.

        Raises:
            VaultRefusal: 404.
        """
        return sorted(self._find(name).versions.values(), key=lambda version: version.id)

    def version(self, name: str, version_id: str) -> Version:
        """Return one version; "" is the newest.

        Raises:
            VaultRefusal: 404.
        """
        versions = self._find(name).versions
        found = versions.get(version_id) if version_id else next(reversed(versions.values()), None)
        if found is None:
            raise not_found("Certificate", f"{name}/{version_id}")
        return found

    def enable(self, name: str, version_id: str, enabled: bool) -> Version:
        """Enable or disable a version and return it.

        Raises:
            VaultRefusal: 404.
        """
        changed = replace(self.version(name, version_id), enabled=enabled)
        self._named[name].versions[version_id] = changed
        return changed

    def secret(self, name: str, version_id: str) -> Version:
        """Return the certificate version of a secret version, if the secret may be read.

        Raises:
            VaultRefusal: 404, or 403 if it is disabled or its key is not exportable.
        """
        versions = self._find(name).versions.values() if name in self._named else ()
        version = next((version for version in versions if version.secret_id == version_id), None)
        if version is None:
            raise not_found("Secret", f"{name}/{version_id}")
        if not version.enabled:
            message = "Operation get is not allowed on a disabled secret."
            raise VaultRefusal(HTTPStatus.FORBIDDEN, "Forbidden", message, "SecretDisabled")
        if not version.policy.key_props.exportable:
            raise VaultRefusal(HTTPStatus.FORBIDDEN, "Forbidden", "The private key is not exportable.")
        return version

    def bring(self, name: str, key: PrivateKeyTypes, certificate: x509.Certificate, policy: Policy) -> Version:
        """Import a certificate with its key, as an operator may; it becomes the newest version."""
        brought = _version(key, certificate, policy, self._clock())
        self._named.setdefault(name, _Named()).versions[brought.id] = brought
        return brought

    def _find(self, name: str) -> _Named:
        if name not in self._named:
            raise not_found("Certificate", name)
        self._complete(self._named[name])
        return self._named[name]

    def _complete(self, named: _Named) -> None:
        """Complete a pending creation whose time is over."""
        begun, policy = named.pending, named.last_policy
        if begun is None or policy is None or self._clock() - begun < self.takes:
            return
        made = _made(policy, begun)
        named.versions[made.id] = made
        named.pending = None


def _made(policy: Policy, now: datetime) -> Version:
    key = rsa.generate_private_key(public_exponent=65537, key_size=policy.key_props.key_size)
    name = x509.Name.from_rfc4514_string(policy.x509_props.subject)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now - BACKDATED + policy.x509_props.validity_months * MONTH)
        .sign(key, hashes.SHA256())
    )
    return _version(key, certificate, policy, now)


def _version(key: PrivateKeyTypes, certificate: x509.Certificate, policy: Policy, now: datetime) -> Version:
    if policy.secret_props.content_type == PKCS12:
        archive = serialize_key_and_certificates(None, cast("Any", key), certificate, None, NoEncryption())
        secret = b64encode(archive).decode()
    else:
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        secret = (private + certificate.public_bytes(Encoding.PEM)).decode()
    return Version(secrets.token_hex(16), secrets.token_hex(16), certificate, secret, policy, now)
