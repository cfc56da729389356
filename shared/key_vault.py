"""Keys in Azure Key Vault: one certificate, self-signed there, whose versions are our keys.

The private key leaves the vault over TLS as the certificate's secret, and stays in memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.keyvault.certificates import (
    CertificateClient,
    CertificateContentType,
    CertificatePolicy,
    KeyType,
    WellKnownIssuerNames,
)
from azure.keyvault.secrets import SecretClient

from shared.errors import NotNow, Reason
from shared.key_ring import KEY_BITS, EncryptionKey, read_pem

NAME = "graph-relay-encryption"
"""Of the certificate in the vault."""

_MONTHS = 24


class KeyVault:
    """A key store. The id of a key is the version of the certificate; retired means disabled."""

    def __init__(self, url: str, credential: TokenCredential | None = None) -> None:
        credential = credential or DefaultAzureCredential()
        self._certificates = CertificateClient(url, credential)
        self._secrets = SecretClient(url, credential)

    def ids(self) -> list[str]:
        """The versions that are enabled. Raises NotNow."""
        with _translated():
            versions = self._certificates.list_properties_of_certificate_versions(NAME)
            return sorted(one.version for one in versions if one.enabled and one.version)

    def get(self, key_id: str) -> EncryptionKey | None:
        """The key of that version, or None. Raises NotNow."""
        with _translated():
            try:
                pem = self._secrets.get_secret(NAME, key_id).value or ""
            except ResourceNotFoundError:
                return None
        return read_pem(key_id, pem.encode())

    def create(self, now: datetime) -> EncryptionKey:
        """Have the vault make a new version. Raises NotNow."""
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
            made = self._certificates.begin_create_certificate(NAME, policy).result()
        version = getattr(getattr(made, "properties", None), "version", None)
        key = self.get(version) if version else None
        if key is None:
            raise NotNow(Reason.KEY_STORE, f"Key Vault did not complete the certificate {NAME}; look at it there")
        return key

    def retire(self, key_id: str) -> None:
        """Disable a version: it can be enabled again by a person, for messages found later. Raises NotNow."""
        with _translated():
            try:
                self._certificates.update_certificate_properties(NAME, key_id, enabled=False)
            except ResourceNotFoundError:
                return


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except AzureError as error:
        detail = f"Key Vault does not answer as it should ({type(error).__name__}); see docs/setup.md for its roles"
        raise NotNow(Reason.KEY_STORE, detail) from None
