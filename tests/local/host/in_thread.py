"""A host in a thread of this process, which also runs the functions: for apps made of closures."""

import asyncio
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import azure.functions as func

from graph_simulator.authority import Authority
from graph_simulator.listener import listening
from local.host import metrics
from local.host.calls import Call, HttpAnswer
from local.host.configuration import host_options
from local.host.functions import Function
from local.host.invoker import Invoker, thread_count
from local.host.log import FunctionTimeout
from local.host.server import Host, TlsFiles, address, server_for
from local.host.worker import Point


class ThreadWorker:
    """Runs the functions of `app` on threads of this process."""

    def __init__(self, app: func.FunctionApp, threads: int, timeout: timedelta | None = None) -> None:
        metrics.reader()
        self._invoker = Invoker(app, threads)
        self._timeout = timeout.total_seconds() if timeout else None

    async def start(self) -> Sequence[Function]:
        """Return the functions of the app."""
        return self._invoker.functions

    async def call(self, function: str, call: Call) -> HttpAnswer | None:
        """Run a function. Raises FunctionFailed, FunctionTimeout."""
        running = asyncio.wrap_future(self._invoker.submit(function, call))
        try:
            return await asyncio.wait_for(running, self._timeout)
        except TimeoutError:
            raise FunctionTimeout(f"Timeout value exceeded by function 'Functions.{function}'") from None

    async def metrics(self) -> list[Point]:
        """Return the counters of this process."""
        return metrics.current()

    def close(self) -> None:
        """Take no more calls."""
        self._invoker.close()


@contextmanager
def running(
    app: func.FunctionApp,
    settings: Mapping[str, str],
    *,
    host_json: Path,
    port: int = 0,
    authority: Authority | None = None,
) -> Iterator[str]:
    """Serve `app` from a thread of this process and return its URL; `settings` are in the environment meanwhile.

    The metrics are the process's own: a second host in it continues the counts.
    """
    tls = TlsFiles(authority.certificate, authority.key) if authority else None
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        environment = dict(os.environ)
        options = host_options(host_json, environment)
        worker = ThreadWorker(app, thread_count(environment), options.function_timeout)
        with ThreadPoolExecutor(1) as starter:  # a test's own thread may have an event loop already
            functions = starter.submit(asyncio.run, worker.start()).result()
        host = Host(worker, functions, environment, options)
        server = server_for(host.asgi, tls)
        host.served_by(server)
        with listening(port) as listener:
            thread = threading.Thread(target=server.run, args=([listener],), name="local-host")
            thread.start()
            try:
                yield address(listener, tls)
            finally:
                server.should_exit = True
                thread.join()
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
