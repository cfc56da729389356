"""What is read back from Graph, and to where."""

from collections.abc import Iterator

import pytest
import requests

from graph_simulator.authority import Authority
from shared.configuration.settings import StorageSettings
from tests.process_queue.away import Away


@pytest.fixture
def away(storage_settings: StorageSettings, authority: Authority, session: requests.Session) -> Iterator[Away]:
    with Away(storage_settings, authority, session) as away:
        yield away
