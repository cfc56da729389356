"""A handshake with our own endpoint."""

import threading
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from graph_simulator.authority import Authority
from shared import http_client
from shared.subscriptions import endpoint
from shared.subscriptions.endpoint import probe
from tests.servers import RESET, RecordedRequest, ScriptedResponse, serving

PLAIN = {"Content-Type": "text/plain; charset=utf-8"}


def echo(request: RecordedRequest) -> ScriptedResponse:
    (token,) = parse_qs(urlsplit(request.path).query)["validationToken"]
    return ScriptedResponse(200, token.encode(), PLAIN)


def altered(change: Callable[[bytes], bytes]) -> Callable[[RecordedRequest], ScriptedResponse]:
    return lambda request: ScriptedResponse(200, change(echo(request).body), PLAIN)


def test_an_endpoint_that_echoes_the_token_is_without_complaint(
    session: requests.Session, authority: Authority
) -> None:
    with serving(echo, authority) as server:
        assert probe(f"{server.url}/hook?tenant=a", session) is None
        (asked,) = server.asked
    assert asked.method == "POST"
    assert asked.path.startswith("/hook?tenant=a&validationToken=Validation%3A+")
    assert asked.body == b""


def test_each_probe_has_a_token_of_its_own(session: requests.Session, authority: Authority) -> None:
    with serving(echo, authority) as server:
        for _ in range(2):
            probe(server.url, session)
        assert len(set(server.paths())) == 2


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        (lambda _: ScriptedResponse(401), "answers 401"),
        (lambda _: ScriptedResponse(404), "answers 404"),
        (lambda _: ScriptedResponse(202, b"", PLAIN), "answers 202"),
        (lambda _: ScriptedResponse(302, headers={"Location": "/login"}), "answers 302"),
        (lambda _: ScriptedResponse(200, b"OK", PLAIN), "does not echo"),
        (altered(lambda token: b'"' + token + b'"'), "does not echo"),
        (altered(lambda token: token + b"\n"), "does not echo"),
        (altered(lambda token: token.replace(b"&", b"&amp;")), "does not echo"),
        (lambda request: ScriptedResponse(200, echo(request).body, {"Content-Type": "text/html"}), "does not echo"),
        (lambda request: ScriptedResponse(200, echo(request).body), "does not echo"),
        (lambda _: ScriptedResponse(200, b"x" * 100_000, PLAIN), "unreachable"),
        (lambda _: RESET, "unreachable"),
    ],
)
def test_each_fault_has_a_message_of_its_own(
    session: requests.Session,
    authority: Authority,
    script: Callable[[RecordedRequest], ScriptedResponse],
    complaint: str,
) -> None:
    with serving(script, authority) as server:
        assert complaint in (probe(server.url, session) or "")


def test_an_unreachable_endpoint_is_reported(session: requests.Session) -> None:
    assert "unreachable" in (probe("https://127.0.0.1:9/hook", session) or "")


def test_an_untrusted_certificate_is_reported(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    with serving(echo, authority) as server, http_client.session() as stranger:
        assert "TLS fails" in (probe(server.url, stranger) or "")


def test_an_unanswered_handshake_is_reported(
    session: requests.Session, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "_TIME_LIMIT", 0.05)
    given_up = threading.Event()

    def wait(request: RecordedRequest) -> ScriptedResponse:
        given_up.wait(60)
        return echo(request)

    with serving(wait, authority) as server:
        assert "no answer within" in (probe(server.url, session) or "")
        given_up.set()


def test_a_correct_but_slow_endpoint_is_reported(
    session: requests.Session, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "_DOUBTFUL_SECONDS", 0)
    with serving(echo, authority) as server:
        assert "it took over" in (probe(server.url, session) or "")
