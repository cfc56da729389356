"""Validation tokens, valid and invalid, as one table of named data for unit, property and end-to-end tests alike.

The table is that of the test vectors (docs/vectors.md). This module adds the app's reasons, and the app's own
decisions: its leeway, and the longest token.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from graph_simulator.signing import ISSUERS as ISSUERS_BY_NUMBER
from graph_simulator.vectors import tokens
from graph_simulator.vectors.tokens import base64url, replaced
from shared.errors import Reason
from tests.builders import CLIENT_ID, NOW, TENANT, rsa_key

__all__ = ["ACCEPTED", "ISSUERS", "KEY", "REFUSED", "TOKEN_CASES", "Mint", "TokenCase", "base64url", "replaced"]

ISSUERS = {f"{version}.0": issuer for version, issuer in ISSUERS_BY_NUMBER.items()}


@dataclass(frozen=True)
class Mint(tokens.Mint):
    """Audience and time of tokens, and the authority's key that signs them."""

    key: RSAPrivateKey
    kid: str = "authority-1"
    tenant: str = TENANT
    audience: str = CLIENT_ID
    now: datetime = NOW
    foreign: RSAPrivateKey = field(default_factory=lambda: rsa_key("foreign"))


@dataclass(frozen=True)
class TokenCase:
    """A token, and the reason of its refusal; None if it is valid."""

    name: str
    reason: Reason | None
    token: Callable[[tokens.Mint], str]


def of_the_vectors(table: Iterable[tokens.TokenCase]) -> tuple[TokenCase, ...]:
    return tuple(TokenCase(case.name, Reason(case.reason) if case.reason else None, case.token) for case in table)


ACCEPTED = (
    *of_the_vectors(tokens.ACCEPTED),
    TokenCase("expired, within the skew", None, lambda mint: mint.token(exp=mint.moment(-240))),
    TokenCase("expired, within the time of re-sends", None, lambda mint: mint.token(exp=mint.moment(-4 * 3600))),
    TokenCase("not yet valid, within the skew", None, lambda mint: mint.token(nbf=mint.moment(240))),
)
KEY = of_the_vectors(tokens.KEY)
REFUSED = (
    *of_the_vectors(tokens.REFUSED),
    TokenCase(
        "expired, beyond the time of re-sends",
        Reason.TOKEN_LIFETIME,
        lambda mint: mint.token(exp=mint.moment(-4 * 3600 - 360)),
    ),
    TokenCase("not yet valid, beyond the skew", Reason.TOKEN_LIFETIME, lambda mint: mint.token(nbf=mint.moment(360))),
    TokenCase(
        "end before the beginning, both near",
        Reason.TOKEN_LIFETIME,
        lambda mint: mint.token(nbf=mint.moment(600), exp=mint.moment(-600)),
    ),
    TokenCase("a megabyte", Reason.TOKEN_MALFORMED, lambda mint: mint.token(filler="x" * 1_000_000)),
)
TOKEN_CASES = ACCEPTED + REFUSED
