"""Requests that Graph never sends: forged items, forged tokens, malformed bodies.

Each forgery is correct except in the one respect that its name states, as if the attacker knew everything else.
"""

import base64
import hmac
import random
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from graph_simulator.encryption import Recipient, enclose
from graph_simulator.signing import PUBLISHER, SigningKey, SigningKeys, validation_claims
from graph_simulator.subscription import Subscription

TEXT = "This was never written by anybody."
STRANGER = "6f1d7a52-0000-4000-8000-5a3c1de9b0f7"
ENORMOUS = 6_000_000
DEEP = 100_000

MIXED_KINDS = ("client state wrong", "client state missing", "subscription unknown", "signature wrong",
               "data key swapped", "tenant uncovered")  # fmt: skip
TOKEN_KINDS = ("publisher wrong", "publisher in the other version's claim", "audience wrong", "issuer wrong",
               "tenant wrong", "expired", "not yet valid", "alg none", "alg HS256", "foreign key",
               "foreign key, known kid", "no token", "garbage token")  # fmt: skip
BODY_KINDS = ("truncated", "enormous", "deep", "not JSON", "not an object", "value not a list")
KINDS = MIXED_KINDS + TOKEN_KINDS + BODY_KINDS


class Forger:
    """Makes forgeries for rich subscriptions. Its own signing key is created when first needed."""

    def __init__(self, keys: SigningKeys, clock: Callable[[], datetime], chance: random.Random) -> None:
        self._keys = keys
        self._clock = clock
        self._chance = chance
        self._foreign: SigningKey | None = None

    def item(self, kind: str, subscription: Subscription, recipient: Recipient) -> bytes:
        """Return one forged item (JSON) to be sent among genuine items."""
        item = self._item(subscription, recipient)
        match kind:
            case "client state wrong":
                item["clientState"] = base64.b64encode(self._chance.randbytes(48)).decode()
            case "client state missing":
                del item["clientState"]
            case "subscription unknown":
                item["subscriptionId"] = self._guid()
                item["clientState"] = "guess"
            case "signature wrong":
                item["encryptedContent"]["dataSignature"] = base64.b64encode(self._chance.randbytes(32)).decode()
            case "data key swapped":
                item["encryptedContent"]["dataKey"] = enclose(b"{}", recipient)["dataKey"]
            case "tenant uncovered":
                item["tenantId"] = self._guid()
            case _:
                raise ValueError(kind)
        return msgspec.json.encode(item)

    def body(self, kind: str, subscription: Subscription, recipient: Recipient) -> bytes:
        """Return the whole body of a forged post."""
        item = self._item(subscription, recipient)
        tokens = [self._keys.validation_token(subscription.audience, subscription.owner.tenant, 2)]
        collection: dict[str, Any] = {"value": [item], "validationTokens": tokens}
        if kind in TOKEN_KINDS:
            collection["validationTokens"] = self._tokens(kind, subscription)
            return msgspec.json.encode(collection)
        whole = msgspec.json.encode(collection)
        bodies: dict[str, Callable[[], bytes]] = {
            "truncated": lambda: whole[: len(whole) // 2],
            "enormous": lambda: b'{"value":["' + b"A" * ENORMOUS + b'"]}',
            "deep": lambda: b'{"value":' + b"[" * DEEP + b"]" * DEEP + b"}",
            "not JSON": lambda: self._chance.randbytes(500),
            "not an object": lambda: b"[1, null, {}]",
            "value not a list": lambda: b'{"value": {"0": null}, "validationTokens": "none"}',
        }
        return bodies[kind]()

    def _item(self, subscription: Subscription, recipient: Recipient) -> dict[str, Any]:
        """Return a genuine item."""
        message_id = str(self._chance.randrange(10**12, 10**13))
        chat = f"19:{self._chance.getrandbits(128):032x}@thread.v2"
        path = f"chats('{chat}')/messages('{message_id}')"
        written = self._clock().isoformat().replace("+00:00", "Z")
        message = {
            "id": message_id,
            "etag": message_id,
            "messageType": "message",
            "createdDateTime": written,
            "lastModifiedDateTime": written,
            "chatId": chat,
            "body": {"contentType": "text", "content": TEXT},
        }
        return {
            "subscriptionId": subscription.id,
            "subscriptionExpirationDateTime": written,
            "changeType": "created",
            "clientState": subscription.client_state,
            "tenantId": subscription.owner.tenant,
            "resource": path,
            "resourceData": {"id": message_id, "@odata.type": "#Microsoft.Graph.ChatMessage", "@odata.id": path},
            "encryptedContent": enclose(msgspec.json.encode(message), recipient),
        }

    def _tokens(self, kind: str, subscription: Subscription) -> list[str]:
        if kind == "no token":
            return []
        if kind == "garbage token":
            return ["eyJ.eyJ.", "", "a.b.c"]
        version = self._chance.choice((1, 2))
        publisher, other = ("appid", "azp") if version == 1 else ("azp", "appid")
        tenant, now = subscription.owner.tenant, self._clock()
        claims = validation_claims(subscription.audience, tenant, version, now)
        moment = int(now.timestamp())
        alterations: dict[str, dict[str, Any]] = {
            "publisher wrong": {publisher: STRANGER},
            "publisher in the other version's claim": {publisher: STRANGER, other: PUBLISHER},
            "audience wrong": {"aud": STRANGER},
            "issuer wrong": {"iss": f"https://login.example.org/{tenant}/v2.0"},
            "tenant wrong": {"tid": STRANGER, "iss": claims["iss"].replace(tenant, STRANGER)},
            "expired": {"nbf": moment - 120_000, "iat": moment - 120_000, "exp": moment - 36_000},
            "not yet valid": {"nbf": moment + 3_600, "exp": moment + 90_000},
        }
        return [self._signed(kind, claims | alterations.get(kind, {}))]

    def _signed(self, kind: str, claims: dict[str, Any]) -> str:
        present = self._keys.present
        if kind == "alg none":
            return jwt.encode(claims, "", algorithm="none", headers={"kid": present.kid})
        if kind == "alg HS256":
            public = present.private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            return _hs256(claims, present.kid, public)
        if not kind.startswith("foreign key"):
            return present.sign(claims)
        if self._foreign is None:
            self._foreign = SigningKey.create(self._clock())
        kid = present.kid if kind == "foreign key, known kid" else self._foreign.kid
        return SigningKey(kid, self._foreign.private_key, b"").sign(claims)

    def _guid(self) -> str:
        return str(uuid.UUID(int=self._chance.getrandbits(128), version=4))


def _hs256(claims: dict[str, Any], kid: str, secret: bytes) -> str:
    """Sign with a public key as if it were a shared secret, which PyJWT refuses to do."""
    parts = [{"typ": "JWT", "alg": "HS256", "kid": kid}, claims]
    signed = b".".join(base64.urlsafe_b64encode(msgspec.json.encode(part)).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.digest(secret, signed, "sha256")).rstrip(b"=")
    return f"{signed.decode()}.{signature.decode()}"
