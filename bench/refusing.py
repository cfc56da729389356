"""Refusing: what it costs to answer a body that is junk, against hashing the same bytes."""

import hashlib
import time
from collections.abc import Callable

from bench.bystander import Bystander
from bench.figure import Figure, at_most
from notify_http.receive import receive
from tests.builders import NOW
from tests.memory import MemoryQueues, account_of_items
from tests.security.test_abuse import JUNK, RECIPIENT

MOST = 300.0
ROUNDS = 9
TELLING = 100_000
"""Bytes: a shorter body costs next to nothing, whatever the ratio."""


def refusing(_: Bystander) -> list[Figure]:
    """The most expensive kind of junk counts; CPU time of one thread, the least of some rounds."""
    queues, account = MemoryQueues(), account_of_items()

    def ratio(text: bytes) -> float:
        refused = _least(lambda: receive(text, RECIPIENT, queues, NOW, None, account))
        return refused / _least(lambda: hashlib.sha256(text))

    ratios = {name: ratio(text) for name, made in JUNK.items() if len(text := made()) > TELLING}
    worst = max(ratios, key=lambda name: ratios[name])
    return [at_most("Refusing junk, against hashing it", ratios[worst], MOST, f"{ratios[worst]:.0f} times ({worst})")]


def _least(call: Callable[[], object]) -> float:
    costs = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        call()
        costs.append(time.thread_time() - began)
    return min(costs)
