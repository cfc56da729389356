"""The clients of the storage account, made together: they work while other settings are invalid."""

from dataclasses import dataclass

from shared.configuration.settings import StorageSettings
from shared.storage.account import ACKNOWLEDGE_LIMITS, BACKGROUND_LIMITS
from shared.storage.claim_check import BlobClaims, ClaimCheck
from shared.storage.queues import AzureQueues, Queues
from shared.storage.tables import AzureTables, Tables


@dataclass(frozen=True)
class StorageClients:
    """acknowledging: the queues with the short time limits of the 202. The others have those of the background."""

    acknowledging: Queues
    queues: Queues
    claims: ClaimCheck
    tables: Tables

    @staticmethod
    def of(settings: StorageSettings) -> "StorageClients":
        """Make the clients of an account; nothing connects before it is used. Raises SettingsError."""
        claims = BlobClaims(settings, BACKGROUND_LIMITS)
        return StorageClients(
            AzureQueues(settings, ACKNOWLEDGE_LIMITS, BlobClaims(settings, ACKNOWLEDGE_LIMITS)),
            AzureQueues(settings, BACKGROUND_LIMITS, claims),
            claims,
            AzureTables(settings, BACKGROUND_LIMITS),
        )
