"""Timing: the cost of each way to fail a check; a large difference would disclose to an attacker which one it was."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from bench.bystander import Bystander
from bench.figure import Figure, at_most
from shared.errors import Undeliverable
from shared.graph import client_state
from shared.graph.notification import EncryptedContent
from shared.keys.decryption import open_content
from tests.builders import TENANT, minted
from tests.security.test_timing import FAILURES, KEY, SECRETS

T = TypeVar("T")

MOST = 3.0
"""A typical padding oracle differs by a factor of a hundred: by the HMAC over megabytes, or by the RSA operation."""
ROUNDS = 60
CALLS = 5
SAMPLES = 8


def timing(_: Bystander) -> list[Figure]:
    """The largest median cost of a case over the smallest, in CPU time of one thread; the cases take turns."""
    contents = {name: [made() for _ in range(SAMPLES)] for name, made in FAILURES.items()}
    return [
        _figure("Failing to open content: most expensive way, against the cheapest", contents, _fail),
        _figure(
            "Checking a clientState: most expensive case, against the cheapest",
            _states(),
            lambda state: client_state.is_authentic(state, TENANT, SECRETS),
        ),
    ]


def _states() -> dict[str, list[str]]:
    right, retiring = minted(), minted(secret=SECRETS[1])
    return {
        "right": [right],
        "of the retiring secret": [retiring],
        "first character wrong": ["!" + right[1:]],
        "declaration wrong": [right[:30] + "!" + right[31:]],
        "proof wrong in its first character": [right[:40] + "!" + right[41:]],
        "proof wrong in its last character": [right[:-1] + "!"],
        "all wrong": ["!" * 40 + "." + "!" * 42],
    }


def _fail(content: EncryptedContent) -> None:
    with suppress(Undeliverable):
        open_content(content, KEY.private_key)


def _figure(name: str, cases: Mapping[str, Sequence[T]], call: Callable[[T], object]) -> Figure:
    ratio = _spread(cases, call)
    return at_most(name, ratio, MOST, f"{ratio:.2f}")


def _spread(cases: Mapping[str, Sequence[T]], call: Callable[[T], object]) -> float:
    costs: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(ROUNDS):
        for name, inputs in cases.items():
            began = time.thread_time()
            for _ in range(CALLS):
                call(inputs[turn % len(inputs)])
            costs[name].append(time.thread_time() - began)
    medians = [statistics.median(measured) for measured in costs.values()]
    return max(medians) / min(medians)
