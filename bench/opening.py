"""Opening: HMAC, decryption, parsing and building the event, against the bare RSA operation, on one core."""

import base64
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP

from bench.bystander import Bystander
from bench.figure import Figure, at_least
from process_queue.hydration import Hydration
from process_queue.verify import Verifier
from shared.delivery.event import event_of_content
from shared.graph.notification import Notification, read_encrypted_content, read_notification
from shared.keys.decryption import open_content
from shared.messages.envelope import ChangeBatch
from shared.relay import relay

LEAST = 0.9
ROUNDS = 15
ITEMS, SIZE = 200, 4096

T = TypeVar("T")


class _Collection(msgspec.Struct):
    value: list[msgspec.Raw]


def opening(around: Bystander) -> list[Figure]:
    """All parts in turn, round by round, in one thread; the shortest time of each counts: others only add to it.

    Each round has items of its own, as in production: what an item names is in no cache yet.
    """
    tenant = around.graph.registration.tenant
    ring = relay().keys
    key = ring.current().private_key
    padding = OAEP(MGF1(hashes.SHA1()), hashes.SHA1(), None)
    envelope = ChangeBatch(datetime.now(UTC), (), proven=(tenant,))
    verifier = Verifier(
        tenant,
        around.graph.registration.client_id,
        relay().declarations,
        relay().signing_keys,
        ring,
        Hydration(relay().graph, relay().clock, relay().resolver, relay().confirmations),
        relay().readers,
    ).batch(envelope)

    def built(pair: tuple[bytes, Notification]) -> None:
        event_of_content(*pair, tenant, envelope.received)

    rounds = []
    for _ in range(ROUNDS):
        items, others = _items(around), [read_notification(item) for item in _items(around)]
        contents = [read_encrypted_content(read_notification(item)) for item in items]
        wrapped = [base64.b64decode(content.data_key) for content in contents]
        opened = [open_content(read_encrypted_content(notification), key) for notification in others]
        rounds.append(
            (
                _timed(lambda encrypted: key.decrypt(encrypted, padding), wrapped),
                _timed(verifier.event, items),
                _timed(lambda item: read_encrypted_content(read_notification(item)), items),
                _timed(lambda content: open_content(content, key), contents),
                _timed(built, zip(opened, others, strict=True)),
            )
        )
    bare, whole, reading, decrypting, building = (min(column) for column in zip(*rounds, strict=True))
    parts = {
        "reading the JSON of the item": reading,
        "Base64, HMAC, AES and padding": decrypting - bare,
        "reading the resource, identity and version": building,
        "declaration, place and key": whole - reading - decrypting - building,
    }
    return [
        at_least(
            "Opening, against the bare RSA-2048 operation",
            bare / whole,
            LEAST,
            f"{bare / whole:.2f} ({1 / whole:,.0f} items/s on one core)",
        ),
        Figure("Opening: the bare RSA-2048 operation", _share(bare, whole)),
        *[Figure(f"Opening: {name}", _share(part, whole)) for name, part in parts.items()],
    ]


def _items(around: Bystander) -> list[msgspec.Raw]:
    return msgspec.json.decode(around.collection(ITEMS, SIZE), type=_Collection).value


def _timed(do: Callable[[T], object], arguments: Iterable[T]) -> float:
    """Return the CPU seconds that one call takes."""
    given = list(arguments)
    began = time.thread_time()
    for argument in given:
        do(argument)
    return (time.thread_time() - began) / len(given)


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%} ({part * 1e6:.0f} µs)"
