"""An error of Key Vault: a status, a code, a message, and sometimes an inner code."""

from http import HTTPStatus
from typing import Any


class VaultRefusal(Exception):
    """An answer other than success, with Key Vault's error body."""

    def __init__(self, status: HTTPStatus, code: str, message: str, inner: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.inner = inner

    def body(self) -> dict[str, Any]:
        """Return `{"error": {"code", "message", "innererror"?}}`."""
        within = {"innererror": {"code": self.inner}} if self.inner else {}
        return {"error": {"code": self.code, "message": self.message, **within}}


def bad_parameter(message: str) -> VaultRefusal:
    """Return the refusal of a malformed request."""
    return VaultRefusal(HTTPStatus.BAD_REQUEST, "BadParameter", message)


def not_found(kind: str, name: str) -> VaultRefusal:
    """Return the refusal for a missing object: `kind` is "Certificate" or "Secret"."""
    message = f"A {kind.lower()} with (name/id) {name} was not found in this key vault."
    return VaultRefusal(HTTPStatus.NOT_FOUND, f"{kind}NotFound", message)
