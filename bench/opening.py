"""Opening: HMAC, decryption, parsing and building the event, against the bare RSA operation, on one core."""

import base64
import time
from datetime import UTC, datetime

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP

from bench.bystander import Bystander
from bench.figure import Figure, at_least
from process_queue.hydration import Hydration
from process_queue.verify import Verifier
from shared.messages.envelope import ChangeBatch
from shared.relay import relay

LEAST = 0.9
ROUNDS = 15
ITEMS = 200


def opening(around: Bystander) -> list[Figure]:
    """Both in turn, round by round, in one thread; the middle one of the ratios counts."""
    tenant = around.graph.registration.tenant
    items = msgspec.json.decode(around.collection(ITEMS, 4096), type=dict[str, object])["value"]
    raw = tuple(msgspec.Raw(msgspec.json.encode(item)) for item in items)  # type: ignore[attr-defined]
    ring = relay().keys
    key = ring.current().private_key
    padding = OAEP(MGF1(hashes.SHA1()), hashes.SHA1(), None)
    wrapped = [base64.b64decode(item["encryptedContent"]["dataKey"]) for item in items]  # type: ignore[attr-defined]
    verifier = Verifier(
        tenant,
        around.graph.registration.client_id,
        relay().declarations,
        relay().signing_keys,
        ring,
        Hydration(relay().graph, relay().clock, relay().resolver, relay().confirmations),
        relay().readers,
    ).batch(ChangeBatch(datetime.now(UTC), raw, proven=(tenant,)))

    ratios, rates = [], []
    for _ in range(ROUNDS):
        began = time.thread_time()
        for wrapped_key in wrapped:
            key.decrypt(wrapped_key, padding)
        bare = time.thread_time() - began
        began = time.thread_time()
        for item in raw:
            verifier.event(item)
        opened = time.thread_time() - began
        ratios.append(bare / opened)
        rates.append(ITEMS / opened)
    ratio, rate = sorted(ratios)[ROUNDS // 2], sorted(rates)[ROUNDS // 2]
    return [
        at_least(
            "Opening, against the bare RSA-2048 operation",
            ratio,
            LEAST,
            f"{ratio:.2f} ({rate:,.0f} items/s on one core)",
        )
    ]
