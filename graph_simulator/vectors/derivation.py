"""All random data of a set of vectors, derived from its seed: the same seed gives the same bytes."""

import hashlib
import uuid
from base64 import b64encode

MOST = 2**63 - 1
"""The largest seed."""


class Draw:
    """A stream of octets for a seed and a name; each call returns the next octets.

    For tests only: the seed determines every octet.
    """

    def __init__(self, seed: int, name: str) -> None:
        self._stem = f"vectors of Graph notifications\n{seed}\n{name}\n".encode()
        self._calls = 0

    def octets(self, size: int) -> bytes:
        """Return `size` octets."""
        self._calls += 1
        return hashlib.shake_256(self._stem + self._calls.to_bytes(8, "big")).digest(size)

    def base64(self, size: int) -> str:
        """Return the Base64 of `size` octets."""
        return b64encode(self.octets(size)).decode()

    def guid(self) -> str:
        """Return a GUID, version 4, lower case."""
        return str(uuid.UUID(bytes=self.octets(16), version=4))

    def digits(self, count: int) -> str:
        """Return a decimal number of `count` digits that does not begin with 0."""
        least: int = 10 ** (count - 1)
        return str(least + int.from_bytes(self.octets(16), "big") % (9 * least))
