"""After the whole flow, everything that was written anywhere is searched for secrets and message texts."""

import base64
import secrets
from pathlib import Path

import pytest

from graph_simulator.authority import Authority
from graph_simulator.server import Registration, running
from local.azurite import Azurite
from tests.builders import CLIENT_ID, TENANT
from tests.once import once
from tests.security.flow import THROTTLED, WRONG, Destination, LeakScenario, Written, note_keys, wrong_settings
from tests.security.harness import staged
from tests.security.talkative_host import TalkativeHost
from tests.servers import serving

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Written:
    return once(tmp_path_factory, "leaks", lambda directory: whole_flow(directory, authority))


def whole_flow(directory: Path, authority: Authority) -> Written:
    found = Written()
    registration = Registration(TENANT, CLIENT_ID, secrets.token_urlsafe(30))
    destination = Destination()
    with (
        Azurite(directory / "storage") as azurite,
        running(authority, registration) as graph,
        serving(destination) as server,
        staged(directory, azurite, authority, graph, TalkativeHost, DESTINATION_URL=server.url) as harness,
    ):
        note_keys(found, harness, azurite)
        flow = LeakScenario(harness, destination, server, azurite, directory / "host.log", found)
        flow.success()
        flow.readback()  # first: a declaration is compared for a suspected gap once in ten minutes
        flow.graph_fails()
        flow.refusals()
        flow.undeliverable()
        flow.destination_fails()
        flow.storage_fails()
        flow.login_fails()
        wrong_settings(directory, harness, found)
        found.ends = harness.ends()
        found.places["metrics"] = harness.get("/admin/metrics").content
        found.proofs |= {
            f"clientState {n}": subscription.client_state.encode()
            for n, subscription in enumerate(graph.simulator.subscriptions)
            if subscription.client_state
        }
        found.keys |= {f"access token {n}": token.encode() for n, token in enumerate(graph.simulator.login._tokens)}
    found.places["log"] = (directory / "host.log").read_bytes()
    for path in (directory / "storage").rglob("*"):
        if path.is_file():
            found.places[f"storage: {path.name}"] = path.read_bytes()
    return found


@pytest.mark.timeout(600)  # the first of these tests goes the way that all of them look at
def test_no_text_of_a_message_is_anywhere_but_at_the_destination(written: Written) -> None:
    assert written.found(written.texts, written.places) == []


def test_no_secret_of_the_app_is_anywhere(written: Written) -> None:
    assert written.found(written.keys, written.places) == []


def test_what_proves_an_item_is_nowhere_but_in_storage(written: Written) -> None:
    elsewhere = {place: content for place, content in written.places.items() if not place.startswith("storage")}
    assert written.found(written.proofs, elsewhere) == []


def test_the_search_finds_what_is_there(written: Written) -> None:
    """The search finds marks as they are and in Base64, and covers the storage that was used."""
    sealed = next(iter(written.proofs.values()))
    assert written.found({"proof": sealed}, written.places)
    for shift in range(6):
        hidden = base64.b64encode(b"x" * shift + b"mark-0123456789abcdef" + b"y" * shift)
        assert written.found({"mark": b"mark-0123456789abcdef"}, {"place": hidden})


@pytest.mark.parametrize(
    "end",
    [
        "delivered",
        "duplicates",
        "refused client_state",
        "refused malformed",
        "refused token_missing",
        "refused token_audience",
        "refused token_publisher",
        "refused token_issuer",
        "dead_lettered content_unreadable",
        "dead_lettered content_not_json",
        "retried destination_rejects",
        "retried destination",
        "retried destination_error",
    ],
)
def test_the_flow_went_along_this_path(written: Written, end: str) -> None:
    assert written.ends[end] > 0


@pytest.mark.parametrize(
    "line",
    [
        b": urllib3.connectionpool: ",
        b": azure.core.pipeline.policies.http_logging_policy: ",
        b": msal",
        b'"name": "process_queue"',
        b"Graph answers 503",
        b"login authority",
        b"key broken",
        b"storage account",
        b"403 Authorization_RequestDenied",
        THROTTLED,
    ],
)
def test_the_log_has_this_line(written: Written, line: bytes) -> None:
    assert line.lower() in written.places["log"].lower()


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_is_named(written: Written, name: str) -> None:
    assert name.encode() in written.places["log with wrong settings 0"]
