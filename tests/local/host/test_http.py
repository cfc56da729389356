"""HTTP functions behind the local host."""

import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import azure.functions as func
import httpx
import pytest

from graph_simulator.authority import Authority
from tests.local.host.conftest import http_app
from tests.local.host.in_thread import running
from tests.waiting import LIMIT

pytestmark = pytest.mark.server


@pytest.fixture
def serve(host_json: Callable[..., Path]) -> Callable[..., Any]:
    @contextmanager
    def serving(app: func.FunctionApp, **settings: str) -> Iterator[httpx.Client]:
        with running(app, settings, host_json=host_json()) as url, httpx.Client(base_url=url, timeout=LIMIT) as client:
            yield client

    return serving


def test_a_request_arrives_as_the_worker_would_give_it(serve: Callable[..., Any]) -> None:
    seen: list[func.HttpRequest] = []

    def call(request: func.HttpRequest) -> func.HttpResponse:
        seen.append(request)
        return func.HttpResponse(status_code=202)

    with serve(http_app(call)) as client:
        path = "/api/things/7%20b?token=a%3a+b%2Bc&twice=1&twice=2&empty="
        sent = client.post(path, content=b"\xff\x00body", headers=[("X-Twice", "1"), ("X-Twice", "2")])
    assert sent.status_code == 202
    (request,) = seen
    assert request.method == "POST"
    assert request.url == str(sent.request.url)
    assert dict(request.params) == {"token": "a: b+c", "twice": "1,2"}
    assert dict(request.route_params) == {"id": "7 b"}
    assert request.headers["x-twice"] == "1,2"
    assert request.get_body() == b"\xff\x00body"


def test_the_body_is_there_as_json(serve: Callable[..., Any]) -> None:
    with serve(http_app(lambda request: str(request.get_json()["a"]))) as client:
        assert client.post("/api/things/1", json={"a": 5}).text == "5"


def test_status_headers_and_charset_are_answered(serve: Callable[..., Any]) -> None:
    answer = func.HttpResponse("ö", status_code=503, headers={"Retry-After": "7"}, charset="latin-1")
    with serve(http_app(lambda _: answer)) as client:
        response = client.post("/api/things/1")
    assert (response.status_code, response.content) == (503, "ö".encode("latin-1"))
    assert response.headers["retry-after"] == "7"
    assert response.headers["content-type"] == "text/plain; charset=latin-1"


@pytest.mark.parametrize("given", [{"mimetype": "application/json"}, {"headers": {"Content-Type": "application/json"}}])
def test_a_content_type_of_the_functions_own_is_kept(serve: Callable[..., Any], given: dict[str, Any]) -> None:
    answer = func.HttpResponse(b"{}", **given)
    with serve(http_app(lambda _: answer)) as client:
        assert client.post("/api/things/1").headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/api/THINGS/1", "/API/things/1", "/api/things/1/"])
def test_paths_match_as_they_do_in_azure(serve: Callable[..., Any], path: str) -> None:
    with serve(http_app(lambda _: "yes")) as client:
        assert client.post(path).text == "yes"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/things/1"), ("POST", "/things/1"), ("POST", "/api/things/1/2")]
)
def test_what_no_function_is_there_for_is_not_found(serve: Callable[..., Any], method: str, path: str) -> None:
    with serve(http_app(lambda _: "yes")) as client:
        response = client.request(method, path)
    assert (response.status_code, response.content) == (404, b"")


def test_a_route_may_catch_all(serve: Callable[..., Any]) -> None:
    with serve(http_app(lambda request: request.route_params["rest"], route="all/{*rest}")) as client:
        assert client.post("/api/all/a/b").text == "a/b"


@pytest.mark.parametrize("outcome", [ValueError("the reason"), 5])
def test_a_failure_is_an_empty_500_and_is_logged_twice_with_message_and_stack(
    serve: Callable[..., Any], caplog: pytest.LogCaptureFixture, outcome: object
) -> None:
    def call(_: func.HttpRequest) -> object:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with caplog.at_level(logging.DEBUG), serve(http_app(call)) as client:
        response = client.post("/api/things/1")
    assert (response.status_code, response.content) == (500, b"")
    failures = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.name for record in failures] == ["Function.answer", "Host.Results"]
    assert all("Stack: " in record.getMessage() for record in failures)
    assert all(("the reason" in record.getMessage()) == isinstance(outcome, Exception) for record in failures)


def test_as_many_functions_run_at_once_as_there_are_threads(serve: Callable[..., Any]) -> None:
    barrier = threading.Barrier(12, timeout=LIMIT)

    def call(_: func.HttpRequest) -> str:
        barrier.wait()
        return "met"

    with serve(http_app(call), PYTHON_THREADPOOL_THREAD_COUNT="12") as client, ThreadPoolExecutor(12) as pool:
        answers = pool.map(lambda _: client.post("/api/things/1").text, range(12))
        assert list(answers) == ["met"] * 12


def test_async_functions_are_awaited(serve: Callable[..., Any]) -> None:
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

    @app.route("later", methods=["POST"])
    async def later(req: func.HttpRequest) -> str:
        return str(req.method)

    with serve(app) as client:
        assert client.post("/api/later").text == "POST"


def test_it_serves_https_with_the_authoritys_certificate(host_json: Callable[..., Path], tmp_path: Path) -> None:
    authority = Authority.create(tmp_path)
    trust = ssl.create_default_context(cafile=str(authority.ca))
    with running(http_app(lambda _: "yes"), {}, host_json=host_json(), authority=authority) as url:
        assert url.startswith("https://")
        assert httpx.post(f"{url}/api/things/1", verify=trust).text == "yes"
        with pytest.raises(httpx.ConnectError):
            httpx.post(f"{url}/api/things/1")


def test_a_function_may_call_its_own_host(serve: Callable[..., Any]) -> None:
    def call(request: func.HttpRequest) -> str:
        return str(httpx.get(f"http://{request.headers['host']}/admin/host/status").json()["state"])

    with serve(http_app(call)) as client:
        assert client.post("/api/things/1").text == "Running"


def test_a_page_in_a_browser_can_have_no_function_run(serve: Callable[..., Any]) -> None:
    with serve(http_app(lambda _: func.HttpResponse(status_code=202))) as client:
        asked = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
        assert client.post("/admin/functions/call", content=b"{}", headers=asked).status_code == 403
        assert client.get("/admin/host/status").status_code == 200


def test_a_body_over_the_limit_that_is_set_fails_the_invocation(serve: Callable[..., Any]) -> None:
    app = http_app(lambda _: func.HttpResponse(status_code=202))
    with serve(app, FUNCTIONS_REQUEST_BODY_SIZE_LIMIT="1000") as client:
        assert client.post("/api/things/7", content=b"x" * 1000).status_code == 202
        assert client.post("/api/things/7", content=b"x" * 1001).status_code == 500
