"""The app's functions in a process of their own, so that its CPU time is theirs alone. Storage and destination run
elsewhere.

Run as a module, this is that process. It reads a command, then one input a line; it answers with a line.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import azure.functions as func
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from bench.bystander import function, queue_message
from bench.requests_made import counted

AT_ONCE = 16
_OPENINGS = 200


@dataclass(frozen=True)
class Cost:
    """The cost of a command. seconds: CPU of the process. elapsed: real time. openings: the CPU seconds of one RSA-2048
    operation, measured before and after. storage: requests to the storage account.
    """

    seconds: float
    elapsed: float
    opening: float
    storage: int


class AppProcess:
    """The process, seen by the benchmark."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def acknowledge(self, bodies: Sequence[bytes]) -> Cost:
        """Post each body once, some concurrently. Raises AssertionError if one is not answered 202."""
        return self._ask("acknowledge", bodies)

    def deliver(self, messages: Sequence[str]) -> Cost:
        """Handle the texts of queue messages, some concurrently."""
        return self._ask("deliver", [message.encode() for message in messages])

    def _ask(self, command: str, inputs: Sequence[bytes]) -> Cost:
        pipe, answers = self._process.stdin, self._process.stdout
        assert pipe is not None
        assert answers is not None
        pipe.write(b"\n".join([f"{command} {len(inputs)}".encode(), *inputs]) + b"\n")
        pipe.flush()
        answer = answers.readline()
        if not answer:
            raise AssertionError(f"the process of the app ended with {self._process.wait()}")
        return Cost(**json.loads(answer))


@contextmanager
def app_process(*arguments: str, **settings: str) -> Iterator[AppProcess]:
    """Run the process, with the settings in this environment and some others."""
    command = [sys.executable, *arguments, "-m", __spec__.name]
    environment = {**os.environ, **settings}
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=root) as process:
        try:
            yield AppProcess(process)
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()  # type: ignore[union-attr]


def _acknowledge(body: bytes) -> None:
    """Resend on 503, as Graph does."""
    while (
        status := function("notify_http")(
            func.HttpRequest("POST", "https://x/api/notifications", body=body)
        ).status_code
    ) != 202:
        if status != 503:
            raise AssertionError(status)


def _deliver(text: bytes) -> None:
    function("process_queue")(queue_message("", text.decode()))


_COMMANDS: dict[str, Callable[[bytes], None]] = {"acknowledge": _acknowledge, "deliver": _deliver}


def _serve(commands: IO[bytes]) -> None:
    opening = openings()
    with ThreadPoolExecutor(AT_ONCE) as pool, counted() as requests:
        while line := commands.readline():
            name, number = line.decode().split()
            inputs = [commands.readline().rstrip(b"\n") for _ in range(int(number))]
            before, made = next(opening), requests.total()
            began, elapsed = time.process_time(), time.perf_counter()
            list(pool.map(_COMMANDS[name], inputs))
            seconds, elapsed = time.process_time() - began, time.perf_counter() - elapsed
            middle = (before + next(opening)) / 2
            cost = {
                "seconds": seconds,
                "elapsed": elapsed,
                "opening": middle,
                "storage": requests.total() - made,
            }
            sys.stdout.write(json.dumps(cost) + "\n")
            sys.stdout.flush()


def openings() -> Iterator[float]:
    """Yield the CPU seconds of one RSA-OAEP decryption, measured each time."""
    key = generate_private_key(65537, 2048)
    padding = OAEP(MGF1(hashes.SHA1()), hashes.SHA1(), None)
    wrapped = key.public_key().encrypt(bytes(32), padding)
    while True:
        began = time.thread_time()
        for _ in range(_OPENINGS):
            key.decrypt(wrapped, padding)
        yield (time.thread_time() - began) / _OPENINGS


if __name__ == "__main__":
    _serve(sys.stdin.buffer)
