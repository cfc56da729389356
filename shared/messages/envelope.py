"""What lies on the queue: items as Graph encrypted them, with what is needed to judge them later.

An envelope is ASCII JSON: a queue message travels inside XML, which can't hold every character that JSON can.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec

from shared.errors import Reason, Undeliverable

MESSAGE_LIMIT = 65_536
"""Bytes of text that one queue message holds."""

T = TypeVar("T")


class ItemBatch(msgspec.Struct, frozen=True, tag_field="kind"):
    """Items of one kind that arrived together.

    received: when Graph's POST came in (UTC); validation tokens are judged as of then.
    items: changeNotifications, each as it came.
    tokens: the validation tokens that may stand for these items; None if Graph sent `null` for them.
    attempt: how often these items have been tried before.
    replayed: when they were taken from the dead letters; the horizon counts from then.
    trace: the `traceparent` of the span in which they were received; "" if it wasn't traced.
    """

    received: datetime
    items: tuple[msgspec.Raw, ...]
    tokens: tuple[str, ...] | None = ()
    attempt: int = 0
    replayed: datetime | None = None
    trace: str = ""


class ChangeBatch(ItemBatch, frozen=True, tag="change"):
    """Change items.

    proven: the tenants for which an earlier attempt found a good token. They are not judged anew: the authority's
    keys rotate, and an outage of the destination can outlast them.
    """

    proven: tuple[str, ...] = ()


class LifecycleBatch(ItemBatch, frozen=True, tag="lifecycle"):
    """Lifecycle items; they come without tokens."""


class ReadbackPage(msgspec.Struct, frozen=True, tag_field="kind", tag="readback"):
    """A page of a resource to be read back from Graph; it names what to read and holds nothing that was read.

    received: when it was asked for (UTC). resource: a path that `shared.readback.pages` knows. since, until: the range
    of last changes, exclusive. link: the page, as Graph named it; "" for the first one.
    """

    received: datetime
    tenant_id: str
    resource: str
    since: datetime
    until: datetime
    link: str = ""
    attempt: int = 0
    replayed: datetime | None = None
    trace: str = ""


Envelope = ChangeBatch | LifecycleBatch | ReadbackPage
"""What a queue message holds."""


class DeadLetter(msgspec.Struct, frozen=True):
    """Something given up, still sealed, with why and when; `envelope` holds one item, or what was to be read."""

    reason: Reason
    given_up: datetime
    envelope: Envelope


K = TypeVar("K", bound=ItemBatch)


@dataclass(frozen=True)
class Sealed:
    """An item on its way into an envelope: its text, ASCII JSON, and the tenant (lower case) it speaks of."""

    item: bytes
    tenant: str


def sealed(item: msgspec.Raw, tenant: str) -> Sealed:
    """Return `item`, valid UTF-8 JSON, ready to be packed."""
    return Sealed(_ascii(bytes(item)), tenant)


def pack(
    kind: type[K],
    received: datetime,
    items: Iterable[Sealed],
    tokens: Sequence[tuple[str, str]] | None,
    limit: int = MESSAGE_LIMIT,
    trace: str = "",
) -> list[K]:
    """Pack `items`, in order, into as few envelopes as fit `limit` bytes each once written.

    `tokens` are (tenant, token) pairs; each envelope gets those of its items' tenants, or None for None. Only an
    envelope of a single item can exceed the limit.
    """
    tokens_of: dict[str, list[str]] = {}
    for tenant, token in tokens or ():
        tokens_of.setdefault(tenant, []).append(token)
    token_bytes = {tenant: sum(len(token) + 3 for token in held) for tenant, held in tokens_of.items()}
    frame = len(write(kind(received, (), None if tokens is None else (), trace=trace)))
    return [
        kind(
            received,
            tuple(msgspec.Raw(one.item) for one in group),
            None if tokens is None else tuple(t for tenant in _tenants(group) for t in tokens_of.get(tenant, ())),
            trace=trace,
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


def write(content: ItemBatch | ReadbackPage | DeadLetter) -> str:
    """Return the text of a queue message."""
    return _ascii(msgspec.json.encode(content)).decode("ascii")


def read(text: str) -> Envelope:
    """Read what `write` wrote. Raises Undeliverable for anything else."""
    return _decode(text, _envelope)


def read_dead_letter(text: str) -> DeadLetter:
    """Read what `write` wrote. Raises Undeliverable for anything else."""
    return _decode(text, _dead_letter)


_envelope: msgspec.json.Decoder[Envelope] = msgspec.json.Decoder(Envelope)
_dead_letter = msgspec.json.Decoder(DeadLetter)


def _decode(text: str, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise Undeliverable(Reason.MALFORMED, "a queue message that this app did not write") from None


def _ascii(item: bytes) -> bytes:
    """Return valid JSON with every character beyond ASCII as a \\u escape; only strings can hold one.

    What whitespace XML would change, a carriage return, stands only between tokens.
    """
    if item.isascii():
        return item
    return _BEYOND_ASCII.sub(lambda run: json.dumps(run.group())[1:-1], item.decode("utf-8")).encode("ascii")


_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
