"""The worker's part of an invocation: runs functions on one pool of threads, which all functions of an app share."""

import asyncio
import inspect
import logging
import os
import traceback
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar

import azure.functions as func

from local.host.bindings import answer_of, functions_of, value_of
from local.host.calls import Call, HttpAnswer, HttpCall
from local.host.configuration import ConfigurationError
from local.host.log import Failure, FunctionFailed

invocation: ContextVar[str | None] = ContextVar("invocation", default=None)
"""The function that this thread runs, by name. A thread that a function starts has none, unless it gets the
context: then the worker drops its log records.
"""


class Invoker:
    """Runs the functions of `app`; HTTP, queue and timer functions share the threads, as they do in Azure."""

    def __init__(self, app: func.FunctionApp, threads: int) -> None:
        registered = app.get_functions()
        self.functions = functions_of(registered)
        self._calls = {function.get_function_name(): function.get_user_function() for function in registered}
        self._arguments = {function.name: function.argument for function in self.functions}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="function")

    def submit(self, name: str, call: Call) -> "Future[HttpAnswer | None]":
        """Start the function `name`. The future raises FunctionFailed if the function raises."""
        return self._pool.submit(self._run, name, call)

    def close(self) -> None:
        """Take no more calls. Running functions end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, name: str, call: Call) -> HttpAnswer | None:
        token = invocation.set(name)
        try:
            returned = self._calls[name](**{self._arguments[name]: value_of(call)})
            if inspect.isawaitable(returned):
                returned = asyncio.run(_awaited(returned))
            return answer_of(returned) if isinstance(call, HttpCall) else None
        except Exception as error:
            stack = "".join(traceback.format_tb(error.__traceback__))
            raise FunctionFailed(Failure(type(error).__name__, str(error), stack)) from error
        finally:
            invocation.reset(token)


async def _awaited(returned: object) -> object:
    return await returned  # type: ignore[misc]


def thread_count(settings: Mapping[str, str]) -> int:
    """Return the size of the pool; the worker's own default is small.

    Raises:
        ConfigurationError: PYTHON_THREADPOOL_THREAD_COUNT is no positive number.
    """
    text = settings.get("PYTHON_THREADPOOL_THREAD_COUNT") or str(min(32, (os.cpu_count() or 1) + 4))
    if not text.isdecimal() or int(text) == 0:
        raise ConfigurationError("PYTHON_THREADPOOL_THREAD_COUNT: expected a positive number")
    return int(text)


class InvocationFilter(logging.Filter):
    """Passes the records that belong to an invocation, named by its function, as the worker does."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Name the record's function; drop a record without one."""
        function = invocation.get()
        record.__dict__["function"] = function
        return function is not None
