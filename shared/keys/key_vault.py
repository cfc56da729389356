"""Keys in Azure Key Vault: the versions of one self-signed certificate.

The app reads the private key over TLS as the certificate's secret and holds it in memory. An operator may import a
certificate of their own, as PEM or as PKCS #12 (.pfx).
"""

import os
from collections.abc import Iterator, Mapping
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
from shared.errors import Reason, RetryLater, TimedOut
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

    verify_resource: a vault may only request tokens for its own domain. Otherwise a wrong URL could obtain a token that
    is valid elsewhere. transport: sends the requests; None: a session of its own.
    """

    def __init__(
        self,
        url: str,
        credential: TokenCredential,
        *,
        verify_resource: bool = True,
        transport: RequestsTransport | None = None,
    ) -> None:
        options = {
            "transport": transport or _transport(),
            "verify_challenge_resource": verify_resource,
            **_RETRIES,
        }
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

        The certificate names the secret with its private key: their versions may differ.
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
        """Create a new version in the vault. Raises RetryLater, also while the newest version cannot be read."""
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
        """Raise RetryLater if the newest version cannot be read: otherwise each run would create another one."""
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
                raise RetryLater(Reason.KEY_STORE, f"{detail}: until then the app creates no further version")

    def _problem(self, key_id: str) -> str | None:
        try:
            return None if self.get(key_id) else "its secret can't be read"
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
    """Return the credential for the vault: in Azure the managed identity (`client_id`: of a user-assigned one), on a
    developer's machine that of the user signed in to Azure's tools.
    """
    if "IDENTITY_ENDPOINT" in os.environ:
        return ManagedIdentityCredential(client_id=client_id, transport=_transport(), **_RETRIES)
    return DefaultAzureCredential(managed_identity_client_id=client_id, transport=_transport(), **_RETRIES)


def _transport() -> RequestsTransport:
    """Return a transport over a session of `shared.http_client`: the SDK's own waits five minutes, and longer for
    slowly sent headers.
    """
    return RequestsTransport(session=http_client.session(), session_owner=False, **_TIME_LIMIT)


def _is_disabled(error: HttpResponseError) -> bool:
    """Whether a version is disabled: only the inner code distinguishes that from a missing role."""
    return error.status_code == 403 and _code(error) in ("SecretDisabled", "CertificateDisabled")


def _code(error: HttpResponseError) -> str:
    """Return the more precise inner code of an error, or else its code; "" if there is none."""
    if error.error is None:
        return ""
    inner = error.error.innererror or {}
    return str(inner.get("code") or error.error.code or "")


_NEXT_STEPS = {
    "ObjectIsDeletedButRecoverable": f"recover it: az keyvault certificate recover --name {NAME} --vault-name VAULT",
    "ObjectIsBeingDeleted": "its deletion is not complete: wait a few minutes",
    "ObjectIsBeingRecovered": "its recovery is not complete: wait a few minutes",
    "ForbiddenByFirewall": "the vault's firewall blocks this address: allow the app's subnet under Networking",
    "ForbiddenByConnection": (
        "the vault accepts connections only through a private endpoint: create one in the app's network"
    ),
    "ForbiddenByRbac": "the identity lacks a role that docs/permissions.md lists; a new role takes up to ten minutes",
    "ForbiddenByPolicy": (
        "the vault uses access policies: switch it to Azure role-based access control (docs/permissions.md)"
    ),
    "AccessDenied": (
        "the vault uses access policies: switch it to Azure role-based access control (docs/permissions.md)"
    ),
    "CertificateDisabled": "enable that version of the certificate again, if items still name it",
    "SecretDisabled": "enable that version of the certificate again, if items still name it",
    "CertificateExpired": "the certificate has expired: disable that version, and the app creates another",
    "Throttled": "too many requests for the vault: others use it too, or the app restarts often",
}
"""Advice by the codes of Key Vault (/azure/key-vault/general/rest-error-codes)."""

_LONGEST_MESSAGE = 300


def _refusal(error: HttpResponseError) -> str:
    """Return Key Vault's answer, for the operator and for Microsoft's support, and the next step."""
    code = _code(error)
    step = _NEXT_STEPS.get(code, "docs/permissions.md lists the roles of the app")
    message = " ".join((error.error.message if error.error and error.error.message else "").split())
    headers: Mapping[str, str] = getattr(error.response, "headers", {})
    request_id = headers.get("x-ms-request-id")
    said = f"{error.status_code} {code}".rstrip() + (f": {message[:_LONGEST_MESSAGE]}" if message else "")
    return f"Key Vault answers {said}{f' (request id {request_id})' if request_id else ''}; {step}"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except HttpResponseError as error:
        raise RetryLater(Reason.KEY_STORE, _refusal(error)) from None
    except ValueError:  # raised by the SDK, for a vault that requests tokens for another domain
        raise RetryLater(Reason.KEY_STORE, "the server at KEY_STORE is not a vault of this name") from None
    except AzureError as error:
        detail = f"Key Vault does not answer ({type(error).__name__}); check KEY_STORE and the network of the app"
        raise TimedOut(Reason.KEY_STORE, detail) from None
