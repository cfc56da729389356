"""An attacker with write access to the tables can only delay: nothing is forged, and access tokens stay secret."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import requests

from graph_simulator.authority import Authority
from shared.messages.envelope import ReadbackPage, write
from shared.storage.state import STATE
from tests.builders import NOW, TENANT, change, lifecycle, minted
from tests.security.attacked import AttackedRelay, attacked
from tests.servers import ScriptedResponse, Server, serving

USERS = "/users"


@pytest.fixture
def app(tmp_path: Path, authority: Authority, session: requests.Session) -> Iterator[AttackedRelay]:
    with attacked(tmp_path, authority, session, [{"resource": USERS, "changeTypes": ["updated"]}]) as running:
        yield running


@pytest.fixture
def elsewhere(authority: Authority) -> Iterator[Server]:
    with serving(lambda _: ScriptedResponse(200, b'{"value":[]}'), authority) as server:
        yield server


def test_a_stored_link_to_elsewhere_is_not_followed(app: AttackedRelay, elsewhere: Server) -> None:
    (declared,) = app.relay.declarations
    app.relay.checkpoints.save_delta_link(declared.id, f"{elsewhere.url}/v1.0/users/delta?$deltatoken=x", NOW)
    app.relay.queues.send(write(ReadbackPage(NOW, TENANT, USERS, NOW - timedelta(days=1), NOW)))
    app.drain()
    assert (elsewhere.asked, app.asked(), app.events) == ([], [], [])
    assert app.waiting() == 1


def test_a_forged_known_subscription_proves_no_item(app: AttackedRelay) -> None:
    name = "3f1c0a52-7a3e-4d0e-9f0e-0c6a4f2d9b11"
    (declared,) = app.relay.declarations
    app.relay.storage.tables.put(STATE, f"subscriptions-{TENANT}", name, {"declaration": declared.id})
    app.post(lifecycle(subscriptionId=name, clientState="guess"), change("users/5d", clientState=None))
    app.drain()
    assert (app.asked(), app.events) == ([], [])


@pytest.mark.parametrize("partition", ["progress", "gaps", "tenants", "silence", "refusing-tenants", "current-keys"])
def test_an_unreadable_row_does_not_end_a_run(
    app: AttackedRelay, partition: str, caplog: pytest.LogCaptureFixture
) -> None:
    (declared,) = app.relay.declarations
    key = TENANT if "tenants" in partition else declared.id
    app.relay.storage.tables.put(STATE, partition, key, {"until": "\x1b[2J", "last": 7, "compared": ""})
    with caplog.at_level(logging.ERROR):
        app.tick()
    assert all("\x1b" not in record.getMessage() for record in caplog.records)
    app.post(change("users/5d", clientState=minted(TENANT, USERS)))
    app.drain()
    assert len(app.events) == 1
