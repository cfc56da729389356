"""Queues for tests that wait for nothing."""

from datetime import timedelta

from shared.configuration.settings import StorageSettings
from shared.storage.account import BACKGROUND_LIMITS
from shared.storage.claim_check import BlobClaims
from shared.storage.queues import AzureQueues, Queue


class UndelayedQueues(AzureQueues):
    """The real queues, but that a delayed message is visible at once; `delays` is by how much each was delayed."""

    def __init__(self, settings: StorageSettings) -> None:
        super().__init__(settings, BACKGROUND_LIMITS, BlobClaims(settings, BACKGROUND_LIMITS))
        self.delays: list[timedelta] = []

    def send(self, text: str, queue: Queue = Queue.NOTIFICATIONS, *, delay: timedelta = timedelta(0)) -> None:
        assert delay >= timedelta(0)
        if queue is Queue.NOTIFICATIONS:
            self.delays.append(delay)
        super().send(text, queue)
