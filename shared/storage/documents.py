"""Blobs that hold the value of a setting, read with the app's identity."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol, cast

from azure.core import MatchConditions
from azure.core.credentials import TokenCredential
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobServiceClient

from shared.configuration.settings import StorageSettings
from shared.configuration.values import InvalidValue
from shared.errors import Reason, RetryLater
from shared.storage.account import TimeLimits, identity_credential, settings_checked, translated

LIMITS = TimeLimits(connect=5, read=10, retries=1, backoff=1)
"""The value in force stays in use: nothing has to wait for long."""

LARGEST = 16 << 20
"""Bytes of a blob. The stored copy, compressed, is limited to less: some 30,000 declarations (StoredCopies)."""


DIVIDE = "divide it among several apps, or replace many declarations by one with forEach"
"""The advice for a text that is too large."""


@dataclass(frozen=True)
class Document:
    """The text of a blob, its ETag, and when it was written."""

    text: str
    etag: str
    modified: datetime


class Documents(Protocol):
    """Reads blobs in any storage account."""

    def read(self, address: str, known: str = "") -> Document | None:
        """Return a blob; None if it still has the ETag `known`.

        Raises RetryLater if it can't be read, InvalidValue if it is not text or too large.
        """


def _if_changed(known: str) -> dict[str, Any]:
    return {"etag": known, "match_condition": MatchConditions.IfModified} if known else {}


class BlobDocuments:
    """Blobs in storage accounts; one object serves all threads."""

    def __init__(self, settings: StorageSettings) -> None:
        self._settings = settings
        self._clients: dict[str, BlobClient] = {}

    def read(self, address: str, known: str = "") -> Document | None:
        """See Documents."""
        with translated(f"the blob {address}"):
            try:
                download = self._client(address).download_blob(encoding=None, **_if_changed(known))
                if download.size > LARGEST:
                    raise InvalidValue(f"expected at most {LARGEST} bytes: {DIVIDE}")
                content: bytes = download.readall()
            except ResourceNotFoundError:
                raise RetryLater(Reason.STORAGE, f"there is no blob {address}") from None
            except HttpResponseError as error:
                if error.status_code == 304:
                    return None
                if error.status_code not in (401, 403):
                    raise
                detail = "give the app's identity the role Storage Blob Data Reader on its container"
                raise RetryLater(
                    Reason.STORAGE, f"the app may not read the blob {address} ({error.status_code}); {detail}"
                ) from None
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InvalidValue("expected text in UTF-8") from None
        return Document(text, str(download.properties.etag), download.properties.last_modified)

    def _client(self, address: str) -> BlobClient:
        """Return a client, created once for each blob: another would have to connect, and to get a token."""
        client = self._clients.get(address)
        if client is None:
            made = BlobClient.from_blob_url(address, credential=self._credential(address), **LIMITS.options())
            client = self._clients.setdefault(address, made)
        return client

    def _credential(self, address: str) -> TokenCredential:
        """Return the account's key for a blob in the app's account; otherwise the app's identity."""
        if self._settings.connection_string:
            with settings_checked():
                service = BlobServiceClient.from_connection_string(self._settings.connection_string)
            if address.startswith(service.url.rstrip("/") + "/"):
                return cast("TokenCredential", service.credential)  # of a connection string: its key
        if not address.startswith("https://"):
            raise InvalidValue("expected an https:// address, since the app's token is sent there")
        return self._identity

    @cached_property
    def _identity(self) -> TokenCredential:
        return identity_credential(self._settings, other_account=True)
