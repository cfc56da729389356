"""A run of the timer in a process of its own, on a clock that is ahead; it halts at retiring a key, to be killed."""

import os
import sys
import time
from datetime import UTC, datetime, timedelta

from shared import http_client
from shared.keys.directory import KeyDirectory
from tests.life.instance import Instance


def halt() -> None:
    """Say so, and wait for the end."""
    sys.stdout.write("halted\n")
    sys.stdout.flush()
    time.sleep(600)


class FailsBeforeDeleting(KeyDirectory):
    """Is killed when it is about to retire a key."""

    def retire(self, key_id: str) -> None:
        halt()


class FailsAfterDeleting(KeyDirectory):
    """Is killed when it has retired a key, and nobody knows yet."""

    def retire(self, key_id: str) -> None:
        super().retire(key_id)
        halt()


if __name__ == "__main__":
    seconds, when = sys.argv[1:]
    store = FailsBeforeDeleting if when == "before" else FailsAfterDeleting
    Instance(
        os.environ, http_client.session(), lambda: datetime.now(UTC) + timedelta(seconds=float(seconds)), store
    ).tick()
