"""Validation tokens, good and bad, as one table of named data.

The tokens are assembled from octets: an attacker sends what a library refuses to write. Each invalid token is correct
except in the one respect that its name states.
"""

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from graph_simulator.signing import ISSUERS, PUBLISHER
from graph_simulator.vectors import rules
from graph_simulator.vectors.rsa import sign_pss
from graph_simulator.vectors.rules import Rule, should

STRANGER = "6f1d7a52-0a0b-4c0d-8e0f-000000000009"
"""A GUID of another app, tenant or publisher."""

GONE = object()
"""The value of a claim or header that is left out."""

LIVES = {"1.0": 29_100, "2.0": 86_700}
"""Lifetime in seconds of the tokens in Microsoft's examples."""

_DAY = 86_400
_PUBLISHER_CLAIM = {"1.0": "appid", "2.0": "azp"}
_ISSUERS = {f"{version}.0": issuer for version, issuer in ISSUERS.items()}


@dataclass(frozen=True)
class Mint:
    """Audience and time of tokens, the authority's signing key, and a key that is not the authority's."""

    key: RSAPrivateKey
    kid: str
    tenant: str
    audience: str
    now: datetime
    foreign: RSAPrivateKey

    def claims(self, version: str = "2.0", **changes: object) -> dict[str, Any]:
        """Return the claims of a genuine token of a version, with `changes`; any other version reads as 2.0."""
        moment = self.moment(-300)
        publisher = _PUBLISHER_CLAIM.get(version, "azp")
        tenant = self.tenant if changes.get("tid", GONE) is GONE else str(changes["tid"])
        genuine = {
            "aud": self.audience,
            "iss": _ISSUERS.get(version, _ISSUERS["2.0"]).replace("{tenantid}", tenant),
            "iat": moment,
            "nbf": moment,
            "exp": moment + LIVES.get(version, _DAY),
            publisher: PUBLISHER,
            f"{publisher}acr": "2",
            "tid": self.tenant,
            "ver": version,
        }
        return {name: value for name, value in {**genuine, **changes}.items() if value is not GONE}

    def token(self, version: str = "2.0", **changes: object) -> str:
        """Return a genuine token with the given claims changed."""
        return self.signed(_octets(self.claims(version, **changes)))

    def headed(self, **header: object) -> str:
        """Return a genuine token with the given header members changed."""
        return self.signed(_octets(self.claims()), header)

    def signed(self, payload: bytes, header: dict[str, object] | None = None, key: RSAPrivateKey | None = None) -> str:
        """Return any payload under any header, signed with RS256."""
        signer = key or self.key
        return self._sealed(payload, header or {}, lambda stem: signer.sign(stem, PKCS1v15(), hashes.SHA256()))

    def otherwise(self, algorithm: str, sign: Callable[[bytes], bytes]) -> str:
        """Return the genuine claims under another algorithm."""
        return self._sealed(_octets(self.claims()), {"alg": algorithm}, sign)

    def with_public_key(self, encoding: Encoding) -> str:
        """Return HS256, keyed with the public key: the classic confusion of algorithms."""
        public = self.key.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
        return self.otherwise("HS256", lambda stem: hmac.digest(public, stem, "sha256"))

    def by_a_stranger(self, **header: object) -> str:
        """Return genuine claims, signed with a key that is not the authority's."""
        return self.signed(_octets(self.claims()), header, self.foreign)

    def foreign_jwk(self) -> dict[str, str]:
        """Return the foreign key as a token may carry it."""
        numbers = self.foreign.public_key().public_numbers()
        modulus = base64url(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big"))
        return {"kty": "RSA", "n": modulus, "e": "AQAB", "kid": "mine", "use": "sig", "alg": "RS256"}

    def moment(self, seconds: int) -> int:
        """Return a NumericDate so many seconds from now."""
        return int(self.now.timestamp()) + seconds

    def _sealed(self, payload: bytes, header: dict[str, object], sign: Callable[[bytes], bytes]) -> str:
        genuine = {"typ": "JWT", "alg": "RS256", "kid": self.kid, "x5t": self.kid}
        kept = {name: value for name, value in {**genuine, **header}.items() if value is not GONE}
        stem = f"{base64url(_octets(kept))}.{base64url(payload)}"
        return f"{stem}.{base64url(sign(stem.encode()))}"


@dataclass(frozen=True)
class TokenCase:
    """A token and why it is rejected; `reason` None: valid. `anonymous`: its tenant cannot be read."""

    name: str
    description: str
    reason: str | None
    rule: Rule
    token: Callable[[Mint], str]
    anonymous: bool = False


def base64url(octets: bytes) -> str:
    """Return Base64url without padding."""
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def _octets(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _rs512(mint: Mint) -> str:
    return mint.otherwise("RS512", lambda stem: mint.key.sign(stem, PKCS1v15(), hashes.SHA512()))


def _ps256(mint: Mint) -> str:
    return mint.otherwise("PS256", lambda stem: sign_pss(stem, mint.key, hashlib.sha256(stem).digest()))


def replaced(token: str, number: int, text: str) -> str:
    """Return a token with one of its parts, 0 to 2, replaced."""
    parts = token.split(".")
    parts[number] = text
    return ".".join(parts)


def _altered(mint: Mint) -> str:
    return replaced(mint.token(), 1, base64url(_octets(mint.claims(aio="other"))))


_ALGORITHM = Rule(
    "A token is signed with RS256; the algorithm is the receiver's choice, never the token's.",
    f"{rules.JWT_PRACTICE}#section-3.1",
)
_CONFUSION = Rule(
    "A public key is no HMAC key: refuse every algorithm but the one that belongs to the key.",
    f"{rules.JWT_PRACTICE}#section-2.1",
)
_NONE = Rule("Unsecured tokens are refused.", f"{rules.JWT_PRACTICE}#section-3.2")
_ALG_HEADER = Rule("alg must be present, and is a case-sensitive string.", f"{rules.JWS}#section-4.1.1")
_KEY = Rule("The key is the one of the OpenID metadata that the token's kid names.", rules.SIGNING_KEYS)
_HEADER_KEY = Rule(
    "A key that a token brings along, or links to, proves nothing.", f"{rules.JWT_PRACTICE}#section-3.10"
)
_KID = Rule(
    "A kid is a string from a stranger: look it up among known keys, and nowhere else.",
    f"{rules.JWT_PRACTICE}#section-3.10",
)
_SIGNATURE = Rule(
    "The signature must be that of the header and claims, by the key that kid names.", f"{rules.JWS}#section-5.2"
)
_ISSUER = Rule(
    "iss is the issuer of the metadata with the token's own tid in place of {tenantid}.", rules.CLAIMS_VALIDATION
)
_VERSION = Rule("A token is of version 1.0 or 2.0, and has that version's issuer.", rules.CLAIMS)
_AUDIENCE = Rule("aud must name the app itself.", rules.RICH)
_ONE_AUDIENCE = should("Entra writes one audience, a string; a list would be shared with somebody.", rules.CLAIMS)
_PUBLISHER = Rule("appid (1.0) or azp (2.0) must be 0bf30f3b-4a52-48df-9a82-234910c4a086.", rules.RICH)
_TWO_PUBLISHERS = should("A token has one of appid and azp; two that disagree are not Entra's.", rules.CLAIMS)
_EXPIRES = Rule("A token is not accepted on or after exp, but for a leeway of minutes.", f"{rules.JWT}#section-4.1.4")
_BEGINS = Rule("A token is not accepted before nbf, but for a leeway of minutes.", f"{rules.JWT}#section-4.1.5")
_LIFETIME = Rule("Entra's access tokens have exp and nbf, both integers.", rules.CLAIMS)
_PLAUSIBLE = should("Entra's tokens live for hours; one that claims years is not Entra's.", rules.CLAIMS)
_COMPACT = Rule("A JWS in compact form has three parts in Base64url.", f"{rules.JWS}#section-7.1")
_CLAIMS_JSON = Rule("The claims are one JSON object in UTF-8.", f"{rules.JWT}#section-7.2")
_HEADER_JSON = Rule("The header is one JSON object in UTF-8.", f"{rules.JWS}#section-5.2")
_TENANT = Rule("tid names the tenant, a GUID: without it, no item is proven.", rules.CLAIMS)
_UNKNOWN_CLAIMS = Rule("Claims that are not understood are ignored.", f"{rules.JWT}#section-4")
_HEADER_MORE = Rule("kid and x5t name the key; other members of the header are ignored.", f"{rules.JWS}#section-4")
_OWN_CLAIMS = Rule("Tokens of both versions come; the publisher is in appid (1.0) or azp (2.0).", rules.RICH)
_URI = should("In tokens of version 1.0, aud may be the app's URI.", rules.CLAIMS)
_GUID_CASE = Rule("GUIDs compare without regard to case.", rules.GUIDS)
_BOUNDED = should(
    "A token has about 1,500 characters; read no more than a bounded length.", f"{rules.JWT_PRACTICE}#section-3.4"
)

ACCEPTED = (
    TokenCase("version-1", "Version 1.0: issuer sts.windows.net, publisher in appid.", None, _OWN_CLAIMS,
              lambda mint: mint.token("1.0")),
    TokenCase("version-2", "Version 2.0: issuer login.microsoftonline.com, publisher in azp.", None, _OWN_CLAIMS,
              lambda mint: mint.token("2.0")),
    TokenCase("audience-as-uri", "Version 1.0 with api:// before the app's id.", None, _URI,
              lambda mint: mint.token("1.0", aud=f"api://{mint.audience}")),
    TokenCase("audience-in-upper-case", "The app's id in upper case.", None, _GUID_CASE,
              lambda mint: mint.token(aud=mint.audience.upper())),
    TokenCase("tenant-in-upper-case", "tid, and so the issuer, in upper case.", None, _GUID_CASE,
              lambda mint: mint.token(tid=mint.tenant.upper())),
    TokenCase("one-hour-left", "Issued a day ago, and valid for another hour.", None, _EXPIRES,
              lambda mint: mint.token(iat=mint.moment(3_600 - _DAY), nbf=mint.moment(3_600 - _DAY),
                                      exp=mint.moment(3_600))),
    TokenCase("both-publishers-agree", "azp and appid, both the publisher.", None, _UNKNOWN_CLAIMS,
              lambda mint: mint.token(appid=PUBLISHER)),
    TokenCase("unknown-claims", "Claims that nobody has documented.", None, _UNKNOWN_CLAIMS,
              lambda mint: mint.token(xms_ftd="?", roles=[{"a": None}])),
    TokenCase("no-issue-time", "iat is absent; it is optional.", None,
              Rule("iat is optional.", f"{rules.JWT}#section-4.1.6"), lambda mint: mint.token(iat=GONE)),
    TokenCase("no-thumbprint-in-header", "x5t is absent: kid alone names the key.", None, _HEADER_MORE,
              lambda mint: mint.headed(x5t=GONE)),
    TokenCase("more-in-header", "The header has members that nobody has documented.", None, _HEADER_MORE,
              lambda mint: mint.headed(nonce="x", rh=None)),
)  # fmt: skip

ALGORITHM = (
    TokenCase("alg-none", "alg none and no signature.", "token_algorithm", _NONE,
              lambda mint: mint.otherwise("none", lambda _: b"")),
    TokenCase("alg-none-signed", "alg None, capitalized, with a good RS256 signature.", "token_algorithm", _NONE,
              lambda mint: mint.headed(alg="None")),
    TokenCase("alg-hs256-public-key-pem", "HS256 keyed with the authority's public key in PEM.", "token_algorithm",
              _CONFUSION, lambda mint: mint.with_public_key(Encoding.PEM)),
    TokenCase("alg-hs256-public-key-der", "HS256 keyed with the authority's public key in DER.", "token_algorithm",
              _CONFUSION, lambda mint: mint.with_public_key(Encoding.DER)),
    TokenCase("alg-rs512", "RS512 with the authority's own key.", "token_algorithm", _ALGORITHM, _rs512),
    TokenCase("alg-ps256", "PS256 with the authority's own key.", "token_algorithm", _ALGORITHM, _ps256),
    TokenCase("alg-in-lower-case", "alg rs256, with a good RS256 signature.", "token_algorithm", _ALG_HEADER,
              lambda mint: mint.headed(alg="rs256")),
    TokenCase("alg-absent", "No alg, with a good RS256 signature.", "token_algorithm", _ALG_HEADER,
              lambda mint: mint.headed(alg=GONE)),
    TokenCase("alg-a-list", "alg is a list that holds RS256.", "token_algorithm", _ALG_HEADER,
              lambda mint: mint.headed(alg=["RS256"])),
)  # fmt: skip

KEY = (
    TokenCase("kid-unknown", "kid names no published key; the signature is by one.", "token_key", _KEY,
              lambda mint: mint.headed(kid="nobody-s")),
    TokenCase("kid-absent", "No kid; the signature is by a published key.", "token_key", _KEY,
              lambda mint: mint.headed(kid=GONE)),
    TokenCase("kid-empty", "An empty kid; the signature is by a published key.", "token_key", _KEY,
              lambda mint: mint.headed(kid="")),
    TokenCase("kid-a-path", "kid is a path to a file.", "token_key", _KID,
              lambda mint: mint.headed(kid="../../../../dev/null")),
    TokenCase("key-in-header-jwk", "Signed with a stranger's key that the header brings along.", "token_key",
              _HEADER_KEY, lambda mint: mint.by_a_stranger(kid="mine", jwk=mint.foreign_jwk())),
    TokenCase("key-linked-jku", "Signed with a stranger's key that the header links to.", "token_key", _HEADER_KEY,
              lambda mint: mint.by_a_stranger(kid="mine", jku="https://example.org/keys")),
    TokenCase("key-linked-x5u", "Signed with a stranger's key whose certificate the header links to.", "token_key",
              _HEADER_KEY, lambda mint: mint.by_a_stranger(kid="mine", x5u="https://example.org/certificate")),
)  # fmt: skip

SIGNATURE = (
    TokenCase("signed-by-a-stranger", "A published kid, and the signature of another key.", "token_signature",
              _SIGNATURE, lambda mint: mint.by_a_stranger()),
    TokenCase("signed-by-a-stranger-jwk", "A published kid, and the signature of the key in the header.",
              "token_signature", _HEADER_KEY, lambda mint: mint.by_a_stranger(jwk=mint.foreign_jwk())),
    TokenCase("claims-altered", "The signature of other claims.", "token_signature", _SIGNATURE, _altered),
    TokenCase("signature-empty", "Nothing behind the second dot.", "token_signature", _SIGNATURE,
              lambda mint: replaced(mint.token(), 2, "")),
    TokenCase("signature-cut-short", "The end of the signature is missing.", "token_signature", _SIGNATURE,
              lambda mint: mint.token()[:-42]),
    TokenCase("signature-of-another-token", "The signature of another genuine token.", "token_signature", _SIGNATURE,
              lambda mint: replaced(mint.token(), 2, mint.token("1.0").split(".")[2])),
)  # fmt: skip

ISSUER = (
    TokenCase("issuer-wrong", "The issuer is somebody else.", "token_issuer", _ISSUER,
              lambda mint: mint.token(iss=f"https://example.org/{mint.tenant}/v2.0")),
    TokenCase("issuer-absent", "No issuer.", "token_issuer", _ISSUER, lambda mint: mint.token(iss=GONE)),
    TokenCase("issuer-a-list", "The issuer is a list that holds the right one.", "token_issuer",
              Rule("iss is one string.", f"{rules.JWT}#section-4.1.1"),
              lambda mint: mint.token(iss=[mint.claims()["iss"]])),
    TokenCase("issuer-of-another-cloud", "The issuer of another national cloud.", "token_issuer", _ISSUER,
              lambda mint: mint.token(iss=f"https://login.microsoftonline.us/{mint.tenant}/v2.0")),
    TokenCase("issuer-of-another-tenant", "The issuer names another tenant than tid.", "token_issuer", _ISSUER,
              lambda mint: mint.token(iss=f"https://login.microsoftonline.com/{STRANGER}/v2.0")),
    TokenCase("issuer-with-placeholder", "The issuer holds {tenantid}, as the metadata does.", "token_issuer", _ISSUER,
              lambda mint: mint.token(iss=_ISSUERS["2.0"])),
    TokenCase("issuer-of-version-1-in-version-2", "Version 2.0 with the issuer of 1.0.", "token_issuer", _VERSION,
              lambda mint: mint.token(iss=mint.claims("1.0")["iss"])),
    TokenCase("issuer-of-version-2-in-version-1", "Version 1.0 with the issuer of 2.0.", "token_issuer", _VERSION,
              lambda mint: mint.token("1.0", iss=mint.claims("2.0")["iss"])),
    TokenCase("issuer-with-more-behind", "The right issuer and a slash.", "token_issuer", _ISSUER,
              lambda mint: mint.token(iss=mint.claims()["iss"] + "/")),
    TokenCase("version-absent", "No ver.", "token_issuer", _VERSION, lambda mint: mint.token(ver=GONE)),
    TokenCase("version-unknown", "ver is 3.0.", "token_issuer", _VERSION, lambda mint: mint.token(ver="3.0")),
    TokenCase("version-null", "ver is null.", "token_issuer", _VERSION, lambda mint: mint.token(ver=None)),
)  # fmt: skip

AUDIENCE = (
    TokenCase("audience-of-another-app", "A token for another app.", "token_audience", _AUDIENCE,
              lambda mint: mint.token(aud=STRANGER)),
    TokenCase("audience-shared", "A list of another app and ours.", "token_audience", _ONE_AUDIENCE,
              lambda mint: mint.token(aud=[STRANGER, mint.audience])),
    TokenCase("audience-a-list", "A list of our app alone.", "token_audience", _ONE_AUDIENCE,
              lambda mint: mint.token(aud=[mint.audience])),
    TokenCase("audience-absent", "No audience.", "token_audience", _AUDIENCE, lambda mint: mint.token(aud=GONE)),
    TokenCase("audience-null", "The audience is null.", "token_audience", _AUDIENCE, lambda mint: mint.token(aud=None)),
    TokenCase("audience-with-more-behind", "Our app and more.", "token_audience", _AUDIENCE,
              lambda mint: mint.token(aud=f"{mint.audience}/x")),
    TokenCase("audience-microsoft-graph", "A token for Microsoft Graph itself.", "token_audience", _AUDIENCE,
              lambda mint: mint.token(aud="https://graph.microsoft.com")),
)  # fmt: skip

PUBLISHERS = (
    TokenCase("publisher-wrong-version-1", "Anybody's token for our app: appid is another app.", "token_publisher",
              _PUBLISHER, lambda mint: mint.token("1.0", appid=STRANGER)),
    TokenCase("publisher-wrong-version-2", "Anybody's token for our app: azp is another app.", "token_publisher",
              _PUBLISHER, lambda mint: mint.token("2.0", azp=STRANGER)),
    TokenCase("publisher-absent-version-1", "No appid.", "token_publisher", _PUBLISHER,
              lambda mint: mint.token("1.0", appid=GONE)),
    TokenCase("publisher-absent-version-2", "No azp.", "token_publisher", _PUBLISHER,
              lambda mint: mint.token("2.0", azp=GONE)),
    TokenCase("publisher-null", "azp is null.", "token_publisher", _PUBLISHER, lambda mint: mint.token(azp=None)),
    TokenCase("publisher-a-list", "azp is a list that holds the publisher.", "token_publisher", _PUBLISHER,
              lambda mint: mint.token(azp=[PUBLISHER])),
    TokenCase("publisher-in-the-other-claim", "Version 2.0 with the publisher in appid alone.", "token_publisher",
              _PUBLISHER, lambda mint: mint.token("2.0", azp=GONE, appid=PUBLISHER)),
    TokenCase("publisher-in-the-other-claim-stranger-in-its-own",
              "Version 1.0 with a stranger in appid and the publisher in azp.", "token_publisher", _PUBLISHER,
              lambda mint: mint.token("1.0", appid=STRANGER, azp=PUBLISHER)),
    TokenCase("publisher-right-stranger-in-the-other-claim",
              "Version 2.0 with the publisher in azp, a stranger in appid.", "token_publisher", _TWO_PUBLISHERS,
              lambda mint: mint.token("2.0", appid=STRANGER)),
)  # fmt: skip

LIFETIME = (
    TokenCase("expired", "Expired a day ago.", "token_lifetime", _EXPIRES,
              lambda mint: mint.token(iat=mint.moment(-2 * _DAY), nbf=mint.moment(-2 * _DAY), exp=mint.moment(-_DAY))),
    TokenCase("expired-last-week", "A genuine token of last week.", "token_lifetime", _EXPIRES,
              lambda mint: mint.token(nbf=mint.moment(-8 * _DAY), exp=mint.moment(-7 * _DAY))),
    TokenCase("not-yet-valid", "Valid from tomorrow on.", "token_lifetime", _BEGINS,
              lambda mint: mint.token(nbf=mint.moment(_DAY), exp=mint.moment(2 * _DAY))),
    TokenCase("end-absent", "No exp.", "token_lifetime", _LIFETIME, lambda mint: mint.token(exp=GONE)),
    TokenCase("beginning-absent", "No nbf.", "token_lifetime",
              should("Entra's access tokens have nbf.", rules.CLAIMS), lambda mint: mint.token(nbf=GONE)),
    TokenCase("end-null", "exp is null.", "token_lifetime", _LIFETIME, lambda mint: mint.token(exp=None)),
    TokenCase("end-a-string", "exp is a string of digits.", "token_lifetime",
              Rule("exp is a number.", f"{rules.JWT}#section-4.1.4"),
              lambda mint: mint.token(exp=str(mint.moment(3_600)))),
    TokenCase("end-true", "exp is true.", "token_lifetime", Rule("exp is a number.", f"{rules.JWT}#section-4.1.4"),
              lambda mint: mint.token(exp=True)),
    TokenCase("a-hundred-years", "Valid for a hundred years.", "token_lifetime", _PLAUSIBLE,
              lambda mint: mint.token(exp=mint.moment(3_155_760_000))),
    TokenCase("end-of-a-thousand-digits", "exp has a thousand digits.", "token_lifetime", _PLAUSIBLE,
              lambda mint: mint.token(exp=10**1000)),
    TokenCase("beginning-of-a-thousand-digits", "nbf has a thousand digits, below zero.", "token_lifetime", _PLAUSIBLE,
              lambda mint: mint.token(nbf=-(10**1000))),
    TokenCase("end-before-beginning", "exp was yesterday, nbf is tomorrow.", "token_lifetime", _EXPIRES,
              lambda mint: mint.token(nbf=mint.moment(_DAY), exp=mint.moment(-_DAY))),
)  # fmt: skip

MALFORMED = (
    TokenCase("header-not-json", "The header is cut short.", "token_malformed", _HEADER_JSON,
              lambda mint: replaced(mint.token(), 0, base64url(b"{"))),
    TokenCase("header-a-list", "The header is a list.", "token_malformed", _HEADER_JSON,
              lambda mint: replaced(mint.token(), 0, base64url(b"[]"))),
    TokenCase("header-deep", "The header opens nine thousand brackets.", "token_malformed", _HEADER_JSON,
              lambda mint: replaced(mint.token(), 0, base64url(b"[" * 9_000))),
    TokenCase("kid-a-number", "kid is a number.", "token_malformed",
              Rule("kid is a case-sensitive string.", f"{rules.JWS}#section-4.1.4"), lambda mint: mint.headed(kid=7)),
    TokenCase("signature-not-base64", "The signature is one character.", "token_malformed", _COMPACT,
              lambda mint: replaced(mint.token(), 2, "a")),
)  # fmt: skip

ANONYMOUS = tuple(
    TokenCase(name, description, "token_malformed", rule, token, anonymous=True)
    for name, description, rule, token in (
        ("empty", "An empty text.", _COMPACT, lambda _: ""),
        ("words", "Three parts that are no JSON.", _COMPACT, lambda _: "a.b.c"),
        ("two-parts", "The signature and its dot are missing.", _COMPACT, lambda mint: mint.token().rpartition(".")[0]),
        ("five-parts", "The five parts of an encrypted token.", _COMPACT, lambda mint: mint.token() + ".a.b"),
        ("enormous", "A hundred thousand characters in one claim.", _BOUNDED,
         lambda mint: mint.token(filler="x" * 100_000)),
        ("not-ascii", "A letter beyond ASCII in the signature.", _COMPACT, lambda mint: replaced(mint.token(), 2, "ä")),
        ("tenant-absent", "No tid.", _TENANT, lambda mint: mint.token(tid=GONE)),
        ("tenant-not-a-guid", "tid is common.", _TENANT, lambda mint: mint.token(tid="common")),
        ("tenant-a-placeholder", "tid is {tenantid}.", _TENANT, lambda mint: mint.token(tid="{tenantid}")),
        ("tenant-a-number", "tid is a number.", _TENANT, lambda mint: mint.token(tid=7)),
        ("claims-a-list", "The claims are a list.", _CLAIMS_JSON, lambda mint: mint.signed(b"[]")),
        ("claims-not-json", "The claims are cut short.", _CLAIMS_JSON, lambda mint: mint.signed(b'{"tid": ')),
        ("claims-not-utf8", "The claims are not UTF-8.", _CLAIMS_JSON, lambda mint: mint.signed(b'{"tid": "\xff"}')),
        ("claims-deep", "The claims are nested nine thousand times.", _TENANT,
         lambda mint: mint.signed(b'{"a":' + b"[" * 9_000 + b"]" * 9_000 + b"}")),
        ("end-not-a-number", "exp is NaN, which is no JSON.", _CLAIMS_JSON, lambda mint: mint.token(exp=float("nan"))),
        ("end-infinite", "exp is Infinity, which is no JSON.", _CLAIMS_JSON, lambda mint: mint.token(exp=float("inf"))),
        ("beginning-infinite", "nbf is -Infinity, which is no JSON.", _CLAIMS_JSON,
         lambda mint: mint.token(nbf=float("-inf"))),
    )
)  # fmt: skip

REFUSED = ALGORITHM + KEY + SIGNATURE + ISSUER + AUDIENCE + PUBLISHERS + LIFETIME + MALFORMED + ANONYMOUS
TOKEN_CASES = ACCEPTED + REFUSED
