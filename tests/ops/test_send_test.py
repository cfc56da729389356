"""`send-test`: how a destination answers an event, without waiting for a real one."""

import json
from collections.abc import Iterator

import pytest
from standardwebhooks import Webhook

from tests.builders import destination_secret, environment
from tests.ops.conftest import Operator
from tests.servers import ScriptedResponse, Server, serving

pytestmark = pytest.mark.server


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(lambda _: ScriptedResponse(204)) as running:
        yield running


def operator(server: Server, **more: str) -> Operator:
    return Operator(environment(DESTINATION_URL=server.url, DESTINATION_SECRET=destination_secret(), **more))


def test_a_destination_takes_a_signed_event_of_a_tenant_that_does_not_exist(server: Server) -> None:
    sender = operator(server)
    sent = sender.json("send-test")
    (asked,) = server.asked
    (event,) = json.loads(asked.body)
    assert Webhook(sender.environment["DESTINATION_SECRET"]).verify(asked.body.decode(), dict(asked.headers)) == [event]
    assert event["source"].startswith("/tenants/00000000-0000-0000-0000-000000000000/")
    assert (event["type"], event["id"]) == (sent["type"], sent["event"])


@pytest.mark.parametrize("status", [400, 415, 503])
def test_a_refused_event_is_reported_with_the_answer(server: Server, status: int) -> None:
    server.script = lambda _: ScriptedResponse(status)
    assert str(status) in operator(server).json("send-test", ends=1)["failure"]


def test_any_type_can_be_sent_in_the_mode_of_the_destination(server: Server) -> None:
    sent = operator(server, DESTINATION_MODE="binary").json("send-test", "--type", "Microsoft.Graph.UserDeleted")
    assert sent["type"] == server.asked[0].headers["ce-type"] == "Microsoft.Graph.UserDeleted"


def test_a_named_destination_receives_the_event_and_an_invalid_one_is_reported(server: Server) -> None:
    entries = [
        {"name": "search", "url": f"{server.url}/search", "secret": destination_secret()},
        {"name": "broken", "url": "nowhere", "secret": destination_secret()},
    ]
    sender = operator(server, DESTINATIONS=json.dumps(entries))
    sender.json("send-test", "--destination", "search")
    assert server.paths() == ["/search"]
    assert "url: expected" in sender.json("send-test", "--destination", "broken", ends=1)["failure"]
    assert sender("send-test", "--destination", "nobody").exit_code == 2


def test_an_unknown_type_is_refused(server: Server) -> None:
    assert operator(server)("send-test", "--type", "Microsoft.Graph.Nothing").exit_code == 2
    assert server.asked == []
