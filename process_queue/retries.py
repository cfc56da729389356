"""The items of an envelope to retry, by the failure that they wait for."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from shared.errors import NotAttempted, Reason, RetryLater


@dataclass
class Retry:
    """Items to retry for one reason, and the failure with the longest delay."""

    failure: RetryLater
    items: list[msgspec.Raw] = field(default_factory=list)


class Retries:
    """Items to retry. Unattempted items wait separately from failed ones: otherwise an item that always fails could
    delay the others each time.
    """

    def __init__(self) -> None:
        self._retries: dict[tuple[Reason, bool], Retry] = {}

    def add(self, item: msgspec.Raw, failure: RetryLater) -> None:
        """Retry the item later; of several requested delays, the longest counts."""
        kind = failure.reason, isinstance(failure, NotAttempted)
        retry = self._retries.setdefault(kind, Retry(failure))
        if (failure.retry_after or timedelta(0)) > (retry.failure.retry_after or timedelta(0)):
            retry.failure = failure
        retry.items.append(item)

    def __iter__(self) -> Iterator[Retry]:
        return iter(self._retries.values())

    def items(self) -> list[msgspec.Raw]:
        """Return all items to retry."""
        return [item for retry in self for item in retry.items]
