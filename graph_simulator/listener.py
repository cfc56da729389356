"""Listening sockets of this machine, for every server of the local system."""

import socket


def listening(port: int) -> socket.socket:
    """Return a socket that listens on a port of this machine, 0 for a free one.

    The socket names its protocol, since asyncio disables Nagle's algorithm for such sockets only; Nagle's algorithm
    would delay every second answer by 40 ms.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(2048)
    return listener
