"""The storage account: time limits, credentials, and translated errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from azure.core.credentials import TokenCredential
from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ServiceRequestTimeoutError,
    ServiceResponseTimeoutError,
)
from azure.core.pipeline.transport import RequestsTransport

from shared import http_client
from shared.configuration.settings import SettingsError, StorageSettings
from shared.configuration.values import CONNECTION_STRING
from shared.errors import Reason, RetryLater, TimedOut


@dataclass(frozen=True)
class TimeLimits:
    """Time limits of a client: seconds to connect and to wait for a response, retries after the first attempt, and the
    base (seconds) of the exponential backoff between them.
    """

    connect: float
    read: float
    retries: int
    backoff: int

    def options(self) -> dict[str, Any]:
        """Return the options of an Azure client."""
        return {
            "transport": self.transport(),
            "retry_total": self.retries,
            "retry_connect": self.retries,
            "retry_read": self.retries,
            "retry_status": self.retries,
            "initial_backoff": 0,
            "increment_base": self.backoff,
            "random_jitter_range": 0,
        }

    def transport(self) -> RequestsTransport:
        """Return the transport: the SDK's own keeps ten connections, fewer than there are threads, without
        keep-alive.
        """
        return RequestsTransport(
            session=http_client.session(), session_owner=False, connection_timeout=self.connect, read_timeout=self.read
        )


ACKNOWLEDGE_LIMITS = TimeLimits(connect=1.0, read=2.2, retries=1, backoff=0)
"""For requests that Graph waits for. One immediate retry: a pooled connection may have been closed meanwhile.

The read timeout uses all of Graph's time limit: storage still executes an abandoned request, its retry and each resend
of Graph, which would keep a slow queue slow.
"""

BACKGROUND_LIMITS = TimeLimits(connect=5, read=20, retries=2, backoff=2)
"""For background work: queue processing, the timer, and ops. A hanging request takes 80 seconds in all."""


def identity_credential(settings: StorageSettings, *, other_account: bool = False) -> TokenCredential:
    """Return the credential without a connection string: the managed identity in Azure; locally, that of `az login`.

    other_account: for a blob that may be in another account than the app's.
    """
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - takes 0.2 s, unused with a connection string

    return DefaultAzureCredential(
        managed_identity_client_id=(settings.managed_identity if other_account else None)
        or settings.identity_client_id,
        transport=BACKGROUND_LIMITS.transport(),
        retry_total=BACKGROUND_LIMITS.retries,
    )


@contextmanager
def settings_checked() -> Iterator[None]:
    """Turn the SDK's error about a connection string, which may quote it, into SettingsError."""
    try:
        yield
    except ValueError:
        raise SettingsError([f"AzureWebJobsStorage: {CONNECTION_STRING}"]) from None


@contextmanager
def translated(what: str = "the storage account") -> Iterator[None]:
    """Turn the SDK's errors into RetryLater; their texts contain account names and are omitted."""
    try:
        yield
    except HttpResponseError as error:
        detail = f"{what} answers {error.status_code}"
        if error.status_code in (401, 403):
            detail = f"{what} refuses the app's credentials, or its firewall blocks this address ({error.status_code})"
        raise RetryLater(Reason.STORAGE, detail) from None
    except AzureError as error:
        kind = TimedOut if isinstance(error, ServiceRequestTimeoutError | ServiceResponseTimeoutError) else RetryLater
        raise kind(Reason.STORAGE, f"{what} does not answer ({type(error).__name__})") from None
