"""An HTTP server in a thread, which starts and ends within milliseconds."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext, suppress

import uvicorn

STARTS_WITHIN_SECONDS = 240


class BackgroundServer(uvicorn.Server):
    """A server that ends at once: it closes its connections, whatever its clients do.

    uvicorn's own server takes 0.2 seconds to notice a shutdown, and seconds more while a client keeps a connection.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ready = threading.Event()
        self._ended = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def wait_until_ready(self) -> None:
        """Wait until the server accepts requests. Raises TimeoutError."""
        if not self._ready.wait(STARTS_WITHIN_SECONDS):
            raise TimeoutError("the server did not start")

    def end(self) -> None:
        """End the server, from another thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ended.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and set the event that `wait_until_ready` waits for."""
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self._ready.set()

    async def main_loop(self) -> None:
        """Serve until `end`."""
        while not self._ended.is_set():
            await self.on_tick(0)  # which sets the Date of answers
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close every connection, then the application."""
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()
        await self.lifespan.shutdown()


@contextmanager
def in_background(
    server: BackgroundServer, listener: socket.socket, client: AbstractAsyncContextManager[object] | None = None
) -> Iterator[None]:
    """Run a server in a thread for as long as the context lasts; it closes the listener, and the client if given."""

    async def serve() -> None:
        async with client or nullcontext():
            await server.serve([listener])

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    try:
        server.wait_until_ready()
        yield
    finally:
        server.end()
        thread.join()
