"""A run of the timer in its own process, on a clock that is ahead; it halts while it retires a key, to be killed."""

import os
import sys
import time
from datetime import UTC, datetime, timedelta

from shared import http_client
from shared.keys.directory import KeyDirectory
from tests.life.instance import Instance


def halt() -> None:
    """Print a line, and wait for the kill."""
    sys.stdout.write("halted\n")
    sys.stdout.flush()
    time.sleep(600)


class FailsBeforeDeleting(KeyDirectory):
    """Halts right before it retires a key."""

    def retire(self, key_id: str) -> None:
        halt()


class FailsAfterDeleting(KeyDirectory):
    """Halts right after it retired a key, before it returns."""

    def retire(self, key_id: str) -> None:
        super().retire(key_id)
        halt()


if __name__ == "__main__":
    seconds, when = sys.argv[1:]
    store = FailsBeforeDeleting if when == "before" else FailsAfterDeleting
    Instance(
        os.environ, http_client.session(), lambda: datetime.now(UTC) + timedelta(seconds=float(seconds)), store
    ).tick()
