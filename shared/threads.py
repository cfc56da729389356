"""Thread pools that keep the caller's context, writes at a limited rate, and locks with a time limit."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from datetime import timedelta
from typing import Any, Generic, ParamSpec, TypeVar

from shared.errors import NotAttempted, Reason

_P = ParamSpec("_P")
_T = TypeVar("_T")

LOCK_PATIENCE = timedelta(seconds=5)
"""How long an invocation waits for another one's request to a dependency. If that hangs, all would hang."""

_SOON = timedelta(seconds=5)


class ContextThreadPool(ThreadPoolExecutor):
    """A thread pool that runs each task in the context of the submitting thread.

    The Functions worker attributes a log record to an invocation by its context, and drops a record without one.
    """

    def submit(self, fn: Callable[_P, _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """See ThreadPoolExecutor; `map` submits too."""
        return super().submit(copy_context().run, fn, *args, **kwargs)


class ThrottledWriter(Generic[_T]):
    """Writes items in a thread of its own: at most `most` of them, once per `interval`. The newest replace older ones.

    For items that anyone can cause: their number bounds neither the writes nor the memory, and no caller waits.
    `write` must not raise. One object serves all threads.
    """

    def __init__(
        self,
        write: Callable[[list[_T]], None],
        most: int,
        interval: timedelta,
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """pause: waits for a number of seconds."""
        self._write = write
        self._interval = interval
        self._pause = pause
        self._lock = threading.Lock()
        self._pending: deque[_T] = deque(maxlen=most)
        self._is_writing = False

    def add(self, items: Iterable[_T]) -> None:
        """Write items soon; the first ones at once."""
        with self._lock:
            self._pending.extend(items)
            if self._is_writing or not self._pending:
                return
            self._is_writing = True
        threading.Thread(target=copy_context().run, args=(self._run,), name="throttled-writer", daemon=True).start()

    def _run(self) -> None:
        while items := self._take():
            self._write(items)
            self._pause(self._interval.total_seconds())

    def _take(self) -> list[_T]:
        """Return the items to write now; without any, the thread ends."""
        with self._lock:
            items = list(self._pending)
            self._pending.clear()
            self._is_writing = bool(items)
            return items


@contextmanager
def held(lock: threading.Lock, reason: Reason, patience: timedelta | None = None) -> Iterator[None]:
    """Hold a lock that another invocation may hold during a request to a dependency.

    Raises NotAttempted, with `reason`, if the lock is not free within `patience` (LOCK_PATIENCE).
    """
    patience = LOCK_PATIENCE if patience is None else patience
    if not lock.acquire(timeout=patience.total_seconds()):
        raise NotAttempted(reason, "another invocation waits for the same answer", retry_after=_SOON)
    try:
        yield
    finally:
        lock.release()
