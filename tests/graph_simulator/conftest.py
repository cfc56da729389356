"""A simulator, an endpoint and a client of Graph."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from graph_simulator.authority import Authority
from graph_simulator.server import GraphServer, Registration, running
from tests.graph_simulator.client import GraphClient
from tests.graph_simulator.receiver import Receiver, receiving
from tests.waiting import LIMIT


@pytest.fixture
def receiver(authority: Authority) -> Iterator[Receiver]:
    """An endpoint of the test's own: delayed notifications of earlier tests reach no one."""
    with receiving(authority) as endpoint:
        yield endpoint


@pytest.fixture
def graph(authority: Authority, receiver: Receiver) -> Iterator[GraphServer]:
    """A running simulator that is independent of the machine's speed: only a test advances its clock, and it waits
    without limit for answers. Tests of a time limit set it.
    """
    began = datetime.now(UTC)
    registration = Registration(str(uuid.uuid4()), str(uuid.uuid4()), uuid.uuid4().hex)
    with running(authority, registration, clock=lambda: began) as server:
        server.post("faults", answer_seconds=LIMIT, repeat_answer_seconds=LIMIT, validation_seconds=LIMIT)
        yield server


@pytest.fixture
def app(graph: GraphServer, authority: Authority, receiver: Receiver) -> Iterator[GraphClient]:
    with GraphClient.of(graph, authority, receiver.url) as client:
        yield client
