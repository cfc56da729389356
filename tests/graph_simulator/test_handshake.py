"""The validation of endpoints, as an endpoint sees it."""

# ruff: noqa: RUF001 - the unusual token is unusual on purpose

from urllib.parse import unquote_plus

import pytest
from starlette.responses import JSONResponse, RedirectResponse, Response

from graph_simulator.authority import Authority
from graph_simulator.faults import Faults
from graph_simulator.handshake import with_token
from graph_simulator.server import GraphServer
from tests.graph_simulator.client import GraphClient
from tests.graph_simulator.receiver import Receiver, echo, receiving
from tests.waiting import eventually

MUST_MATCH = "Subscription validation request failed. Response must exactly match validationToken query parameter."
MUST_BE_200 = "Notification endpoint must respond with 200 OK to validation request."


def test_both_urls_are_asked_even_if_they_are_the_same(app: GraphClient, receiver: Receiver) -> None:
    app.subscribed()
    assert len(receiver.handshakes) == 2


def test_the_token_is_form_encoded_with_lower_case_hexadecimal_as_graph_does(
    app: GraphClient, receiver: Receiver
) -> None:
    app.subscribed()
    usual, unusual = receiver.handshakes
    assert usual.startswith("/hook?validationToken=Validation%3a+Testing+client+application+reachability+")
    assert unquote_plus(unusual).startswith("/hook?validationToken=1+1 %2B 50% “ſéñ” ☂ Validation: ")


def test_a_query_that_the_url_already_has_stays_for_handshake_and_deliveries(
    graph: GraphServer, app: GraphClient, receiver: Receiver
) -> None:
    url = receiver.url + "?tenant=a&b=c%20d"
    app.subscribed(notificationUrl=url)
    assert receiver.handshakes[0].startswith("/hook?tenant=a&b=c%20d&validationToken=Validation%3a+")
    graph.post("messages")
    eventually(receiver.posts.__len__)
    assert receiver.posts[0].target == "/hook?tenant=a&b=c%20d"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda token: Response(token, 202, media_type="text/plain"), f"'Accepted'. {MUST_BE_200}"),
        (lambda _: Response(None, 204), f"'NoContent'. {MUST_BE_200}"),
        (lambda _: Response("no", 403), f"HTTP status code is 'Forbidden'. {MUST_BE_200}"),
        (lambda _: RedirectResponse("/elsewhere"), f"'TemporaryRedirect'. {MUST_BE_200}"),
        (JSONResponse, MUST_MATCH),
        (lambda token: Response(f'"{token}"', media_type="text/plain"), MUST_MATCH),
        (lambda token: Response(token + "\n", media_type="text/plain"), MUST_MATCH),
        (lambda token: Response(b"\xef\xbb\xbf" + token.encode(), media_type="text/plain"), MUST_MATCH),
        (lambda token: Response(token.upper(), media_type="text/plain"), MUST_MATCH),
        (lambda token: Response(unquote_plus(token + "%2B"), media_type="text/plain"), MUST_MATCH),
        (lambda token: Response(token, media_type="text/html"), MUST_MATCH),
        (Response, MUST_MATCH),
    ],
)
def test_an_answer_that_is_not_exactly_right_fails_the_create_call(
    graph: GraphServer, app: GraphClient, receiver: Receiver, answer: object, message: str
) -> None:
    receiver.handshake = answer  # type: ignore[assignment]
    response = app.subscribe()
    assert (response.status_code, response.json()["error"]["code"]) == (400, "ValidationError")
    assert response.json()["error"]["message"].endswith(message)
    assert graph.get("summary")["subscriptions"] == 0


def test_the_lifecycle_url_has_to_answer_as_well(app: GraphClient, receiver: Receiver) -> None:
    receiver.handshake = lambda token: echo(token) if "ſ" not in token else Response("no", 500)
    assert app.subscribe(lifecycleNotificationUrl=receiver.url + "?lifecycle").status_code == 400


def test_an_endpoint_that_is_not_there_fails_the_create_call(app: GraphClient) -> None:
    response = app.subscribe(notificationUrl="https://127.0.0.1:1/hook")
    assert response.status_code == 400
    assert MUST_BE_200 in response.json()["error"]["message"]


def test_a_handshake_slower_than_ten_seconds_fails_the_create_call(graph: GraphServer, app: GraphClient) -> None:
    assert Faults().validation_seconds == 10
    graph.post("faults", validation_seconds=0)
    response = app.subscribe()
    assert response.json()["error"]["message"] == "Subscription validation request timed out."


def test_the_limits_for_notifications_are_not_those_of_the_handshake(graph: GraphServer, app: GraphClient) -> None:
    graph.post("faults", answer_seconds=0, repeat_answer_seconds=0)
    assert app.subscribe().status_code == 201


def test_a_new_url_is_validated_before_a_subscription_moves_to_it(app: GraphClient, receiver: Receiver) -> None:
    subscription = app.subscribed()
    receiver.handshake = lambda _: Response("no", 500)
    path = f"subscriptions/{subscription['id']}"
    assert app.call("PATCH", path, {"notificationUrl": receiver.url + "?new"}).status_code == 400
    assert app.call("GET", path).json()["notificationUrl"] == receiver.url
    receiver.handshake = echo
    assert app.call("PATCH", path, {"notificationUrl": receiver.url + "?new"}).status_code == 200
    assert app.call("GET", path).json()["notificationUrl"] == receiver.url + "?new"


def test_a_certificate_of_an_endpoint_that_nobody_vouches_for_is_refused(
    graph: GraphServer, app: GraphClient, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with receiving(Authority.create(tmp_path_factory.mktemp("other"))) as stranger:
        assert app.subscribe(notificationUrl=stranger.url).status_code == 400
        assert stranger.handshakes == []


def test_a_token_that_only_a_single_decoding_leaves_intact() -> None:
    assert with_token("https://h/x?a=1", "a:b +%2B é") == "https://h/x?a=1&validationToken=a%3ab+%2b%252B+%c3%a9"
