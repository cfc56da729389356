"""The worker process: imports the app, reports its functions to the host, runs them on request, ends with the host."""

import importlib
import logging
import os
import signal
import socket
import sys
import threading
from concurrent.futures import Future
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from local.host import metrics
from local.host.calls import HttpAnswer
from local.host.invoker import InvocationFilter, Invoker, thread_count
from local.host.log import FunctionFailed


class Sender:
    """Sends messages to the host, one at a time; drops them once the host is gone."""

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def __call__(self, *message: object) -> None:
        """Send one message."""
        with self._lock:
            try:
                self._connection.send(message)
            except OSError:
                os._exit(0)


class HostLogHandler(logging.Handler):
    """Sends the records of invocations to the host."""

    def __init__(self, send: Sender) -> None:
        super().__init__()
        self._send = send
        self.addFilter(InvocationFilter())
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        self._send("log", getattr(record, "function", ""), record.name, record.levelno, self.format(record))


def serve(descriptor: int, level: int) -> None:
    """Serve the host's requests over a socket, until the host is gone. `level`: of the root logger."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # in a terminal Ctrl-C reaches both processes; the host ends this one
    connection: Connection[Any, Any] = Connection(socket.socket(fileno=descriptor).detach())
    send = Sender(connection)
    sys.path.insert(0, str(Path.cwd()))
    metrics.reader()  # before the app is imported, so that its first counts are included
    root = logging.getLogger()
    root.handlers[:] = [HostLogHandler(send)]
    root.setLevel(level)
    invoker = Invoker(importlib.import_module("function_app").app, thread_count(os.environ))
    send("functions", invoker.functions)
    while True:
        try:
            kind, number, *what = connection.recv()
        except (EOFError, OSError):
            os._exit(0)  # without flushing or `atexit`, as the worker is killed in Azure
        if kind == "metrics":
            send("done", number, metrics.current())
        else:
            invoker.submit(*what).add_done_callback(partial(_answer, send, number))


def _answer(send: Sender, number: int, done: "Future[HttpAnswer | None]") -> None:
    error = done.exception()
    if error is None:
        send("done", number, done.result())
    elif isinstance(error, FunctionFailed):
        send("failed", number, error.failure)
    else:
        raise error
