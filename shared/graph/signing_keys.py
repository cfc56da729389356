"""The authority's signing keys: fetched, cached, and fetched again at a bounded rate when a `kid` is unknown."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

import jwt
import msgspec
import requests
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from shared import deadline
from shared.errors import Reason, Refused, RetryLater, Undeliverable
from shared.graph.validation_token import SigningKey
from shared.http_client import exchange
from shared.threads import held

T = TypeVar("T")

MIN_REFETCH_INTERVAL = timedelta(minutes=5)
"""Minimum time between two fetches caused by an unknown `kid`: anybody can send a token with one."""

RETRY_INTERVAL = timedelta(seconds=15)
"""Minimum time between two fetches while the authority does not answer."""

MAX_KEY_AGE = timedelta(hours=24)
"""Fetched keys are used for this long: keys rotate about daily, and a withdrawn key must not stay valid here."""

UNKNOWN_KEY_REFUSED_WITHIN = timedelta(hours=1)
"""A token this fresh with an unknown key is refused; the key of an older token may have been withdrawn since."""

_METADATA = {
    "1.0": "/common/.well-known/openid-configuration",
    "2.0": "/common/v2.0/.well-known/openid-configuration",
}
_TIME_LIMIT = (3.05, 10)
_MAX_RESPONSE_BYTES = 1 << 20


class _Metadata(msgspec.Struct):
    issuer: str
    jwks_uri: str


class _KeySet(msgspec.Struct):
    keys: list[dict[str, object]]


@dataclass(frozen=True)
class _Fetched:
    at: datetime
    keys: dict[str, SigningKey] = field(default_factory=dict)


class SigningKeys:
    """Finds the authority's keys by `kid`; one object serves all threads."""

    def __init__(self, login_url: str, session: requests.Session, clock: Callable[[], datetime]) -> None:
        self._login_url = login_url
        self._session = session
        self._clock = clock
        self._fetching = threading.Lock()
        self._fetched: _Fetched | None = None
        self._last_attempt: datetime | None = None

    def find(self, kid: str, version: str, received: datetime) -> SigningKey:
        """Return the key named `kid`, for a token of a version (`1.0`, `2.0`) that arrived at `received`.

        Each version has its own list of keys: one list may be older than a rotation, the other newer.

        Raises:
            Refused: the authority was asked after the token arrived and has no such key for this version.
            Undeliverable: the same, but the token is so old that its key may have been withdrawn since.
            RetryLater: the authority is unavailable, or was asked too recently.
        """
        key = self._cached(kid, version)
        if key:
            return key
        with held(self._fetching, Reason.SIGNING_KEYS):
            key = self._cached(kid, version)  # another thread may have fetched meanwhile
            if key:
                return key
            if not self._fetched or self._fetched.at <= received or self._is_expired(self._fetched):
                self._refetch()
        key = self._cached(kid, version)
        if key:
            return key
        if self._clock() - received > UNKNOWN_KEY_REFUSED_WITHIN:
            raise Undeliverable(Reason.TOKEN_KEY, "the login authority no longer publishes the key of this old token")
        raise Refused(Reason.TOKEN_KEY)

    def _cached(self, kid: str, version: str) -> SigningKey | None:
        fetched = self._fetched
        key = fetched.keys.get(kid) if fetched and not self._is_expired(fetched) else None
        return key if key and version in key.issuers else None

    def _is_expired(self, fetched: _Fetched) -> bool:
        return self._clock() - fetched.at > MAX_KEY_AGE

    def _refetch(self) -> None:
        now = self._clock()
        interval = RETRY_INTERVAL
        if self._fetched and self._fetched.at == self._last_attempt and not self._is_expired(self._fetched):
            interval = MIN_REFETCH_INTERVAL
        if self._last_attempt and now - self._last_attempt < interval:
            wait = interval - (now - self._last_attempt)
            raise RetryLater(Reason.SIGNING_KEYS, "the signing keys were fetched a moment ago", retry_after=wait)
        deadline.check()
        self._last_attempt = now
        try:
            keys = self._read_keys()
        except RetryLater:
            self._last_attempt = (
                self._clock()
            )  # from its end: while the authority hangs, the next call would try at once
            raise
        self._fetched = _Fetched(now, keys)

    def _read_keys(self) -> dict[str, SigningKey]:
        keys: dict[str, SigningKey] = {}
        for version, path in _METADATA.items():
            metadata = self._get(f"{self._login_url}{path}", _Metadata)
            for kid, key in self._key_set(metadata.jwks_uri).items():
                issuers = keys[kid].issuers if kid in keys else {}
                keys[kid] = SigningKey(key, {**issuers, version: metadata.issuer})
        return keys

    def _key_set(self, url: str) -> dict[str, RSAPublicKey]:
        if not url.startswith("https://"):
            raise RetryLater(Reason.SIGNING_KEYS, "the login authority's metadata names a key set without https")
        keys = {}
        for entry in self._get(url, _KeySet).keys:
            kid, use = entry.get("kid"), entry.get("use", "sig")
            if not isinstance(kid, str) or entry.get("kty") != "RSA" or use != "sig":
                continue
            try:
                key = jwt.algorithms.RSAAlgorithm.from_jwk({"kty": "RSA", "n": entry["n"], "e": entry["e"]})
            except (jwt.InvalidKeyError, KeyError, ValueError, TypeError):
                continue  # an invalid entry is skipped; the others stay usable
            if isinstance(key, RSAPublicKey):
                keys[kid] = key
        return keys

    def _get(self, url: str, kind: type[T]) -> T:
        try:
            response = exchange(self._session, "GET", url, timeout=_TIME_LIMIT, limit=_MAX_RESPONSE_BYTES)
            if response.status >= 400:
                raise RetryLater(Reason.SIGNING_KEYS, f"the login authority answers {response.status}")
            return msgspec.json.decode(response.body, type=kind)
        except (requests.RequestException, msgspec.DecodeError, RecursionError) as error:
            name = type(error).__name__
            raise RetryLater(Reason.SIGNING_KEYS, f"the login authority does not answer ({name})") from None
