"""Key Vault's refusals are reported in its own words, with the next step. See also tests/life/test_key_stores.py."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.keyvault.certificates._shared import http_challenge_cache as certificate_challenges
from azure.keyvault.secrets._shared import http_challenge_cache as secret_challenges

from graph_simulator.authority import Authority
from shared.errors import Reason, RetryLater
from shared.keys.key_vault import KeyVault
from tests.servers import RecordedRequest, ScriptedResponse, Server, in_json, serving

CHALLENGE = {"WWW-Authenticate": 'Bearer authorization="https://login.invalid/t", resource="https://vault.azure.net"'}


class Token:
    """A credential whose token every service accepts."""

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken("token", int(time.time()) + 3600)


@pytest.fixture
def vault(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, KeyVault]]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.ca))
    with serving(lambda _: ScriptedResponse(500), authority) as server:
        yield server, KeyVault(server.url, Token(), verify_resource=False)
    for cache in (certificate_challenges, secret_challenges):  # by address: another server may get this port
        cache.clear()


def refusing(status: int, code: str, inner: str | None = None) -> Any:
    error: dict[str, Any] = {"code": code, "message": "Caller is not authorized.\nAction: read"}
    if inner:
        error["innererror"] = {"code": inner}
    answer = in_json({"error": error}, status)
    answer = ScriptedResponse(answer.status, answer.body, {**answer.headers, "x-ms-request-id": "r-1"})
    return lambda request: answer if "authorization" in request.headers else ScriptedResponse(401, b"", CHALLENGE)


@pytest.mark.parametrize(
    ("status", "code", "inner", "step"),
    [
        (403, "Forbidden", "ForbiddenByFirewall", "firewall"),
        (403, "Forbidden", "ForbiddenByConnection", "private endpoint"),
        (403, "Forbidden", "ForbiddenByRbac", "lacks a role"),
        (403, "Forbidden", "AccessDenied", "access policies"),
        (409, "Conflict", "ObjectIsDeletedButRecoverable", "az keyvault certificate recover"),
        (409, "Conflict", "ObjectIsBeingDeleted", "wait a few minutes"),
        (403, "Forbidden", "SomethingNew", "docs/permissions.md"),
        (403, "Forbidden", None, "docs/permissions.md"),
    ],
)
def test_each_refusal_has_a_code_a_request_id_and_a_next_step(
    vault: tuple[Server, KeyVault], status: int, code: str, inner: str | None, step: str
) -> None:
    server, store = vault
    server.script = refusing(status, code, inner)
    with pytest.raises(RetryLater) as raised:
        store.ids()
    text = str(raised.value)
    assert raised.value.reason is Reason.KEY_STORE
    assert f"{status} {inner or code}: Caller is not authorized. Action: read (request id r-1)" in text
    assert step in text
    assert "\n" not in text


def test_a_missing_answer_is_distinguished_from_a_refusal(vault: tuple[Server, KeyVault]) -> None:
    server, store = vault

    def reset(_: RecordedRequest) -> ScriptedResponse:
        return ScriptedResponse(0)

    server.script = reset
    with pytest.raises(RetryLater, match="does not answer"):
        store.ids()
