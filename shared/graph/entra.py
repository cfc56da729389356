"""Access tokens from Entra ID through MSAL: with a certificate, a secret, or a managed identity."""

import re
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jwt
import msal
import requests
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msal.exceptions import MsalError

from shared import deadline, http_client
from shared.circuit_breaker import CircuitBreaker
from shared.errors import Reason, RetryLater, TimedOut
from shared.threads import held

_TIME_LIMIT = 10
_MAX_RESPONSE_BYTES = 1 << 20
_ADVICE = {
    "7000215": "GRAPH_CLIENT_SECRET is not a secret of this app registration; create a new one",
    "7000222": "GRAPH_CLIENT_SECRET has expired; create a new one",
    "700016": "the app registration of GRAPH_CLIENT_ID is not known in this tenant; grant consent there",
    "90002": "there is no such tenant; check GRAPH_TENANT_ID and the tenantId of the declarations",
    "700027": "the certificate of GRAPH_CLIENT_CERTIFICATE is not one of this app registration; upload it there",
    "700024": "the app's clock differs from Entra ID's, or a token was delayed",
    "700213": "the federated credential does not match the managed identity; see docs/setup.md",
    "7000218": "no credential was sent; set GRAPH_CLIENT_SECRET or assign a managed identity",
}
_FEDERATION_AUDIENCE = "api://AzureADTokenExchange"


@dataclass(frozen=True)
class AppCredential:
    """The credential of the app registration: the certificate, else the secret, else a managed identity.

    certificate: PEM of a private key and its certificate. managed_identity: the client id of a user-assigned
    identity; None for the system-assigned one.
    """

    certificate: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)
    managed_identity: str | None = None


class EntraClient:
    """Gets access tokens, with one MSAL application per tenant; one object serves all threads."""

    def __init__(
        self,
        login_url: str,
        client_id: str,
        credential: AppCredential,
        session: requests.Session | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """session: one of `shared.http_client`; None: a new one."""
        self._login_url = login_url
        self._client_id = client_id
        self._credential = credential
        self._http = _BoundedHttp(session or http_client.session())
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._applications: dict[str, Any] = {}
        self._breakers: dict[tuple[str, str], CircuitBreaker] = defaultdict(lambda: CircuitBreaker(Reason.LOGIN, clock))

    def token(self, tenant_id: str, scope: str) -> str:
        """Return an access token for `scope` in a tenant. MSAL caches it until shortly before it expires.

        Raises RetryLater with the reason of Entra ID; NotAttempted: it did not answer a moment ago, or the invocation's
        time is over.
        """
        deadline.check()
        with self._breakers[tenant_id, scope].attempt():
            response = self._acquire(tenant_id, scope)
        if "access_token" not in response:
            raise RetryLater(Reason.LOGIN, _advice(response))
        return str(response["access_token"])

    def forget(self, tenant_id: str) -> None:
        """Drop the cached tokens of a tenant, after Graph has refused one."""
        self._application(tenant_id).remove_tokens_for_client()

    def _acquire(self, tenant_id: str, scope: str) -> dict[str, Any]:
        try:
            response: dict[str, Any] = self._application(tenant_id).acquire_token_for_client([scope])
        except (requests.RequestException, MsalError, ValueError, LookupError, AttributeError, TypeError) as error:
            # MSAL does not validate the metadata and raises these when it is malformed.
            kind = TimedOut if isinstance(error, requests.Timeout) else RetryLater
            raise kind(Reason.LOGIN, f"the login authority does not answer ({type(error).__name__})") from None
        return response

    def _application(self, tenant_id: str) -> Any:
        with held(self._locks[tenant_id], Reason.LOGIN):  # creating one reads the authority's metadata
            if tenant_id not in self._applications:
                self._applications[tenant_id] = msal.ConfidentialClientApplication(
                    self._client_id,
                    authority=f"{self._login_url}/{tenant_id}",
                    client_credential=_credential(self._credential),
                    # The settings choose the authority; instance discovery would only add a call.
                    instance_discovery=False,
                    http_client=self._http,
                )
            return self._applications[tenant_id]


def granted_permissions(token: str) -> frozenset[str] | None:
    """Return the application permissions (roles) of an access token; None if unknown.

    Only Graph needs to understand the token. It is not verified: the result is for advice alone.
    """
    try:
        roles = jwt.decode(token, options={"verify_signature": False}).get("roles", [])
    except jwt.InvalidTokenError:
        return None
    return frozenset(map(str, roles)) if isinstance(roles, list) else None


def _credential(credential: AppCredential) -> str | dict[str, Any]:
    """Return the credential in MSAL's form. Raises RetryLater if the certificate is invalid."""
    if credential.certificate is not None:
        _check_certificate(credential.certificate.encode())
        return {"private_key": credential.certificate, "public_certificate": credential.certificate}
    if credential.secret is not None:
        return credential.secret
    identity = ManagedIdentity(credential.managed_identity)
    return {"client_assertion": lambda: identity.token(_FEDERATION_AUDIENCE)}


def _check_certificate(pem: bytes) -> None:
    try:
        matches = load_pem_private_key(pem, None).public_key() == x509.load_pem_x509_certificate(pem).public_key()
    except (ValueError, TypeError):
        matches = False
    if not matches:
        raise RetryLater(
            Reason.LOGIN, "GRAPH_CLIENT_CERTIFICATE: expected a private key and the certificate of that key"
        )


class ManagedIdentity:
    """The managed identity of the app: a user-assigned one by its client id, or else the system-assigned one.

    One object serves all threads; MSAL caches its tokens.
    """

    def __init__(self, client_id: str | None) -> None:
        self._client_id = client_id
        self._lock = threading.Lock()
        self._client: Any = None

    def token(self, resource: str) -> str:
        """Return an access token for a resource. Raises RetryLater if the platform issues none."""
        try:
            response = self._get_client().acquire_token_for_client(resource=resource)
        except (requests.RequestException, MsalError, ValueError, LookupError, AttributeError, TypeError) as error:
            raise RetryLater(Reason.LOGIN, f"the managed identity does not answer ({type(error).__name__})") from None
        if "access_token" not in response:
            raise RetryLater(Reason.LOGIN, "there is no managed identity; set GRAPH_CLIENT_SECRET or assign one")
        return str(response["access_token"])

    def _get_client(self) -> Any:
        with self._lock:
            if self._client is None:
                identity = (
                    msal.UserAssignedManagedIdentity(client_id=self._client_id)
                    if self._client_id
                    else msal.SystemAssignedManagedIdentity()
                )
                self._client = msal.ManagedIdentityClient(identity, http_client=_BoundedHttp(http_client.session()))
            return self._client


@dataclass(frozen=True)
class _Answer:
    """The part of a response that MSAL reads."""

    status_code: int
    headers: Mapping[str, str]
    text: str

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            raise requests.HTTPError(f"status {self.status_code}")


class _BoundedHttp:
    """MSAL's HTTP client over a session of `shared.http_client`: MSAL's own does not limit the time of a slowly sent
    response, nor any time of a request for a managed identity's token.
    """

    def __init__(self, session: requests.Session) -> None:
        self._session = session

    def get(self, url: str, **request: Any) -> _Answer:
        return self._request("GET", url, **request)

    def post(self, url: str, **request: Any) -> _Answer:
        return self._request("POST", url, **request)

    def close(self) -> None:
        self._session.close()

    def _request(self, method: str, url: str, **request: Any) -> _Answer:
        asked = {**request, "timeout": _TIME_LIMIT, "limit": _MAX_RESPONSE_BYTES}
        response = http_client.exchange(self._session, method, url, **asked)
        return _Answer(response.status, response.headers, response.body.decode("utf-8", "replace"))


def _advice(response: dict[str, Any]) -> str:
    """Only Entra ID's codes are logged: its sentences quote the request."""
    codes = re.findall(r"AADSTS(\d+)", str(response.get("error_description", "")))
    advice = [_ADVICE[code] for code in codes if code in _ADVICE]
    named = (
        " ".join(f"AADSTS{code}" for code in codes[:1]) or re.sub(r"[^a-z_]", "", str(response.get("error", "")))[:40]
    )
    return f"Entra ID issues no token ({named}): {advice[0] if advice else 'see the documentation of this code'}"
