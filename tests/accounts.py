"""Clients of the storage account for tests."""

from shared.configuration.settings import StorageSettings
from shared.messages.dead_letters import DeadLetters
from shared.storage.account import BACKGROUND_LIMITS, TimeLimits
from shared.storage.claim_check import BlobClaims
from shared.storage.queues import AzureQueues
from shared.storage.tables import AzureTables


def queues(settings: StorageSettings, limits: TimeLimits = BACKGROUND_LIMITS) -> AzureQueues:
    return AzureQueues(settings, limits, claims(settings, limits))


def claims(settings: StorageSettings, limits: TimeLimits = BACKGROUND_LIMITS) -> BlobClaims:
    return BlobClaims(settings, limits)


def tables(settings: StorageSettings) -> AzureTables:
    return AzureTables(settings, BACKGROUND_LIMITS)


def dead_letters(settings: StorageSettings) -> DeadLetters:
    return DeadLetters(queues(settings), claims(settings))
