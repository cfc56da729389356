"""The environment of the benchmarks: Azurite, the simulator's Entra ID, and a destination that accepts everything."""

import base64
import os
import secrets
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import uvicorn
from azure.functions.queue import QueueMessage

from function_app import app
from graph_simulator.authority import Authority
from graph_simulator.background import BackgroundServer, in_background
from graph_simulator.encryption import Recipient, enclose
from graph_simulator.listener import listening
from graph_simulator.server import GraphServer, Registration, running
from local.azurite import Azurite
from shared.configuration.declaration import Declaration, declaration_id
from shared.graph import client_state
from shared.keys.directory import KeyDirectory

CHAT = "19:9e1c2d3e4f5a46b7@thread.v2"
RESOURCE = "/chats/getAllMessages"
SUBSCRIPTION = "3f1c0a52-7a3e-4d0e-9f0e-0c6a4f2d9b11"
DECLARED = Declaration(RESOURCE, ("created", "updated", "deleted"), include_resource_data=True)

_numbers = count()


@dataclass(frozen=True)
class Bystander:
    """Settings for the app, and a writer of notifications that it accepts."""

    settings: dict[str, str]
    graph: GraphServer
    recipient: Recipient
    client_state: str

    def collection(self, count: int, size: int) -> bytes:
        """Return a changeNotificationCollection of encrypted messages, each item of about `size` bytes in JSON."""
        tenant = self.graph.registration.tenant
        items = [self._item(tenant, size) for _ in range(count)]
        return msgspec.json.encode({"value": items, "validationTokens": [self._token]})

    @cached_property
    def _token(self) -> str:
        """Graph uses a token for hours."""
        registration = self.graph.registration
        return self.graph.simulator.keys.validation_token(registration.client_id, registration.tenant, 2)

    def _item(self, tenant: str, size: int) -> dict[str, object]:
        now = datetime.now(UTC)
        identity = f"{int(now.timestamp() * 1000)}{next(_numbers) % 1000:03d}"
        path = f"chats('{CHAT}')/messages('{identity}')"
        moment = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        message = {
            "@odata.context": "https://graph.microsoft.com/$metadata#chats('x')/messages/$entity",
            "id": identity,
            "etag": identity[:13],
            "messageType": "message",
            "createdDateTime": moment,
            "lastModifiedDateTime": moment,
            "chatId": CHAT,
            "from": {"user": {"id": str(uuid.uuid4()), "displayName": "Ada"}},
            # Base64 adds a third, and the rest of an item has about 1,900 bytes.
            "body": {"contentType": "text", "content": secrets.token_hex(max((size - 1900) * 3 // 8, 8))},
        }
        return {
            "subscriptionId": SUBSCRIPTION,
            "subscriptionExpirationDateTime": "2031-02-03T04:05:06Z",
            "clientState": self.client_state,
            "changeType": "created",
            "tenantId": tenant,
            "resource": path,
            "resourceData": {"id": identity, "@odata.type": "#Microsoft.Graph.ChatMessage", "@odata.id": path},
            "encryptedContent": enclose(msgspec.json.encode(message), self.recipient),
        }


@contextmanager
def bystander(*, in_memory: bool = False) -> Iterator[Bystander]:
    """Run everything around the app; the settings are in this process's environment, too. in_memory: of Azurite."""
    registration = Registration(str(uuid.uuid4()), str(uuid.uuid4()), secrets.token_urlsafe(30))
    with TemporaryDirectory() as name:
        directory = Path(name)
        authority = Authority.create(directory / "authority")
        key = KeyDirectory(directory / "keys").create(datetime.now(UTC))
        secret = secrets.token_bytes(32)
        with (
            Azurite(directory / "storage", in_memory=in_memory) as azurite,
            running(authority, registration) as graph,
            sink() as url,
        ):
            settings = {
                "AzureWebJobsStorage": azurite.connection_string,
                "PYTHON_THREADPOOL_THREAD_COUNT": "32",
                "GRAPH_TENANT_ID": registration.tenant,
                "GRAPH_CLIENT_ID": registration.client_id,
                "GRAPH_CLIENT_SECRET": registration.client_secret,
                "GRAPH_BASE_URL": graph.url,
                "LOGIN_BASE_URL": graph.url,
                "REQUESTS_CA_BUNDLE": str(authority.ca),
                "NOTIFICATION_URL": "https://127.0.0.1/api/notifications",
                "CLIENT_STATE_SECRET": base64.b64encode(secret).decode(),
                "SUBSCRIPTIONS": msgspec.json.encode([DECLARED]).decode(),
                "KEY_STORE": f"file:{directory / 'keys'}",
                "DESTINATION_URL": url,
                "DESTINATION_SECRET": f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}",
            }
            os.environ.update(settings)
            named = declaration_id(registration.tenant, RESOURCE)
            minted = client_state.mint(secret, registration.tenant, named, secrets.token_bytes)
            yield Bystander(settings, graph, Recipient.of(key.certificate, key.key_id), minted)


@contextmanager
def sink(status: int = 204, body: bytes = b"") -> Iterator[str]:
    """Run a server that accepts everything with one answer; yield its URL."""
    listener = listening(0)
    config = uvicorn.Config(_taking(status, body), log_level="error", access_log=False)
    with in_background(BackgroundServer(config), listener):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/events"


def _taking(status: int, body: bytes) -> Any:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())] if body else []

    async def take(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            continue
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return take


def bodies(around: Bystander, count: int, items: int, size: int) -> Sequence[bytes]:
    """Return `count` collections, created beforehand so that their creation isn't measured."""
    return [around.collection(items, size) for _ in range(count)]


def queue_message(identity: str, body: str) -> QueueMessage:
    """Return a queue message as the worker hands it to a function."""
    return QueueMessage(id=identity, body=body)  # type: ignore[no-untyped-call]


def function(name: str) -> Callable[..., Any]:
    """Return one of the app's functions, as the host calls it."""
    return _functions()[name]


@cache
def _functions() -> dict[str, Callable[..., Any]]:
    return {str(function.get_function_name()): function.get_user_function() for function in app.get_functions()}
