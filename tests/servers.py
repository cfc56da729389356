"""A real HTTP or HTTPS server in a thread, with scripted answers."""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

from graph_simulator.authority import Authority


@dataclass(frozen=True)
class RecordedRequest:
    """A request as received; header names in lower case, `path` with its query, `connection` its client's port."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int = 0


@dataclass(frozen=True)
class ScriptedResponse:
    """A scripted answer; `status` 0 resets the connection. `drip`: seconds before each byte of a body."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    drip: float = 0


RESET = ScriptedResponse(0)

Script = Callable[[RecordedRequest], ScriptedResponse]


def in_json(document: object, status: int = 200) -> ScriptedResponse:
    return ScriptedResponse(status, msgspec.json.encode(document), {"Content-Type": "application/json"})


def in_turn(*answers: ScriptedResponse) -> Script:
    """Give one answer after the other, then repeat the last."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


class Server:
    """A running server; `script` may change at any time, `asked`: the requests so far."""

    def __init__(self, script: Script, authority: Authority | None, clients: Authority | None = None) -> None:
        self.script = script
        self.asked: list[RecordedRequest] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.url = f"http{'s' if authority else ''}://127.0.0.1:{self._http.server_port}"
        if authority:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(authority.certificate, authority.key)
            if clients:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(clients.ca)
            # The handler does the handshake: a client that does not complete it must not block other clients.
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def paths(self) -> list[str]:
        return [request.path for request in self.asked]

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = RecordedRequest(
                    self.command, self.path, headers, self.rfile.read(length), self.client_address[1]
                )
                server.asked.append(asked)
                answer = server.script(asked)
                if answer.status == 0:
                    self.close_connection = True
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    return
                _send_head(self, answer)
                for part in [answer.body[i : i + 1] for i in range(len(answer.body))] if answer.drip else [answer.body]:
                    time.sleep(answer.drip)
                    self.wfile.write(part)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - the names that http.server looks for

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    self.close_connection = True  # the client has disconnected, or refuses our certificate

            def finish(self) -> None:
                try:
                    super().finish()
                except (OSError, ValueError):
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Log nothing."""

        return Handler


def _send_head(handler: BaseHTTPRequestHandler, answer: ScriptedResponse) -> None:
    """A scripted `Date` takes the place of the server's own."""
    send = handler.send_response_only if "Date" in answer.headers else handler.send_response
    send(answer.status)
    for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
        handler.send_header(name, value)
    handler.end_headers()


@contextmanager
def serving(script: Script, authority: Authority | None = None, clients: Authority | None = None) -> Iterator[Server]:
    """Run a server for as long as the context lasts; HTTPS if there is an authority.

    clients: the authority whose certificates the server asks of its clients.
    """
    server = Server(script, authority, clients)
    try:
        yield server
    finally:
        server.stop()
