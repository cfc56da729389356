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

from shared.errors import Reason, Refused, RetryLater, Undeliverable
from shared.graph.validation_token import SigningKey
from shared.http_client import exchange

T = TypeVar("T")

LEAST_INTERVAL = timedelta(minutes=5)
"""Between two fetches that an unknown `kid` causes: tokens are unproven when they cause it."""

RETRY_INTERVAL = timedelta(seconds=15)
"""Between two fetches while the authority doesn't answer."""

LONGEST_TRUST = timedelta(hours=24)
"""Keys rotate about daily; a key withdrawn there must not live on here."""

REFUSED_WITHIN = timedelta(hours=1)
"""Of receipt: a key that is unknown so soon never was the authority's. Later it may have been withdrawn meanwhile."""

_METADATA = {
    "1.0": "/common/.well-known/openid-configuration",
    "2.0": "/common/v2.0/.well-known/openid-configuration",
}
_TIME_LIMIT = (3.05, 10)
_LONGEST_ANSWER = 1 << 20


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
        self._tried: datetime | None = None

    def find(self, kid: str, received: datetime) -> SigningKey:
        """Return the key named `kid`, for a token that arrived at `received`.

        Raises:
            Refused: the authority was asked after the token arrived, and knows no such key.
            Undeliverable: the same, but the token is so old that its key may have been withdrawn since.
            RetryLater: the authority can't be asked, or must not be asked again so soon.
        """
        known = self._known(kid)
        if known:
            return known
        with self._fetching:
            known = self._known(kid)  # another thread may have fetched meanwhile
            if known:
                return known
            if not self._fetched or self._fetched.at <= received or self._outdated(self._fetched):
                self._refetch()
        known = self._known(kid)
        if known:
            return known
        if self._clock() - received > REFUSED_WITHIN:
            raise Undeliverable(Reason.TOKEN_KEY, "the authority no longer has the key of a token this old")
        raise Refused(Reason.TOKEN_KEY)

    def _known(self, kid: str) -> SigningKey | None:
        fetched = self._fetched
        return fetched.keys.get(kid) if fetched and not self._outdated(fetched) else None

    def _outdated(self, fetched: _Fetched) -> bool:
        return self._clock() - fetched.at > LONGEST_TRUST

    def _refetch(self) -> None:
        now = self._clock()
        interval = RETRY_INTERVAL
        if self._fetched and self._fetched.at == self._tried and not self._outdated(self._fetched):
            interval = LEAST_INTERVAL
        if self._tried and now - self._tried < interval:
            wait = interval - (now - self._tried)
            raise RetryLater(Reason.SIGNING_KEYS, "the authority was asked a moment ago", retry_after=wait)
        self._tried = now
        keys: dict[str, SigningKey] = {}
        for version, path in _METADATA.items():
            metadata = self._get(f"{self._login_url}{path}", _Metadata)
            for kid, key in self._key_set(metadata.jwks_uri).items():
                issuers = keys[kid].issuers if kid in keys else {}
                keys[kid] = SigningKey(key, {**issuers, version: metadata.issuer})
        self._fetched = _Fetched(now, keys)

    def _key_set(self, url: str) -> dict[str, RSAPublicKey]:
        if not url.startswith("https://"):
            raise RetryLater(Reason.SIGNING_KEYS, "the metadata names a key set that is not https")
        found = {}
        for entry in self._get(url, _KeySet).keys:
            kid, use = entry.get("kid"), entry.get("use", "sig")
            if not isinstance(kid, str) or entry.get("kty") != "RSA" or use != "sig":
                continue
            try:
                key = jwt.algorithms.RSAAlgorithm.from_jwk({"kty": "RSA", "n": entry["n"], "e": entry["e"]})
            except (jwt.InvalidKeyError, KeyError, ValueError, TypeError):
                continue  # one odd entry must not cost the others; a token that names it finds no key
            if isinstance(key, RSAPublicKey):
                found[kid] = key
        return found

    def _get(self, url: str, kind: type[T]) -> T:
        try:
            answer = exchange(self._session, "GET", url, timeout=_TIME_LIMIT, limit=_LONGEST_ANSWER)
            if answer.status >= 400:
                raise RetryLater(Reason.SIGNING_KEYS, f"the login authority answers {answer.status}")
            return msgspec.json.decode(answer.body, type=kind)
        except (requests.RequestException, msgspec.DecodeError, RecursionError) as error:
            name = type(error).__name__
            raise RetryLater(Reason.SIGNING_KEYS, f"the login authority does not answer ({name})") from None
