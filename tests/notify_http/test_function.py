"""The HTTP trigger as the worker calls it."""

import base64
import json
import secrets

import azure.functions as func
import pytest
from azure.storage.queue import QueueClient
from hypothesis import example, given
from hypothesis import strategies as st

from notify_http import function
from notify_http.function import handshake, notify_http
from shared import relay
from shared.configuration.settings import StorageSettings
from shared.throttle import Throttle
from tests.builders import TENANT, body, change, environment, minted


@pytest.fixture(autouse=True)
def fresh_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has its own settings, and a process that has logged no complaint yet."""
    relay.forget()
    for line in ("_chunked_body", "_invalid_settings"):
        monkeypatch.setattr(function, line, Throttle())


def set_up(monkeypatch: pytest.MonkeyPatch, **changes: str | None) -> dict[str, str]:
    environ = environment(**changes)
    for name in environment():
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return environ


def post(text: bytes = b"", **params: str) -> func.HttpResponse:
    request = func.HttpRequest("POST", "https://localhost/api/notifications", params=params, body=text)
    answer = notify_http.build().get_user_function()(request)
    assert isinstance(answer, func.HttpResponse)
    return answer


@given(st.text())
@example("Validation: Testing client application reachability for subscription Request-Id: 6f0c2f6e")
@example('"<script>&amp;+%2B%20\r\n\0é🎈')
@example("")
def test_a_handshake_echoes_the_token_byte_for_byte(token: str) -> None:
    answer = handshake(token)
    assert answer.status_code == 200
    assert answer.get_body() == token.encode()
    assert answer.mimetype == "text/plain"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_handshake_needs_neither_settings_nor_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in environment():
        monkeypatch.delenv(name, raising=False)
    answer = post(b"{", validationToken="a +%2B b", tenant="x")
    assert (answer.status_code, answer.get_body()) == (200, b"a +%2B b")


def test_a_chunked_body_that_the_host_lost_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_up(monkeypatch)
    request = func.HttpRequest(
        "POST", "https://x/api/notifications", headers={"Transfer-Encoding": "chunked"}, body=b""
    )
    answer = notify_http.build().get_user_function()(request)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "10"
    assert "chunked" in caplog.text


def test_notifications_are_stored_and_acknowledged(
    storage_settings: StorageSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = set_up(
        monkeypatch,
        AzureWebJobsStorage=storage_settings.connection_string,
        NOTIFICATION_QUEUE=storage_settings.queue,
    )
    state = minted(TENANT, secret=base64.b64decode(environ["CLIENT_STATE_SECRET"]))
    assert post(body(change(id="1", clientState=state))).status_code == 202
    with QueueClient.from_connection_string(storage_settings.connection_string, storage_settings.queue) as queue:
        (message,) = queue.receive_messages()
    assert json.loads(message.content)["items"][0]["id"] == "1"


@pytest.mark.parametrize(
    "name", ["CLIENT_STATE_SECRET", "GRAPH_TENANT_ID", "AzureWebJobsStorage", "GRAPH_CLOUD", "KEY_ROTATION_DAYS"]
)
def test_wrong_settings_are_named_in_the_log_alone_and_answered_503(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = "%" + secrets.token_urlsafe()
    set_up(monkeypatch, **{name: wrong})
    answer = post(body(change()))
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert name in caplog.text
    assert wrong not in caplog.text
    assert name not in answer.get_body().decode()


def test_settings_work_again_once_they_are_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(monkeypatch, GRAPH_TENANT_ID="")
    assert post(b'{"value": []}').status_code == 503
    set_up(monkeypatch)
    assert post(b'{"value": []}').status_code == 202
