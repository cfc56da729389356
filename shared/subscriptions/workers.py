"""Several calls to Graph at once, within the time of the run that makes them."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from shared.threads import ContextThreadPool

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 16
"""Steps at once: a creation takes a second or two with its handshakes, and Graph takes 25 a second in a tenant."""


class Workers:
    """Applies functions to many arguments; the pool is made when there is more than one."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        """at_once: 1 does one after the other in the calling thread."""
        self._at_once = at_once

    def map(self, do: Callable[[T], R], arguments: Iterable[T]) -> list[R]:
        """Return the results in the order of the arguments."""
        given: Sequence[T] = list(arguments)
        if self._at_once == 1 or len(given) < 2:
            return [do(argument) for argument in given]
        with ContextThreadPool(min(self._at_once, len(given)), thread_name_prefix="subscriptions") as pool:
            return list(pool.map(do, given))
