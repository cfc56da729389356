"""The example consumers, unchanged, as destinations of the whole system."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from local.run.comparison import differences
from local.run.system import System
from tests.examples.conftest import LANGUAGES, Consumer, missing_for, running_consumer
from tests.waiting import eventually

pytestmark = pytest.mark.process

MODES = {"python": "batch", "node": "structured", "go": "batch"}
MESSAGES = 30


@pytest.mark.timeout(600)
def test_the_consumers_hold_what_was_written_after_a_local_run(database: str, tmp_path: Path) -> None:
    """One for which something is missing here is left out; tests/examples/test_consumers.py says which."""
    with ExitStack() as stack:
        consumers = {
            language: stack.enter_context(running_consumer(language, database, tmp_path / language))
            for language in LANGUAGES
            if not missing_for(language)
        }
        entries = [
            {"name": language, "url": consumer.url, "secret": consumer.secret, "mode": MODES[language]}
            for language, consumer in consumers.items()
        ]
        system = stack.enter_context(System(tmp_path / "run", {"DESTINATIONS": json.dumps(entries)}))
        system.subscribe()
        system.tell_simulator("generate", rate=30, messages=MESSAGES)
        eventually(lambda: not in_motion(system) and not differences(written(system), contents(system)))
        expected = {line["subject"]: (line["version"], line["data"]) for line in contents(system)}
        assert len(expected) >= MESSAGES
        eventually(lambda: all(stored(consumer) == expected for consumer in consumers.values()))


def in_motion(system: System) -> bool:
    summary = system.simulator("summary")
    return bool(summary["generating"] or summary["pending"])


def written(system: System) -> list[dict[str, Any]]:
    return system.lines(f"{system.simulator_url}/simulator/messages")


def contents(system: System) -> list[dict[str, Any]]:
    return system.lines(f"{system.feed_url}/api/contents")


def stored(consumer: Consumer) -> dict[str, tuple[str, Any]]:
    return {subject: (version, json.loads(event)["data"]) for subject, (version, event) in consumer.stored().items()}
