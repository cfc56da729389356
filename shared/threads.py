"""Thread pools whose threads belong to the invocation that gave them work."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class ContextThreadPool(ThreadPoolExecutor):
    """A thread pool that runs each task in the context of whoever submitted it.

    The Functions worker attributes a log record to an invocation by its context, and drops a record without one.
    """

    def submit(self, fn: Callable[_P, _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """See ThreadPoolExecutor; `map` submits too."""
        return super().submit(copy_context().run, fn, *args, **kwargs)
