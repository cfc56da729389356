"""An error of Graph: a status, a code and a message, in its error body (docs/graph.md, "Errors")."""

import uuid
from datetime import datetime
from http import HTTPStatus
from typing import Any


class Refusal(Exception):
    """An answer other than success, with Graph's error body."""

    def __init__(self, status: HTTPStatus, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}

    def body(self, now: datetime, client_request_id: str | None) -> dict[str, Any]:
        """Return `{"error": {"code", "message", "innerError"}}`."""
        request_id = str(uuid.uuid4())
        inner = {
            "date": now.strftime("%Y-%m-%dT%H:%M:%S"),
            "request-id": request_id,
            "client-request-id": client_request_id or request_id,
        }
        return {"error": {"code": self.code, "message": self.message, "innerError": inner}}


def bad_request(message: str, code: str = "InvalidRequest") -> Refusal:
    """Return the refusal of a malformed request."""
    return Refusal(HTTPStatus.BAD_REQUEST, code, message)


def validation_error(message: str) -> Refusal:
    """Return the refusal of a subscription with invalid properties or an invalid endpoint."""
    return Refusal(HTTPStatus.BAD_REQUEST, "ValidationError", message)


def not_found(message: str = "The object was not found.", code: str = "ResourceNotFound") -> Refusal:
    """Return the refusal for a resource that is gone, expired or another app's."""
    return Refusal(HTTPStatus.NOT_FOUND, code, message)


def forbidden(message: str) -> Refusal:
    """Return the refusal for missing consent or an exhausted quota."""
    return Refusal(HTTPStatus.FORBIDDEN, "Forbidden", message)


def conflict(message: str) -> Refusal:
    """Return the refusal of a duplicate."""
    return Refusal(HTTPStatus.CONFLICT, "Conflict", message)


def unauthenticated(message: str) -> Refusal:
    """Return the refusal of a call without a valid token."""
    headers = {"WWW-Authenticate": 'Bearer realm="", authorization_uri="", error="invalid_token"'}
    return Refusal(HTTPStatus.UNAUTHORIZED, "InvalidAuthenticationToken", message, headers)


def too_many_requests(retry_after: int | None) -> Refusal:
    """Return a throttled answer; some services give no time to wait."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "TooManyRequests", "Too Many Requests", headers)


def unavailable() -> Refusal:
    """Return the answer of a service that is temporarily unavailable."""
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "serviceNotAvailable", "The service is temporarily unavailable.")
