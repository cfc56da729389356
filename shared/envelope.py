"""What lies on the queue: items as Graph encrypted them, with what is needed to judge them later.

An envelope is ASCII JSON: a queue message travels inside XML, which can't hold every character that JSON can.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar

import msgspec

from shared.errors import Reason, Unreadable

MESSAGE_LIMIT = 65_536
"""Bytes of text that one queue message holds."""

Kind = Literal["change", "lifecycle"]

T = TypeVar("T")


class Envelope(msgspec.Struct, frozen=True):
    """Items of one kind that arrived together.

    received: when Graph's POST came in (UTC); validation tokens are judged as of then.
    attempt: how often these items have been tried before.
    tokens: the validation tokens that may stand for these items; None if Graph sent `null` for them.
    items: changeNotifications, each as it came.
    """

    kind: Kind
    received: datetime
    items: tuple[msgspec.Raw, ...]
    tokens: tuple[str, ...] | None = ()
    attempt: int = 0


class DeadLetter(msgspec.Struct, frozen=True):
    """An item given up, still sealed, with why and when; `envelope` holds that one item."""

    reason: Reason
    given_up: datetime
    envelope: Envelope


@dataclass(frozen=True)
class Sealed:
    """An item on its way into an envelope: its text, ASCII JSON, and the tenant (lower case) it speaks of."""

    item: bytes
    tenant: str


def sealed(item: msgspec.Raw, tenant: str) -> Sealed:
    """Return `item`, valid UTF-8 JSON, ready to be packed."""
    return Sealed(_ascii(bytes(item)), tenant)


def pack(
    kind: Kind,
    received: datetime,
    items: Iterable[Sealed],
    tokens: Sequence[tuple[str, str]] | None,
    limit: int = MESSAGE_LIMIT,
) -> list[Envelope]:
    """Pack `items`, in order, into as few envelopes as fit `limit` bytes each once written.

    `tokens` are (tenant, token) pairs; each envelope gets those of its items' tenants, or None for None. Only an
    envelope of a single item can exceed the limit.
    """
    tokens_of: dict[str, list[str]] = {}
    for tenant, token in tokens or ():
        tokens_of.setdefault(tenant, []).append(token)
    token_bytes = {tenant: sum(len(token) + 3 for token in held) for tenant, held in tokens_of.items()}
    frame = len(write(Envelope(kind, received, (), None if tokens is None else ())))
    return [
        Envelope(
            kind,
            received,
            tuple(msgspec.Raw(one.item) for one in group),
            None if tokens is None else tuple(t for tenant in _tenants(group) for t in tokens_of.get(tenant, ())),
        )
        for group in _groups(items, token_bytes, limit - frame)
    ]


def _tenants(group: Iterable[Sealed]) -> dict[str, None]:
    return dict.fromkeys(one.tenant for one in group)


def _groups(items: Iterable[Sealed], token_bytes: Mapping[str, int], room: int) -> Iterator[list[Sealed]]:
    """Split `items`, in order, into groups that fit `room` bytes along with the tokens of their tenants."""
    group: list[Sealed] = []
    tenants: set[str] = set()
    size = 0
    for one in items:
        grown = size + len(one.item) + 1 + (0 if one.tenant in tenants else token_bytes.get(one.tenant, 0))
        if group and grown > room:
            yield group
            group, tenants = [], set()
            grown = len(one.item) + 1 + token_bytes.get(one.tenant, 0)
        group.append(one)
        tenants.add(one.tenant)
        size = grown
    if group:
        yield group


def again(envelope: Envelope, items: Sequence[msgspec.Raw]) -> Envelope:
    """Return an envelope with those `items` of `envelope` that are to be tried once more."""
    return msgspec.structs.replace(envelope, items=tuple(items), attempt=envelope.attempt + 1)


def singly(envelope: Envelope) -> Iterator[Envelope]:
    """Yield an envelope for each item."""
    for item in envelope.items:
        yield msgspec.structs.replace(envelope, items=(item,))


def write(content: Envelope | DeadLetter) -> str:
    """Return the text of a queue message."""
    return msgspec.json.encode(content).decode("ascii")


def read(text: str) -> Envelope:
    """Read what `write` wrote. Raises Unreadable for anything else."""
    return _decode(text, _envelope)


def read_dead_letter(text: str) -> DeadLetter:
    """Read what `write` wrote. Raises Unreadable for anything else."""
    return _decode(text, _dead_letter)


_envelope = msgspec.json.Decoder(Envelope)
_dead_letter = msgspec.json.Decoder(DeadLetter)


def _decode(text: str, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise Unreadable(Reason.MALFORMED, "a queue message that this app did not write") from None


def _ascii(item: bytes) -> bytes:
    """Return valid JSON with every character beyond ASCII as a \\u escape; only strings can hold one.

    DEL goes the same way; the whitespace that XML would change (a carriage return) stands only between tokens.
    """
    if item.isascii():
        return item
    return _BEYOND_ASCII.sub(lambda run: json.dumps(run.group())[1:-1], item.decode("utf-8")).encode("ascii")


_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
