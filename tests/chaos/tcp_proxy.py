"""A TCP proxy before the destination that can refuse, reset, or cut connections before the answer is complete."""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum

CHUNK = 65_536


class TcpProxy:
    """Forwards bytes between clients and a port of this machine, unless its state says otherwise."""

    class State(Enum):
        """What happens to connections."""

        OPEN = "open"
        RESETS = "resets"
        """Every connection is reset as soon as the client sends a byte."""
        LOSES_ANSWERS = "loses answers"
        """The request arrives; the answer does not, and the connection is reset."""

    def __init__(self, target: int) -> None:
        self.state = TcpProxy.State.OPEN
        self._target = target
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self, listening: socket.socket, end: asyncio.Event) -> None:
        """Serve until `end`."""
        server = await asyncio.start_server(self._accept, sock=listening)
        async with server:
            await end.wait()
            for task in self._connections:
                task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._pass_on(reader, writer)
        except (OSError, asyncio.CancelledError):
            _reset(writer)
        finally:
            self._connections.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward to the target. Without a target the connection is reset at once."""
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        ways = [
            asyncio.create_task(self._copy(reader, back, answers=False)),
            asyncio.create_task(self._copy(there, writer, answers=True)),
        ]
        _, pending = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in pending:
            way.cancel()
        _reset(back)
        if self.state is TcpProxy.State.OPEN:
            writer.close()
        else:
            _reset(writer)

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(OSError):
            while chunk := await source.read(CHUNK):
                if self.state is TcpProxy.State.RESETS or (answers and self.state is TcpProxy.State.LOSES_ANSWERS):
                    return
                target.write(chunk)
                await target.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of a FIN."""
    connection = writer.get_extra_info("socket")
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def road_to(target: int, port: int) -> Iterator[TcpProxy]:
    """Run a proxy from `port` to `target`, both of 127.0.0.1, for as long as the context lasts."""
    road, end = TcpProxy(target), asyncio.Event()
    loop = asyncio.new_event_loop()
    with socket.create_server(("127.0.0.1", port)) as listening:
        thread = threading.Thread(target=loop.run_until_complete, args=(road.serve(listening, end),), name="road")
        thread.start()
        try:
            yield road
        finally:
            loop.call_soon_threadsafe(end.set)
            thread.join()
            loop.close()
