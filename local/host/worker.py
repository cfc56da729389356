"""The host's side of workers: processes that run the functions, replaced when they crash or exceed their time.

A host asks a `Worker` to call a function. `WorkerProcess` runs it in a process of its own, as Azure does.
"""

import asyncio
import itertools
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import IO, Any, Protocol

from local.host.calls import Call, HttpAnswer
from local.host.configuration import PYTHON_SETTING
from local.host.functions import Function
from local.host.log import CONSOLE, Failure, FunctionFailed, FunctionTimeout, WorkerDied

SOCKET_OPTION = "--worker-socket"
RESTART_PAUSE = 0.2  # seconds before a worker that died is replaced

log = logging.getLogger("Host.Workers")

Point = dict[str, Any]


class WorkerUnusable(Exception):
    """A worker process ended before it reported its functions; the log says why."""


class Worker(Protocol):
    """Runs functions for a host."""

    async def start(self) -> Sequence[Function]:
        """Start, and return the functions of the app."""

    async def call(self, function: str, call: Call) -> HttpAnswer | None:
        """Run a function. Raises FunctionFailed or InvocationFailed."""

    async def metrics(self) -> list[Point]:
        """Return the counters of the app."""

    def close(self) -> None:
        """End at once. Running functions are not awaited."""


class WorkerProcess:
    """Runs the functions in a process that `command` starts; a socket connects both.

    A process that dies is replaced, and its functions fail. A function that exceeds its time causes the process to be
    killed: the other functions in the process hang until their own time limit, as under the Functions host.
    """

    def __init__(self, command: Sequence[str], timeout: timedelta | None) -> None:
        self._command = command
        self._timeout = timeout.total_seconds() if timeout else None
        self._ids = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._ready = asyncio.Event()
        self._closing = False
        self._sending = threading.Lock()
        self._process: subprocess.Popen[bytes]
        self._connection: Connection[Any, Any]

    async def start(self) -> Sequence[Function]:
        """Start the process and return the functions of the app.

        Raises:
            WorkerUnusable: the process cannot load the app.
        """
        functions = await self._launch()
        self._ready.set()
        return functions

    async def call(self, function: str, call: Call) -> HttpAnswer | None:
        """Run a function. Raises FunctionFailed, FunctionTimeout, WorkerDied."""
        await self._ready.wait()
        try:
            answer: HttpAnswer | None = await asyncio.wait_for(self._ask(("call", function, call)), self._timeout)
        except TimeoutError:
            self._replace()
            raise FunctionTimeout(
                f"Timeout value of {self._timeout:g} s was exceeded by function 'Functions.{function}'"
            ) from None
        return answer

    async def metrics(self) -> list[Point]:
        """Return the counters since the start of the process."""
        await self._ready.wait()
        found: list[Point] = await self._ask(("metrics",))
        return found

    def close(self) -> None:
        """End the process at once."""
        self._closing = True
        self._process.kill()
        self._process.wait()

    async def _launch(self) -> Sequence[Function]:
        worker_end, child_end = socket.socketpair()
        with child_end:
            self._process = subprocess.Popen(
                [*self._command, SOCKET_OPTION, str(child_end.fileno())],
                pass_fds=[child_end.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        self._connection = Connection(worker_end.detach())
        loop = asyncio.get_running_loop()
        started: asyncio.Future[Sequence[Function]] = loop.create_future()
        output = threading.Thread(
            target=_print, args=(self._process.stdout, started), name="worker-output", daemon=True
        )
        output.start()
        arguments = (self._connection, self._process.pid, started, loop)
        threading.Thread(target=self._read, args=arguments, name="worker-reader", daemon=True).start()
        return await started

    def _read(
        self,
        connection: "Connection[Any, Any]",
        pid: int,
        started: "asyncio.Future[Any]",
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Read the messages of the process until it ends."""
        while True:
            try:
                kind, *what = connection.recv()
            except (EOFError, OSError):
                break
            with suppress(RuntimeError):  # the event loop has ended
                match kind:
                    case "log":
                        function, name, level, text = what
                        category = f"Function.{function}.User"
                        logging.getLogger(category).log(level, "%s: %s", name, text)
                    case "functions":
                        loop.call_soon_threadsafe(started.set_result, what[0])
                    case _:
                        loop.call_soon_threadsafe(self._settle, kind, *what)
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._ended, pid, started)

    def _settle(self, kind: str, number: int, result: object) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is None or waiting.done():
            return
        if kind == "failed":
            assert isinstance(result, Failure)
            waiting.set_exception(FunctionFailed(result))
        else:
            waiting.set_result(result)

    def _ended(self, pid: int, started: "asyncio.Future[Any]") -> None:
        """Replace a process that died, and fail its running functions."""
        if not started.done():
            started.set_exception(WorkerUnusable("The worker process can't load the app"))
            return
        if self._closing or pid != self._process.pid or not self._ready.is_set():
            return
        log.error("The worker process %d exited; another one is started", pid)
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(WorkerDied(f"The worker process {pid} exited"))
        self._begin_restart()

    def _replace(self) -> None:
        """Replace the process because a function exceeded its time; its other functions hang until their own limit.

        The Functions host does so for each function that exceeds its time, even one of a process already replaced.
        """
        if self._closing or not self._ready.is_set():
            return
        log.error("A function exceeded its time limit; the worker process %d is restarted", self._process.pid)
        self._process.kill()
        self._begin_restart()

    def _begin_restart(self) -> None:
        self._ready.clear()
        self._restarting = asyncio.create_task(self._restart())

    async def _restart(self) -> None:
        await asyncio.sleep(RESTART_PAUSE)
        self._process.wait()
        try:
            await self._launch()
        except WorkerUnusable as error:
            log.critical("%s", error)
            return
        self._ready.set()

    async def _ask(self, question: tuple[Any, ...]) -> Any:
        kind, *rest = question
        number = next(self._ids)
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            with self._sending, suppress(OSError):  # the process has just died, which the reader reports
                self._connection.send((kind, number, *rest))
            return await waiting
        finally:
            self._waiting.pop(number, None)


class Workers:
    """Several worker processes, which take calls in turn (FUNCTIONS_WORKER_PROCESS_COUNT)."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers
        self._turns = itertools.cycle(workers)

    async def start(self) -> Sequence[Function]:
        """Start every worker."""
        first, *_ = await asyncio.gather(*(worker.start() for worker in self._workers))
        return first

    async def call(self, function: str, call: Call) -> HttpAnswer | None:
        """Run a function in the next worker."""
        return await next(self._turns).call(function, call)

    async def metrics(self) -> list[Point]:
        """Return the counters of all."""
        found = await asyncio.gather(*(worker.metrics() for worker in self._workers))
        return list(itertools.chain.from_iterable(found))

    def close(self) -> None:
        """End every worker."""
        for worker in self._workers:
            worker.close()


def processes(settings: Mapping[str, str], timeout: timedelta | None) -> Workers:
    """Return the workers of this host: each runs this program again, with the Python that is set for workers, over a
    socket.
    """
    count = int(settings.get("FUNCTIONS_WORKER_PROCESS_COUNT") or "1")
    command = [settings.get(PYTHON_SETTING) or sys.executable, *sys.orig_argv[1:]]
    return Workers([WorkerProcess(command, timeout) for _ in range(count)])


def _print(output: IO[bytes] | None, started: "asyncio.Future[Any]") -> None:
    """Log a worker's output in the host's category for it; until the worker has started, every line."""
    assert output is not None
    console = logging.getLogger(CONSOLE)
    for line in output:
        text = line.decode(errors="replace").rstrip("\n")
        if started.done():
            console.info("%s", text)
        else:
            os.write(sys.stderr.fileno(), line)
