"""The vault over HTTP: Key Vault's paths, its challenge, its errors."""

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from graph_simulator.refusal import Refusal
from tests.stand_ins.vault.policy import asked_for, shown
from tests.stand_ins.vault.refusal import VaultRefusal, bad_parameter
from tests.stand_ins.vault.vault import Vault, Version

PAGE = 3
"""Versions a page; the real one has 25."""

Answering = Callable[[Request], Awaitable[Any]]


@dataclass(frozen=True)
class Guard:
    """The vault's access check: admits callers with a token that `check` accepts; it raises Refusal for any other.

    authority: the issuer of such tokens, `https://…/{tenant}`. resource: the resource to request them for.
    """

    authority: str
    resource: str
    check: Callable[[str | None], object]

    @property
    def challenge(self) -> str:
        """The challenge to a caller without a token."""
        return f'Bearer authorization="{self.authority}", resource="{self.resource}"'


class _Attributes(msgspec.Struct):
    enabled: bool


class _Change(msgspec.Struct):
    attributes: _Attributes


class VaultApi:
    """Answers for one vault. While `away`, every answer is 503."""

    def __init__(self, vault: Vault, guard: Guard) -> None:
        self._vault = vault
        self._guard = guard
        self.away = False
        self.asked: list[str] = []
        """Method and path of each admitted call."""

    def application(self) -> Starlette:
        """Return the ASGI application."""
        table: tuple[tuple[str, str, Answering], ...] = (
            ("POST", "/certificates/{name}/create", self._create),
            ("GET", "/certificates/{name}/pending", self._pending),
            ("GET", "/certificates/{name}/versions", self._versions),
            ("GET", "/certificates/{name}/{version:path}", self._certificate),
            ("PATCH", "/certificates/{name}/{version}", self._update),
            ("GET", "/secrets/{name}/{version:path}", self._secret),
        )
        return Starlette(routes=[Route(path, self._answering(call), methods=[method]) for method, path, call in table])

    def _answering(self, call: Answering) -> Answering:
        async def answer(request: Request) -> Response:
            try:
                if self.away:
                    raise VaultRefusal(HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailable", "Try again later.")
                if (denied := self._denied(request)) is not None:
                    return denied
                self.asked.append(f"{request.method} {request.url.path}")
                if "api-version" not in request.query_params:
                    raise bad_parameter("api-version must be specified.")
                document = await call(request)
            except VaultRefusal as refusal:
                return _json(refusal.body(), refusal.status)
            return _json(document, HTTPStatus.ACCEPTED if request.method == "POST" else HTTPStatus.OK)

        return answer

    def _denied(self, request: Request) -> Response | None:
        try:
            self._guard.check(request.headers.get("authorization"))
        except Refusal as refusal:
            body = {"error": {"code": "Unauthorized", "message": refusal.message}}
            return _json(body, HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": self._guard.challenge})
        return None

    async def _create(self, request: Request) -> Any:
        self._vault.create(request.path_params["name"], asked_for(await request.body()))
        return _operation(request, pending=True)

    async def _pending(self, request: Request) -> Any:
        return _operation(request, pending=self._vault.is_pending(request.path_params["name"]))

    async def _versions(self, request: Request) -> Any:
        name, skip = request.path_params["name"], int(request.query_params.get("skip", 0))
        versions = self._vault.versions(name)
        entries = [_entry(request, name, version) for version in versions[skip : skip + PAGE]]
        more = f"{request.url.include_query_params(skip=skip + PAGE)}" if len(versions) > skip + PAGE else None
        return {"value": entries, "nextLink": more}

    async def _certificate(self, request: Request) -> Any:
        return _bundle(request, self._vault.version(**_named(request)))

    async def _update(self, request: Request) -> Any:
        try:
            change = msgspec.json.decode(await request.body(), type=_Change)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise bad_parameter("Only attributes can be changed here.") from error
        return _bundle(request, self._vault.enable(**_named(request), enabled=change.attributes.enabled))

    async def _secret(self, request: Request) -> Any:
        version = self._vault.secret(**_named(request))
        name = request.path_params["name"]
        return {
            "value": version.secret,
            "contentType": version.policy.secret_props.content_type,
            "id": f"{_root(request)}/secrets/{name}/{version.secret_id}",
            "kid": _id(request, "keys", name, version),
            "managed": True,
            "attributes": _attributes(version),
        }


def _named(request: Request) -> dict[str, str]:
    return {"name": request.path_params["name"], "version_id": request.path_params["version"]}


def _operation(request: Request, *, pending: bool) -> dict[str, Any]:
    certificate = f"{_root(request)}/certificates/{request.path_params['name']}"
    done = {} if pending else {"target": certificate}
    status = "inProgress" if pending else "completed"
    return {"id": f"{certificate}/pending", "issuer": {"name": "Self"}, "status": status, **done}


def _bundle(request: Request, version: Version) -> dict[str, Any]:
    name = request.path_params["name"]
    return {
        **_entry(request, name, version),
        "kid": _id(request, "keys", name, version),
        "sid": f"{_root(request)}/secrets/{name}/{version.secret_id}",
        "cer": b64encode(version.certificate.public_bytes(Encoding.DER)).decode(),
        "policy": shown(version.policy, f"{_root(request)}/certificates/{name}/policy"),
    }


def _entry(request: Request, name: str, version: Version) -> dict[str, Any]:
    thumbprint = version.certificate.fingerprint(hashes.SHA1())
    return {
        "id": _id(request, "certificates", name, version),
        "x5t": urlsafe_b64encode(thumbprint).rstrip(b"=").decode(),
        "subject": version.policy.x509_props.subject,
        "attributes": _attributes(version),
    }


def _attributes(version: Version) -> dict[str, Any]:
    certificate = version.certificate
    return {
        "enabled": version.enabled,
        "nbf": _seconds(certificate.not_valid_before_utc),
        "exp": _seconds(certificate.not_valid_after_utc),
        "created": _seconds(version.created),
        "updated": _seconds(version.created),
        "recoveryLevel": "Recoverable+Purgeable",
    }


def _id(request: Request, kind: str, name: str, version: Version) -> str:
    return f"{_root(request)}/{kind}/{name}/{version.id}"


def _root(request: Request) -> str:
    return f"https://{request.url.netloc}"


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _json(document: Any, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(document), status, headers, media_type="application/json")
