"""Settings whose value a blob holds: it can change without a deployment, and be larger than an app setting."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from shared.configuration.values import InvalidValue

T = TypeVar("T")

_EXPECTED = (
    "expected the address of a blob, such as https://ACCOUNT.blob.core.windows.net/CONTAINER/NAME, without a query: "
    "the app reads it with its own identity"
)


@dataclass(frozen=True)
class BlobAddress:
    """The address of a blob that holds the value of a setting."""

    url: str


@dataclass(frozen=True)
class InBlob(Generic[T]):
    """A setting whose value is in a blob. `read` parses the blob's text, or raises InvalidValue."""

    setting: str
    address: str
    read: Callable[[str], T] = field(repr=False, compare=False)


def blob_address(text: str) -> BlobAddress | None:
    """Return the URL of a blob; None if `text` is not a URL: then it is the value itself, or a path.

    http:// only to this machine. Raises InvalidValue for a URL that can't be a blob's.
    """
    if not text.lower().startswith(("https://", "http://")):
        return None
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InvalidValue(_EXPECTED) from None
    secure = parts.scheme == "https" or host in ("localhost", "127.0.0.1", "::1")
    path = parts.path.strip("/").split("/")
    if not host or not secure or parts.query or parts.fragment or parts.username is not None or len(path) < 2:
        raise InvalidValue(_EXPECTED)
    return BlobAddress(text)
