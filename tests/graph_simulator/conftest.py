"""A simulator, an endpoint and an app that knows how to talk to Graph."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from graph_simulator.authority import Authority
from graph_simulator.server import GraphServer, Registration, running
from tests.graph_simulator.client import GraphClient
from tests.graph_simulator.receiver import Receiver, receiving


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    directory: Path = tmp_path_factory.mktemp("authority")
    return Authority.create(directory)


@pytest.fixture(scope="session")
def endpoint(authority: Authority) -> Iterator[Receiver]:
    with receiving(authority) as endpoint:
        yield endpoint


@pytest.fixture
def receiver(endpoint: Receiver) -> Receiver:
    endpoint.reset()
    return endpoint


@pytest.fixture
def graph(authority: Authority, receiver: Receiver) -> Iterator[GraphServer]:
    """A running simulator. It ends before `receiver` is used again, and with it whatever it still had to send."""
    registration = Registration(str(uuid.uuid4()), str(uuid.uuid4()), uuid.uuid4().hex)
    with running(authority, registration) as server:
        yield server


@pytest.fixture
def app(graph: GraphServer, authority: Authority, receiver: Receiver) -> Iterator[GraphClient]:
    with GraphClient.of(graph, authority, receiver.url) as client:
        yield client
