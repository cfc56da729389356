"""The items of an envelope that have to be tried again, by what they wait for."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from shared.errors import NotAttempted, Reason, RetryLater


@dataclass
class Retry:
    """Items to be tried again for one reason, and the failure that asks for the longest wait."""

    failure: RetryLater
    items: list[msgspec.Raw] = field(default_factory=list)


class Retries:
    """Items to be tried again. Those that were not attempted wait apart from those that failed: otherwise an item that
    fails each time could hold up its neighbours each time.
    """

    def __init__(self) -> None:
        self._retries: dict[tuple[Reason, bool], Retry] = {}

    def add(self, item: msgspec.Raw, failure: RetryLater) -> None:
        """Try the item again later; of several requested waits, the longest counts."""
        kind = failure.reason, isinstance(failure, NotAttempted)
        retry = self._retries.setdefault(kind, Retry(failure))
        if (failure.retry_after or timedelta(0)) > (retry.failure.retry_after or timedelta(0)):
            retry.failure = failure
        retry.items.append(item)

    def __iter__(self) -> Iterator[Retry]:
        return iter(self._retries.values())

    def items(self) -> list[msgspec.Raw]:
        """Return all items that are to be tried again."""
        return [item for retry in self for item in retry.items]
