"""Concurrent calls to Graph, within the time of the run."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from shared.threads import ContextThreadPool

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 16
"""Concurrent steps: a creation takes one or two seconds with its handshakes, and Graph allows 25 a second per tenant.
"""


class Workers:
    """Applies a function to several arguments; creates the pool for the first pair of arguments."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        """at_once: 1 runs the calls one by one in the calling thread."""
        self._at_once = at_once

    def map(self, do: Callable[[T], R], arguments: Iterable[T]) -> list[R]:
        """Return the results in the order of the arguments."""
        given: Sequence[T] = list(arguments)
        if self._at_once == 1 or len(given) < 2:
            return [do(argument) for argument in given]
        with ContextThreadPool(min(self._at_once, len(given)), thread_name_prefix="subscriptions") as pool:
            return list(pool.map(do, given))
