"""Refusing: what it costs to answer a body that is junk, against hashing the same bytes."""

import hashlib
import time
from collections.abc import Callable
from functools import partial

from bench.bystander import Bystander
from bench.figure import Figure, at_most
from notify_http.receive import receive
from tests.builders import NOW
from tests.memory import MemoryQueues
from tests.security.test_abuse import JUNK, RECIPIENT

MOST = 300.0
ROUNDS = 3
TELLING = 100_000
"""Bytes: a shorter body costs next to nothing, whatever the ratio."""


def refusing(_: Bystander) -> list[Figure]:
    """The dearest kind of junk counts; CPU time of one thread, the least of some rounds."""
    queues = MemoryQueues()
    ratios = {}
    for name, made in JUNK.items():
        text = made()
        if len(text) > TELLING:
            refused = _least(partial(receive, text, RECIPIENT, queues, NOW))
            ratios[name] = refused / _least(partial(hashlib.sha256, text))
    dearest = max(ratios, key=lambda name: ratios[name])
    return [
        at_most("Refusing junk, against hashing it", ratios[dearest], MOST, f"{ratios[dearest]:.0f} times ({dearest})")
    ]


def _least(call: Callable[[], object]) -> float:
    costs = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        call()
        costs.append(time.thread_time() - began)
    return min(costs)
