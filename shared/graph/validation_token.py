"""The JWTs that prove a collection of encrypted notifications (docs/graph.md, "Validation tokens").

Keys, audience and time are arguments: a token is checked as of the time its notification was received, because a
message may wait on the queue for longer than the token is valid.
"""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from shared.configuration.values import GUID
from shared.errors import Reason, Refused

T = TypeVar("T")

PUBLISHER = "0bf30f3b-4a52-48df-9a82-234910c4a086"
"""Microsoft Graph Change Tracking, the only publisher of these tokens."""

CLOCK_SKEW = timedelta(minutes=5)
RESENT_WITHIN = timedelta(hours=4)
"""How long Graph resends undelivered notifications with the first tokens (docs/graph.md, "Retries")."""
MAX_LIFETIME = timedelta(days=7)
"""Documented examples are valid for 8 and 24 hours."""

_SECOND = timedelta(seconds=1)

_PUBLISHER_CLAIM = {"1.0": "appid", "2.0": "azp"}
_MAX_LENGTH = 16_384
"""Characters; genuine tokens have about 1,500."""


@dataclass(frozen=True)
class SigningKey:
    """A public key of the authority, and the issuer that may sign with it, by token version (`1.0`, `2.0`).

    Issuers hold `{tenantid}` in place of the tenant.
    """

    key: RSAPublicKey
    issuers: dict[str, str]


FindKey = Callable[[str, str], SigningKey]
"""Returns the key of a `kid` for tokens of a version. Raises Refused if there is none, RetryLater while the keys are
unavailable.
"""


class _UnverifiedTenant(msgspec.Struct):
    """The tenant in an unverified token."""

    tid: str


class _UnverifiedVersion(msgspec.Struct):
    """The version of an unverified token."""

    ver: str


def claimed_tenant(token: str) -> str | None:
    """Return the tenant, lower case, that an unverified `token` claims; None if it is not a token.

    Cheap: for selecting tokens before they are checked.
    """
    claims = _unverified(token, _UnverifiedTenant)
    tenant = claims.tid.lower() if claims else ""
    return tenant if GUID.fullmatch(tenant) else None


def _unverified(token: str, kind: type[T]) -> T | None:
    parts = token.split(".")
    if len(token) > _MAX_LENGTH or len(parts) != 3 or not token.isascii():
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), type=kind)
    except (binascii.Error, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None


@dataclass(frozen=True)
class VerifiedToken:
    """A token that Graph issued for one audience, and the key that verified it.

    version: `1.0` or `2.0`. not_before, expires: seconds since 1970.
    """

    kid: str
    version: str
    key: SigningKey
    not_before: int
    expires: int

    def check_lifetime(self, received: datetime) -> None:
        """Raise Refused unless the token was valid when it arrived (UTC)."""
        # After an outage of the app, Graph resends for hours with the first token, which may have expired meanwhile.
        now, skew, resent = int(received.timestamp()), CLOCK_SKEW // _SECOND, RESENT_WITHIN // _SECOND
        lasts = self.expires - self.not_before
        if not self.not_before - skew <= now < self.expires + skew + resent or lasts > MAX_LIFETIME.total_seconds():
            raise Refused(Reason.TOKEN_LIFETIME)


def genuine(token: str, find_key: FindKey, audience: str) -> VerifiedToken:
    """Check that Graph issued `token` for the tenant that it claims; everything but the time.

    `audience` is the app's client id.

    Raises:
        Refused: with the reason of the first check that failed.
        RetryLater: from `find_key`.
    """
    if claimed_tenant(token) is None:
        raise Refused(Reason.TOKEN_MALFORMED)
    kid, claimed = _kid(token), _unverified(token, _UnverifiedVersion)
    if claimed is None or claimed.ver not in _PUBLISHER_CLAIM:
        raise Refused(Reason.TOKEN_ISSUER)
    signing_key = find_key(kid, claimed.ver)
    claims = _verified(token, signing_key.key)
    tenant = str(claims["tid"]).lower()
    _check_issuer(claims, tenant, signing_key)
    _check_audience(claims, audience)
    _check_publisher(claims)
    not_before, expires = claims.get("nbf"), claims.get("exp")
    if type(not_before) is not int or type(expires) is not int:  # genuine times are integers; true and 1e400 are not
        raise Refused(Reason.TOKEN_LIFETIME)
    return VerifiedToken(kid, claimed.ver, signing_key, not_before, expires)


def _kid(token: str) -> str:
    """Only `alg` and `kid` are read: a key in the header, or a link to one, proves nothing."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, RecursionError):
        raise Refused(Reason.TOKEN_MALFORMED) from None
    if header.get("alg") != "RS256":
        raise Refused(Reason.TOKEN_ALGORITHM)
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise Refused(Reason.TOKEN_KEY)
    return kid


def _verified(token: str, key: RSAPublicKey) -> dict[str, Any]:
    # PyJWT would check claims against its own clock, so it checks only the signature.
    signature_only = {
        "verify_signature": True,
        **{f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")},
    }
    try:
        return jwt.decode(token, key, algorithms=["RS256"], options=signature_only)  # type: ignore[arg-type]
    except jwt.InvalidSignatureError:
        raise Refused(Reason.TOKEN_SIGNATURE) from None
    except (jwt.InvalidTokenError, RecursionError):
        raise Refused(Reason.TOKEN_MALFORMED) from None


def _check_issuer(claims: dict[str, Any], tenant: str, signing_key: SigningKey) -> None:
    template = signing_key.issuers.get(str(claims.get("ver")))
    if template is None or claims.get("iss") != template.replace("{tenantid}", str(claims["tid"])):
        raise Refused(Reason.TOKEN_ISSUER)
    if not GUID.fullmatch(tenant):
        raise Refused(Reason.TOKEN_TENANT)


def _check_audience(claims: dict[str, Any], audience: str) -> None:
    """Both forms name this app alone; a list of audiences would include another service."""
    token_audience = claims.get("aud")
    if not isinstance(token_audience, str) or token_audience.lower() not in (audience, f"api://{audience}"):
        raise Refused(Reason.TOKEN_AUDIENCE)


def _check_publisher(claims: dict[str, Any]) -> None:
    """The claim of the token's version decides; the other version's claim, if present, must not differ."""
    publisher = claims.get(_PUBLISHER_CLAIM[str(claims["ver"])])
    others = [claims[name] for name in _PUBLISHER_CLAIM.values() if name in claims]
    if publisher != PUBLISHER or any(other != PUBLISHER for other in others):
        raise Refused(Reason.TOKEN_PUBLISHER)
