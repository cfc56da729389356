"""Accepts commands to the feed only from its own page or from a program, never from a page of another origin."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec
from starlette.requests import Request

_LARGEST = 64 * 1024
"""Maximum size of a command, in bytes."""

Order = TypeVar("Order", bound=msgspec.Struct)


class ForeignOrigin(Exception):
    """The request is refused with this status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def check_order(headers: Mapping[str, str], size: int) -> None:
    """Return if a request may change something.

    A browser sends `Origin` with every POST, and can't send `application/json` to another origin without asking first.

    Raises:
        ForeignOrigin: 403, another origin's page sent it; 415, not JSON; 413, too large.
    """
    origin, host = headers.get("origin"), headers.get("host", "")
    if origin is not None and origin != f"http://{host}":
        raise ForeignOrigin(403, "commands are accepted from this page only, not from another origin")
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise ForeignOrigin(403, "commands are accepted from this page only, not from another site")
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ForeignOrigin(415, "expected Content-Type: application/json")
    if size > _LARGEST:
        raise ForeignOrigin(413, f"expected at most {_LARGEST} bytes")


async def read_order(request: Request, kind: type[Order]) -> Order:
    """Return the command in a request. Raises ForeignOrigin."""
    check_order(request.headers, 0)
    body = bytearray()
    async for part in request.stream():
        body += part
        check_order(request.headers, len(body))
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ForeignOrigin(400, str(error)) from error
