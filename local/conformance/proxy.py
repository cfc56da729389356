"""A proxy for a storage account that refuses, fails or resets requests on demand, and records all requests."""

import http.client
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from local.ports import free_ports

RESET = 0
"""A fault without a status: the proxy resets the connection."""

CODES = {403: "AuthorizationFailure", 404: "QueueNotFound", 500: "InternalError", 503: "ServerBusy"}


class Operation(StrEnum):
    """A request of a queue listener to storage."""

    POLL = "poll"
    DELETE = "delete"
    UPDATE = "update"
    POISON = "poison"
    OTHER = "other"


@dataclass(frozen=True)
class StorageRequest:
    """One request: its operation, its time (seconds of the monotonic clock), and whether a fault answered it."""

    operation: Operation
    at: float
    failed: bool


class StorageProxy:
    """Forwards requests to a port of this machine; `faults` maps operations to the status that the proxy answers."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.faults: dict[Operation, int] = {}
        self.asked: list[StorageRequest] = []
        self.gone = False
        self.port = free_ports(1)[0]
        self._server: _Server

    @contextmanager
    def running(self) -> Iterator["StorageProxy"]:
        """Serve for as long as the context lasts."""
        self._listen()
        try:
            yield self
        finally:
            self._refuse_all()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Stop listening for as long as the context lasts: connections are refused, open connections are reset."""
        self.gone = True
        self._refuse_all()
        try:
            yield
        finally:
            self.gone = False
            self._listen()

    def _listen(self) -> None:
        proxy = self

        class Handler(_Handler):
            """Handles the requests of this proxy."""

            owner = proxy

        self._server = _Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def _refuse_all(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def tries(self, operation: Operation) -> int:
        """Return how many requests of an operation were answered with a fault."""
        return sum(asked.failed for asked in list(self.asked) if asked.operation is operation)

    def times(self, operation: Operation) -> list[float]:
        """Return the times of the requests of an operation."""
        return [asked.at for asked in list(self.asked) if asked.operation is operation]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore connections that a host dropped."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    owner: StorageProxy

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self._pass_on
        raise AttributeError(name)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the library's name
        """Log nothing."""

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        operation = operation_of(self.command, self.path)
        fault = RESET if self.owner.gone else self.owner.faults.get(operation)
        self.owner.asked.append(StorageRequest(operation, time.monotonic(), fault is not None))
        if fault == RESET:
            self._reset()
        elif fault is not None:
            self._refuse(fault)
        else:
            self._forward(body)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _refuse(self, status: int) -> None:
        code = CODES[status]
        body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
        self._answer(status, [("x-ms-error-code", code), ("content-type", "application/xml")], body.encode())

    def _forward(self, body: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.owner.target, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
        except OSError:
            self._reset()
            return
        finally:
            connection.close()
        kept = [
            header for header in answer.getheaders() if header[0].lower() not in ("transfer-encoding", "connection")
        ]
        self._answer(answer.status, kept, content)

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if self.command == "HEAD" or name.lower() != "content-length":
                self.send_header(name, value)
        if self.command != "HEAD" and status != HTTPStatus.NO_CONTENT:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def operation_of(method: str, path: str) -> Operation:
    """Return the operation of a request to the queue service."""
    found = re.match(r"/[^/]+/([^/?]+)/messages(/[^?]+)?", path)
    if not found:
        return Operation.OTHER
    if found[1].endswith("-poison"):
        return Operation.POISON if method == "POST" else Operation.OTHER
    match method, bool(found[2]):
        case "GET", False:
            return Operation.POLL
        case "DELETE", True:
            return Operation.DELETE
        case "PUT", True:
            return Operation.UPDATE
    return Operation.OTHER
