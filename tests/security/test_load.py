"""The effect of anonymous load on the running app. `make bench ARGS=attacked` measures the speed."""

import sys
from pathlib import Path

import pytest

from graph_simulator.authority import Authority
from graph_simulator.server import GraphServer
from local.azurite import Azurite
from notify_http.receive import LARGEST_BODY
from shared.configuration.settings import StorageSettings
from tests.accounts import queues
from tests.security.harness import staged, until
from tests.security.load import ATTACKERS, WORST, attack

GIGABYTE = 1 << 30


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports peak memory this way")
def test_under_the_worst_bodies_memory_is_bounded_and_honest_notifications_arrive(
    tmp_path: Path, azurite: Azurite, authority: Authority, simulator: GraphServer
) -> None:
    with staged(
        tmp_path, azurite, authority, simulator, FUNCTIONS_REQUEST_BODY_SIZE_LIMIT=str(LARGEST_BODY)
    ) as harness:
        load = attack(harness, posts=max(2 * len(WORST), ATTACKERS), honest=5)
        assert set(load.answers) <= {202, 400}
        assert load.memory < GIGABYTE
        assert load.logged == 0
        assert until(lambda: harness.ends()["delivered"] == 5)
        waiting = queues(StorageSettings(harness.queue, azurite.connection_string))
        assert until(lambda: waiting.length() == 0)  # the host deletes a message after its events were counted
