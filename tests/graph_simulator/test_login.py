"""Access tokens for the app, and calls without one."""

import time
import uuid
from base64 import b64encode
from typing import Any

import httpx
import jwt
import msal
import pytest
from cryptography.hazmat.primitives import serialization

from graph_simulator.authority import Authority
from graph_simulator.server import GraphServer
from tests.graph_simulator.client import EncryptionKey, GraphClient, encryption_key

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture(autouse=True)
def trust(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
    """Trust the authority as the app does: this variable, if set, outranks MSAL's `verify`."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.ca))


def msal_app(graph: GraphServer, authority: Authority, credential: Any) -> msal.ConfidentialClientApplication:
    registration = graph.registration
    return msal.ConfidentialClientApplication(
        registration.client_id,
        client_credential=credential,
        authority=f"{graph.url}/{registration.tenant}",
        instance_discovery=False,
        verify=str(authority.ca),
    )


def test_msal_gets_a_token_with_the_secret_that_graph_accepts(
    graph: GraphServer, authority: Authority, app: GraphClient
) -> None:
    result = msal_app(graph, authority, graph.registration.client_secret).acquire_token_for_client(
        [f"{graph.url}/.default"]
    )
    assert result["token_type"] == "Bearer"
    answer = app.http.get(
        f"{graph.url}/v1.0/subscriptions", headers={"Authorization": f"Bearer {result['access_token']}"}
    )
    assert answer.status_code == 200


def test_msal_gets_a_token_with_a_certificate(graph: GraphServer, authority: Authority) -> None:
    key = encryption_key()
    private = key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = b"-----BEGIN CERTIFICATE-----\n" + b64encode(key.der) + b"\n-----END CERTIFICATE-----\n"
    credential = {"private_key": private.decode(), "public_certificate": public.decode(), "thumbprint": "ab" * 20}
    result = msal_app(graph, authority, credential).acquire_token_for_client(["https://graph.microsoft.com/.default"])
    assert "access_token" in result, result


def test_msal_gets_a_token_with_a_federated_assertion(graph: GraphServer, authority: Authority) -> None:
    credential = {"client_assertion": lambda: signed(federated())}
    result = msal_app(graph, authority, credential).acquire_token_for_client(["https://graph.microsoft.com/.default"])
    assert "access_token" in result, result


def test_msal_reports_a_wrong_secret_as_entra_does(graph: GraphServer, authority: Authority) -> None:
    result = msal_app(graph, authority, "wrong").acquire_token_for_client(["https://graph.microsoft.com/.default"])
    assert result["error"] == "invalid_client"
    assert result["error_codes"] == [7000215]


def federated(**changes: Any) -> dict[str, Any]:
    claims = {
        "iss": "https://issuer.example.org/",
        "sub": "the-managed-identity",
        "aud": "api://AzureADTokenExchange",
        "nbf": int(time.time()) - 10,
        "exp": int(time.time()) + 600,
    }
    return claims | changes


def signed(claims: dict[str, Any], algorithm: str = "RS256", **headers: Any) -> str:
    if algorithm == "HS256":
        return jwt.encode(claims, "a shared secret of thirty-two bytes", algorithm, headers)
    return jwt.encode(claims, encryption_key().private, algorithm, headers)


@pytest.mark.parametrize(
    ("assertion", "number"),
    [
        (lambda _: "not.a.token", 50027),
        (lambda _: signed(federated(), "HS256"), 5002738),
        (lambda _: signed(federated(exp=1)), 700024),
        (lambda _: signed(federated(nbf=int(time.time()) + 3600)), 700024),
        (lambda _: signed({key: value for key, value in federated().items() if key != "exp"}), 50027),
        (lambda _: signed(federated(iss="http://plain.example.org")), 700211),
        (lambda _: signed(federated(aud="https://elsewhere.example.org")), 700023),
        (lambda url: signed(federated(aud=url)), 700021),
    ],
)
def test_an_assertion_that_cannot_be_right_is_refused(
    graph: GraphServer, app: GraphClient, assertion: Any, number: int
) -> None:
    url = f"{graph.url}/{graph.registration.tenant}/oauth2/v2.0/token"
    form = {"client_secret": "", "client_assertion": assertion(url), "client_assertion_type": ASSERTION_TYPE}
    answer = app.ask_token(**form)
    assert (answer.status_code, answer.json()["error_codes"]) == (401, [number])


def test_an_assertion_whose_certificate_did_not_sign_it_is_refused(graph: GraphServer, app: GraphClient) -> None:
    client_id = graph.registration.client_id
    url = f"{graph.url}/{graph.registration.tenant}/oauth2/v2.0/token"
    claims = federated(aud=url, iss=client_id, sub=client_id)
    other = EncryptionKey.create()
    for der, status in ((encryption_key().der, 200), (other.der, 401)):
        assertion = signed(claims, x5t="any", x5c=[b64encode(der).decode()])
        form = {"client_secret": "", "client_assertion": assertion, "client_assertion_type": ASSERTION_TYPE}
        assert app.ask_token(**form).status_code == status


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_secret": ""}, 401, "invalid_client"),
        ({"client_id": str(uuid.uuid4())}, 400, "unauthorized_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"scope": "https://elsewhere.example.org/.default"}, 400, "invalid_scope"),
        ({"client_assertion": "x", "client_assertion_type": "other"}, 400, "invalid_request"),
    ],
)
def test_a_wrong_token_request_is_refused_in_entras_words(
    app: GraphClient, change: dict[str, str], status: int, error: str
) -> None:
    answer = app.ask_token(**change)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.json()["error_description"].startswith("AADSTS")


def test_any_guid_is_a_tenant_and_nothing_else(app: GraphClient) -> None:
    assert app.ask_token(str(uuid.uuid4())).status_code == 200
    assert app.ask_token("contoso").status_code == 400


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer made-up", "Basic YTpi"])
def test_graph_answers_no_call_without_a_token(graph: GraphServer, app: GraphClient, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = app.http.get(f"{graph.url}/v1.0/subscriptions", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "InvalidAuthenticationToken")


def test_a_token_is_good_for_an_hour_of_virtual_time(graph: GraphServer, app: GraphClient) -> None:
    app.token()
    graph.post("clock", advance_seconds=3590)
    assert app.call("GET", "subscriptions").status_code == 200
    graph.post("clock", advance_seconds=10)
    answer = app.call("GET", "subscriptions")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "InvalidAuthenticationToken")
    app.tokens.clear()
    assert app.call("GET", "subscriptions").status_code == 200


@pytest.mark.parametrize(
    ("path", "issuer"),
    [
        ("common/.well-known/openid-configuration", "https://sts.windows.net/{tenantid}/"),
        ("common/v2.0/.well-known/openid-configuration", "https://login.microsoftonline.com/{tenantid}/v2.0"),
    ],
)
def test_the_metadata_of_common_name_the_issuer_with_a_placeholder_and_reachable_keys(
    graph: GraphServer, app: GraphClient, path: str, issuer: str
) -> None:
    metadata = app.http.get(f"{graph.url}/{path}").json()
    assert metadata["issuer"] == issuer
    assert metadata["jwks_uri"].startswith(f"{graph.url}/common/discovery/")
    [key] = app.http.get(metadata["jwks_uri"]).json()["keys"]
    assert (key["kty"], key["use"]) == ("RSA", "sig")
    assert jwt.PyJWK(key, "RS256").key_id == key["kid"]


def test_outages_of_login_and_of_keys_are_separate(graph: GraphServer, app: GraphClient) -> None:
    def statuses() -> list[int]:
        keys = app.http.get(f"{graph.url}/common/discovery/v2.0/keys")
        metadata = app.http.get(f"{graph.url}/common/v2.0/.well-known/openid-configuration")
        own: httpx.Response = app.http.get(
            f"{graph.url}/{graph.registration.tenant}/v2.0/.well-known/openid-configuration"
        )
        return [answer.status_code for answer in (app.ask_token(), own, keys, metadata)]

    assert statuses() == [200, 200, 200, 200]
    graph.post("faults", unavailable=["login"])
    assert statuses() == [503, 503, 200, 200]
    graph.post("faults", unavailable=["keys"])
    assert statuses() == [200, 200, 503, 503]
