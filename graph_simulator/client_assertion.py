"""A JWT in place of the app's secret: signed with the app's certificate, or by a federated issuer."""

from base64 import b64decode
from collections.abc import Set
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

EXCHANGE_AUDIENCE = "api://AzureADTokenExchange"
ALGORITHMS = ("RS256", "PS256")
SKEW = timedelta(minutes=5)


class AssertionRefused(Exception):
    """The assertion does not authenticate the app; `number` is Entra's error number."""

    def __init__(self, number: int, description: str) -> None:
        super().__init__(description)
        self.number = number


def check_assertion(assertion: str, client_id: str, audiences: Set[str], now: datetime) -> None:
    """Check an assertion, without knowledge of the app's certificates or of federated issuers.

    Checks form, algorithm, audience and lifetime always; issuer, subject and, with an `x5c` header, the signature if
    the app signed the assertion itself.

    Raises:
        AssertionRefused: a check failed.
    """
    try:
        header = jwt.get_unverified_header(assertion)
        claims = jwt.decode(assertion, options={"verify_signature": False})
    except jwt.InvalidTokenError as error:
        raise AssertionRefused(50027, "The token is invalid: it is malformed.") from error
    if header.get("alg") not in ALGORITHMS:
        raise AssertionRefused(5002738, "The assertion's algorithm is not allowed.")
    _check_lifetime(claims, now)
    if claims.get("aud") == EXCHANGE_AUDIENCE:
        if not str(claims.get("iss", "")).startswith("https://") or not claims.get("sub"):
            raise AssertionRefused(700211, "No matching federated identity record found for the issuer.")
        return
    if claims.get("aud") not in audiences:
        raise AssertionRefused(700023, "The assertion's audience does not match this endpoint.")
    if not claims.get("iss") == claims.get("sub") == client_id:
        raise AssertionRefused(700021, "The assertion's issuer and subject must be the application.")
    if not header.keys() & {"x5t", "x5t#S256"}:
        raise AssertionRefused(700027, "The certificate with which the assertion was signed is not named.")
    if "x5c" in header:
        _check_signature(assertion, header)


def _check_lifetime(claims: dict[str, Any], now: datetime) -> None:
    try:
        begins = datetime.fromtimestamp(float(claims.get("nbf", 0)), UTC)
        ends = datetime.fromtimestamp(float(claims["exp"]), UTC)
    except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:
        raise AssertionRefused(50027, "The token is invalid: it has no lifetime.") from error
    if not begins - SKEW <= now < ends + SKEW:
        raise AssertionRefused(700024, "The assertion is not within its valid time range.")


def _check_signature(assertion: str, header: dict[str, Any]) -> None:
    try:
        chain = header["x5c"] if isinstance(header["x5c"], list) else [header["x5c"]]
        key = x509.load_der_x509_certificate(b64decode(chain[0])).public_key()
        if not isinstance(key, RSAPublicKey):
            raise AssertionRefused(700027, "The certificate holds no RSA key.")
        jwt.decode(assertion, key, [header["alg"]], options={"verify_aud": False, "verify_exp": False})
    except (ValueError, TypeError, IndexError, InvalidSignature, jwt.InvalidTokenError) as error:
        raise AssertionRefused(700027, "The assertion's signature is not valid.") from error
