"""The encryption key changes while messages flow through running functions: every message arrives, decrypted.

LIFE_MESSAGES sets the number of messages, for a long run.
"""

import json
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import requests

from graph_simulator.authority import Authority
from local.feed.server import RunningFeed
from local.feed.server import running as feed_running
from local.host.process import HostProcess
from local.run.comparison import differences
from shared.configuration.settings import StorageSettings
from tests.builders import destination_secret, environment
from tests.life.conftest import CHATS, TEAMS, declared
from tests.life.instance import Instance, bring
from tests.life.watched_graph import WatchedGraph, watched_graph
from tests.waiting import LIMIT, eventually

MESSAGES = int(os.environ.get("LIFE_MESSAGES", "80"))
RATE = min(MESSAGES / 5, 80.0)  # a second: the messages take about as long as a rotation

pytestmark = pytest.mark.timeout(600 + MESSAGES)


@dataclass
class RotationHarness:
    """Messages that flow from Graph through the functions to the feed; `app` is a second instance, on virtual time.

    The host's key is ten days old, and its settings rotate keys after five days; those of `app` after ninety.
    """

    graph: WatchedGraph
    feed: RunningFeed
    host: HostProcess
    app: Instance
    http: httpx.Client

    def begin(self) -> None:
        """Subscribe with the old key and start writing messages; return when some are written."""
        self.app.tick()
        assert self.in_use() == {"old"}
        self.graph.post("generate", rate=RATE, messages=MESSAGES)
        eventually(lambda: self.graph.get("summary")["written"] > MESSAGES / 10)

    def rotate(self) -> None:
        """Run the timer of the host."""
        self.http.post(f"{self.host.url}/admin/functions/renew_timer", json={"input": ""}).raise_for_status()

    def kill_at(self, method: str, nth: int, *, done_first: bool) -> None:
        """Run the timer, kill the process at its nth call of a method, before or after Graph has carried it out, and
        restart the process.
        """
        hold = self.graph.hold(method, nth, done_first=done_first)
        self.rotate()
        assert hold.reached.wait(LIMIT)
        self.host.kill()
        hold.lost = not done_first
        hold.gone.set()
        self.host.start()

    def in_use(self) -> set[str]:
        return {subscription.recipient.certificate_id for subscription in self.graph.subscriptions()}

    def is_rotated(self) -> bool:
        return len(self.graph.subscriptions()) == 2 and len(self.in_use()) == 1 and "old" not in self.in_use()

    def end(self) -> None:
        """Wait until the feed holds every written message, byte for byte; then let the overlap pass."""
        eventually(lambda: not self.graph.get("summary")["generating"])
        eventually(lambda: self.graph.get("summary")["pending"] == 0)
        eventually(lambda: not self.app.queued())
        eventually(lambda: not differences(self.graph.messages(), self.feed.contents()))
        assert self.app.dead_letters() == 0
        assert self.feed.summary()["refused"] == {}
        [new] = self.in_use()
        assert sorted(self.app.key_store.ids()) == sorted(["old", new])  # no key was created twice
        self.app.tick()
        self.graph.advance(hours=5)
        # By now Graph requests reauthorization: while that is queued, the old key stays.
        eventually(lambda: self._is_retired(new))

    def _is_retired(self, new: str) -> bool:
        self.app.tick()
        return self.app.key_store.ids() == [new]


@pytest.fixture
def flow(
    authority: Authority, session: requests.Session, storage_settings: StorageSettings, tmp_path: Path
) -> Iterator[RotationHarness]:
    secret = destination_secret()
    host = HostProcess({}, log=tmp_path / "host.log", authority=authority)
    bring(tmp_path / "keys", "old", datetime.now(UTC) - timedelta(days=10))
    with (
        watched_graph(authority) as graph,
        feed_running(secret, tmp_path / "feed.db") as feed,
        httpx.Client(verify=ssl.create_default_context(cafile=authority.ca), timeout=30) as client,
    ):
        environ = environment(
            AzureWebJobsStorage=storage_settings.connection_string,
            NOTIFICATION_QUEUE=storage_settings.queue,
            GRAPH_TENANT_ID=graph.registration.tenant,
            GRAPH_CLIENT_ID=graph.registration.client_id,
            GRAPH_CLIENT_SECRET=graph.registration.client_secret,
            GRAPH_BASE_URL=graph.url,
            LOGIN_BASE_URL=graph.url,
            REQUESTS_CA_BUNDLE=str(authority.ca),
            NOTIFICATION_URL=f"{host.url}/api/notifications",
            KEY_STORE=f"file:{tmp_path / 'keys'}",
            KEY_OVERLAP_HOURS="1",
            DESTINATION_URL=feed.events_url,
            DESTINATION_SECRET=secret,
            SUBSCRIPTIONS=json.dumps([declared(CHATS), declared(TEAMS)]),
            RENEW_SCHEDULE="0 0 0 1 1 *",
            PYTHON_THREADPOOL_THREAD_COUNT="16",
            LOCAL_HOST_LEASE_SECONDS="6",
            FUNCTIONS_WORKER_RUNTIME="python",
        )
        host.settings.update(environ, KEY_ROTATION_DAYS="5")
        with host:
            yield RotationHarness(graph, feed, host, Instance(environ, session, graph.clock), client)


def test_a_rotation_loses_nothing_and_the_old_key_is_retired_in_the_end(flow: RotationHarness) -> None:
    flow.begin()
    flow.rotate()
    eventually(flow.is_rotated)
    flow.rotate()
    flow.end()
    assert len(flow.graph.calls("PATCH")) == 2  # the second run had nothing to do


def test_a_rotation_whose_process_is_killed_again_and_again_is_completed_by_the_next(flow: RotationHarness) -> None:
    flow.begin()
    # The key is created; some are re-keyed, unanswered: several are at once.
    flow.kill_at("PATCH", 1, done_first=False)
    if not flow.is_rotated():
        flow.kill_at("PATCH", 1, done_first=True)
    flow.rotate()
    eventually(flow.is_rotated)
    flow.end()


@pytest.mark.parametrize(
    ("method", "number", "done_first"),
    [("DELETE", 1, True), ("PATCH", 3, True)],
    ids=["one removed", "one at the present URL"],
)
def test_a_killed_rotation_that_replaces_subscriptions_is_completed_and_the_gap_read_back(
    flow: RotationHarness, method: str, number: int, done_first: bool
) -> None:
    """With real processes at two calls; tests/crash dies in each of them, before and after Graph carries it out."""
    flow.graph.watch.certificates = "are refused"
    flow.begin()
    flow.kill_at(method, number, done_first=done_first)
    flow.rotate()
    eventually(flow.is_rotated)
    flow.end()
