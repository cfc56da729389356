"""The clients of the storage account. They work while other settings are invalid."""

from dataclasses import dataclass

from shared.configuration.settings import StorageSettings
from shared.storage.account import ACKNOWLEDGE_LIMITS, BACKGROUND_LIMITS
from shared.storage.claim_check import BlobClaims, ClaimCheck
from shared.storage.documents import BlobDocuments, Documents
from shared.storage.queues import AzureQueues, Queues
from shared.storage.tables import AzureTables, Tables


@dataclass(frozen=True)
class StorageClients:
    """acknowledging: queues with ACKNOWLEDGE_LIMITS. The others have BACKGROUND_LIMITS."""

    acknowledging: Queues
    queues: Queues
    claims: ClaimCheck
    tables: Tables
    documents: Documents

    @staticmethod
    def of(settings: StorageSettings) -> "StorageClients":
        """Create the clients of an account; they connect on first use. Raises SettingsError."""
        claims = BlobClaims(settings, BACKGROUND_LIMITS)
        return StorageClients(
            AzureQueues(settings, ACKNOWLEDGE_LIMITS, BlobClaims(settings, ACKNOWLEDGE_LIMITS)),
            AzureQueues(settings, BACKGROUND_LIMITS, claims),
            claims,
            AzureTables(settings, BACKGROUND_LIMITS),
            BlobDocuments(settings),
        )
