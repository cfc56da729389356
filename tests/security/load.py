"""Anonymous load of the most expensive bodies on a running host, with genuine POSTs among it."""

import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import httpx

from tests.builders import body
from tests.security.harness import SecurityHarness
from tests.security.test_abuse import JUNK

ATTACKERS = 16
WORST = (
    "millions of empty objects",
    "as many items as are read",
    "an item's names over and over again",
    "halves of surrogates",
    "backslashes and a half",
    "a character that makes Python's strings long",
    "a clientState of eight megabytes",
    "a million tokens",
)


@dataclass(frozen=True)
class Load:
    """The result: the answers to hostile POSTs, by status; the duration of each genuine POST, in seconds; the largest
    memory of the host and its worker, and the growth of their log, in bytes.
    """

    answers: Counter[int]
    honest: list[float]
    memory: int
    logged: int

    @property
    def hostile(self) -> int:
        """The number of hostile POSTs."""
        return self.answers.total()


def attack(harness: SecurityHarness, posts: int, honest: int, attackers: int = ATTACKERS) -> Load:
    """Send hostile POSTs from several attackers at once, and genuine ones one after the other."""
    before = harness.host.log.stat().st_size
    bodies = [JUNK[kind]() for kind in WORST]

    def send(text: bytes) -> int:
        return harness.http.post("/api/notifications", content=text).status_code

    with ThreadPoolExecutor(attackers) as pool:
        sending = [pool.submit(send, text) for text in islice(cycle(bodies), posts)]
        times = [_honest(harness) for _ in range(honest)]
        answers = Counter(future.result() for future in sending)
    return Load(answers, times, memory(harness.host.child.pid), harness.host.log.stat().st_size - before)


def _honest(harness: SecurityHarness) -> float:
    """Post a genuine item like Graph, on a connection of its own; return the duration of the answer."""
    text = body(harness.item(), tokens=[harness.token()])
    began = time.perf_counter()
    answer = harness.http.post("/api/notifications", content=text)
    if answer.status_code != 202:
        raise httpx.HTTPStatusError(f"an honest POST was answered {answer.status_code}", request=answer.request,
                                    response=answer)  # fmt: skip
    return time.perf_counter() - began


def memory(pid: int) -> int:
    """Return the sum of the peak memory of a process and its descendants, in bytes."""
    peak = int(re.findall(r"VmHWM:\s+(\d+)", _read(f"/proc/{pid}/status"))[0]) * 1024
    return peak + sum(memory(int(child)) for child in _read(f"/proc/{pid}/task/{pid}/children").split())


def _read(path: str) -> str:
    return Path(path).read_text(encoding="ascii", errors="replace")
