"""Sessions and answers of HTTP as this app wants them: pooled, time-limited, read to a bounded size."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import requests
from requests.adapters import HTTPAdapter

POOL = 32
"""Connections kept open to one host; the worker's thread pool is no larger."""


def session() -> requests.Session:
    """Return a session for all threads. It trusts `REQUESTS_CA_BUNDLE` if that is set, and keeps no cookies."""
    made = requests.Session()
    adapter = HTTPAdapter(pool_connections=4, pool_maxsize=POOL)
    made.mount("https://", adapter)
    made.mount("http://", adapter)
    made.cookies.set_policy(_NoCookies())
    return made


def read_bounded(answer: requests.Response, limit: int) -> bytes:
    """Return the body, of `limit` bytes at most, of an answer that was asked for with `stream=True`.

    Raises requests.RequestException if the connection breaks or the body is longer.
    """
    body = bytearray()
    for chunk in answer.iter_content(65_536):
        body += chunk
        if len(body) > limit:
            raise requests.exceptions.ContentDecodingError("the body is too long")
    return bytes(body)


def retry_after(answer: requests.Response, now: datetime) -> timedelta | None:
    """Return how long the answer asks us to wait: `Retry-After` in seconds or as a date (RFC 9110 §10.2.3)."""
    value = answer.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return timedelta(seconds=min(int(value[:9]), 31_536_000))
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return max(moment.replace(tzinfo=moment.tzinfo or UTC) - now, timedelta(0))


class _NoCookies(requests.cookies.cookielib.DefaultCookiePolicy):  # type: ignore[name-defined,misc]
    """Nothing we talk to needs cookies, and a jar would carry one caller's state into another's request."""

    def __init__(self) -> None:
        super().__init__(allowed_domains=[])
