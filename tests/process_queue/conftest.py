"""A harness of reading back."""

from collections.abc import Iterator

import pytest
import requests

from graph_simulator.authority import Authority
from tests.process_queue.readback_harness import ReadbackHarness


@pytest.fixture
def harness(authority: Authority, session: requests.Session) -> Iterator[ReadbackHarness]:
    with ReadbackHarness(authority, session) as harness:
        yield harness
