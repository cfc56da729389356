"""The time limit of an invocation for calls to possibly slow dependencies: Graph, Entra ID, the key store, the
destination.

The limit belongs to the context (contextvars), so it applies at every call depth, and in the threads of
`shared.threads`. Storage is exempt: unfinished messages must still be stored.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.errors import NotAttempted, Reason


@dataclass(frozen=True)
class _Deadline:
    ends: datetime
    clock: Callable[[], datetime]
    outer: "_Deadline | None"

    def left(self) -> timedelta:
        own = self.ends - self.clock()
        return own if self.outer is None else min(own, self.outer.left())


_current: ContextVar[_Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def time_limit(limit: timedelta, clock: Callable[[], datetime]) -> Iterator[None]:
    """Limit the calls within to `limit`; an outer time limit stays in force."""
    token = _current.set(_Deadline(clock() + limit, clock, _current.get()))
    try:
        yield
    finally:
        _current.reset(token)


def left() -> timedelta:
    """Return the time that is left; `timedelta.max` without a limit."""
    deadline = _current.get()
    return timedelta.max if deadline is None else deadline.left()


def check() -> None:
    """Call it before each request that may be slow. Raises NotAttempted once the time is over.

    The failure has no delay: waiting within this invocation is useless.
    """
    if left() <= timedelta(0):
        raise NotAttempted(Reason.POSTPONED, "this invocation is out of time")
