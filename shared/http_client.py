"""HTTP requests with pooled sessions, time limits, and bodies of bounded size."""

import http.client
import io
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
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.ssl_ import create_urllib3_context

VERSION = "0.1.0"
"""The version of the app, as in pyproject.toml."""

USER_AGENT = f"graph-relay/{VERSION}"
"""The app's name in requests: firewalls in front of destinations block the names of libraries."""

POOL_SIZE = 32
"""Connections kept open to one host; the worker's thread pool is no larger."""


BODY_TIME_LIMIT = timedelta(seconds=30)
"""Time limit for the body of a response."""

_CHUNK = 65_536


def session(ca: str | None = None, client_certificate: str | None = None) -> requests.Session:
    """Return a session for all threads.

    It trusts `REQUESTS_CA_BUNDLE` if that is set, keeps no cookies, and never uses a `.netrc` file.

    ca: the path of a PEM file with additional trusted certificates. client_certificate: the path of a PEM file with a
    private key and its certificate, for servers that require one.
    """
    new_session = _Session()
    new_session.headers["User-Agent"] = USER_AGENT
    new_session.cert = client_certificate
    adapter = _KeepAlive(ca, pool_connections=4, pool_maxsize=POOL_SIZE)
    new_session.mount("https://", adapter)
    new_session.mount("http://", adapter)
    new_session.cookies.set_policy(_NoCookies())
    new_session.auth = _as_given
    return new_session


@dataclass(frozen=True)
class Response:
    """A response whose body was read completely."""

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
    """Send one request and read the response, at most `limit` bytes. Redirects are not followed.

    timeout: seconds to connect, and for status and headers together, then for each read of the body. request: headers,
    params, json or data, as requests takes them.

    Raises requests.RequestException.
    """
    with session.request(method, url, timeout=timeout, allow_redirects=False, stream=True, **request) as response:
        return Response(response.status_code, response.headers, read_bounded(response, limit))


def read_bounded(response: requests.Response, limit: int, within: timedelta = BODY_TIME_LIMIT) -> bytes:
    """Return the body, at most `limit` bytes, of a response requested with `stream=True`.

    Raises requests.RequestException if the connection breaks, the body is longer, or it takes longer than `within`: the
    session's own time limit applies to each read, so a slowly sent body never exceeds it.
    """
    body = bytearray()
    end = time.monotonic() + within.total_seconds()
    try:
        while chunk := response.raw.read1(
            _CHUNK, decode_content=True
        ):  # returns the bytes received, does not wait for more
            body += chunk
            if len(body) > limit:
                raise requests.exceptions.ContentDecodingError("the body is too long")
            if time.monotonic() > end:
                raise requests.exceptions.ReadTimeout("the body takes too long")
    except urllib3.exceptions.HTTPError as error:
        raise requests.exceptions.ConnectionError(f"the response body ends early ({type(error).__name__})") from None
    return bytes(body)


def retry_after(headers: Mapping[str, str], now: datetime, longest: timedelta) -> timedelta | None:
    """Return the delay that the response requests: `Retry-After` in seconds or as a date (RFC 9110, 10.2.3).

    longest: the upper limit. One header of the other side must not stop delivery for a year.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(timedelta(seconds=int(value[:9])), longest)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return min(max(date.replace(tzinfo=date.tzinfo or UTC) - now, timedelta(0)), longest)


def _as_given(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Return the request unchanged: otherwise requests replaces its Authorization header according to `.netrc`."""
    return request


class _Session(requests.Session):
    """Looks up proxies and trusted certificates in the environment once per server, not per request."""

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[tuple[object, ...], Any] = {}

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: requests would read the whole body, and parse the URL, of each redirect."""

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """See requests.Session."""
        if proxies:
            return super().merge_environment_settings(url, proxies, stream, verify, cert)
        server = tuple(url.split("/", 3)[:3])
        asked = (server, stream, verify, cert)
        found = self._found.get(asked)
        if found is None:
            found = self._found[asked] = super().merge_environment_settings(url, {}, stream, verify, cert)
        return {**found, "proxies": dict(found["proxies"])}


class _KeepAlive(HTTPAdapter):
    """Connections with TCP keep-alive: Azure's NAT forgets an idle flow after four minutes, and the next request on it
    would wait for its whole time limit.
    """

    def __init__(self, ca: str | None, **options: Any) -> None:
        self._ca = ca
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        if self._ca is not None:  # urllib3 adds the certificates that requests trusts to this context
            options["ssl_context"] = create_urllib3_context()
            options["ssl_context"].load_verify_locations(self._ca)
        super().init_poolmanager(*args, **options, socket_options=_KEEP_ALIVE)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _PoolWithTls}


class _HeaderReader(io.RawIOBase):
    """The bytes of a socket, for a response whose status and headers must arrive within the read time limit.

    The time limit of a socket applies to each read, so slowly sent headers never exceed it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._limit = sock.gettimeout()
        self._end = None if self._limit is None else time.monotonic() + self._limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._end is not None:
            left = self._end - time.monotonic()
            if left <= 0:
                raise TimeoutError("the headers take too long")
            self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def headers_are_read(self) -> None:
        """From now on, the time limit applies to each read; the body has its own (read_bounded)."""
        if self._end is not None:
            self._end = None
            self._sock.settimeout(self._limit)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self._reader = _HeaderReader(sock)
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        super().begin()
        self._reader.headers_are_read()


class _Connection(HTTPConnection):
    response_class = _Response


class _ConnectionWithTls(HTTPSConnection):
    response_class = _Response


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _PoolWithTls(HTTPSConnectionPool):
    ConnectionCls = _ConnectionWithTls


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
    """No peer needs cookies, and a jar would carry one caller's state into another's request."""

    def __init__(self) -> None:
        super().__init__(allowed_domains=[])
