"""Every forgery, as one table: the items posted beside a genuine item, and the outcome of each."""

import base64
import hmac
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import Reason
from shared.graph.validation_token import claimed_tenant
from tests.builders import (
    CHAT,
    OTHER_TENANT,
    TENANT,
    change,
    channel_message,
    channel_path,
    client_state_secret,
    encrypted,
    encryption_key,
    lifecycle,
    message,
    minted,
    rsa_key,
    seal,
    wrap,
)
from tests.security.harness import IN_CHANNELS, IN_CHATS, IN_ONE_CHANNEL, IN_ONE_CHAT, SecurityHarness
from tests.token_cases import KEY, REFUSED, Mint, TokenCase

Item = dict[str, Any]


@dataclass(frozen=True)
class Forgery:
    """`made` returns items and their tokens; `ends` are the outcomes of the items, like SecurityHarness.ends.

    Each is correct in all other respects.
    """

    name: str
    ends: Counter[str]
    made: Callable[[SecurityHarness], tuple[list[Item], list[str]]]
    delivered: int = 0


def refused(reason: Reason, items: int = 1) -> Counter[str]:
    return Counter({f"refused {reason}": items})


def given_up(reason: Reason, items: int = 1) -> Counter[str]:
    return Counter({f"dead_lettered {reason}": items})


def forged_token(case: TokenCase) -> Forgery:
    def made(harness: SecurityHarness) -> tuple[list[Item], list[str]]:
        return [harness.item()], [case.token(harness.mint())]

    assert case.reason is not None
    return Forgery(f"token: {case.name}", _end_of(case), made)


def _end_of(case: TokenCase) -> Counter[str]:
    """A token without a tenant is dropped at the webhook: it proves no tenant."""
    assert case.reason is not None
    if case.reason is Reason.TOKEN_MALFORMED and claimed_tenant(case.token(Mint(rsa_key("authority")))) is None:
        return refused(Reason.TOKEN_MISSING) + Counter({f"suspicious_tokens {Reason.TOKEN_MALFORMED}": 1})
    return refused(case.reason)


def forged_content(name: str, reason: Reason, alter: Callable[[Item, SecurityHarness], object]) -> Forgery:
    """`alter` changes a genuine encryptedContent, or returns its replacement."""

    def made(harness: SecurityHarness) -> tuple[list[Item], list[str]]:
        item = harness.item()
        instead = alter(item["encryptedContent"], harness)
        if instead is not None:
            item["encryptedContent"] = instead
        return [item], [harness.token()]

    return Forgery(f"content: {name}", given_up(reason), made)


def forged_state(name: str, state: Callable[[SecurityHarness], object], **changes: Any) -> Forgery:
    def made(harness: SecurityHarness) -> tuple[list[Item], list[str]]:
        return [harness.item(**{"clientState": state(harness), **changes}), lifecycle(clientState=state(harness))], [
            harness.token()
        ]

    return Forgery(f"clientState: {name}", refused(Reason.CLIENT_STATE, 2), made)


def misplaced(name: str, declared: str, written: Item, path: str | None = None) -> Forgery:
    """A clientState of one declaration, around a message from elsewhere, with content and without."""

    def made(harness: SecurityHarness) -> tuple[list[Item], list[str]]:
        item = harness.item_of(written, declared=declared)
        item["resource"] = path or item["resource"]
        bare = change(item["resource"], clientState=minted(TENANT, declared, harness.secret))
        return [item, bare], [harness.token()]

    return Forgery(f"clientState: {name}", refused(Reason.CLIENT_STATE, 2), made)


def flipped(text: str, bit: int = 0) -> str:
    octets = bytearray(base64.b64decode(text))
    octets[-1] ^= 1 << bit
    return base64.b64encode(octets).decode()


def of_other_data(content: Item, harness: SecurityHarness) -> None:
    """The HMAC is correct, under the correct key, for other data."""
    symmetric_key = secrets.token_bytes(32)
    content["dataKey"] = base64.b64encode(wrap(symmetric_key, harness.key)).decode()
    content["data"] = base64.b64encode(seal(b'{"id":"1"}', symmetric_key)[0]).decode()
    content["dataSignature"] = base64.b64encode(seal(b'{"id":"2"}', symmetric_key)[1]).decode()


def wrongly_padded(content: Item, harness: SecurityHarness) -> None:
    """Correctly signed, with the app's certificate: only the padding is wrong."""
    symmetric_key = secrets.token_bytes(32)
    ciphertext = seal(b"0123456789abcdef", symmetric_key)[0][:16]
    signed_with(content, symmetric_key, ciphertext, harness)


def signed_with(content: Item, symmetric_key: bytes, ciphertext: bytes, harness: SecurityHarness) -> None:
    content["dataKey"] = base64.b64encode(wrap(symmetric_key, harness.key)).decode()
    content["data"] = base64.b64encode(ciphertext).decode()
    content["dataSignature"] = base64.b64encode(hmac.digest(symmetric_key, ciphertext, "sha256")).decode()


def swapped(field: str) -> Forgery:
    """Two genuine items that have exchanged a field: neither can be decrypted."""

    def made(harness: SecurityHarness) -> tuple[list[Item], list[str]]:
        left, right = harness.item(), harness.item()
        left_content, right_content = left["encryptedContent"], right["encryptedContent"]
        left_content[field], right_content[field] = right_content[field], left_content[field]
        return [left, right], [harness.token()]

    return Forgery(f"content: {field} swapped between two items", given_up(Reason.CONTENT_UNREADABLE, 2), made)


def _set(**fields: object) -> Callable[[Item, SecurityHarness], None]:
    return lambda content, _: content.update(fields)


def _without(field: str) -> Callable[[Item, SecurityHarness], None]:
    return lambda content, _: content.pop(field)


def _enclosed(plain: bytes) -> Callable[[Item, SecurityHarness], object]:
    return lambda _, harness: encrypted(plain, harness.key)


FIELDS = ("data", "dataKey", "dataSignature")
CONTENT: Sequence[Forgery] = (
    *(forged_content(f"{field} missing", Reason.CONTENT_UNREADABLE, _without(field)) for field in FIELDS),
    *(
        forged_content(f"{field} {kind}", Reason.CONTENT_UNREADABLE, _set(**{field: value}))
        for field in (*FIELDS, "encryptionCertificateId", "encryptionCertificateThumbprint")
        for kind, value in (("a number", 7), ("a list", ["AAAA"]), ("an object", {"a": 1}))
    ),
    # The other two each name the key by themselves.
    *(forged_content(f"{field} null", Reason.CONTENT_UNREADABLE, _set(**{field: None})) for field in FIELDS),
    *(
        forged_content(f"{field} {kind}", Reason.CONTENT_UNREADABLE, _set(**{field: value}))
        for field in FIELDS
        for kind, value in (
            ("empty", ""),
            ("huge", "AAAA" * 100_000),
            ("not Base64", "!!!!"),
            ("Base64 cut short", "AAA"),
            ("not ASCII", "äöü="),
        )
    ),
    forged_content("a text", Reason.CONTENT_UNREADABLE, lambda _, __: "text"),
    forged_content("a list", Reason.CONTENT_UNREADABLE, lambda _, __: []),
    forged_content("an empty object", Reason.CONTENT_UNREADABLE, lambda _, __: {}),
    forged_content(
        "sealed to another key",
        Reason.CONTENT_UNREADABLE,
        lambda content, harness: encrypted(
            message(), encryption_key("foreign"), encryptionCertificateId=harness.key.key_id
        ),
    ),
    forged_content(
        "a symmetric key of 16 bytes",
        Reason.CONTENT_UNREADABLE,
        lambda content, harness: signed_with(content, bytes(16), seal(b"{}", bytes(32))[0], harness),
    ),
    forged_content("wrong padding, properly signed", Reason.CONTENT_UNREADABLE, wrongly_padded),
    forged_content(
        "truncated, properly signed",
        Reason.CONTENT_UNREADABLE,
        lambda content, harness: signed_with(content, bytes(32), seal(b"{}", bytes(32))[0][:9], harness),
    ),
    forged_content(
        "truncated", Reason.CONTENT_UNREADABLE, lambda content, _: content.update(data=content["data"][:-24])
    ),
    forged_content(
        "HMAC off by one bit",
        Reason.CONTENT_UNREADABLE,
        lambda content, _: content.update(dataSignature=flipped(content["dataSignature"])),
    ),
    forged_content(
        "data off by one bit",
        Reason.CONTENT_UNREADABLE,
        lambda content, _: content.update(data=flipped(content["data"], 7)),
    ),
    forged_content("HMAC of other data", Reason.CONTENT_UNREADABLE, of_other_data),
    *(swapped(field) for field in FIELDS),
    forged_content("words in place of JSON", Reason.CONTENT_NOT_JSON, _enclosed(b"not JSON")),
    forged_content("nothing in place of JSON", Reason.CONTENT_NOT_JSON, _enclosed(b"")),
    forged_content("a list in place of a resource", Reason.CONTENT_NOT_JSON, _enclosed(b"[]")),
    forged_content("deep JSON", Reason.CONTENT_NOT_JSON, _enclosed(b"[" * 100_000)),
    forged_content("JSON that is not UTF-8", Reason.CONTENT_NOT_JSON, _enclosed(b'{"id": "\xff"}')),
    forged_content("a megabyte of words", Reason.CONTENT_NOT_JSON, _enclosed(b"x" * 1_000_000)),
)

UNKNOWN_KEYS: Sequence[Forgery] = (
    *tuple(
        forged_content(
            f"key id {kind}",
            Reason.KEY_UNKNOWN,
            _set(encryptionCertificateId=key_id, encryptionCertificateThumbprint=""),
        )
        for kind, key_id in (
            ("unknown", "enc-nobody"),
            ("a path", "../../../../etc/passwd"),
            ("an absolute path", "/etc/ssl/private/key"),
            ("a URL", "https://vault.example.org/secrets/key"),
            ("empty", ""),
            ("a megabyte", "x" * 1000000),
            ("with a NUL", "enc-1\x00.pem"),
        )
    ),
    forged_content(
        "neither id nor thumbprint ours",
        Reason.KEY_UNKNOWN,
        _set(encryptionCertificateId="enc-nobody", encryptionCertificateThumbprint="0" * 40),
    ),
)
"""An unknown key may be newer than the last read of the store; only a process without one decides at once."""

TOKENS: Sequence[Forgery] = (
    *(forged_token(case) for case in REFUSED if case.reason is not Reason.TOKEN_KEY),
    Forgery("token: none", refused(Reason.TOKEN_MISSING), lambda harness: ([harness.item()], [])),
    Forgery(
        "token: of another tenant",
        refused(Reason.TOKEN_MISSING),
        lambda harness: ([harness.item()], [harness.token(OTHER_TENANT)]),
    ),
    Forgery(
        "token: genuine, replayed around somebody else's items",
        refused(Reason.CLIENT_STATE) + refused(Reason.TOKEN_MISSING),
        lambda harness: (
            [harness.item(clientState=minted(secret=client_state_secret("theirs"))), harness.item(OTHER_TENANT)],
            [harness.token()],
        ),
    ),
    Forgery(
        "token: genuine, of last week",
        refused(Reason.TOKEN_LIFETIME),
        lambda harness: (
            [harness.item()],
            [harness.mint().token(nbf=harness.mint().moment(-700_000), exp=harness.mint().moment(-613_600))],
        ),
    ),
    Forgery(
        "tokens: one genuine beside one forged",
        Counter({f"suspicious_tokens {Reason.TOKEN_AUDIENCE}": 1}),
        lambda harness: ([harness.item()], [harness.mint().token(aud=TENANT), harness.token()]),
        delivered=1,
    ),
    Forgery(
        "tokens: without anything encrypted",
        Counter(),
        lambda harness: (
            [change(changeType="deleted", clientState=minted(TENANT, IN_CHATS, harness.secret))],
            [harness.token()],
        ),
        delivered=1,
    ),
    Forgery(
        "tokens: nine hundred that are none",
        refused(Reason.TOKEN_MISSING) + Counter({f"suspicious_tokens {Reason.TOKEN_MALFORMED}": 900}),
        lambda harness: ([harness.item()], [f"{number}.b.c" for number in range(900)]),
    ),
)


STATES: Sequence[Forgery] = (
    forged_state("absent", lambda _: None),
    forged_state("empty", lambda _: ""),
    forged_state("wrong", lambda _: "A" * 22 + "." + "B" * 16 + "." + "C" * 43),
    forged_state("minted by another", lambda _: minted(secret=client_state_secret("theirs"))),
    forged_state("of another tenant", lambda harness: minted(OTHER_TENANT, IN_CHATS, harness.secret)),
    forged_state("in upper case", lambda harness: minted(TENANT, IN_CHATS, harness.secret).upper()),
    forged_state("of ours with one character more", lambda harness: minted(TENANT, IN_CHATS, harness.secret) + "A"),
    forged_state("not ASCII", lambda _: "ä" * 83),
    forged_state("a character that is a letter of ours in lower case", lambda _: "\u212a" * 83),
    Forgery(
        "clientState: three megabytes, twice",
        refused(Reason.MALFORMED, 2),
        lambda harness: (
            [harness.item(clientState="A" * 3_000_000), lifecycle(clientState="A" * 3_000_000)],
            [harness.token()],
        ),
    ),
    Forgery(
        "clientState: a number",
        refused(Reason.MALFORMED),
        lambda harness: ([harness.item(clientState=7)], [harness.token()]),
    ),
    Forgery(
        "clientState: a list",
        refused(Reason.MALFORMED),
        lambda harness: ([harness.item(clientState=[minted(TENANT, IN_CHATS, harness.secret)])], [harness.token()]),
    ),
    misplaced("of one chat, around a message of another chat", IN_ONE_CHAT, message("1", chatId=CHAT)),
    misplaced(
        "of one channel, around a message of another channel", IN_ONE_CHANNEL, channel_message("1"), channel_path("1")
    ),
    misplaced("of one channel, around a message of a chat", IN_ONE_CHANNEL, message("1")),
    misplaced("of all chats, around a message of a channel", IN_CHATS, channel_message("1"), channel_path("1")),
    misplaced("of all channels, around a message of a chat", IN_CHANNELS, message("1")),
    Forgery(
        "clientState: of one chat, around content that says it is of another",
        refused(Reason.CLIENT_STATE),
        lambda harness: (
            [{**harness.item_of(message("1"), declared=IN_ONE_CHAT), "resource": f"{IN_ONE_CHAT}/1"}],
            [harness.token()],
        ),
    ),
)


def _twice(harness: SecurityHarness) -> tuple[list[Item], list[str]]:
    item, token = harness.item(), harness.token()
    return [item, item, dict(item)], [token, token]


def _with_the_thumbprint_of_another_key(harness: SecurityHarness) -> tuple[list[Item], list[str]]:
    item = harness.item()
    item["encryptedContent"]["encryptionCertificateThumbprint"] = encryption_key("another").thumbprint
    return [item], [harness.token()]


ODDITIES: Sequence[Forgery] = (
    Forgery("odd: the same item three times, with the same token twice", Counter({"duplicates": 2}), _twice, 1),
    Forgery(
        "odd: a key by its id and a thumbprint that is another's, which is informative alone",
        Counter(),
        _with_the_thumbprint_of_another_key,
        1,
    ),
)

FORGERIES = (*TOKENS, *CONTENT, *STATES, *ODDITIES)
AT_ONCE_ONLY = (*(forged_token(case) for case in KEY), *UNKNOWN_KEYS)
