"""Tokens through the real MSAL, from the simulator's Entra ID."""

import secrets
from collections.abc import Iterator

import pytest

from graph_simulator.authority import Authority
from graph_simulator.server import GraphServer
from shared.errors import NotAttempted, Reason, RetryLater, TimedOut
from shared.graph.entra import AppCredential, EntraClient
from shared.keys.key import write_pem
from tests.builders import CLIENT_ID, OTHER_TENANT, TENANT, Clock, encryption_key, pem_of, rsa_key
from tests.in_process import HANGS, InProcess
from tests.servers import RESET, Script, ScriptedResponse, in_json, serving

pytestmark = pytest.mark.usefixtures("trusted")


@pytest.fixture
def identity(simulator: GraphServer) -> EntraClient:
    return EntraClient(simulator.url, CLIENT_ID, AppCredential(secret=simulator.registration.client_secret))


@pytest.fixture
def scope(simulator: GraphServer) -> str:
    return f"{simulator.url}/.default"


def test_a_token_is_kept_until_it_is_to_be_forgotten(identity: EntraClient, scope: str) -> None:
    token = identity.token(TENANT, scope)
    assert identity.token(TENANT, scope) == token
    identity.forget(TENANT)
    assert identity.token(TENANT, scope) != token


def test_each_tenant_has_a_token_of_its_own(identity: EntraClient, scope: str) -> None:
    token = identity.token(TENANT, scope)
    assert identity.token(OTHER_TENANT, scope) != token
    identity.forget(OTHER_TENANT)
    assert identity.token(TENANT, scope) == token


def test_a_wrong_secret_is_named_as_a_setting_and_does_not_show(simulator: GraphServer, scope: str) -> None:
    wrong = secrets.token_urlsafe()
    with pytest.raises(RetryLater, match=r"AADSTS7000215.*GRAPH_CLIENT_SECRET") as retry_later:
        EntraClient(simulator.url, CLIENT_ID, AppCredential(secret=wrong)).token(TENANT, scope)
    assert retry_later.value.reason is Reason.LOGIN
    assert wrong not in str(retry_later.value)


def test_an_app_that_is_not_known_is_advised(simulator: GraphServer, scope: str) -> None:
    with pytest.raises(RetryLater, match=r"AADSTS700016.*GRAPH_CLIENT_ID"):
        EntraClient(simulator.url, OTHER_TENANT, AppCredential(secret="any")).token(TENANT, scope)


@pytest.mark.parametrize(
    "pem",
    ["", "-----BEGIN", pem_of(rsa_key("foreign")).decode(), write_pem(encryption_key()).decode()[-900:]],
    ids=["empty", "cut", "key alone", "end of a certificate"],
)
def test_a_certificate_that_is_of_no_use_is_named_as_a_setting(simulator: GraphServer, scope: str, pem: str) -> None:
    with pytest.raises(RetryLater, match="GRAPH_CLIENT_CERTIFICATE") as retry_later:
        EntraClient(simulator.url, CLIENT_ID, AppCredential(certificate=pem)).token(TENANT, scope)
    assert not pem or pem[30:60] not in str(retry_later.value) or len(pem) < 60


def quoting(text: str) -> Script:
    """Valid metadata, and a refusal that quotes the request."""
    return lambda request: (
        in_json({"error": "invalid_client", "error_description": f"AADSTS7000222: {text} expired."}, 401)
        if request.method == "POST"
        else in_json(
            {
                name: f"https://{request.headers['host']}/{name}"
                for name in ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri")
            }
        )
    )


def test_the_sentences_of_entra_are_not_repeated(authority: Authority) -> None:
    with (
        serving(quoting("s3cret"), authority) as server,
        pytest.raises(RetryLater, match="AADSTS7000222") as retry_later,
    ):
        EntraClient(server.url, CLIENT_ID, AppCredential(secret="s3cret")).token(TENANT, f"{server.url}/.default")
    assert "s3cret" not in str(retry_later.value)


@pytest.fixture(
    params=[
        RESET,
        ScriptedResponse(503),
        ScriptedResponse(500, b"<html>"),
        ScriptedResponse(200, b"<html>"),
        ScriptedResponse(200, b"[]"),
        in_json({}),
    ],
    ids=lambda answer: f"{answer.status} {answer.body!r}",
)
def faulty(request: pytest.FixtureRequest, authority: Authority) -> Iterator[str]:
    """The URL of a login authority with one answer replaced."""
    with serving(lambda _: request.param, authority) as server:
        yield server.url


def test_an_authority_with_malformed_answers_is_unavailable(faulty: str) -> None:
    with pytest.raises(RetryLater) as retry_later:
        EntraClient(faulty, CLIENT_ID, AppCredential(secret="any")).token(TENANT, f"{faulty}/.default")
    assert retry_later.value.reason is Reason.LOGIN


def test_an_unreachable_authority_is_unavailable() -> None:
    with pytest.raises(RetryLater):
        EntraClient("https://127.0.0.1:9", CLIENT_ID, AppCredential(secret="any")).token(
            TENANT, "https://127.0.0.1:9/.default"
        )


def test_while_the_authority_gives_no_answer_one_caller_waits_for_it() -> None:
    clock = Clock()
    login = InProcess(lambda _: HANGS, clock)
    session = login.mounted("https://login.example")
    entra = EntraClient("https://login.example", CLIENT_ID, AppCredential(secret="any"), session, clock)
    failures: list[type[RetryLater]] = []
    for _ in range(20):
        try:
            entra.token(TENANT, "scope")
        except RetryLater as failure:
            failures.append(type(failure))
    assert failures == [TimedOut] + [NotAttempted] * 19
    assert len(login.asked) == 1
    with pytest.raises(TimedOut):
        entra.token(OTHER_TENANT, "scope")  # another tenant's authority may answer
