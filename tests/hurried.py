"""Storage for tests that wait for nothing."""

from datetime import timedelta

from shared.configuration.settings import StorageSettings
from shared.storage.queues import Storage, TimeLimits


class Hurried(Storage):
    """The real storage, but that what is to come later comes at once; `delays` is how much later it was to come."""

    def __init__(self, settings: StorageSettings, limits: TimeLimits) -> None:
        super().__init__(settings, limits)
        self.delays: list[timedelta] = []

    def put(self, text: str, *, delay: timedelta = timedelta(0)) -> None:
        assert delay >= timedelta(0)
        self.delays.append(delay)
        super().put(text)
