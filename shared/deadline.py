"""How long an invocation may go on with calls to what may be slow: Graph, Entra ID, the key store, the destination.

The time limit belongs to the context (contextvars), so it holds at whatever depth a call is made, and in the threads of
`shared.threads`. Storage is exempt: what is not finished in time still has to be kept.
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
    """Allow `limit` for what is called within; an outer time limit stays in force."""
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

    It asks for no delay: within this invocation, waiting helps nothing.
    """
    if left() <= timedelta(0):
        raise NotAttempted(Reason.POSTPONED, "this invocation is out of time")
