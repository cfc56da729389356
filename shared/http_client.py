"""HTTP as this app uses it: pooled sessions, time limits, bodies read to a bounded size."""

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection

POOL = 32
"""Connections kept open to one host; the worker's thread pool is no larger."""


ANSWERED_WITHIN = timedelta(seconds=30)
"""For so long the body of an answer is read."""

_CHUNK = 65_536


def session() -> requests.Session:
    """Return a session for all threads.

    It trusts `REQUESTS_CA_BUNDLE` if that is set, keeps no cookies, and never takes a password from a `.netrc` file.
    """
    made = requests.Session()
    adapter = _KeepAlive(pool_connections=4, pool_maxsize=POOL)
    made.mount("https://", adapter)
    made.mount("http://", adapter)
    made.cookies.set_policy(_NoCookies())
    made.auth = _as_given
    return made


@dataclass(frozen=True)
class Response:
    """An answer whose body was read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def exchange(
    session: requests.Session,
    method: str,
    url: str,
    *,
    timeout: float | tuple[float, float],
    limit: int,
    **request: Any,
) -> Response:
    """Send one request and read the answer, of `limit` bytes at most. Redirects are not followed.

    timeout: seconds to connect and for each read. request: headers, params, json or data, as requests takes them.

    Raises requests.RequestException.
    """
    with session.request(method, url, timeout=timeout, allow_redirects=False, stream=True, **request) as answer:
        return Response(answer.status_code, answer.headers, read_bounded(answer, limit))


def read_bounded(answer: requests.Response, limit: int, within: timedelta = ANSWERED_WITHIN) -> bytes:
    """Return the body, of `limit` bytes at most, of an answer that was asked for with `stream=True`.

    Raises requests.RequestException if the connection breaks, or the body is longer or is not over `within` the time
    given: a session's own time limit is that of each read, which a body that drips never exceeds.
    """
    body = bytearray()
    end = time.monotonic() + within.total_seconds()
    try:
        while chunk := answer.raw.read1(_CHUNK, decode_content=True):  # what there is, and no waiting for more
            body += chunk
            if len(body) > limit:
                raise requests.exceptions.ContentDecodingError("the body is too long")
            if time.monotonic() > end:
                raise requests.exceptions.ReadTimeout("the body takes too long")
    except urllib3.exceptions.HTTPError as error:
        raise requests.exceptions.ConnectionError(f"the body breaks off ({type(error).__name__})") from None
    return bytes(body)


def retry_after(headers: Mapping[str, str], now: datetime, longest: timedelta) -> timedelta | None:
    """Return how long the answer asks us to wait: `Retry-After` in seconds or as a date (RFC 9110, 10.2.3).

    longest: what is believed at most. One header of the other side must not stop delivery for a year.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(timedelta(seconds=int(value[:9])), longest)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return min(max(moment.replace(tzinfo=moment.tzinfo or UTC) - now, timedelta(0)), longest)


def _as_given(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leave a request as it is: without this, requests replaces its Authorization header by what `.netrc` says."""
    return request


class _KeepAlive(HTTPAdapter):
    """Connections that the kernel probes while they are idle: Azure's NAT forgets an idle flow after four minutes, and
    the next request on it would wait for its whole time limit.
    """

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, socket_options=_KEEP_ALIVE)


_KEEP_ALIVE = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), seconds)
        for name, seconds in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
        if hasattr(socket, name)  # macOS lacks some
    ),
]


class _NoCookies(requests.cookies.cookielib.DefaultCookiePolicy):  # type: ignore[name-defined,misc]
    """Nothing we talk to needs cookies, and a jar would carry one caller's state into another's request."""

    def __init__(self) -> None:
        super().__init__(allowed_domains=[])
