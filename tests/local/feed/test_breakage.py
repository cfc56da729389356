"""Injected faults, against a real simulator."""

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from graph_simulator.authority import Authority
from graph_simulator.server import GraphServer
from local.feed.breakage import BREAKAGES
from local.feed.server import RunningFeed, running
from local.feed.services import ConnectedServices
from local.feed.simulator import conversation_of
from local.run.faults import key_store_available
from tests.local.feed.sender import Sender, channel_message, event
from tests.waiting import LIMIT


@pytest.fixture
def feed(secret: str, tmp_path: Path, authority: Authority, simulator: GraphServer) -> Iterator[RunningFeed]:
    services = ConnectedServices(trust=str(authority.ca), simulator=simulator.url, supervised=True)
    with running(secret, tmp_path / "feed.db", services=services) as feed:
        yield feed


def order(feed: RunningFeed, name: str, *, on: bool) -> None:
    httpx.post(f"{feed.url}/api/breakages", json={"name": name, "on": on}).raise_for_status()


def test_the_faults_of_graph_come_and_go(feed: RunningFeed, simulator: GraphServer, authority: Authority) -> None:
    with httpx.Client(verify=ssl.create_default_context(cafile=str(authority.ca))) as client:

        def faults() -> dict[str, object]:
            found: dict[str, object] = client.get(f"{simulator.url}/simulator/faults").json()
            return found

        before = faults()
        switches = [breakage.name for breakage in BREAKAGES if breakage.where == "graph" and breakage.is_switch]
        for name in switches:
            order(feed, name, on=True)
            assert faults() != before, name
            order(feed, name, on=False)
            assert faults() == before, name
        for name in ("graph_down", "signing_keys"):
            order(feed, name, on=True)
        assert faults()["unavailable"] == ["keys", "graph"]
        order(feed, "signing_keys", on=False)
        assert faults()["unavailable"] == ["graph"]
        order(feed, "graph_down", on=False)
        assert faults() == before


def test_what_happens_once_can_be_asked_for_again(feed: RunningFeed) -> None:
    for _ in range(2):
        order(feed, "rotate_keys", on=True)
        order(feed, "restart", on=True)
    states = {state["name"]: state for state in httpx.get(f"{feed.url}/api/breakages").json()}
    assert {states[name]["times"] for name in ("rotate_keys", "restart")} == {2}
    assert not any(state["active"] for state in states.values())


def test_chats_and_channels_are_called_what_graph_calls_them(
    feed: RunningFeed, secret: str, simulator: GraphServer, authority: Authority
) -> None:
    with httpx.Client(verify=ssl.create_default_context(cafile=str(authority.ca))) as client:
        places = client.get(f"{simulator.url}/simulator/places").json()
    place = next(place for place in places if "channels" in place["path"])
    source = conversation_of(place["tenant"], place["path"])
    sender = Sender(feed.url, secret)
    sender.send(event(channel_message()) | {"source": f"{source}/messages"})
    sender.close()
    deadline = time.monotonic() + LIMIT
    while True:
        [conversation] = httpx.get(f"{feed.url}/api/conversations").json()
        if conversation["name"] == place["title"]:
            return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_key_store_that_was_made_unavailable_comes_back_as_it_was(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "one.pem").write_text("a key")
    for _ in range(2):
        key_store_available(keys, available=False)
    with pytest.raises(NotADirectoryError):
        list(keys.iterdir())
    for _ in range(2):
        key_store_available(keys, available=True)
    assert (keys / "one.pem").read_text() == "a key"
