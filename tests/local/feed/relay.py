"""The functions host, as far as the feed requests it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@contextmanager
def relay_that_says(metrics: list[dict[str, Any]]) -> Iterator[tuple[str, Callable[[], None]]]:
    """Serve these metrics; yield their URL, and a function that stops the server."""

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(metrics).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Metrics)
    Thread(target=server.serve_forever).start()

    def stop() -> None:
        server.shutdown()
        server.server_close()

    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/admin/metrics", stop
    finally:
        stop()
