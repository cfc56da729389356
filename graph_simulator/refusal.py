"""Graph's way of saying no: a status, a code, a message, in its error body (docs/graph.md, "Errors")."""

import uuid
from datetime import datetime
from http import HTTPStatus
from typing import Any


class Refusal(Exception):
    """An answer other than success; becomes Graph's error body."""

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
    """Refuse what will not pass unchanged."""
    return Refusal(HTTPStatus.BAD_REQUEST, code, message)


def validation_error(message: str) -> Refusal:
    """Refuse a subscription whose properties or endpoint are not in order."""
    return Refusal(HTTPStatus.BAD_REQUEST, "ValidationError", message)


def not_found(message: str = "The object was not found.", code: str = "ResourceNotFound") -> Refusal:
    """Say that a thing is gone, expired or another app's."""
    return Refusal(HTTPStatus.NOT_FOUND, code, message)


def forbidden(message: str) -> Refusal:
    """Refuse for want of consent or because a quota is reached."""
    return Refusal(HTTPStatus.FORBIDDEN, "Forbidden", message)


def conflict(message: str) -> Refusal:
    """Refuse a duplicate."""
    return Refusal(HTTPStatus.CONFLICT, "Conflict", message)


def unauthenticated(message: str) -> Refusal:
    """Refuse a call without a token that is valid now."""
    headers = {"WWW-Authenticate": 'Bearer realm="", authorization_uri="", error="invalid_token"'}
    return Refusal(HTTPStatus.UNAUTHORIZED, "InvalidAuthenticationToken", message, headers)


def too_many_requests(retry_after: int | None) -> Refusal:
    """Throttle; some services name no time to wait."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "TooManyRequests", "Too Many Requests", headers)


def unavailable() -> Refusal:
    """Be out of order for a while."""
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "serviceNotAvailable", "The service is temporarily unavailable.")
