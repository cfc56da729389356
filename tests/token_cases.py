"""Validation tokens, good and bad, as one table of named data for unit, property and end-to-end tests alike.

The tokens are put together here, byte by byte, apart from any library: what a library would refuse to write is just
what an attacker sends.
"""

import base64
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from shared.errors import Reason
from tests.builders import CLIENT_ID, NOW, OTHER_TENANT, TENANT, rsa_key

PUBLISHER = "0bf30f3b-4a52-48df-9a82-234910c4a086"
STRANGER = "6f1d7a52-0a0b-4c0d-8e0f-000000000009"
ISSUERS = {"1.0": "https://sts.windows.net/{tenantid}/", "2.0": "https://login.microsoftonline.com/{tenantid}/v2.0"}
GONE = object()
"""As the value of a claim: leave it out."""


@dataclass(frozen=True)
class Mint:
    """Whom the tokens are for, when, and the authority's key that signs them."""

    key: RSAPrivateKey
    kid: str = "authority-1"
    tenant: str = TENANT
    audience: str = CLIENT_ID
    now: datetime = NOW

    def claims(self, version: str = "2.0", **changes: object) -> dict[str, Any]:
        """The claims of a genuine token; those of the other version's form are absent."""
        moment = int(self.now.timestamp())
        publisher = {"1.0": "appid", "2.0": "azp"}.get(version, "azp")
        tenant = changes.get("tid", self.tenant)
        genuine = {
            "aud": self.audience,
            "iss": ISSUERS.get(version, ISSUERS["2.0"]).replace("{tenantid}", str(tenant)),
            "iat": moment - 300,
            "nbf": moment - 300,
            "exp": moment + 86_400,
            publisher: PUBLISHER,
            f"{publisher}acr": "2",
            "tid": self.tenant,
            "ver": version,
        }
        return {name: value for name, value in {**genuine, **changes}.items() if value is not GONE}

    def token(self, version: str = "2.0", **changes: object) -> str:
        """A genuine token but for the claims named."""
        return self.signed(json.dumps(self.claims(version, **changes)).encode())

    def signed(self, payload: bytes, header: dict[str, object] | None = None, key: RSAPrivateKey | None = None) -> str:
        """Any payload under any header, signed with RS256."""
        stem = f"{base64url(json.dumps(self.header(**header or {})).encode())}.{base64url(payload)}"
        return f"{stem}.{base64url(rs256(key or self.key, stem))}"

    def headed(self, **header: object) -> str:
        """A genuine token but for the header's members named."""
        return self.signed(json.dumps(self.claims()).encode(), header)

    def header(self, **changes: object) -> dict[str, object]:
        genuine = {"typ": "JWT", "alg": "RS256", "kid": self.kid}
        return {name: value for name, value in {**genuine, **changes}.items() if value is not GONE}

    def unsigned(self, header: dict[str, object], sign: Callable[[str], bytes]) -> str:
        """The genuine claims under another algorithm."""
        claims = json.dumps(self.claims()).encode()
        stem = f"{base64url(json.dumps(self.header(**header)).encode())}.{base64url(claims)}"
        return f"{stem}.{base64url(sign(stem))}"

    def moment(self, seconds: int) -> int:
        return int(self.now.timestamp()) + seconds


@dataclass(frozen=True)
class TokenCase:
    """A token, and the reason for which it is refused; None if it is good."""

    name: str
    reason: Reason | None
    token: Callable[[Mint], str]


def base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def rs256(key: RSAPrivateKey, stem: str) -> bytes:
    return key.sign(stem.encode(), padding.PKCS1v15(), hashes.SHA256())


def rs512(key: RSAPrivateKey, stem: str) -> bytes:
    return key.sign(stem.encode(), padding.PKCS1v15(), hashes.SHA512())


def ps256(key: RSAPrivateKey, stem: str) -> bytes:
    return key.sign(stem.encode(), padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())


def with_public_key(mint: Mint, encoding: serialization.Encoding) -> str:
    """HS256, keyed with what everybody can read: the classic confusion."""
    public = mint.key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    return mint.unsigned({"alg": "HS256"}, lambda stem: hmac.digest(public, stem.encode(), "sha256"))


def foreign(mint: Mint, **header: object) -> str:
    """Signed with a key that is not the authority's."""
    return mint.signed(json.dumps(mint.claims()).encode(), header, rsa_key("foreign"))


def foreign_jwk() -> dict[str, str]:
    numbers = rsa_key("foreign").public_key().public_numbers()
    modulus = base64url(numbers.n.to_bytes(256, "big"))
    return {"kty": "RSA", "n": modulus, "e": "AQAB", "kid": "mine", "use": "sig", "alg": "RS256"}


def altered(mint: Mint) -> str:
    """The signature of other claims."""
    head, _, signature = mint.token().split(".")
    return f"{head}.{base64url(json.dumps(mint.claims(aio='other')).encode())}.{signature}"


def replaced(token: str, part: int, text: str) -> str:
    parts = token.split(".")
    parts[part] = text
    return ".".join(parts)


ACCEPTED = (
    TokenCase("version 1", None, lambda mint: mint.token("1.0")),
    TokenCase("version 2", None, lambda mint: mint.token("2.0")),
    TokenCase("version 1, audience as a URI", None, lambda mint: mint.token("1.0", aud=f"api://{mint.audience}")),
    TokenCase("audience in upper case", None, lambda mint: mint.token(aud=mint.audience.upper())),
    TokenCase("tenant in upper case", None, lambda mint: mint.token(tid=mint.tenant.upper())),
    TokenCase("expired, within the skew", None, lambda mint: mint.token(exp=mint.moment(-240))),
    TokenCase("not yet valid, within the skew", None, lambda mint: mint.token(nbf=mint.moment(240))),
    TokenCase("lifetime of version 1's example", None, lambda mint: mint.token("1.0", exp=mint.moment(28_800))),
    TokenCase("both publishers, agreeing", None, lambda mint: mint.token(appid=PUBLISHER)),
    TokenCase("claims nobody knows", None, lambda mint: mint.token(xms_ftd="?", roles=[{"a": None}])),
    TokenCase("no issue time", None, lambda mint: mint.token(iat=GONE)),
    TokenCase("thumbprint in the header", None, lambda mint: mint.headed(x5t="abc")),
)

ALGORITHM = (
    TokenCase("alg none, unsigned", Reason.TOKEN_ALGORITHM, lambda mint: mint.unsigned({"alg": "none"}, lambda _: b"")),
    TokenCase("alg None, signed", Reason.TOKEN_ALGORITHM, lambda mint: mint.headed(alg="None")),
    TokenCase(
        "alg HS256 with the public key, PEM",
        Reason.TOKEN_ALGORITHM,
        lambda mint: with_public_key(mint, serialization.Encoding.PEM),
    ),
    TokenCase(
        "alg HS256 with the public key, DER",
        Reason.TOKEN_ALGORITHM,
        lambda mint: with_public_key(mint, serialization.Encoding.DER),
    ),
    TokenCase(
        "alg RS512 with the right key",
        Reason.TOKEN_ALGORITHM,
        lambda mint: mint.unsigned({"alg": "RS512"}, lambda stem: rs512(mint.key, stem)),
    ),
    TokenCase(
        "alg PS256 with the right key",
        Reason.TOKEN_ALGORITHM,
        lambda mint: mint.unsigned({"alg": "PS256"}, lambda stem: ps256(mint.key, stem)),
    ),
    TokenCase("alg in lower case", Reason.TOKEN_ALGORITHM, lambda mint: mint.headed(alg="rs256")),
    TokenCase("alg absent", Reason.TOKEN_ALGORITHM, lambda mint: mint.headed(alg=GONE)),
    TokenCase("alg a list", Reason.TOKEN_ALGORITHM, lambda mint: mint.headed(alg=["RS256"])),
)

KEY = (
    TokenCase("kid unknown", Reason.TOKEN_KEY, lambda mint: mint.headed(kid="nobody's")),
    TokenCase("kid absent", Reason.TOKEN_KEY, lambda mint: mint.headed(kid=GONE)),
    TokenCase("kid empty", Reason.TOKEN_KEY, lambda mint: mint.headed(kid="")),
    TokenCase("kid a path", Reason.TOKEN_KEY, lambda mint: mint.headed(kid="../../../../dev/null")),
    TokenCase("key in the header, jwk", Reason.TOKEN_KEY, lambda mint: foreign(mint, kid="mine", jwk=foreign_jwk())),
    TokenCase(
        "key linked from the header, jku",
        Reason.TOKEN_KEY,
        lambda mint: foreign(mint, kid="mine", jku="https://example.org/keys"),
    ),
    TokenCase(
        "key linked from the header, x5u",
        Reason.TOKEN_KEY,
        lambda mint: foreign(mint, kid="mine", x5u="https://example.org/certificate"),
    ),
)

SIGNATURE = (
    TokenCase("foreign key", Reason.TOKEN_SIGNATURE, foreign),
    TokenCase(
        "foreign key in the header, known kid", Reason.TOKEN_SIGNATURE, lambda mint: foreign(mint, jwk=foreign_jwk())
    ),
    TokenCase("claims altered", Reason.TOKEN_SIGNATURE, altered),
    TokenCase("signature empty", Reason.TOKEN_SIGNATURE, lambda mint: replaced(mint.token(), 2, "")),
    TokenCase("signature cut short", Reason.TOKEN_SIGNATURE, lambda mint: mint.token()[:-42]),
    TokenCase(
        "signature of another token",
        Reason.TOKEN_SIGNATURE,
        lambda mint: replaced(mint.token(), 2, mint.token("1.0").split(".")[2]),
    ),
)

ISSUER = (
    TokenCase(
        "issuer wrong", Reason.TOKEN_ISSUER, lambda mint: mint.token(iss=f"https://example.org/{mint.tenant}/v2.0")
    ),
    TokenCase("issuer absent", Reason.TOKEN_ISSUER, lambda mint: mint.token(iss=GONE)),
    TokenCase("issuer a list", Reason.TOKEN_ISSUER, lambda mint: mint.token(iss=[mint.claims()["iss"]])),
    TokenCase(
        "issuer of another cloud",
        Reason.TOKEN_ISSUER,
        lambda mint: mint.token(iss=f"https://login.microsoftonline.us/{mint.tenant}/v2.0"),
    ),
    TokenCase(
        "issuer of another tenant",
        Reason.TOKEN_ISSUER,
        lambda mint: mint.token(iss=f"https://login.microsoftonline.com/{OTHER_TENANT}/v2.0"),
    ),
    TokenCase("issuer with the placeholder left in", Reason.TOKEN_ISSUER, lambda mint: mint.token(iss=ISSUERS["2.0"])),
    TokenCase(
        "issuer of version 1 in version 2", Reason.TOKEN_ISSUER, lambda mint: mint.token(iss=mint.claims("1.0")["iss"])
    ),
    TokenCase(
        "issuer of version 2 in version 1",
        Reason.TOKEN_ISSUER,
        lambda mint: mint.token("1.0", iss=mint.claims("2.0")["iss"]),
    ),
    TokenCase(
        "issuer with more behind it", Reason.TOKEN_ISSUER, lambda mint: mint.token(iss=mint.claims()["iss"] + "/")
    ),
    TokenCase("version absent", Reason.TOKEN_ISSUER, lambda mint: mint.token(ver=GONE)),
    TokenCase("version unknown", Reason.TOKEN_ISSUER, lambda mint: mint.token(ver="3.0")),
    TokenCase("version null", Reason.TOKEN_ISSUER, lambda mint: mint.token(ver=None)),
)

AUDIENCE = (
    TokenCase("audience of another app", Reason.TOKEN_AUDIENCE, lambda mint: mint.token(aud=STRANGER)),
    TokenCase(
        "audience a list with ours", Reason.TOKEN_AUDIENCE, lambda mint: mint.token(aud=[STRANGER, mint.audience])
    ),
    TokenCase("audience a list of ours alone", Reason.TOKEN_AUDIENCE, lambda mint: mint.token(aud=[mint.audience])),
    TokenCase("audience absent", Reason.TOKEN_AUDIENCE, lambda mint: mint.token(aud=GONE)),
    TokenCase("audience null", Reason.TOKEN_AUDIENCE, lambda mint: mint.token(aud=None)),
    TokenCase("audience with more behind it", Reason.TOKEN_AUDIENCE, lambda mint: mint.token(aud=f"{mint.audience}/x")),
    TokenCase(
        "audience Microsoft Graph", Reason.TOKEN_AUDIENCE, lambda mint: mint.token(aud="https://graph.microsoft.com")
    ),
)

PUBLISHERS = (
    TokenCase("publisher wrong, version 1", Reason.TOKEN_PUBLISHER, lambda mint: mint.token("1.0", appid=STRANGER)),
    TokenCase("publisher wrong, version 2", Reason.TOKEN_PUBLISHER, lambda mint: mint.token("2.0", azp=STRANGER)),
    TokenCase("publisher absent, version 1", Reason.TOKEN_PUBLISHER, lambda mint: mint.token("1.0", appid=GONE)),
    TokenCase("publisher absent, version 2", Reason.TOKEN_PUBLISHER, lambda mint: mint.token("2.0", azp=GONE)),
    TokenCase("publisher null", Reason.TOKEN_PUBLISHER, lambda mint: mint.token(azp=None)),
    TokenCase("publisher a list", Reason.TOKEN_PUBLISHER, lambda mint: mint.token(azp=[PUBLISHER])),
    TokenCase(
        "publisher in the other version's claim alone",
        Reason.TOKEN_PUBLISHER,
        lambda mint: mint.token("2.0", azp=GONE, appid=PUBLISHER),
    ),
    TokenCase(
        "publisher in the other version's claim, a stranger in its own",
        Reason.TOKEN_PUBLISHER,
        lambda mint: mint.token("1.0", appid=STRANGER, azp=PUBLISHER),
    ),
    TokenCase(
        "publisher right, a stranger in the other version's claim",
        Reason.TOKEN_PUBLISHER,
        lambda mint: mint.token("2.0", appid=STRANGER),
    ),
)

LIFETIME = (
    TokenCase("expired", Reason.TOKEN_LIFETIME, lambda mint: mint.token(exp=mint.moment(-360))),
    TokenCase("not yet valid", Reason.TOKEN_LIFETIME, lambda mint: mint.token(nbf=mint.moment(360))),
    TokenCase("end absent", Reason.TOKEN_LIFETIME, lambda mint: mint.token(exp=GONE)),
    TokenCase("beginning absent", Reason.TOKEN_LIFETIME, lambda mint: mint.token(nbf=GONE)),
    TokenCase("end null", Reason.TOKEN_LIFETIME, lambda mint: mint.token(exp=None)),
    TokenCase("end a string", Reason.TOKEN_LIFETIME, lambda mint: mint.token(exp=str(mint.moment(3600)))),
    TokenCase("end true", Reason.TOKEN_LIFETIME, lambda mint: mint.token(exp=True)),
    TokenCase(
        "a life of a hundred years", Reason.TOKEN_LIFETIME, lambda mint: mint.token(exp=mint.moment(3_155_760_000))
    ),
    TokenCase("end of a thousand digits", Reason.TOKEN_LIFETIME, lambda mint: mint.token(exp=10**1000)),
    TokenCase("beginning of a thousand digits", Reason.TOKEN_LIFETIME, lambda mint: mint.token(nbf=-(10**1000))),
    TokenCase(
        "end before the beginning",
        Reason.TOKEN_LIFETIME,
        lambda mint: mint.token(nbf=mint.moment(600), exp=mint.moment(-600)),
    ),
)

MALFORMED = (
    TokenCase("empty", Reason.TOKEN_MALFORMED, lambda _: ""),
    TokenCase("words", Reason.TOKEN_MALFORMED, lambda _: "a.b.c"),
    TokenCase("two parts", Reason.TOKEN_MALFORMED, lambda mint: mint.token().rpartition(".")[0]),
    TokenCase("five parts", Reason.TOKEN_MALFORMED, lambda mint: mint.token() + ".a.b"),
    TokenCase("a megabyte", Reason.TOKEN_MALFORMED, lambda mint: mint.token(filler="x" * 1_000_000)),
    TokenCase("not ASCII", Reason.TOKEN_MALFORMED, lambda mint: replaced(mint.token(), 2, "ä")),
    TokenCase("tenant absent", Reason.TOKEN_MALFORMED, lambda mint: mint.token(tid=GONE)),
    TokenCase("tenant not a GUID", Reason.TOKEN_MALFORMED, lambda mint: mint.token(tid="common")),
    TokenCase("tenant a placeholder", Reason.TOKEN_MALFORMED, lambda mint: mint.token(tid="{tenantid}")),
    TokenCase("tenant a number", Reason.TOKEN_MALFORMED, lambda mint: mint.token(tid=7)),
    TokenCase("claims a list", Reason.TOKEN_MALFORMED, lambda mint: mint.signed(b"[]")),
    TokenCase("claims not JSON", Reason.TOKEN_MALFORMED, lambda mint: mint.signed(b'{"tid": ')),
    TokenCase("claims not UTF-8", Reason.TOKEN_MALFORMED, lambda mint: mint.signed(b'{"tid": "\xff"}')),
    TokenCase(
        "claims deep", Reason.TOKEN_MALFORMED, lambda mint: mint.signed(b'{"a":' + b"[" * 9_000 + b"]" * 9_000 + b"}")
    ),
    TokenCase("header not JSON", Reason.TOKEN_MALFORMED, lambda mint: replaced(mint.token(), 0, base64url(b"{"))),
    TokenCase("header a list", Reason.TOKEN_MALFORMED, lambda mint: replaced(mint.token(), 0, base64url(b"[]"))),
    TokenCase("header deep", Reason.TOKEN_MALFORMED, lambda mint: replaced(mint.token(), 0, base64url(b"[" * 9_000))),
    TokenCase("end not a number", Reason.TOKEN_MALFORMED, lambda mint: mint.token(exp=float("nan"))),
    TokenCase("end never", Reason.TOKEN_MALFORMED, lambda mint: mint.token(exp=float("inf"))),
    TokenCase("beginning ever", Reason.TOKEN_MALFORMED, lambda mint: mint.token(nbf=float("-inf"))),
    TokenCase("kid a number", Reason.TOKEN_MALFORMED, lambda mint: mint.headed(kid=7)),
    TokenCase("signature not Base64", Reason.TOKEN_MALFORMED, lambda mint: replaced(mint.token(), 2, "a")),
)

REFUSED = ALGORITHM + KEY + SIGNATURE + ISSUER + AUDIENCE + PUBLISHERS + LIFETIME + MALFORMED
TOKEN_CASES = ACCEPTED + REFUSED
