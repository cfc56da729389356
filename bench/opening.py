"""Opening: HMAC, decryption, parsing and building the event, against the bare RSA operation, on one core."""

import base64
import time
from datetime import UTC, datetime

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP

from bench.bystander import Bystander
from bench.figure import Figure
from process_queue.verify import Proofs, Verifier
from shared import clients
from shared.delivery.event import event_without_content
from shared.messages.envelope import ChangeBatch

LEAST = 0.8
ROUNDS = 15
ITEMS = 200


def opening(around: Bystander) -> list[Figure]:
    """Both in turn, round by round, in one thread; the middle one of the ratios counts."""
    tenant = around.graph.registration.tenant
    items = msgspec.json.decode(around.collection(ITEMS, 4096), type=dict[str, object])["value"]
    raw = tuple(msgspec.Raw(msgspec.json.encode(item)) for item in items)  # type: ignore[attr-defined]
    ring = clients.key_ring()
    key = ring.current().private_key
    padding = OAEP(MGF1(hashes.SHA1()), hashes.SHA1(), None)
    wrapped = [base64.b64decode(item["encryptedContent"]["dataKey"]) for item in items]  # type: ignore[attr-defined]
    proofs = Proofs(
        tenant,
        around.graph.registration.client_id,
        clients.signing_keys().find,
        ring.find,
        event_without_content,
        clients.settings().declarations,
    )
    verifier = Verifier(ChangeBatch(datetime.now(UTC), raw, proven=(tenant,)), proofs)

    ratios, rates = [], []
    for _ in range(ROUNDS):
        began = time.thread_time()
        for one in wrapped:
            key.decrypt(one, padding)
        bare = time.thread_time() - began
        began = time.thread_time()
        for item in raw:
            verifier.event(item)
        opened = time.thread_time() - began
        ratios.append(bare / opened)
        rates.append(ITEMS / opened)
    ratio, rate = sorted(ratios)[ROUNDS // 2], sorted(rates)[ROUNDS // 2]
    return [
        Figure(
            "Opening, against the bare RSA-2048 operation",
            f"{ratio:.0%} ({rate:,.0f} items/s on one core)",
            f"≥ {LEAST:.0%}",
            ratio >= LEAST,
        )
    ]
