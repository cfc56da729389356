"""TCP ports of this machine for servers that are about to start.

A server binds its port a second after it was chosen. Until then another process may choose the same one, so each
process that looks for ports has a part of them to itself.
"""

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import IO

PARTS = tuple(range(first, first + 400) for first in range(15_000, 32_000, 400))
"""Below the kernel's ephemeral ports: otherwise an outgoing connection could take a port before its server does."""


def free_ports(count: int) -> list[int]:
    """Return `count` different free ports of 127.0.0.1 that no other process gets."""
    with ExitStack() as stack:
        found: list[int] = []
        ports = _ports(os.getpid())
        while len(found) < count:
            port = next(ports)
            with suppress(OSError):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
                found.append(port)
        return found


def answers(port: int) -> bool:
    """Return whether something accepts connections on a port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@cache
def _ports(_process: int) -> Iterator[int]:
    """Yield the ports of this process endlessly: each is repeated only after all others."""
    part = list(_own_part())
    first = random.SystemRandom().randrange(len(part))
    return cycle(part[first:] + part[:first])


def _own_part() -> range:
    """Return a part that no other process has while this one lives; any part if each is taken."""
    directory = Path(tempfile.gettempdir(), f"graph-relay-ports-{os.getuid()}")
    directory.mkdir(exist_ok=True)
    for number, part in enumerate(PARTS):
        lock = (directory / str(number)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        _locks.append(lock)
        return part
    return random.SystemRandom().choice(PARTS)


_locks: list[IO[str]] = []
"""Open until the process ends."""
