"""Contents that cannot be decrypted, contents without a usable resource, malformed items and bodies."""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from graph_simulator.encryption import seal
from graph_simulator.vectors import rules
from graph_simulator.vectors.case import BROKEN, Case, Item, accept, collection, reject, to_json
from graph_simulator.vectors.derivation import Draw
from graph_simulator.vectors.genuine import rich, rich_chat_message
from graph_simulator.vectors.resources import message
from graph_simulator.vectors.rsa import encrypt_oaep
from graph_simulator.vectors.rules import Rule, should
from graph_simulator.vectors.world import World

UNREADABLE, NOT_JSON, KEY_UNKNOWN, MALFORMED = "content_unreadable", "content_not_json", "key_unknown", "malformed"
FIELDS = ("data", "dataKey", "dataSignature")
DEEP = 100_000
LONG = 1_000_000

Content = dict[str, Any]
Damage = Callable[[World, Draw, Content], object]
"""Returns the replacement of a genuine encryptedContent."""

_FIELD = Rule("data, dataKey and dataSignature are strings, and all are needed.", rules.ENCRYPTED_CONTENT)
_NAME = should("The id and the thumbprint are strings.", rules.ENCRYPTED_CONTENT)
_BASE64 = Rule("data, dataKey and dataSignature are Base64.", f"{rules.BASE64}#section-4")
_HMAC = Rule(
    "dataSignature is the HMAC-SHA256 of the octets of data under the symmetric key; else do not decrypt.", rules.RICH
)
_OAEP = Rule("dataKey is RSA-OAEP with SHA-1 and MGF1 with SHA-1, to the certificate named.", rules.RICH)
_OAEP_FORM = Rule("What does not decode as OAEP is refused, and all such faults look the same.", rules.OAEP)
_KEY_SIZE = Rule("The symmetric key is of AES-256: 32 octets.", rules.RICH)
_PADDING = Rule("The last octets say how many octets of padding there are, from 1 to 16.", rules.PADDING)
_BLOCKS = Rule("A ciphertext is a whole number of blocks of 16 octets, at least one.", rules.PADDING)
_IV = Rule("The initialisation vector is the first 16 octets of the symmetric key.", rules.RICH)
_CIPHER = Rule("data is encrypted with AES-256 in CBC mode, padded by PKCS#7.", rules.ENCRYPTED_CONTENT)
_RESOURCE = Rule("data opens to the resource: one JSON object.", rules.ENCRYPTED_CONTENT)
_GRAMMAR = Rule("A JSON text keeps to the grammar, and is UTF-8.", f"{rules.JSON}#section-8.1")
_DEPTH = Rule("A parser may bound the depth of nesting; it must not fall over.", f"{rules.JSON}#section-9")
_KEY_NAMED = Rule(
    "encryptionCertificateId selects the private key; an id is a name, not a place.", rules.ENCRYPTED_CONTENT
)
_REQUIRED = Rule("subscriptionId, changeType and resource are required in a change notification.", rules.NOTIFICATION)
_TYPES = Rule("The members of a notification are strings.", rules.NOTIFICATION)
_NO_ITEM = Rule("value holds objects.", rules.COLLECTION)
_NO_COLLECTION = Rule(
    "A body that is no collection is no notification; 400 is for what is malformed.", f"{rules.HTTP}#section-15.5.1"
)


def damaged(world: World) -> Iterator[Case]:
    """Return every damage to contents, items and bodies."""
    for name, description, rule, reason, damage in (*_fields(), *_sealed(), *_opened(), *_unknown_keys()):
        draw = world.draw(name)
        written = rich_chat_message(world, draw)
        written.item["encryptedContent"] = damage(world, draw, written.item["encryptedContent"])
        yield Case(name, description, rule, collection([written.item], [world.token()]), (reject(reason),))
    yield from _swapped(world)
    yield from _items(world)
    yield from _bodies(world)


Row = tuple[str, str, Rule, str, Damage]


def _fields() -> Iterator[Row]:
    for field in FIELDS:
        yield f"content-{field}-missing", f"{field} is absent.", _FIELD, UNREADABLE, _without(field)
        yield f"content-{field}-null", f"{field} is null.", _FIELD, UNREADABLE, _with({field: None})
        for name, description, value in (
            ("empty", "is empty", ""),
            ("not-base64", "is no Base64", "!!!!"),
            ("base64-cut-short", "is three characters of Base64", "AAA"),
            ("not-ascii", "holds letters beyond ASCII", "äöü="),
            ("long", "is a hundred thousand characters of other Base64", "AAAA" * 25_000),
        ):
            yield f"content-{field}-{name}", f"{field} {description}.", _BASE64, UNREADABLE, _with({field: value})
    others: tuple[tuple[str, object], ...] = (("a-number", 7), ("a-list", ["AAAA"]), ("an-object", {"a": 1}))
    for field in (*FIELDS, "encryptionCertificateId", "encryptionCertificateThumbprint"):
        for name, other in others:
            description = f"{field} is {name.replace('-', ' ')}."
            yield (
                f"content-{field}-{name}",
                description,
                _FIELD if field in FIELDS else _NAME,
                UNREADABLE,
                _with({field: other}),
            )
    whole: tuple[tuple[str, str, object], ...] = (
        ("a-text", "encryptedContent is a text.", "text"),
        ("a-list", "encryptedContent is a list.", []),
        ("an-empty-object", "encryptedContent is an empty object.", {}),
    )
    for name, description, instead in whole:
        yield f"content-{name}", description, _FIELD, UNREADABLE, _instead(instead)


def _sealed() -> Iterator[Row]:
    """Return damage that shows before decryption."""
    yield (
        "content-truncated",
        "The end of data is missing.",
        _HMAC,
        UNREADABLE,
        _altered("data", lambda octets: octets[:-16]),
    )
    yield (
        "content-extended",
        "data has a block more.",
        _HMAC,
        UNREADABLE,
        _altered("data", lambda octets: octets + bytes(16)),
    )
    for field in FIELDS:
        for place, index in (("first", 0), ("last", -1)):
            rule = _OAEP_FORM if field == "dataKey" else _HMAC
            yield (
                f"content-{field}-{place}-bit",
                f"One bit of the {place} octet of {field} is another.",
                rule,
                UNREADABLE,
                _altered(field, _flipped(index)),
            )
    yield (
        "content-signature-cut-short",
        "dataSignature lacks its last octet.",
        _HMAC,
        UNREADABLE,
        _altered("dataSignature", lambda octets: octets[:-1]),
    )
    yield (
        "content-signature-of-the-base64",
        "dataSignature is that of the Base64 text of data.",
        _HMAC,
        UNREADABLE,
        _made(lambda key, plain: (seal(plain, key)[0], _hmac(key, seal(plain, key)[0].encode()))),
    )
    yield (
        "content-signature-of-the-plain-text",
        "dataSignature is that of the resource.",
        _HMAC,
        UNREADABLE,
        _made(lambda key, plain: (seal(plain, key)[0], _hmac(key, plain))),
    )
    yield (
        "content-signature-of-other-data",
        "dataSignature is that of other data under the same key.",
        _HMAC,
        UNREADABLE,
        _made(lambda key, plain: (seal(plain, key)[0], seal(b'{"id":"2"}', key)[1])),
    )
    yield (
        "content-signature-under-another-key",
        "dataSignature is made with another key.",
        _HMAC,
        UNREADABLE,
        _made(lambda key, plain: (seal(plain, key)[0], seal(plain, key[::-1])[1])),
    )
    yield (
        "content-for-a-stranger",
        "Encrypted to another certificate than the one it names.",
        _OAEP,
        UNREADABLE,
        _for_a_stranger,
    )
    yield (
        "content-for-another-of-our-keys",
        "Encrypted to one of our keys, under the id of another.",
        _OAEP,
        UNREADABLE,
        (lambda world, draw, content: {**content, "encryptionCertificateId": world.keys[1].recipient.certificate_id}),
    )
    yield (
        "content-key-wrapped-with-sha256",
        "dataKey is RSA-OAEP with SHA-256.",
        _OAEP,
        UNREADABLE,
        _wrapped_with_sha256,
    )
    yield "content-key-in-the-clear", "dataKey is the symmetric key itself.", _OAEP_FORM, UNREADABLE, _key_in_the_clear
    for size in (0, 16, 24, 31, 33, 64):
        yield (
            f"content-key-of-{size}-octets",
            f"dataKey holds {size} octets, and all else fits them.",
            _KEY_SIZE,
            UNREADABLE,
            _key_of(size),
        )
    for size in (0, 9, 15, 17):
        yield (
            f"content-data-of-{size}-octets",
            f"data has {size} octets, properly signed.",
            _BLOCKS,
            UNREADABLE,
            _cut_to(size),
        )
    yield (
        "content-without-padding",
        "The last block, of padding, is missing; properly signed.",
        _PADDING,
        UNREADABLE,
        _made(lambda key, _: _signed(key, b64decode(seal(b'{"id":"01234567"', key)[0])[:16])),
    )
    yield (
        "content-with-another-vector",
        "Encrypted with an initialisation vector of zeros, properly signed.",
        _IV,
        NOT_JSON,
        _made(_with_another_vector),
    )


def _opened() -> Iterator[Row]:
    """Return contents that decrypt, but not to a resource."""
    for name, description, rule, plain in (
        ("words", "The content is words.", _GRAMMAR, b"not JSON"),
        ("empty", "The content is empty.", _GRAMMAR, b""),
        ("a-list", "The content is a list.", _RESOURCE, b"[]"),
        ("a-string", "The content is a string.", _RESOURCE, b'"text"'),
        ("null", "The content is null.", _RESOURCE, b"null"),
        ("cut-short", "The content is JSON that was cut short.", _GRAMMAR, b'{"id":"1","body":{"content":"He'),
        ("more-behind", "The content is an object and more.", _GRAMMAR, b'{"id":"1"}{"id":"2"}'),
        ("deep", f"The content opens {DEEP:,} brackets.", _DEPTH, b"[" * DEEP),
        ("not-utf8", "The content is not UTF-8.", _GRAMMAR, b'{"id":"\xff"}'),
        ("utf16", "The content is UTF-16.", _GRAMMAR, '{"id":"1"}'.encode("utf-16")),
        ("a-megabyte-of-words", "The content is a megabyte of letters.", _GRAMMAR, b"x" * LONG),
    ):
        yield f"content-opens-to-{name}", description, rule, NOT_JSON, _enclosing(plain)


def _unknown_keys() -> Iterator[Row]:
    for name, description, key_id in (
        ("unknown", "An id that we gave to no key.", "enc-nobody"),
        ("a-path", "A path.", "../../../../etc/passwd"),
        ("an-absolute-path", "An absolute path.", "/etc/ssl/private/key"),
        ("a-url", "A URL.", "https://vault.example.org/secrets/key"),
        ("empty", "An empty id.", ""),
        ("long", "A hundred thousand letters.", "x" * 100_000),
        ("with-a-nul", "An id of ours with a NUL in it.", "enc-2031-02\x00.pem"),
        ("in-upper-case", "An id of ours in upper case: an id is compared as it is.", "ENC-2031-02"),
    ):
        yield (
            f"key-id-{name}",
            f"{description} No thumbprint.",
            _KEY_NAMED,
            KEY_UNKNOWN,
            _with({"encryptionCertificateId": key_id, "encryptionCertificateThumbprint": ""}),
        )
    yield (
        "key-of-a-stranger",
        "Neither the id nor the thumbprint is of a key of ours.",
        _KEY_NAMED,
        KEY_UNKNOWN,
        (lambda world, draw, _: world.enclose(b"{}", draw, world.foreign_key)),
    )
    yield (
        "key-without-any-name",
        "No id and no thumbprint.",
        _KEY_NAMED,
        KEY_UNKNOWN,
        _with({"encryptionCertificateId": None, "encryptionCertificateThumbprint": None}),
    )


def _swapped(world: World) -> Iterator[Case]:
    for field in FIELDS:
        draw = world.draw(f"swapped {field}")
        left, right = rich_chat_message(world, draw).item, rich_chat_message(world, draw).item
        left_content, right_content = left["encryptedContent"], right["encryptedContent"]
        left_content[field], right_content[field] = right_content[field], left_content[field]
        yield Case(
            f"content-{field}-swapped",
            f"Two genuine items have exchanged {field}.",
            _HMAC,
            collection([left, right], [world.token()]),
            (reject(UNREADABLE),) * 2,
        )
    draw = world.draw("one damaged of three")
    good, bad, last = (rich(world, draw, message(draw, world.chat)) for _ in range(3))
    bad.item["encryptedContent"]["data"] = last.item["encryptedContent"]["data"]
    yield Case(
        "content-damaged-between-two-good",
        "The items around a damaged one open.",
        _HMAC,
        collection([good.item, bad.item, last.item], [world.token()]),
        (accept(good.plain), reject(UNREADABLE), accept(last.plain)),
    )


def _items(world: World) -> Iterator[Case]:
    draw = world.draw("malformed items")

    def lacking(name: str) -> Item:
        item = rich_chat_message(world, draw).item
        del item[name]
        return item

    def changed(**changes: object) -> Item:
        return rich_chat_message(world, draw, **changes).item

    state = world.subscriptions["all-chats"].client_state
    for name, description, rule, item in (
        ("null", "An item is null.", _NO_ITEM, None),
        ("a-number", "An item is a number.", _NO_ITEM, 7),
        ("a-string", "An item is a string.", _NO_ITEM, "text"),
        ("a-list", "An item is a list.", _NO_ITEM, []),
        ("an-empty-object", "An item is an empty object.", _REQUIRED, {}),
        ("without-subscription-id", "subscriptionId is absent.", _REQUIRED, lacking("subscriptionId")),
        ("without-change-type", "changeType is absent.", _REQUIRED, lacking("changeType")),
        ("without-resource", "resource is absent.", _REQUIRED, lacking("resource")),
        ("subscription-id-a-number", "subscriptionId is a number.", _TYPES, changed(subscriptionId=7)),
        ("resource-a-number", "resource is a number.", _TYPES, changed(resource=7)),
        ("change-type-a-list", "changeType is a list.", _TYPES, changed(changeType=["created"])),
        ("tenant-id-a-number", "tenantId is a number.", _TYPES, changed(tenantId=7)),
        ("client-state-a-number", "clientState is a number.", _TYPES, changed(clientState=7)),
        (
            "client-state-a-list",
            "clientState is a list that holds the right one.",
            _TYPES,
            changed(clientState=[state]),
        ),
        ("lifecycle-event-a-number", "lifecycleEvent is a number.", _TYPES, changed(lifecycleEvent=7)),
    ):
        good = rich_chat_message(world, draw)
        body = collection([item, good.item], [world.token()])
        yield Case(
            f"item-{name}",
            f"{description} A good item is behind it.",
            rule,
            body,
            (reject(MALFORMED), accept(good.plain)),
        )


def _bodies(world: World) -> Iterator[Case]:
    draw = world.draw("broken bodies")
    whole = collection([rich_chat_message(world, draw).item], [world.token()])
    for name, description, rule, body in (
        ("empty", "No body.", _NO_COLLECTION, b""),
        ("truncated", "The second half of a genuine body is missing.", _GRAMMAR, whole[: len(whole) // 2]),
        ("more-behind", "A genuine body and a bracket.", _GRAMMAR, whole + b"]"),
        ("random", "Five hundred random octets.", _GRAMMAR, draw.octets(500)),
        ("words", "Words.", _GRAMMAR, b"validationToken"),
        ("form", "A form.", _GRAMMAR, b"value=%5B%5D&validationTokens=%5B%5D"),
        ("utf16", "A genuine body in UTF-16.", _GRAMMAR, whole.decode().encode("utf-16")),
        ("not-utf8", "An octet that is not UTF-8 in a genuine body.", _GRAMMAR,
         whole.replace(b'"clientState":"', b'"clientState":"\xff')),
        ("null", "null.", _NO_COLLECTION, b"null"),
        ("a-list", "A list.", _NO_COLLECTION, b"[1, null, {}]"),
        ("an-empty-object", "An object without value.", _NO_COLLECTION, b"{}"),
        ("value-null", "value is null.", _NO_COLLECTION, b'{"value":null,"validationTokens":[]}'),
        ("value-an-object", "value is an object.", _NO_COLLECTION, b'{"value":{"0":null},"validationTokens":"none"}'),
        ("value-a-string", "value is a string.", _NO_COLLECTION, b'{"value":"text"}'),
        ("deep", f"{DEEP:,} brackets that are never closed.", _DEPTH, b'{"value":' + b"[" * DEEP),
        ("enormous", "A string of a megabyte that never ends.", _GRAMMAR, b'{"value":["' + b"A" * LONG),
    ):  # fmt: skip
        yield Case(f"body-{name}", f"The body is no collection. {description}", rule, body, (), BROKEN)


def _with(changes: Content) -> Damage:
    return lambda _world, _draw, content: {**content, **changes}


def _without(field: str) -> Damage:
    return lambda _world, _draw, content: {name: value for name, value in content.items() if name != field}


def _instead(value: object) -> Damage:
    return lambda _world, _draw, _content: value


def _altered(field: str, alter: Callable[[bytes], bytes]) -> Damage:
    return lambda _world, _draw, content: {**content, field: b64encode(alter(b64decode(content[field]))).decode()}


def _flipped(index: int) -> Callable[[bytes], bytes]:
    def flip(octets: bytes) -> bytes:
        changed = bytearray(octets)
        changed[index] ^= 1
        return bytes(changed)

    return flip


def _made(make: Callable[[bytes, bytes], tuple[str, str]]) -> Damage:
    """Return content whose `data` and `dataSignature` are made from a symmetric key and a resource."""

    def damage(world: World, draw: Draw, _: Content) -> Content:
        key = draw.octets(32)
        data, signature = make(key, to_json(message(draw, world.chat)))
        return world.content(key, data, signature, draw)

    return damage


def _cut_to(size: int) -> Damage:
    return _made(lambda key, plain: _signed(key, b64decode(seal(plain, key)[0])[:size]))


def _enclosing(plain: bytes) -> Damage:
    return lambda world, draw, _: world.enclose(plain, draw)


def _hmac(key: bytes, octets: bytes) -> str:
    return b64encode(hmac.digest(key, octets, "sha256")).decode()


def _signed(key: bytes, ciphertext: bytes) -> tuple[str, str]:
    return b64encode(ciphertext).decode(), _hmac(key, ciphertext)


def _with_another_vector(key: bytes, plain: bytes) -> tuple[str, str]:
    """Return content with an altered first block that matches an altered vector: CBC with a vector of zeros."""
    first = bytes(octet ^ vector for octet, vector in zip(plain[:16], key[:16], strict=True))
    return seal(first + plain[16:], key)


def _for_a_stranger(world: World, draw: Draw, content: Content) -> Content:
    sealed = world.enclose(to_json(message(draw, world.chat)), draw, world.foreign_key)
    names = ("encryptionCertificateId", "encryptionCertificateThumbprint")
    return sealed | {name: content[name] for name in names}


def _wrapped_with_sha256(world: World, draw: Draw, content: Content) -> Content:
    key = draw.octets(32)
    data, signature = seal(b"{}", key)
    wrapped = encrypt_oaep(key, world.keys[0].recipient.public_key, draw.octets(32), "sha256")
    return {**content, "data": data, "dataSignature": signature, "dataKey": b64encode(wrapped).decode()}


def _key_in_the_clear(_: World, draw: Draw, content: Content) -> Content:
    key = draw.octets(32)
    data, signature = seal(b"{}", key)
    return {**content, "data": data, "dataSignature": signature, "dataKey": b64encode(key).decode()}


def _key_of(size: int) -> Damage:
    """Return content under a key of another size, encrypted wherever AES has keys of that size."""

    def damage(world: World, draw: Draw, _: Content) -> Content:
        key = draw.octets(size)
        cipher = Cipher(AES(key if size in (16, 24) else key.ljust(32, b"\0")[:32]), CBC(key.ljust(16, b"\0")[:16]))
        padder, encryptor = PKCS7(128).padder(), cipher.encryptor()
        padded = padder.update(to_json(message(draw, world.chat))) + padder.finalize()
        data, signature = _signed(key, encryptor.update(padded) + encryptor.finalize())
        return world.content(key, data, signature, draw)

    return damage
