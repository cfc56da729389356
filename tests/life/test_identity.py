"""How the app authenticates to Entra ID, with each kind of credential; and the warning before a credential expires."""

import json
import logging
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests

from graph_simulator.authority import Authority, write_private
from graph_simulator.registration import AppRegistration
from graph_simulator.server import GraphServer, Registration, running
from shared.configuration.settings import Settings, SettingsError
from shared.errors import Reason, RetryLater
from shared.graph.client import GraphClient
from shared.graph.credential_expiry import CHECK_INTERVAL, CredentialExpiry
from shared.graph.entra import AppCredential, EntraClient
from shared.keys.key import new_key, write_pem
from tests.builders import Clock, armoured, encryption_key, environment, rsa_key
from tests.servers import RecordedRequest, ScriptedResponse, in_json, serving

EXCHANGE = "api://AzureADTokenExchange"


@pytest.fixture(scope="module")
def running_graph(authority: Authority) -> Iterator[GraphServer]:
    registration = Registration(str(uuid.uuid4()), str(uuid.uuid4()), uuid.uuid4().hex)
    with running(authority, registration) as graph:
        yield graph


@pytest.fixture
def graph(running_graph: GraphServer, trusted: Path) -> GraphServer:
    """A simulator that has not been asked for the app registration yet."""
    running_graph.simulator.registration = AppRegistration(running_graph.registration.client_id)
    return running_graph


def certificate() -> str:
    return write_pem(new_key("app", datetime.now(UTC), timedelta(days=365))).decode()


def token(graph: GraphServer, proof: AppCredential) -> str:
    registration = graph.registration
    identity = EntraClient(graph.url, registration.client_id, proof)
    return identity.token(registration.tenant, f"{graph.url}/.default")


def is_good(graph: GraphServer, bearer: str) -> bool:
    headers = {"Authorization": f"Bearer {bearer}"}
    return requests.get(f"{graph.url}/v1.0/subscriptions", headers=headers, timeout=10).status_code == 200


def test_a_secret_proves_the_app(graph: GraphServer) -> None:
    assert is_good(graph, token(graph, AppCredential(secret=graph.registration.client_secret)))


def test_a_certificate_proves_the_app(graph: GraphServer) -> None:
    assert is_good(graph, token(graph, AppCredential(certificate=certificate())))


def test_a_certificate_is_used_rather_than_a_secret(graph: GraphServer) -> None:
    """So that one can follow the other without an interruption."""
    assert is_good(graph, token(graph, AppCredential(certificate=certificate(), secret="no longer valid")))


@pytest.mark.parametrize("identity", [None, "9a6d0d57-67d4-4d2c-9a37-06a1d6b3a0c3"])
def test_a_managed_identity_proves_the_app(
    graph: GraphServer, monkeypatch: pytest.MonkeyPatch, identity: str | None
) -> None:
    def platform(request: RecordedRequest) -> ScriptedResponse:
        """Issue a managed identity's token, as the endpoint inside an Azure Function does."""
        assert request.headers["x-identity-header"] == "let me in"
        wanted = parse_qs(urlsplit(request.path).query)
        assert wanted["resource"] == [EXCHANGE]
        assert wanted.get("client_id") == ([identity] if identity else None)
        now = datetime.now(UTC)
        claims = {"iss": "https://login.example.org/", "sub": "the identity", "aud": EXCHANGE, "nbf": now,
                  "exp": now + timedelta(hours=1)}  # fmt: skip
        assertion = jwt.encode(claims, rsa_key("platform"), "RS256")
        expires = int((now + timedelta(hours=1)).timestamp())
        return in_json({"access_token": assertion, "expires_on": str(expires), "resource": EXCHANGE})

    with serving(platform) as endpoint:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{endpoint.url}/token")
        monkeypatch.setenv("IDENTITY_HEADER", "let me in")
        assert is_good(graph, token(graph, AppCredential(managed_identity=identity)))
        assert len(endpoint.asked) == 1


def test_a_wrong_secret_is_named_as_such(graph: GraphServer) -> None:
    with pytest.raises(RetryLater, match="GRAPH_CLIENT_SECRET is not a secret") as wrong:
        token(graph, AppCredential(secret="guess"))
    assert wrong.value.reason is Reason.LOGIN


@pytest.mark.parametrize("broken", ["", "not PEM", "another key's"])
def test_a_certificate_of_no_use_is_named_as_such(graph: GraphServer, broken: str) -> None:
    pem = broken
    if broken == "another key's":
        key_alone = certificate().partition("-----BEGIN CERTIFICATE-----")[0]
        pem = key_alone + write_pem(encryption_key()).decode().partition("-----END PRIVATE KEY-----\n")[2]
    with pytest.raises(RetryLater, match="GRAPH_CLIENT_CERTIFICATE"):
        token(graph, AppCredential(certificate=pem))


@pytest.mark.process
def test_what_proves_the_app_is_shown_nowhere() -> None:
    pem = certificate()
    assert repr(AppCredential(pem, "the secret")) == "AppCredential(managed_identity=None)"


def test_settings_read_the_certificate_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "app.pem"
    write_private(file, certificate().encode())
    settings = Settings.from_environment(environment(GRAPH_CLIENT_CERTIFICATE=str(file), GRAPH_CLIENT_SECRET=None))
    assert settings.client_certificate == file.read_text()
    assert "PRIVATE KEY" not in repr(settings)


@pytest.mark.parametrize("content", [None, "", "-----BEGIN CERTIFICATE-----\n", armoured(""), "\xff"])
def test_settings_name_a_certificate_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "app.pem"
    if content is not None:
        file.write_text(content, encoding="latin-1")
    with pytest.raises(SettingsError) as wrong:
        Settings.from_environment(environment(GRAPH_CLIENT_CERTIFICATE=str(file)))
    [complaint] = wrong.value.complaints
    assert complaint.startswith("GRAPH_CLIENT_CERTIFICATE: expected the path of a readable PEM file")
    assert str(tmp_path) not in complaint


@pytest.fixture
def expiry(graph: GraphServer, session: requests.Session) -> CredentialExpiry:
    known = graph.registration
    identity = EntraClient(graph.url, known.client_id, AppCredential(secret=known.client_secret))
    return CredentialExpiry(GraphClient(graph.url, identity, session, Clock()), known.tenant, known.client_id)


def looks(graph: GraphServer) -> int:
    return sum(call["count"] for call in graph.get("calls") if call["path"].startswith("/applications"))


def test_what_expires_before_long_is_warned_of_once_a_day(
    graph: GraphServer, expiry: CredentialExpiry, caplog: pytest.LogCaptureFixture
) -> None:
    now = datetime(2031, 2, 3, tzinfo=UTC)
    registration = graph.simulator.registration
    registration.readable = True
    registration.secrets = {
        "long gone": now - timedelta(days=1),
        "soon": now + timedelta(days=12),
        "far off": now + timedelta(days=300),
    }
    registration.certificates = {"also soon": now + timedelta(days=29)}
    before = looks(graph)
    with caplog.at_level(logging.WARNING, "graph_relay.identity"):
        secret, of_certificate = expiry.report(now)
    assert "secret 'soon'" in secret
    assert "in 12 days, on 2031-02-15" in secret
    assert "certificate 'also soon'" in of_certificate
    assert caplog.messages == [secret, of_certificate]
    assert expiry.report(now + CHECK_INTERVAL / 2) == []
    assert looks(graph) == before + 1
    assert expiry.report(now + CHECK_INTERVAL) != []


def test_without_permission_to_read_the_registration_nothing_is_logged(
    graph: GraphServer, expiry: CredentialExpiry, caplog: pytest.LogCaptureFixture
) -> None:
    graph.simulator.registration.secrets = {"soon": datetime(2031, 2, 4, tzinfo=UTC)}
    before = looks(graph)
    assert expiry.report(datetime(2031, 2, 3, tzinfo=UTC)) == []
    assert (looks(graph), caplog.messages) == (before + 1, [])


def test_a_look_that_failed_is_repeated_at_the_next_run(graph: GraphServer, expiry: CredentialExpiry) -> None:
    now = datetime(2031, 2, 3, tzinfo=UTC)
    graph.simulator.registration.readable = True
    graph.simulator.registration.secrets = {"soon": now + timedelta(days=1)}
    graph.post("faults", unavailable=["graph"])
    with pytest.raises(RetryLater):
        expiry.report(now)
    graph.post("faults", unavailable=[])
    assert len(expiry.report(now)) == 1


def test_an_answer_other_than_an_app_registration_is_an_outage(
    authority: Authority, graph: GraphServer, session: requests.Session
) -> None:
    known = graph.registration
    identity = EntraClient(graph.url, known.client_id, AppCredential(secret=known.client_secret))
    odd = json.dumps({"passwordCredentials": [{"endDateTime": "some day"}]}).encode()
    with serving(lambda _: ScriptedResponse(200, odd), authority) as elsewhere:
        identity_elsewhere = GraphClient(elsewhere.url, _Borrowed(identity, graph.url), session, Clock())
        with pytest.raises(RetryLater):
            CredentialExpiry(identity_elsewhere, known.tenant, known.client_id).report(datetime.now(UTC))


class _Borrowed(EntraClient):
    """Shows another Graph the tokens that this login issues."""

    def __init__(self, identity: EntraClient, url: str) -> None:
        self._identity, self._url = identity, url

    def token(self, tenant_id: str, scope: str) -> str:
        return self._identity.token(tenant_id, f"{self._url}/.default")
