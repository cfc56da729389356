"""Who we are to Entra ID: tokens through MSAL, by certificate, secret, or a managed identity in their place."""

import re
import threading
from dataclasses import dataclass, field
from typing import Any

import jwt
import msal
import requests
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msal.exceptions import MsalError

from shared.errors import Reason, RetryLater

_TIME_LIMIT = 10
_ADVICE = {
    "7000215": "GRAPH_CLIENT_SECRET is not a secret of this app registration; make a new one",
    "7000222": "GRAPH_CLIENT_SECRET has expired; make a new one",
    "700016": "the app registration of GRAPH_CLIENT_ID is not known in this tenant; grant consent there",
    "90002": "there is no such tenant; check GRAPH_TENANT_ID and the tenantId of the declarations",
    "700027": "the certificate of GRAPH_CLIENT_CERTIFICATE is not one of this app registration; upload it there",
    "700024": "our clock differs from Entra ID's, or a proof was delayed",
    "700213": "the federated credential does not match the managed identity; see docs/setup.md",
    "7000218": "no credential was sent; set GRAPH_CLIENT_SECRET or assign a managed identity",
}
_FEDERATION_AUDIENCE = "api://AzureADTokenExchange"


@dataclass(frozen=True)
class AppCredential:
    """What proves that we are the app: the first of these that is there, and a managed identity without them.

    certificate: PEM of a private key and its certificate. managed_identity: the client id of one that a user
    assigned; None for the system's own.
    """

    certificate: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)
    managed_identity: str | None = None


class EntraClient:
    """Gets access tokens for our app, one application object a tenant; one object serves all threads."""

    def __init__(self, login_url: str, client_id: str, proof: AppCredential) -> None:
        self._login_url = login_url
        self._client_id = client_id
        self._proof = proof
        self._lock = threading.Lock()
        self._applications: dict[str, Any] = {}

    def token(self, tenant_id: str, scope: str) -> str:
        """Return an access token for `scope` in a tenant. MSAL caches it until shortly before it expires.

        Raises RetryLater, saying what Entra ID holds against us.
        """
        try:
            answer = self._application(tenant_id).acquire_token_for_client([scope])
        except (requests.RequestException, MsalError, ValueError, LookupError, AttributeError, TypeError) as error:
            # MSAL takes the authority's metadata for what it should be, and stumbles if it isn't
            raise RetryLater(Reason.LOGIN, f"the login authority does not answer ({type(error).__name__})") from None
        if "access_token" not in answer:
            raise RetryLater(Reason.LOGIN, _advice(answer))
        return str(answer["access_token"])

    def forget(self, tenant_id: str) -> None:
        """Drop the cached tokens of a tenant: one of them was refused."""
        self._application(tenant_id).remove_tokens_for_client()

    def _application(self, tenant_id: str) -> Any:
        with self._lock:
            if tenant_id not in self._applications:
                self._applications[tenant_id] = msal.ConfidentialClientApplication(
                    self._client_id,
                    authority=f"{self._login_url}/{tenant_id}",
                    client_credential=_credential(self._proof),
                    # The authority is ours to choose; asking Microsoft's to vouch for it would be one call more.
                    instance_discovery=False,
                    timeout=_TIME_LIMIT,
                )
            return self._applications[tenant_id]


def granted_permissions(token: str) -> frozenset[str] | None:
    """Return the application permissions that an access token carries, its roles; None if it does not say.

    The token is Graph's to read and may be opaque to us. Nothing is verified: this is for advice alone.
    """
    try:
        roles = jwt.decode(token, options={"verify_signature": False}).get("roles", [])
    except jwt.InvalidTokenError:
        return None
    return frozenset(map(str, roles)) if isinstance(roles, list) else None


def _credential(proof: AppCredential) -> str | dict[str, Any]:
    """Return the proof in MSAL's form. Raises RetryLater if the certificate is of no use."""
    if proof.certificate is not None:
        _check_certificate(proof.certificate.encode())
        return {"private_key": proof.certificate, "public_certificate": proof.certificate}
    return proof.secret or {"client_assertion": lambda: _federated_assertion(proof.managed_identity)}


def _check_certificate(pem: bytes) -> None:
    try:
        belongs = load_pem_private_key(pem, None).public_key() == x509.load_pem_x509_certificate(pem).public_key()
    except (ValueError, TypeError):
        belongs = False
    if not belongs:
        raise RetryLater(
            Reason.LOGIN, "GRAPH_CLIENT_CERTIFICATE: expected a private key and the certificate of that key"
        )


def _federated_assertion(client_id: str | None) -> str:
    """Return the managed identity's token, which a federated credential lets the app registration use."""
    identity = (
        msal.UserAssignedManagedIdentity(client_id=client_id) if client_id else msal.SystemAssignedManagedIdentity()
    )
    client = msal.ManagedIdentityClient(identity, http_client=_Hurried())
    answer = client.acquire_token_for_client(resource=_FEDERATION_AUDIENCE)
    if "access_token" not in answer:
        raise RetryLater(Reason.LOGIN, "no managed identity here; set GRAPH_CLIENT_SECRET or assign one")
    return str(answer["access_token"])


class _Hurried(requests.Session):
    """MSAL sets no time limit of its own where it asks for a managed identity."""

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        return super().request(*arguments, **{"timeout": _TIME_LIMIT, **options})


def _advice(answer: dict[str, Any]) -> str:
    """Entra ID's codes are safe to repeat, its sentences are not: they quote what was sent."""
    codes = re.findall(r"AADSTS(\d+)", str(answer.get("error_description", "")))
    known = [_ADVICE[code] for code in codes if code in _ADVICE]
    named = " ".join(f"AADSTS{code}" for code in codes[:1]) or re.sub(r"[^a-z_]", "", str(answer.get("error", "")))[:40]
    return f"Entra ID gives no token ({named}): {known[0] if known else 'see this code in its documentation'}"
