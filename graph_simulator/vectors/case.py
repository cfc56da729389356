"""One case of a set: what Graph, or an attacker, posts, and the expected result."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from graph_simulator.vectors.rules import Rule

NOW = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
"""The time at which a receiver reads a set, unless a case names another."""

STORED = (200, 202)
BROKEN = (200, 202, 400)
ECHOED = (200,)

Item = dict[str, Any]


@dataclass(frozen=True)
class Expected:
    """The expected result of one item.

    verdict: `accept`, `reject`, `duplicate` (genuine, but already received), or `either`.
    reason: why it is rejected. plain: the decrypted resource, UTF-8 JSON. event: `lifecycleEvent`.
    """

    verdict: str
    reason: str | None = None
    plain: bytes | None = None
    event: str | None = None


@dataclass(frozen=True)
class Case:
    """A POST and its expected result; `body` None stands for a handshake, `answer` is the expected answer to it."""

    name: str
    description: str
    rule: Rule
    body: bytes | None
    items: tuple[Expected, ...] = ()
    status: tuple[int, ...] = STORED
    query: str = ""
    answer: bytes | None = None
    received: datetime = NOW


def accept(plain: bytes | None = None) -> Expected:
    """Expect a change to be accepted, with the decrypted resource."""
    return Expected("accept", plain=plain)


def act(event: str) -> Expected:
    """Expect a lifecycle notification to be acted on."""
    return Expected("accept", event=event)


def reject(reason: str) -> Expected:
    """Expect an item to be rejected."""
    return Expected("reject", reason)


def to_json(document: object) -> bytes:
    """Return compact UTF-8 JSON."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def collection(items: Sequence[object], tokens: object = (), **more: object) -> bytes:
    """Return a changeNotificationCollection; Graph writes `validationTokens` even without tokens."""
    return to_json({"value": items, "validationTokens": tokens, **more})
