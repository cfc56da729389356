"""The delta link that a declaration gets before its subscription, from a scripted Graph."""

from collections.abc import Iterator

import pytest
import requests

from graph_simulator.authority import Authority
from shared.errors import RetryLater
from shared.graph.client import GraphClient
from shared.readback.checkpoints import Checkpoints, DeltaLink
from shared.readback.first_links import FirstLinks
from tests.builders import NOW, Clock, declaration
from tests.memory import MemoryTables
from tests.servers import ScriptedResponse, Server, in_json, serving
from tests.shared.graph.test_client import Bearer

DRIVE = declaration("/drives/b!1/root?$select=name", rich=False, types="updated")
LINK = "https://graph.example/delta?token=1"


@pytest.fixture
def graph(authority: Authority) -> Iterator[Server]:
    with serving(lambda _: in_json({"value": [], "@odata.deltaLink": LINK}), authority) as server:
        yield server


@pytest.fixture
def checkpoints() -> Checkpoints:
    return Checkpoints(MemoryTables())


@pytest.fixture
def first_links(graph: Server, session: requests.Session, checkpoints: Checkpoints) -> FirstLinks:
    clock = Clock(NOW)
    return FirstLinks(GraphClient(graph.url, Bearer(), session, clock), checkpoints, clock)


@pytest.mark.parametrize(
    ("resource", "asked"),
    [
        (DRIVE.resource, "/v1.0/drives/b%211/root/delta?token=latest&$select=name"),
        ("/sites/h,1,2/lists/l", "/v1.0/sites/h%2C1%2C2/lists/l/items/delta?token=latest"),
        ("/users", "/v1.0/users/delta?$deltatoken=latest"),
        ("/groups", "/v1.0/groups/delta?$deltatoken=latest"),
    ],
)
def test_it_begins_now(
    first_links: FirstLinks, graph: Server, checkpoints: Checkpoints, resource: str, asked: str
) -> None:
    declared = declaration(resource, rich=False)
    first_links.obtain(declared)
    assert graph.paths() == [asked]
    assert checkpoints.delta_link(declared.id) == DeltaLink(LINK, NOW)


@pytest.mark.parametrize(
    "resource",
    ["/chats/getAllMessages", "/users/u/mailFolders/inbox/messages", "/users/u/events", "/communications/presences"],
)
def test_graph_is_not_asked_where_it_offers_none(first_links: FirstLinks, graph: Server, resource: str) -> None:
    first_links.obtain(declaration(resource, rich=False))
    assert graph.asked == []


def test_a_stored_link_stays(first_links: FirstLinks, graph: Server, checkpoints: Checkpoints) -> None:
    checkpoints.save_delta_link(DRIVE.id, "older", NOW)
    first_links.obtain(DRIVE)
    assert (graph.asked, checkpoints.delta_link(DRIVE.id)) == ([], DeltaLink("older", NOW))


def test_a_link_that_another_instance_stores_meanwhile_stays(
    first_links: FirstLinks, graph: Server, checkpoints: Checkpoints
) -> None:
    def answer(_: object) -> ScriptedResponse:
        checkpoints.save_delta_link(DRIVE.id, "older", NOW)
        return in_json({"value": [], "@odata.deltaLink": LINK})

    graph.script = answer
    first_links.obtain(DRIVE)
    assert checkpoints.delta_link(DRIVE.id) == DeltaLink("older", NOW)


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_refusal_is_logged_and_does_not_prevent_the_subscription(
    first_links: FirstLinks,
    graph: Server,
    checkpoints: Checkpoints,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    graph.script = lambda _: in_json({"error": {"code": "accessDenied", "message": "no"}}, status)
    first_links.obtain(DRIVE)
    assert checkpoints.delta_link(DRIVE.id) is None
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert DRIVE.resource in line
    assert f"{status} accessDenied" in line


def test_while_graph_is_unavailable_there_is_no_subscription(first_links: FirstLinks, graph: Server) -> None:
    graph.script = lambda _: ScriptedResponse(503)
    with pytest.raises(RetryLater):
        first_links.obtain(DRIVE)
