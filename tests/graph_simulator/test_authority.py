"""The authority of a run: clients that trust it reach a server on this machine, other clients do not."""

import socket
import ssl
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from graph_simulator.authority import Authority


@contextmanager
def server(authority: Authority, host: str) -> Iterator[int]:
    """Accept one TLS connection on a free port of `host` and send a word over it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.certificate, authority.key)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    with context.wrap_socket(connection, server_side=True) as tls:
                        tls.sendall(b"hello")
                except (ssl.SSLError, ConnectionError):
                    return  # the refused client, which one of the tests expects

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield port
        thread.join(10)


def greeting(authority: Authority, host: str, port: int) -> bytes:
    """Connect as a client that trusts only `authority`."""
    context = ssl.create_default_context(cafile=authority.ca)
    with (
        socket.create_connection((host, port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=host) as tls,
    ):
        return tls.recv(5)


@pytest.mark.server
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_a_client_that_trusts_the_authority_accepts_the_server_by_each_of_its_names(tmp_path: Path, host: str) -> None:
    authority = Authority.create(tmp_path)
    try:
        with server(authority, host) as port:
            assert greeting(authority, host, port) == b"hello"
    except OSError as error:
        if host == "::1" and not isinstance(error, ssl.SSLError):
            pytest.skip("this machine has no IPv6")
        raise


@pytest.mark.server
def test_a_client_that_trusts_another_authority_refuses_the_server(tmp_path: Path) -> None:
    ours, other = Authority.create(tmp_path / "ours"), Authority.create(tmp_path / "other")
    with server(ours, "127.0.0.1") as port, pytest.raises(ssl.SSLCertVerificationError):
        greeting(other, "127.0.0.1", port)


def test_the_private_key_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    assert stat.S_IMODE(Authority.create(tmp_path).key.stat().st_mode) == 0o600


def test_the_files_have_the_names_that_other_processes_expect(tmp_path: Path) -> None:
    created = Authority.create(tmp_path / "authority")
    assert created == Authority.at(tmp_path / "authority")
    assert {path.name for path in (tmp_path / "authority").iterdir()} == {
        "ca.pem",
        "server.pem",
        "server.key",
    }
    assert b"PRIVATE" not in created.ca.read_bytes() + created.certificate.read_bytes()
