"""What is read back from Graph, and to where."""

from collections.abc import Iterator

import pytest
import requests

from graph_simulator.authority import Authority
from shared.configuration.settings import StorageSettings
from tests.process_queue.readback_harness import ReadbackHarness


@pytest.fixture
def harness(
    storage_settings: StorageSettings, authority: Authority, session: requests.Session
) -> Iterator[ReadbackHarness]:
    with ReadbackHarness(storage_settings, authority, session) as harness:
        yield harness
