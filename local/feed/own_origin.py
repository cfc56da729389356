"""Orders to the feed come from its own page or from a program, never from a page of another origin."""

from collections.abc import Mapping

_LARGEST = 64 * 1024
"""Bytes of an order."""


class NotOurs(Exception):
    """The request is refused: with this status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def check_order(headers: Mapping[str, str], size: int) -> None:
    """Return if a request may change something here.

    A browser sends `Origin` with every POST, and can't send `application/json` to another origin without asking first.

    Raises:
        NotOurs: 403, another origin's page sent it; 415, not JSON; 413, too large.
    """
    origin, host = headers.get("origin"), headers.get("host", "")
    if origin is not None and origin != f"http://{host}":
        raise NotOurs(403, "commands are accepted from this page only, not from another origin")
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise NotOurs(403, "commands are accepted from this page only, not from another site")
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise NotOurs(415, "expected Content-Type: application/json")
    if size > _LARGEST:
        raise NotOurs(413, f"expected at most {_LARGEST} bytes")
