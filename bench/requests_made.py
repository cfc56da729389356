"""Counts the requests that this process makes to the storage account."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from urllib3.connectionpool import HTTPConnectionPool

from local.azurite import ACCOUNT


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Yield the counts of requests, by method and subject, such as `PUT notifications-claims`."""
    requests: Counter[str] = Counter()
    original = HTTPConnectionPool.urlopen

    def urlopen(self: HTTPConnectionPool, method: str, url: str, *args: Any, **options: Any) -> Any:
        path = url.partition("?")[0].strip("/").split("/")
        if path[0] == ACCOUNT:
            requests[f"{method} {(path[1:] or ['$batch'])[0].partition('(')[0]}"] += 1
        return original(self, method, url, *args, **options)

    HTTPConnectionPool.urlopen = urlopen  # type: ignore[method-assign]
    try:
        yield requests
    finally:
        HTTPConnectionPool.urlopen = original  # type: ignore[method-assign]
