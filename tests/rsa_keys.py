"""A pool of RSA keys, which later tests reuse: creating a key takes a tenth of a second of a processor.

All keys of one test differ. A key still referenced elsewhere (by a cache, or a server of the session) is not reused,
and fixtures of a wider scope than a test get new keys. A key that is read from equal PEM again is not checked again: a
check takes a twentieth of a second.
"""

import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

_make = rsa.generate_private_key

read = lru_cache(maxsize=64)(serialization.load_pem_private_key)
"""Replaces `serialization.load_pem_private_key`."""


class RsaKeys:
    """Replaces `rsa.generate_private_key`."""

    def __init__(self) -> None:
        self._free: dict[tuple[int, int], list[rsa.RSAPrivateKey]] = defaultdict(list)
        self._used: list[tuple[tuple[int, int], rsa.RSAPrivateKey]] = []
        self._again = False
        self._lock = threading.Lock()

    def __call__(self, public_exponent: int, key_size: int, backend: Any = None) -> rsa.RSAPrivateKey:
        """Return a key that no other test uses."""
        kind = public_exponent, key_size
        with self._lock:
            if not self._again:
                return _make(public_exponent, key_size, backend)
            key = self._unheld(kind) or _make(public_exponent, key_size, backend)
            self._used.append((kind, key))
            return key

    @contextmanager
    def of_a_test(self) -> Iterator[None]:
        """Reuse keys during one test, and let later tests reuse its keys."""
        with self._lock:
            self._again = True
        try:
            yield
        finally:
            with self._lock:
                self._again = False
                for kind, key in self._used:
                    self._free[kind].append(key)
                self._used.clear()

    @contextmanager
    def of_more_than_one_test(self) -> Iterator[None]:
        """Create a new key in each call."""
        before, self._again = self._again, False
        try:
            yield
        finally:
            self._again = before

    def _unheld(self, kind: tuple[int, int]) -> rsa.RSAPrivateKey | None:
        """Take a key without other references out of the pool."""
        free = self._free[kind]
        for number in range(len(free)):
            if sys.getrefcount(free[number]) <= _REFERENCES_OF_A_FREE_ONE:
                return free.pop(number)
        return None


def _references() -> int:
    alone = [object()]
    return sys.getrefcount(alone[0])


_REFERENCES_OF_A_FREE_ONE = _references()
"""The interpreter's reference count of an object that only a list holds."""

keys = RsaKeys()
