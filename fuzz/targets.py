"""The targets: each accepts any bytes, and raises if the module under test breaks a promise.

A target determines the correct result without the module: from Python's own JSON, an independent decryption, or its own
input.
"""

import base64
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from fuzz import outsiders
from fuzz.promises import promise
from shared.delivery.event import Event, event_of_content, event_read_back
from shared.errors import Reason, Refused, Undeliverable
from shared.graph.json_repair import MAX_REPAIRS, repaired
from shared.graph.notification import EncryptedContent, Notification, read_collection
from shared.graph.token_cache import TokenCache
from shared.graph.validation_token import PUBLISHER, SigningKey, claimed_tenant
from shared.keys.decryption import open_content
from shared.messages.envelope import read, read_dead_letter, write
from shared.messages.ingest import ExpectedRecipient, sort_items
from shared.messages.packing import Evidence, pack_changes, sealed
from shared.resources.identity import identify
from shared.resources.matching import is_certainly_elsewhere, is_certainly_within
from shared.resources.path import encoded, segments

Target = Callable[[bytes], None]

TENANT = "c7d1e2f3-0a0b-4c0d-8e0f-000000000001"
CLIENT_ID = "8e46a1b2-0a0b-4c0d-8e0f-000000000003"
NOW = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
ISSUERS = {"1.0": "https://sts.windows.net/{tenantid}/", "2.0": "https://login.microsoftonline.com/{tenantid}/v2.0"}
SYMMETRIC_KEY = bytes(range(32))

_COMPLAINT = "content_unreadable: the content can't be decrypted with the key that it names"
_OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)


def notification(body: bytes) -> None:
    """A body is a collection or refused as malformed; no item passes without a genuine clientState."""
    try:
        collection = read_collection(body)
    except Refused as refused:
        promise(refused.reason is Reason.MALFORMED, "another reason")
        return
    collection.tokens()
    found = sort_items(collection.value, ExpectedRecipient(TENANT, [SYMMETRIC_KEY]))
    promise(not found.changes and not found.lifecycle, "an unproven item passed")
    promise(found.refused.total() == len(collection.value), "an item is missing")
    for item in collection.value:
        ascii_item = sealed(item, TENANT).text
        promise(ascii_item.isascii(), "a sealed item is not ASCII")
        promise(_same_json(ascii_item, bytes(item)), "sealing changed an item")


def envelope(text: bytes) -> None:
    """A queue message reads as what `write` writes again, or is refused; packing keeps each item once, in order."""
    for reading, undeliverable in ((read, Reason.MALFORMED), (read_dead_letter, Reason.MALFORMED)):
        try:
            content = reading(text.decode("utf-8", "replace"))
        except Undeliverable as error:
            promise(error.reason is undeliverable, "another reason")
            continue
        written = write(content)
        promise(written.isascii(), "an envelope is not ASCII")
        promise(write(reading(written)) == written, "writing changed an envelope")
    items = [sealed(msgspec.Raw(msgspec.json.encode(part.decode("utf-8", "replace"))), TENANT) for part in text.split()]
    limit = 200 + 10 * text[0] if text else 200
    packed = pack_changes(items, Evidence({TENANT: ("token",)}, channel_is_proof=False), NOW, "", limit)
    promise(
        [bytes(item) for held in packed for item in held.items] == [item.text for item in items], "packing lost one"
    )
    promise(all(len(write(held)) <= limit for held in packed if len(held.items) > 1), "an envelope is too long")


def validation_token(text: bytes) -> None:
    """A token is refused, or its claims match Python's own parsing; header and claims are signed."""
    header, separator, claims = text.partition(b"\n")
    token = _signed(header, claims) if separator else text.decode("latin-1")
    claimed_tenant(token)
    try:
        TokenCache().check(token, _find_key, CLIENT_ID, NOW)
    except Refused:
        return
    said = json.loads(claims)
    publisher, issuer = {"1.0": "appid", "2.0": "azp"}[said["ver"]], ISSUERS[said["ver"]]
    moment = int(NOW.timestamp())
    promise(json.loads(header)["alg"] == "RS256", "another algorithm")
    promise(said["tid"].lower() == claimed_tenant(token), "another tenant")
    promise(said[publisher] == PUBLISHER, "another publisher")
    promise(said["iss"] == issuer.replace("{tenantid}", said["tid"]), "another issuer")
    promise(said["aud"].lower() in (CLIENT_ID, f"api://{CLIENT_ID}"), "another audience")
    promise(said["nbf"] - 300 <= moment < said["exp"] + 4 * 3600 + 300, "out of time")


def decryption(octets: bytes) -> None:
    """Content decrypts to the result of an independent decryption, or fails with the single reason."""
    mode, rest = octets[:1], octets[1:]
    if mode < b"@":  # any three texts
        data, data_key, signature = ([*rest.decode("utf-8", "replace").split("|"), "", "", ""])[:3]
        content = EncryptedContent(data, data_key, signature)
        expected = None
    elif mode < b"h":  # any ciphertext, properly signed
        content = EncryptedContent(_base64(rest), _wrapped(), _base64(hmac.digest(SYMMETRIC_KEY, rest, "sha256")))
        expected = _opened(rest)
    else:  # any key and any signature
        content = EncryptedContent(_base64(bytes(16)), _base64(rest[32:]), _base64(rest[:32]))
        expected = None
    try:
        opened = open_content(content, _our_key())
    except Undeliverable as undeliverable:
        promise(str(undeliverable) == _COMPLAINT, "another complaint")
        promise(expected is None, "what opens did not")
    else:
        promise(opened == expected, "what must not open did")


def json_text(text: bytes) -> None:
    """JSON that Python reads is repaired to the same value, with a replacement for each lone surrogate."""
    again = repaired(text)
    promise(len(again) == len(text), "the length changed")
    promise(repaired(again) == again, "repairing twice differs")
    try:
        before = _read_json(text)
    except (ValueError, RecursionError):
        return
    promise(_whole(before) == _read_json(again), "mending changed more than halves")
    try:
        msgspec.json.decode(again, type=msgspec.Raw)
    except RecursionError:
        return
    except msgspec.DecodeError as error:
        promise("surrogate" not in str(error) or text.count(b"\\u") > MAX_REPAIRS, "a half is left")


def resource_path(text: bytes) -> None:
    """A path splits into parts that join to an equivalent path; a message's path is the same in any spelling."""
    declared, _, named = text.decode("utf-8", "replace").partition("\n")
    parts = segments(named)
    if all(parts):
        promise(segments(encoded(parts)) == parts, "encoding changed a part")
    item = identify(named)
    if item.type is not None:
        canonical = encoded(item.parts)
        promise(identify(canonical) == item, "another resource once it is named canonically")
        if item.kind == "ChatMessage":
            promise(not is_certainly_elsewhere(item.collection, item), "a message is not elsewhere than it is")
    elsewhere, within = is_certainly_elsewhere(declared, item), is_certainly_within(declared, named)
    promise(not (elsewhere and within), "a resource is within what is declared, and elsewhere")


def event(text: bytes) -> None:
    """Content becomes a CloudEvent in JSON with the original content, or is not JSON."""
    named, _, content = text.partition(b"\n")
    item = Notification("1", change_type="created", resource=named.decode("utf-8", "replace"))
    makers: tuple[Callable[[], Event], ...] = (
        lambda: event_of_content(content, item, TENANT, NOW),
        lambda: event_read_back(content, "chats/getAllMessages", TENANT, NOW),
    )
    for made in makers:
        try:
            found = made()
        except Undeliverable as undeliverable:
            promise(undeliverable.reason is Reason.CONTENT_NOT_JSON, "another reason")
            continue
        promise(bytes(found.data) == content, "the content changed")
        promise(found.id.startswith(f"{TENANT}/"), "an event of another tenant")
        promise(_is_json(content) <= _is_json(msgspec.json.encode([found])), "an event is not JSON")


def _is_json(text: bytes) -> bool:
    try:
        _read_json(text)
    except (ValueError, RecursionError):
        return False
    return True


def _same_json(left: bytes, right: bytes) -> bool:
    try:
        return bool(_read_json(left) == _read_json(right))
    except (ValueError, RecursionError):  # Python's parser has limits of its own
        return True


def _read_json(text: bytes) -> Any:
    """Read JSON with every number as its text and every pair of an object in order. Raises ValueError."""
    return json.loads(
        text.decode("utf-8"), parse_int=str, parse_float=str, parse_constant=_no_constant, object_pairs_hook=_Pairs
    )


class _Pairs(list[Any]):
    """The members of an object, including duplicates."""


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _whole(document: Any) -> Any:
    """Return the document with a replacement for each lone surrogate."""
    if isinstance(document, str):
        return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in document)
    if isinstance(document, list | tuple):
        return type(document)(_whole(part) for part in document)
    return document


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def _opened(ciphertext: bytes) -> bytes | None:
    """Return the decrypted content; None if its length or padding is wrong."""
    if not ciphertext or len(ciphertext) % 16:
        return None
    decryptor = Cipher(algorithms.AES(SYMMETRIC_KEY), modes.CBC(SYMMETRIC_KEY[:16])).decryptor()
    plain = decryptor.update(ciphertext) + decryptor.finalize()
    pad = plain[-1]
    return plain[:-pad] if 1 <= pad <= 16 and plain.endswith(bytes([pad]) * pad) else None


def _signed(header: bytes, claims: bytes) -> str:
    """Return a token with the authority's signature, whatever its header states."""
    stem = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, claims))
    signature = _authority_key().sign(stem, padding.PKCS1v15(), hashes.SHA256())
    return (stem + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def _find_key(kid: str, _: str) -> SigningKey:
    if kid != "authority":
        raise Refused(Reason.TOKEN_KEY)
    return SigningKey(_authority_key().public_key(), ISSUERS)


@cache
def _authority_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)  # fast: it protects nothing


@cache
def _our_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)


@cache
def _wrapped() -> str:
    return _base64(_our_key().public_key().encrypt(SYMMETRIC_KEY, _OAEP))


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        *(notification, envelope, validation_token, decryption, json_text, resource_path, event),
        *outsiders.TARGETS,
    )
}
