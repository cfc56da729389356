"""The Python worker's part: calls functions on one pool of threads, and says what failed without saying why."""

import asyncio
import inspect
import logging
import os
import traceback
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from local.host.configuration import ConfigurationError
from local.host.functions import Function

log = logging.getLogger("local.host")


class Worker:
    """Runs all functions of an app; HTTP, queue and timer functions share the threads, as they do in Azure."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="function")

    async def call(self, function: Function, value: object) -> Any:
        """Return what `function` makes of its trigger's value; `def` on the pool, `async def` on the loop."""
        call = partial(function.call, **{function.argument: value})
        if inspect.iscoroutinefunction(function.call):
            return await call()
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """Take no more calls. What still runs is left to end by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def thread_count(settings: Mapping[str, str]) -> int:
    """Return the size of the pool; the worker's own default is small.

    Raises:
        ConfigurationError: PYTHON_THREADPOOL_THREAD_COUNT is no positive number.
    """
    text = settings.get("PYTHON_THREADPOOL_THREAD_COUNT") or str(min(32, (os.cpu_count() or 1) + 4))
    if not text.isdecimal() or int(text) == 0:
        raise ConfigurationError("PYTHON_THREADPOOL_THREAD_COUNT: expected a positive number")
    return int(text)


def report_failure(function: Function, error: Exception) -> None:
    """Log the kind and the place of an exception. Its message may hold what must not be logged."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    log.error("%s failed: %s at %s", function.name, type(error).__name__, where)
