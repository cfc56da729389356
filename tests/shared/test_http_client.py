"""The app's HTTP client."""

import gzip
import socket
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from graph_simulator.authority import Authority
from shared import http_client
from shared.http_client import exchange, read_bounded, retry_after
from tests.builders import NOW
from tests.servers import RESET, ScriptedResponse, serving

HOUR = timedelta(hours=1)


def headers(value: str | None) -> dict[str, str]:
    return {} if value is None else {"Retry-After": value}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("9" * 5000, 3600),
        ("31536000", 3600),
        ("Thu, 03 Feb 2033 04:05:36 GMT", 3600),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        ("Mon, 03 Feb 2031 04:05:36 -0000", 30),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: int | None) -> None:
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert retry_after(headers(value), NOW, HOUR) == expected


@given(st.text() | st.from_regex(r"\w{3}, \d{1,30} \w{3} \d{1,30} \d+:\d+:\d+ [+-]\d{1,30}", fullmatch=True))
def test_any_retry_after_is_understood_or_ignored(value: str) -> None:
    wait = retry_after(headers(value), NOW, HOUR)
    assert wait is None or timedelta(0) <= wait <= HOUR


@pytest.mark.parametrize(
    "value", ["1 Jan 99999999999999999999 0:0:0", "1 Jan 2031 0:0:0 +99999999999999999999", ",", "0"]
)
def test_an_absurd_date_is_understood_or_ignored(value: str) -> None:
    retry_after(headers(value), datetime(2031, 1, 1, tzinfo=UTC), HOUR)


def test_an_exchange_sends_one_request_and_reads_the_whole_answer(
    session: requests.Session, authority: Authority
) -> None:
    with serving(lambda _: ScriptedResponse(201, b"made", {"X-Id": "7"}), authority) as server:
        answer = exchange(
            session,
            "POST",
            f"{server.url}/a?b=1",
            timeout=30,
            limit=4,
            params={"c": "2"},
            headers={"X-Mine": "m"},
            data=b"d",
        )
        (asked,) = server.asked
    assert (answer.status, answer.headers["x-id"], answer.body) == (201, "7", b"made")
    assert (asked.method, asked.path, asked.headers["x-mine"], asked.body) == ("POST", "/a?b=1&c=2", "m", b"d")


def test_an_exchange_follows_no_redirect(session: requests.Session, authority: Authority) -> None:
    with serving(lambda _: ScriptedResponse(302, headers={"Location": "/elsewhere"}), authority) as server:
        assert exchange(session, "GET", server.url, timeout=30, limit=0).status == 302
        assert len(server.asked) == 1


@pytest.mark.parametrize("location", ["https://[::1", "https://host:port/", "//", ""])
def test_a_redirect_is_an_answer_wherever_it_leads(
    session: requests.Session, authority: Authority, location: str
) -> None:
    """Requests parses the address, and raises a ValueError of its own."""
    with serving(lambda _: ScriptedResponse(307, b"moved", {"Location": location}), authority) as server:
        assert exchange(session, "GET", server.url, timeout=30, limit=5).body == b"moved"


def test_the_body_of_a_redirect_is_bounded_too(session: requests.Session, authority: Authority) -> None:
    redirect = ScriptedResponse(302, b"12345", {"Location": "/elsewhere"})
    with serving(lambda _: redirect, authority) as server, pytest.raises(requests.RequestException):
        exchange(session, "GET", server.url, timeout=30, limit=4)


def test_an_exchange_refuses_an_answer_beyond_its_limit(session: requests.Session, authority: Authority) -> None:
    with (
        serving(lambda _: ScriptedResponse(body=b"12345"), authority) as server,
        pytest.raises(requests.RequestException),
    ):
        exchange(session, "GET", server.url, timeout=30, limit=4)


def test_a_body_is_read_whole_up_to_the_limit(session: requests.Session, authority: Authority) -> None:
    with serving(lambda _: ScriptedResponse(body=b"x" * 1000), authority) as server:
        with session.get(server.url, stream=True) as answer:
            assert read_bounded(answer, 1000) == b"x" * 1000
        with session.get(server.url, stream=True) as answer, pytest.raises(requests.RequestException):
            read_bounded(answer, 999)


def test_a_body_that_drips_is_given_up_when_its_time_is_over(session: requests.Session, authority: Authority) -> None:
    with (
        serving(
            lambda _: ScriptedResponse(body=b"x" * 10_000, drip=0.1), authority
        ) as server,  # longer than a test may take
        session.get(server.url, stream=True) as answer,
        pytest.raises(requests.Timeout),
    ):
        read_bounded(answer, 100_000, timedelta(seconds=0.3))


@pytest.mark.parametrize(
    "whole",
    [
        ScriptedResponse(body=b"x" * 200_000),
        ScriptedResponse(body=gzip.compress(b"x" * 200_000), headers={"Content-Encoding": "gzip"}),
        ScriptedResponse(
            body=b"186A0\r\n" + b"x" * 100_000 + b"\r\n" + b"186A0\r\n" + b"x" * 100_000 + b"\r\n0\r\n\r\n",
            headers={"Transfer-Encoding": "chunked"},
        ),
    ],
    ids=["plain", "compressed", "chunked"],
)
def test_a_body_of_any_encoding_is_read_and_its_connection_reused(
    session: requests.Session, authority: Authority, whole: ScriptedResponse
) -> None:
    with serving(lambda _: whole, authority) as server:
        for _ in range(3):
            with session.get(server.url, stream=True) as answer:
                assert read_bounded(answer, 200_000) == b"x" * 200_000
        assert len({request.connection for request in server.asked}) == 1


@pytest.mark.parametrize(
    "broken",
    [
        ScriptedResponse(body=b"x", headers={"Content-Length": "2", "Connection": "close"}),
        ScriptedResponse(body=b"not compressed", headers={"Content-Encoding": "gzip"}),
        ScriptedResponse(body=b"oh\r\n", headers={"Transfer-Encoding": "chunked"}),
    ],
    ids=["cut off", "not compressed", "not chunked"],
)
def test_a_body_that_breaks_is_a_request_exception(
    session: requests.Session, authority: Authority, broken: ScriptedResponse
) -> None:
    with (
        serving(lambda _: broken, authority) as server,
        session.get(server.url, stream=True) as answer,
        pytest.raises(requests.RequestException),
    ):
        read_bounded(answer, 1000)


def test_a_connection_that_breaks_is_a_request_exception(session: requests.Session, authority: Authority) -> None:
    with serving(lambda _: RESET, authority) as server, pytest.raises(requests.RequestException):
        session.get(server.url)


def test_headers_that_drip_are_given_up_when_the_time_limit_is_over(session: requests.Session) -> None:
    """Each byte comes within the time limit of a read, and all of them in longer than a test may take."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening, ThreadPoolExecutor(1) as pool:
        pool.submit(drip, listening, b"HTTP/1.1 200 OK\r\nX-Drip: " + b"x" * 10_000)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        with pytest.raises(requests.Timeout):
            exchange(session, "GET", url, timeout=0.3, limit=100)


def drip(listening: socket.socket, answer: bytes) -> None:
    connection, _ = listening.accept()
    with connection, suppress(OSError):
        for byte in answer:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)


def test_cookies_are_not_kept(session: requests.Session, authority: Authority) -> None:
    with serving(lambda _: ScriptedResponse(headers={"Set-Cookie": "a=b"}), authority) as server:
        session.get(server.url)
        session.get(server.url)
        assert [request.headers.get("cookie") for request in server.asked] == [None, None]


def test_a_certificate_of_an_unknown_authority_is_refused(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    with (
        serving(lambda _: ScriptedResponse(), authority) as server,
        http_client.session() as stranger,
        pytest.raises(requests.exceptions.SSLError),
    ):
        stranger.get(server.url)


def test_an_idle_connection_is_kept_alive(session: requests.Session, authority: Authority) -> None:
    with (
        serving(lambda _: ScriptedResponse(200, b"a body"), authority) as server,
        session.get(server.url, stream=True, timeout=5) as answer,
    ):
        connection = answer.raw.connection
        assert connection is not None
        assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_proxies_are_looked_up_once_for_each_server(
    session: requests.Session, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    with (
        serving(lambda _: ScriptedResponse(204), authority) as server,
        serving(lambda _: ScriptedResponse(204), authority) as other,
    ):
        exchange(session, "GET", server.url, timeout=5, limit=100)
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        assert exchange(session, "GET", f"{server.url}/again", timeout=5, limit=100).status == 204
        with pytest.raises(requests.exceptions.ProxyError):
            exchange(session, "GET", other.url, timeout=5, limit=100)


def test_a_netrc_file_replaces_no_authorization(
    session: requests.Session, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine 127.0.0.1 login somebody password something")
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))
    with serving(lambda _: ScriptedResponse(204), authority) as server:
        exchange(session, "GET", server.url, timeout=5, limit=100, headers={"Authorization": "Bearer ours"})
        exchange(session, "GET", server.url, timeout=5, limit=100)
    assert [request.headers.get("authorization") for request in server.asked] == ["Bearer ours", None]


def test_a_private_authority_is_trusted_besides_the_others(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = Authority.create(tmp_path)  # stands for the authorities that every machine trusts
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(public.ca))
    with (
        serving(lambda _: ScriptedResponse(204), authority) as private,
        serving(lambda _: ScriptedResponse(204), public) as other,
    ):
        with http_client.session(ca=str(authority.ca)) as session:
            assert session.get(private.url).status_code == session.get(other.url).status_code == 204
        with http_client.session() as session, pytest.raises(requests.exceptions.SSLError):
            session.get(private.url)


def test_a_client_certificate_is_shown_to_a_server_that_asks_for_one(
    authority: Authority, trusted: Path, tmp_path: Path
) -> None:
    clients = Authority.create(tmp_path)
    pem = tmp_path / "client.pem"
    pem.write_bytes(clients.key.read_bytes() + clients.certificate.read_bytes())
    with serving(lambda _: ScriptedResponse(204), authority, clients) as server:
        with http_client.session(client_certificate=str(pem)) as session:
            assert session.post(server.url, data=b"[]").status_code == 204
        with http_client.session() as session, pytest.raises(requests.RequestException):
            session.post(server.url, data=b"[]")


def test_the_app_names_itself_and_its_version() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert http_client.session().headers["User-Agent"] == f"graph-relay/{project['project']['version']}"
