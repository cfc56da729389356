"""Keys in Azure Key Vault: the versions of one self-signed certificate.

The app reads the private key over TLS as the certificate's secret and holds it in memory. An operator may import a
certificate of their own, as PEM or as PKCS #12 (.pfx).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential
from azure.keyvault.certificates import (
    CertificateClient,
    CertificateContentType,
    CertificatePolicy,
    KeyType,
    WellKnownIssuerNames,
)
from azure.keyvault.secrets import KeyVaultSecretIdentifier, SecretClient

from shared import http_client
from shared.errors import Reason, RetryLater, Unanswered
from shared.keys.key import KEY_BITS, BrokenKey, EncryptionKey, read_pem, read_pkcs12

NAME = "graph-relay-encryption"
"""Name of the certificate in the vault."""

_MONTHS = 24
_CREATION_SECONDS = 60

# By default, the SDK retries for seven minutes; the queue trigger would wait that long.
_TIME_LIMIT: dict[str, Any] = {"connection_timeout": 5, "read_timeout": 20}
_RETRIES: dict[str, Any] = {"retry_total": 2, "retry_backoff_factor": 0.5}


class KeyVault:
    """A key store. The id of a key is the version of the certificate; a retired version is disabled.

    verify_resource: a vault may only request tokens for its own domain. Otherwise a wrong URL could obtain a token
    that is valid elsewhere.
    """

    def __init__(self, url: str, credential: TokenCredential, *, verify_resource: bool = True) -> None:
        options = {"transport": _transport(), "verify_challenge_resource": verify_resource, **_RETRIES}
        self._certificates = CertificateClient(url, credential, **options)
        self._secrets = SecretClient(url, credential, **options)

    def ids(self) -> list[str]:
        """The enabled versions. Raises RetryLater."""
        with _translated():
            try:
                versions = list(self._certificates.list_properties_of_certificate_versions(NAME))
            except ResourceNotFoundError:
                return []  # no key has been created yet
        return sorted(properties.version for properties in versions if properties.enabled and properties.version)

    def get(self, key_id: str) -> EncryptionKey | None:
        """The key with that version, or None. Raises RetryLater.

        The private key is the secret that the certificate names as its own: a vault may number them apart.
        """
        with _translated():
            try:
                certificate = self._certificates.get_certificate_version(NAME, key_id)
                its_own = KeyVaultSecretIdentifier(certificate.secret_id or "")
                secret = self._secrets.get_secret(its_own.name, its_own.version)
            except ResourceNotFoundError:
                return None
            except HttpResponseError as error:
                if _is_disabled(error):
                    return None
                raise
        text = secret.value or ""
        if secret.properties.content_type == CertificateContentType.pkcs12:
            return read_pkcs12(key_id, text)
        return read_pem(key_id, text.encode())

    def create(self, now: datetime) -> EncryptionKey:
        """Have the vault make a new version. Raises RetryLater, also while the newest version cannot be read."""
        self._refuse_while_unreadable()
        policy = CertificatePolicy(
            issuer_name=WellKnownIssuerNames.self,
            subject="CN=Graph Relay",
            exportable=True,
            key_type=KeyType.rsa,
            key_size=KEY_BITS,
            reuse_key=False,
            content_type=CertificateContentType.pem,
            validity_in_months=_MONTHS,
        )
        with _translated():
            certificate = self._certificates.begin_create_certificate(NAME, policy).result(_CREATION_SECONDS)
        version = getattr(getattr(certificate, "properties", None), "version", None)
        key = self.get(version) if version else None
        if key is None:
            raise RetryLater(
                Reason.KEY_STORE, f"Key Vault did not complete the certificate {NAME}; check it in the portal"
            )
        return key

    def _refuse_while_unreadable(self) -> None:
        """Raise RetryLater if the newest version cannot be read: each run would make one more that is like it."""
        with _translated():
            try:
                versions = list(self._certificates.list_properties_of_certificate_versions(NAME))
            except ResourceNotFoundError:
                return
        certificate = {
            version.version: version.created_on
            for version in versions
            if version.enabled and version.version and version.created_on
        }
        for version in (version for version, at in certificate.items() if at == max(certificate.values())):
            if problem := self._problem(version):
                detail = f"{NAME}/{version} in Key Vault cannot be read ({problem}); repair or disable it there"
                raise RetryLater(Reason.KEY_STORE, f"{detail}: until then no further version is made")

    def _problem(self, key_id: str) -> str | None:
        try:
            return None if self.get(key_id) else "its secret is not given out"
        except BrokenKey as broken:
            return str(broken)

    def retire(self, key_id: str) -> None:
        """Disable a version. A person can enable it again, for messages found later. Raises RetryLater."""
        with _translated():
            try:
                self._certificates.update_certificate_properties(NAME, key_id, enabled=False)
            except ResourceNotFoundError:
                return


def credential(client_id: str | None) -> TokenCredential:
    """Return the credential for the vault: in Azure the managed identity (`client_id`: of a user-assigned one); on a
    developer's machine the person who is signed in to Azure's tools.
    """
    if "IDENTITY_ENDPOINT" in os.environ:
        return ManagedIdentityCredential(client_id=client_id, transport=_transport(), **_RETRIES)
    return DefaultAzureCredential(managed_identity_client_id=client_id, **_TIME_LIMIT, **_RETRIES)


def _transport() -> RequestsTransport:
    """Return a transport over a session of ours: the SDK's own waits five minutes, and longer for headers that drip."""
    return RequestsTransport(session=http_client.session(), session_owner=False, **_TIME_LIMIT)


def _is_disabled(error: HttpResponseError) -> bool:
    """What is disabled is refused like a missing role, but for the code within."""
    inner = error.error.innererror if error.error else None
    return error.status_code == 403 and (inner or {}).get("code") in ("SecretDisabled", "CertificateDisabled")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (AzureError, ValueError) as error:
        # The SDK raises ValueError for a vault that requests tokens for another domain.
        kind = RetryLater if isinstance(error, HttpResponseError | ValueError) else Unanswered
        detail = (
            f"Key Vault is unavailable or refuses access ({type(error).__name__}); docs/permissions.md lists its roles"
        )
        raise kind(Reason.KEY_STORE, detail) from None
