"""Packs items into as few envelopes as fit queue messages, each with the evidence for its own items."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec

from shared.messages.authentication import ENVELOPE_LIMIT
from shared.messages.envelope import ChangeBatch, ItemBatch, LifecycleBatch, ascii_json, write

K = TypeVar("K", bound=ItemBatch)


@dataclass(frozen=True)
class Sealed:
    """An item ready to be packed: its text, ASCII JSON, and its tenant, lower case."""

    text: bytes
    tenant: str


def sealed(item: msgspec.Raw, tenant: str) -> Sealed:
    """Return `item`, valid UTF-8 JSON, ready to be packed."""
    return Sealed(ascii_json(bytes(item)), tenant)


@dataclass(frozen=True)
class Evidence:
    """The proof of change items: validation tokens by tenant, or a channel on which only Graph can send.

    tokens: None if Graph sent `null`. A trusted channel has no tokens.
    """

    tokens: Mapping[str, Sequence[str]] | None
    channel_is_proof: bool

    def weight(self, tenant: str) -> int:
        """Return how many bytes the evidence for a tenant adds to an envelope, quotes and comma included."""
        return sum(len(text) + 3 for text in self._of(tenant))

    def envelope(self, received: datetime, items: Sequence[Sealed], trace: str) -> ChangeBatch:
        """Return an envelope with the evidence for its items' tenants."""
        texts = tuple(msgspec.Raw(item.text) for item in items)
        evidence = tuple(text for tenant in dict.fromkeys(item.tenant for item in items) for text in self._of(tenant))
        if self.channel_is_proof:
            return ChangeBatch(received, texts, proven=evidence, trace=trace)
        return ChangeBatch(received, texts, None if self.tokens is None else evidence, trace=trace)

    def _of(self, tenant: str) -> Sequence[str]:
        if self.channel_is_proof:
            return (tenant,)
        return (self.tokens or {}).get(tenant, ())


def pack_changes(
    items: Iterable[Sealed], evidence: Evidence, received: datetime, trace: str, limit: int = ENVELOPE_LIMIT
) -> list[ChangeBatch]:
    """Pack change items, in order, into as few envelopes as fit `limit` bytes each.

    Only an envelope of a single item can exceed the limit.
    """
    return _pack(items, lambda group: evidence.envelope(received, group, trace), evidence.weight, limit)


def pack_lifecycle(
    items: Iterable[Sealed], received: datetime, trace: str, limit: int = ENVELOPE_LIMIT
) -> list[LifecycleBatch]:
    """Pack lifecycle items, which have no evidence, as `pack_changes` does."""

    def envelope(group: Sequence[Sealed]) -> LifecycleBatch:
        return LifecycleBatch(received, tuple(msgspec.Raw(item.text) for item in group), trace=trace)

    return _pack(items, envelope, lambda _: 0, limit)


def _pack(
    items: Iterable[Sealed], envelope: Callable[[Sequence[Sealed]], K], weight: Callable[[str], int], limit: int
) -> list[K]:
    space = limit - len(write(envelope(())))
    return [envelope(group) for group in _groups(items, weight, space)]


def _groups(items: Iterable[Sealed], weight: Callable[[str], int], space: int) -> Iterator[list[Sealed]]:
    """Split `items`, in order, into groups that fit `room` bytes along with the evidence for their tenants."""
    group: list[Sealed] = []
    tenants: set[str] = set()
    size = 0
    for item in items:
        grown = size + len(item.text) + 1 + (0 if item.tenant in tenants else weight(item.tenant))
        if group and grown > space:
            yield group
            group, tenants = [], set()
            grown = len(item.text) + 1 + weight(item.tenant)
        group.append(item)
        tenants.add(item.tenant)
        size = grown
    if group:
        yield group
