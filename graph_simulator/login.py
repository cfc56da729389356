"""Entra's token endpoint for an app registration: takes client credentials, returns bearer tokens that expire."""

import hmac
import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

import jwt

from graph_simulator.client_assertion import AssertionRefused, check_assertion
from graph_simulator.refusal import unauthenticated

TOKEN_LIFETIME = timedelta(seconds=3_599)
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
GRAPH_ROOT = "https://graph.microsoft.com"


class LoginRefused(Exception):
    """The token endpoint refuses: an OAuth error with one of Entra's numbers."""

    def __init__(self, status: HTTPStatus, error: str, number: int, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.error = error
        self.number = number

    def body(self, now: datetime) -> dict[str, Any]:
        """Return the error as Entra writes it."""
        trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
        stamp = now.strftime("%Y-%m-%d %H:%M:%SZ")
        description = f"AADSTS{self.number}: {self} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {stamp}"
        return {
            "error": self.error,
            "error_description": description,
            "error_codes": [self.number],
            "timestamp": stamp,
            "trace_id": trace,
            "correlation_id": correlation,
        }


@dataclass(frozen=True)
class Caller:
    """The caller of Graph: an app, in one tenant."""

    app: str
    tenant: str


@dataclass(frozen=True)
class _Issued:
    caller: Caller
    expires: datetime
    roles: frozenset[str] | None


class Login:
    """Issues bearer tokens to the one registered app, for any tenant, and knows which are still valid."""

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        clock: Callable[[], datetime],
        roles: Callable[[str], frozenset[str] | None] = lambda _: None,
    ) -> None:
        """`roles`: tenant → the application permissions granted there; None: no roles, every call passes."""
        self._client_id = client_id
        self._client_secret = client_secret
        self._clock = clock
        self._roles = roles
        self._tokens: dict[str, _Issued] = {}

    def issue(self, tenant: str, form: Mapping[str, str], login_root: str) -> dict[str, Any]:
        """Answer a token request: `form` as posted, `login_root` the scheme and host it was posted to.

        Raises:
            LoginRefused: unknown tenant, app or scope, or an invalid credential.
        """
        if not is_guid(tenant):
            raise _refused(400, "invalid_request", 900023, "Specified tenant identifier is not a valid GUID.")
        if form.get("grant_type") != "client_credentials":
            raise _refused(400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type.")
        if form.get("client_id", "").lower() != self._client_id.lower():
            raise _refused(400, "unauthorized_client", 700016, "Application was not found in the directory.")
        self._check_scope(form.get("scope", ""), login_root)
        self._check_proof(tenant, form, login_root)
        roles, expires = self._roles(tenant.lower()), self._clock() + TOKEN_LIFETIME
        token = secrets.token_urlsafe(256) if roles is None else self._with_roles(tenant, roles, expires)
        self._forget_expired()
        self._tokens[token] = _Issued(Caller(self._client_id, tenant.lower()), expires, roles)
        seconds = int(TOKEN_LIFETIME.total_seconds())
        return {
            "token_type": "Bearer",
            "expires_in": seconds,
            "ext_expires_in": seconds,
            "access_token": token,
        }

    def caller(self, authorization: str | None) -> Caller:
        """Return the caller that an `Authorization` header identifies.

        Raises:
            Refusal: 401, for a token that is missing, unknown or expired.
        """
        return self._issued(authorization).caller

    def roles(self, authorization: str | None) -> frozenset[str] | None:
        """Return the application permissions in a token, as of its issue; None: every permission.

        Raises:
            Refusal: 401.
        """
        return self._issued(authorization).roles

    def _issued(self, authorization: str | None) -> _Issued:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise unauthenticated("Access token is empty.")
        issued = self._tokens.get(token)
        if issued is None:
            raise unauthenticated("Access token validation failure.")
        if issued.expires <= self._clock():
            raise unauthenticated("Lifetime validation failed, the token is expired.")
        return issued

    def _with_roles(self, tenant: str, roles: frozenset[str], expires: datetime) -> str:
        """Make a token with roles. Only Graph checks the signature of its tokens: any key will do."""
        claims = {
            "aud": GRAPH_ROOT,
            "appid": self._client_id,
            "tid": tenant,
            "exp": int(expires.timestamp()),
            "roles": sorted(roles),
            "uti": secrets.token_urlsafe(16),
            "ver": "1.0",
        }
        return jwt.encode(claims, secrets.token_bytes(32), algorithm="HS256")

    def _check_scope(self, scope: str, login_root: str) -> None:
        if scope not in {f"{root}/.default" for root in (GRAPH_ROOT, login_root)}:
            raise _refused(400, "invalid_scope", 70011, "The provided value for 'scope' is not valid.")

    def _check_proof(self, tenant: str, form: Mapping[str, str], login_root: str) -> None:
        if "client_assertion" in form:
            if form.get("client_assertion_type") != ASSERTION_TYPE:
                raise _refused(400, "invalid_request", 900144, "'client_assertion_type' is missing or unknown.")
            audiences = {f"{login_root}/{tenant}/oauth2/v2.0/token", f"{login_root}/{tenant}/v2.0"}
            try:
                check_assertion(form["client_assertion"], self._client_id, audiences, self._clock())
            except AssertionRefused as refused:
                raise _refused(401, "invalid_client", refused.number, str(refused)) from refused
        elif not hmac.compare_digest(form.get("client_secret", "").encode(), self._client_secret.encode()):
            raise _refused(401, "invalid_client", 7000215, "Invalid client secret provided.")

    def _forget_expired(self) -> None:
        now = self._clock()
        self._tokens = {token: held for token, held in self._tokens.items() if held.expires > now}


def is_guid(text: str) -> bool:
    """Whether `text` is a GUID in its usual form, in any case."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _refused(status: int, error: str, number: int, description: str) -> LoginRefused:
    return LoginRefused(HTTPStatus(status), error, number, description)
