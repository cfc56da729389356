"""Calls to Graph: to a scripted server, with tokens from the simulator's Entra ID."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import jwt
import pytest
import requests

from graph_simulator.authority import Authority
from graph_simulator.server import GraphServer
from shared.errors import Reason, RetryLater
from shared.graph.client import GraphClient, GraphRequestError
from shared.graph.entra import AppCredential, EntraClient
from tests.builders import CLIENT_ID, OTHER_TENANT, TENANT, Clock, client_state_secret
from tests.servers import RESET, RecordedRequest, ScriptedResponse, Server, in_json, in_turn, serving


class WithRoles(EntraClient):
    """Tokens with roles."""

    def __init__(self, *roles: str) -> None:
        self._token = jwt.encode({"roles": roles}, client_state_secret(), algorithm="HS256")

    def token(self, tenant_id: str, scope: str) -> str:
        return self._token


class Bearer(EntraClient):
    """Tokens 1, 2, 3 ...: a new one after each `forget`."""

    def __init__(self) -> None:
        self.forgotten = 0

    def token(self, tenant_id: str, scope: str) -> str:
        return f"{tenant_id} {scope} {self.forgotten}"

    def forget(self, tenant_id: str) -> None:
        self.forgotten += 1


@pytest.fixture
def server(authority: Authority) -> Iterator[Server]:
    with serving(lambda _: in_json({"id": "1"}), authority) as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def graph(server: Server, session: requests.Session, clock: Clock) -> GraphClient:
    return GraphClient(server.url, Bearer(), session, clock)


def error(status: int, code: str = "Code", message: str = "Message.") -> ScriptedResponse:
    return in_json({"error": {"code": code, "message": message, "innerError": {}}}, status)


def test_a_call_carries_its_token_and_the_headers_for_graph(graph: GraphClient, server: Server) -> None:
    assert graph.get(TENANT, "/users/1") == {"id": "1"}
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("GET", "/v1.0/users/1")
    assert asked.headers["authorization"] == f"Bearer {TENANT} {server.url}/.default 0"
    assert asked.headers["prefer"] == 'include-unknown-enum-members, IdType="ImmutableId"'
    assert len(asked.headers["client-request-id"]) == 36


def test_bodies_are_sent_as_json(graph: GraphClient, server: Server) -> None:
    graph.post(TENANT, "subscriptions", {"a": "é"})
    graph.patch(TENANT, "subscriptions/1", {"b": None})
    assert [(request.method, json.loads(request.body)) for request in server.asked] == [
        ("POST", {"a": "é"}),
        ("PATCH", {"b": None}),
    ]
    assert server.asked[0].headers["content-type"] == "application/json"


def test_a_resource_is_read_as_the_very_bytes_that_came(graph: GraphClient, server: Server) -> None:
    server.script = lambda _: ScriptedResponse(200, b'{ "n": 1.50 }')
    assert graph.get_raw(TENANT, "users/1") == b'{ "n": 1.50 }'


def test_a_refused_token_is_replaced_once(graph: GraphClient, server: Server) -> None:
    server.script = in_turn(error(401), in_json({"id": "2"}))
    assert graph.get(TENANT, "users/1") == {"id": "2"}
    assert [request.headers["authorization"][-1] for request in server.asked] == ["0", "1"]


def test_a_token_that_is_refused_twice_is_a_refusal(graph: GraphClient, server: Server) -> None:
    server.script = lambda _: error(401, "InvalidAuthenticationToken")
    with pytest.raises(GraphRequestError) as refusal:
        graph.get(TENANT, "users/1")
    assert refusal.value.status == 401
    assert len(server.asked) == 2


def test_a_403_keeps_the_precise_code_and_what_the_token_holds(server: Server, session: requests.Session) -> None:
    inner = {"code": "GraphAccessToTranscriptsDisabled", "request-id": "1"}
    document = {"error": {"code": "Forbidden", "message": "Disabled.", "innerError": inner}}
    server.script = lambda _: in_json(document, 403)
    with pytest.raises(GraphRequestError, match="403 GraphAccessToTranscriptsDisabled: Disabled") as refusal:
        GraphClient(server.url, WithRoles("Mail.Read"), session, Clock()).get(TENANT, "users/1")
    assert refusal.value.inner_code == inner["code"]
    assert refusal.value.granted == frozenset({"Mail.Read"})


def test_an_opaque_token_does_not_say_what_it_holds(graph: GraphClient, server: Server) -> None:
    server.script = lambda _: error(403)
    with pytest.raises(GraphRequestError) as refusal:
        graph.get(TENANT, "users/1")
    assert refusal.value.granted is None


@pytest.mark.parametrize("status", [400, 403, 404, 409, 410, 302])
def test_an_answer_that_repetition_does_not_change_is_a_refusal(
    graph: GraphClient, server: Server, status: int
) -> None:
    server.script = lambda _: error(status, "ValidationError", "It timed out.")
    with pytest.raises(GraphRequestError, match="ValidationError: It timed out") as refusal:
        graph.post(TENANT, "subscriptions", {})
    assert (refusal.value.status, refusal.value.reason) == (status, Reason.GRAPH_REFUSED)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>gateway</html>", b"[]", b'{"error": "text"}', b'{"error": {"code": 7}}', b"\xff", b"[" * 99_999],
)
def test_a_refusal_in_a_gateways_own_words_is_a_refusal_all_the_same(
    graph: GraphClient, server: Server, body: bytes
) -> None:
    server.script = lambda _: ScriptedResponse(403, body)
    with pytest.raises(GraphRequestError) as refusal:
        graph.get(TENANT, "users/1")
    assert refusal.value.status == 403


@pytest.mark.parametrize("status", [408, 412, 423, 500, 502, 503, 504])
def test_what_may_be_repeated_is_not_now(graph: GraphClient, server: Server, status: int) -> None:
    server.script = lambda _: ScriptedResponse(status, b"<html>", {"Retry-After": "7"})
    with pytest.raises(RetryLater) as retry_later:
        graph.get(TENANT, "users/1")
    assert retry_later.value.reason is Reason.GRAPH
    assert retry_later.value.retry_after == timedelta(seconds=7)


@pytest.mark.parametrize("status", [429, 503])
def test_graph_is_asked_again_within_ten_minutes_whatever_it_says(
    graph: GraphClient, server: Server, clock: Clock, status: int
) -> None:
    server.script = in_turn(ScriptedResponse(status, headers={"Retry-After": "31536000"}), in_json({}))
    with pytest.raises(RetryLater) as retry_later:
        graph.get(TENANT, "users/1")
    assert retry_later.value.retry_after == timedelta(minutes=10)
    clock.advance(minutes=10)
    graph.get(TENANT, "users/1")


def test_a_throttled_tenant_is_not_asked_before_the_time(graph: GraphClient, server: Server, clock: Clock) -> None:
    server.script = in_turn(ScriptedResponse(429, headers={"Retry-After": "30"}), in_json({}))
    for wait in (30, 20, 10):
        with pytest.raises(RetryLater) as retry_later:
            graph.get(TENANT, "users/1")
        assert retry_later.value.reason is Reason.GRAPH_THROTTLED
        assert retry_later.value.retry_after == timedelta(seconds=wait)
        clock.advance(seconds=10)
    assert len(server.asked) == 1
    assert graph.get(TENANT, "users/1") == {}


@pytest.mark.parametrize("status", [429, 503])
def test_of_several_waits_the_one_that_ends_last_counts(
    graph: GraphClient, server: Server, clock: Clock, status: int
) -> None:
    """Both threads have sent a request before either was answered."""
    both_ask = threading.Barrier(2)
    wait_budget = iter(("400", "1"))
    raised = threading.Lock()

    def script(_: RecordedRequest) -> ScriptedResponse:
        both_ask.wait(10)
        with raised:
            return ScriptedResponse(status, headers={"Retry-After": next(wait_budget)})

    server.script = script
    with ThreadPoolExecutor(2) as threads:
        for asked in [threads.submit(graph.get, TENANT, "users/1") for _ in range(2)]:
            assert isinstance(asked.exception(), RetryLater)
    clock.advance(seconds=399)
    with pytest.raises(RetryLater) as retry_later:
        graph.get(TENANT, "users/1")
    assert retry_later.value.reason is Reason.GRAPH_THROTTLED
    assert len(server.asked) == 2


def test_another_tenant_is_not_throttled_with_it(graph: GraphClient, server: Server) -> None:
    server.script = in_turn(ScriptedResponse(429, headers={"Retry-After": "30"}), in_json({}))
    with pytest.raises(RetryLater):
        graph.get(TENANT, "users/1")
    assert graph.get(OTHER_TENANT, "users/1") == {}


def test_a_throttling_that_names_no_time_is_waited_for_too(graph: GraphClient, server: Server) -> None:
    server.script = lambda _: ScriptedResponse(429)
    with pytest.raises(RetryLater) as retry_later:
        graph.get(TENANT, "users/1")
    assert retry_later.value.retry_after
    assert len(server.asked) == 1


def test_a_connection_that_breaks_is_not_now(graph: GraphClient, server: Server) -> None:
    server.script = lambda _: RESET
    with pytest.raises(RetryLater) as retry_later:
        graph.get(TENANT, "users/1")
    assert retry_later.value.reason is Reason.GRAPH


def test_pages_are_followed_as_given_and_empty_ones_too(graph: GraphClient, server: Server) -> None:
    opaque = f"{server.url}/v1.0/other('name')/list?$skiptoken=a%2Bb%20c"
    server.script = in_turn(
        in_json({"value": [1], "@odata.nextLink": opaque}),
        in_json({"value": [], "@odata.nextLink": opaque + "2"}),
        in_json({"value": [{"a": 2}]}),
    )
    pages = [[json.loads(bytes(entry)) for entry in page] for page in graph.pages(TENANT, "subscriptions")]
    assert pages == [[1], [], [{"a": 2}]]
    assert server.paths()[1:] == [
        "/v1.0/other('name')/list?$skiptoken=a%2Bb%20c",
        "/v1.0/other('name')/list?$skiptoken=a%2Bb%20c2",
    ]


@pytest.mark.parametrize(
    "link",
    [
        "{elsewhere}/v1.0/x",
        "https://example.org/v1.0/x",
        "https://127.0.0.1.example.org/",
        "https://user@{host}/x",
        "https://[::1/x",
    ],
)
def test_a_link_to_another_host_is_not_followed(
    graph: GraphClient, server: Server, authority: Authority, link: str
) -> None:
    host = server.url.removeprefix("https://")
    with serving(lambda _: in_json({"value": []}), authority) as elsewhere:
        given = link.format(host=host, elsewhere=elsewhere.url)
        server.script = lambda _: in_json({"value": [], "@odata.nextLink": given})
        with pytest.raises(RetryLater, match=r"another host|an invalid link"):
            list(graph.pages(TENANT, "subscriptions"))
        assert elsewhere.asked == []
    assert len(server.asked) == 1


@pytest.mark.parametrize("link", ["http://{host}/v1.0/x", "//example.org/x", "HTTPS://example.org/x"])
def test_a_link_in_another_form_stays_on_the_host(graph: GraphClient, server: Server, link: str) -> None:
    host = server.url.removeprefix("https://")
    server.script = in_turn(in_json({"value": [], "@odata.nextLink": link.format(host=host)}), in_json({"value": []}))
    list(graph.pages(TENANT, "subscriptions"))
    assert [request.headers["host"] for request in server.asked] == [host, host]


@pytest.mark.parametrize("body", [b"<html>gateway</html>", b"", b"[]", b'{"value": null}', b'{"value": {}}', b"\xff"])
def test_a_gateways_page_is_not_an_empty_list(graph: GraphClient, server: Server, body: bytes) -> None:
    server.script = lambda _: ScriptedResponse(200, body)
    with pytest.raises(RetryLater):
        list(graph.pages(TENANT, "subscriptions"))


def test_an_object_other_than_a_list_is_not_an_empty_list(graph: GraphClient, server: Server) -> None:
    server.script = lambda _: in_json({"error": "a gateway's own words, with 200"})
    with pytest.raises(RetryLater):
        list(graph.pages(TENANT, "subscriptions"))


def test_deleting_what_is_gone_is_done(graph: GraphClient, server: Server) -> None:
    server.script = in_turn(ScriptedResponse(204), error(404), error(403))
    graph.delete(TENANT, "subscriptions/1")
    graph.delete(TENANT, "subscriptions/1")
    with pytest.raises(GraphRequestError):
        graph.delete(TENANT, "subscriptions/1")


def test_without_a_token_graph_is_not_asked(graph: GraphClient, session: requests.Session, server: Server) -> None:
    class Away(Bearer):
        def token(self, tenant_id: str, scope: str) -> str:
            raise RetryLater(Reason.LOGIN)

    with pytest.raises(RetryLater):
        GraphClient(server.url, Away(), session, Clock()).get(TENANT, "users/1")
    assert server.asked == []


def test_the_simulator_is_called_through_real_tokens_and_a_withdrawn_one_is_replaced(
    simulator: GraphServer, session: requests.Session, clock: Clock
) -> None:
    identity = EntraClient(simulator.url, CLIENT_ID, AppCredential(secret=simulator.registration.client_secret))
    graph = GraphClient(simulator.url, identity, session, clock)
    simulator.post("clock", advance_seconds=20)  # beyond what earlier tests have used of Graph's limits
    assert list(graph.pages(TENANT, "subscriptions")) == [[]]
    simulator.post("clock", advance_seconds=4000)
    assert list(graph.pages(TENANT, "subscriptions")) == [[]]


def test_a_429_of_a_mailbox_holds_back_that_mailbox_alone(graph: GraphClient, server: Server) -> None:
    server.script = lambda request: (
        ScriptedResponse(429, b"", {"Retry-After": "60"}) if "/a/" in request.path else in_json({})
    )
    with pytest.raises(RetryLater):
        graph.get(TENANT, "users/a/messages/1")
    with pytest.raises(RetryLater, match="mailbox a"):
        graph.get(TENANT, "users/a/events/1")
    assert len(server.asked) == 1
    for path in ("users/b/messages/1", "chats/c/messages/1", "subscriptions", "users"):
        graph.get(TENANT, path)


@pytest.mark.parametrize("status", [400, 403, 429, 503])
def test_an_error_has_graphs_message_and_request_id(graph: GraphClient, server: Server, status: int) -> None:
    said = in_json({"error": {"code": "Over\x1b", "message": "x" * 9_999, "innerError": {"request-id": "r-1"}}}, status)
    headers = {**said.headers, "Date": "Mon, 03 Feb 2031 04:05:06 GMT", "Retry-After": "1"}
    server.script = lambda _: ScriptedResponse(said.status, said.body, headers)
    with pytest.raises((GraphRequestError, RetryLater)) as raised:
        graph.get(TENANT, "users/1")
    text = str(raised.value)
    assert f"{status} Over�: xxx" in text
    assert "request-id r-1" in text
    assert "2031" in text
    assert len(text) < 800


def test_a_link_that_leads_to_its_own_page_is_not_followed(graph: GraphClient, server: Server) -> None:
    server.script = lambda request: in_json({"value": [], "@odata.nextLink": f"{server.url}{request.path}"})
    with pytest.raises(RetryLater, match="same page"):
        list(graph.pages(TENANT, f"{server.url}/v1.0/subscriptions"))
