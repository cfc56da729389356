"""The settings of each page in docs/targets/, with a stand-in that enforces the published rules of its service."""

import json
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
import requests

from graph_simulator.authority import Authority
from shared.configuration.destinations import DestinationSettings
from shared.configuration.settings import Settings
from shared.delivery.destination import Destination
from shared.delivery.event import Event
from shared.delivery.request import RequestFormat
from shared.errors import Reason
from tests.builders import NOW, destinations_of, environment
from tests.servers import RecordedRequest, ScriptedResponse, Server, serving
from tests.shared.delivery.test_destination import some
from tests.stand_ins import targets
from tests.stand_ins.targets import Target

PAGES = Path(__file__).parents[3] / "docs" / "targets"
STAND_INS: dict[str, Callable[[Target], Callable[[RecordedRequest], ScriptedResponse]]] = {
    "event-grid-topic": targets.event_grid_topic,
    "event-grid-namespace": targets.event_grid_namespace,
    "event-hubs": targets.event_hub,
    "service-bus": targets.service_bus,
    "functions": targets.function,
    "dapr": targets.dapr,
    "knative": targets.knative,
}
AZURE = [name for name in STAND_INS if name.startswith("event") or name == "service-bus"]
NAMESPACES = ["event-grid-namespace", "event-hubs", "service-bus"]


def documented(name: str) -> DestinationSettings:
    """Return the settings of a page, as the app reads them."""
    block = re.search(r"```json\n(.*?)```", (PAGES / f"{name}.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block
    shown = {"DESTINATION_SECRET": None, **json.loads(block[1])}
    (default,) = destinations_of(Settings.from_environment(environment(**shown)))
    return default


@dataclass
class Ready:
    """A stand-in, and the app's destination with the settings of its page."""

    target: Target
    server: Server
    settings: DestinationSettings
    session: requests.Session

    def destination(self, *, roles: bool = True) -> Destination:
        address = urlsplit(self.settings.url)
        query = f"?{address.query}" if address.query else ""
        resource = (self.settings.scope or "").removesuffix("/.default")
        form = self.settings
        return Destination(
            f"{self.server.url}{address.path}{query}",
            form.secrets,
            self.session,
            lambda: NOW,
            (lambda: self.target.token(resource, roles=roles)) if form.scope else None,
            request_format=RequestFormat(form.mode, form.max_events, form.max_bytes, form.headers),
        )


@pytest.fixture
def ready(request: pytest.FixtureRequest, authority: Authority, session: requests.Session) -> Iterator[Ready]:
    target = Target(secrets.token_hex(32))
    with serving(STAND_INS[request.param](target), authority) as server:
        yield Ready(target, server, documented(request.param), session)


def large(count: int, size: int) -> list[Event]:
    data = msgspec.Raw(json.dumps({"body": "x" * size}).encode())
    return [msgspec.structs.replace(event, data=data) for event in some(count)]


def test_every_page_has_its_stand_in() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} - {"README"} == STAND_INS.keys()


@pytest.mark.parametrize("ready", STAND_INS, indirect=True)
def test_what_the_page_says_is_accepted(ready: Ready) -> None:
    events = some(3)
    assert ready.destination().deliver(events).delivered == tuple(events)
    assert [event["id"] for event in ready.target.events] == [event.id for event in events]


@pytest.mark.parametrize("ready", AZURE, indirect=True)
def test_without_the_role_everything_waits(ready: Ready) -> None:
    delivery = ready.destination(roles=False).deliver(some(2))
    assert len(delivery.undelivered) == 2
    assert delivery.failure is not None
    assert delivery.failure.reason is Reason.DESTINATION


@pytest.mark.parametrize("ready", ["event-grid-topic", "event-grid-namespace"], indirect=True)
def test_requests_stay_below_the_limit_of_event_grid(ready: Ready) -> None:
    events = large(12, 200_000)
    assert ready.destination().deliver(events).delivered == tuple(events)
    assert all(len(request.body) <= 1 << 20 for request in ready.server.asked)
    assert len(ready.server.asked) == 3


@pytest.mark.parametrize("ready", ["event-grid-topic", "event-grid-namespace"], indirect=True)
def test_a_lower_limit_of_the_destination_is_found_by_halving(ready: Ready) -> None:
    ready.target.limit = 500_000
    events = large(4, 200_000)
    assert ready.destination().deliver(events).delivered == tuple(events)


@pytest.mark.parametrize("ready", NAMESPACES, indirect=True)
def test_an_entity_that_is_not_there_keeps_everything(ready: Ready) -> None:
    ready.target.exists = False
    delivery = ready.destination().deliver(some(2))
    assert len(delivery.undelivered) == 2
    assert delivery.failure is not None
    assert delivery.failure.reason is Reason.DESTINATION_GONE


@pytest.mark.parametrize("ready", ["knative", "dapr"], indirect=True)
def test_a_batch_is_refused_where_there_are_none(ready: Ready) -> None:
    """So the mode on the page is mandatory."""
    body = b"[]"
    headers = {"content-type": "application/cloudevents-batch+json", **ready.settings.headers}
    answer = ready.session.post(f"{ready.server.url}{urlsplit(ready.settings.url).path}", data=body, headers=headers)
    assert answer.status_code in (400, 500)
