"""The running functions in their own process behind HTTPS, with their dependencies: a storage account, the
authority whose keys sign, and a destination.
"""

import base64
import secrets
import ssl
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import msgspec

from graph_simulator.authority import Authority
from graph_simulator.server import GraphServer
from local.azurite import Azurite
from local.feed import server as feed_server
from local.feed.server import RunningFeed
from local.host.process import HostProcess
from local.ports import free_ports
from shared.keys.directory import KeyDirectory
from shared.keys.key import EncryptionKey
from tests.builders import CLIENT_ID, OTHER_TENANT, TEAM, TENANT, message, minted, rich
from tests.token_cases import Mint
from tests.waiting import came_true

NEIGHBOUR = "c7d1e2f3-0a0b-4c0d-8e0f-0000000000aa"
"""The tenant of the genuine item beside a forgery, with tokens of its own."""

ONE_CHAT = "19:0ne1111111111111@thread.v2"
ONE_CHANNEL = "19:0ne2222222222222@thread.tacv2"
IN_ONE_CHAT = f"/chats/{ONE_CHAT}/messages"
IN_ONE_CHANNEL = f"/teams/{TEAM}/channels/{ONE_CHANNEL}/messages"
IN_CHATS = "/chats/getAllMessages"
IN_CHANNELS = "/teams/getAllMessages"

_ENDS = ("refused", "dead_lettered", "retried", "delivered", "duplicates", "suspicious_tokens")
_names = count(1_700_000_000_000)


until = came_true
"""The function with which the tests of this package wait."""


@dataclass
class SecurityHarness:
    """The app on a queue of its own.

    `secret` mints clientStates, `key` is Graph's recipient, `home` the default tenant of items.
    """

    host: HostProcess
    feed: RunningFeed
    graph: GraphServer
    secret: bytes
    key: EncryptionKey
    queue: str
    http: httpx.Client = field(repr=False)
    home: str = TENANT

    def item(self, tenant: str | None = None, **changes: Any) -> dict[str, Any]:
        """Return a genuine item, a new message each time, with these changes."""
        return self.item_of(message(fresh_id()), tenant, **changes)

    def item_of(
        self, written: dict[str, Any], tenant: str | None = None, declared: str = IN_CHATS, **changes: Any
    ) -> dict[str, Any]:
        """Return the genuine item of a message, for a declared resource, with these changes."""
        tenant = tenant or self.home
        state = minted(tenant, declared, self.secret)
        return rich(written, self.key, **{"tenantId": tenant, "clientState": state, **changes})

    def mint(self, tenant: str | None = None) -> Mint:
        """The mint of tokens with the authority's own key, at the present time."""
        present = self.graph.simulator.keys.present
        return Mint(present.private_key, present.kid, tenant or self.home, CLIENT_ID, datetime.now(UTC))

    def token(self, tenant: str | None = None) -> str:
        """A genuine token."""
        return self.mint(tenant).token()

    def post(self, text: bytes) -> httpx.Response:
        """Post like Graph, with retries while storage is too slow for the answer."""
        for _ in range(10):
            answer = self.http.post("/api/notifications", content=text)
            if answer.status_code != 503:
                break
        return answer

    def get(self, path: str) -> httpx.Response:
        """Send a GET to the host."""
        return self.http.get(path)

    def ends(self) -> Counter[str]:
        """Return the count of items by outcome, as in `refused client_state`, since the host started."""
        found: Counter[str] = Counter()
        for point in self.get("/admin/metrics").json():
            name = point["name"].removeprefix("graph_relay.")
            if name in _ENDS:
                reason = point["attributes"].get("reason")
                found[f"{name} {reason}" if reason else name] += point["value"]
        return found

    def delivered(self) -> set[str]:
        """The ids of the messages at the destination."""
        return {content["data"].get("id", "") for content in self.feed.contents()}


def fresh_id() -> str:
    """Return an unused id of a message."""
    return str(next(_names))


def message_id(item: dict[str, Any]) -> str:
    """Return the id of an item's message."""
    return str(item["resource"]).rpartition("('")[2].removesuffix("')")


@contextmanager
def staged(
    directory: Path,
    azurite: Azurite,
    authority: Authority,
    graph: GraphServer,
    kind: type[HostProcess] = HostProcess,
    **changes: str,
) -> Iterator[SecurityHarness]:
    """Run a host with `changes` to its settings, and a feed."""
    secret, queue = secrets.token_bytes(32), f"q-{uuid.uuid4().hex[:12]}"
    key = KeyDirectory(directory / "keys").create(datetime.now(UTC))
    port = free_ports(1)[0]
    webhook = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
    with feed_server.running(webhook, directory / "feed.db") as feed:
        settings = {
            "AzureWebJobsStorage": azurite.connection_string,
            "FUNCTIONS_WORKER_RUNTIME": "python",
            "NOTIFICATION_QUEUE": queue,
            "GRAPH_TENANT_ID": TENANT,
            "GRAPH_CLIENT_ID": CLIENT_ID,
            "GRAPH_CLIENT_SECRET": graph.registration.client_secret,
            "GRAPH_BASE_URL": graph.url,
            "LOGIN_BASE_URL": graph.url,
            "REQUESTS_CA_BUNDLE": str(authority.ca),
            "NOTIFICATION_URL": f"https://127.0.0.1:{port}/api/notifications",
            "CLIENT_STATE_SECRET": base64.b64encode(secret).decode(),
            "SUBSCRIPTIONS": declarations(),
            "KEY_STORE": f"file:{directory / 'keys'}",
            "DESTINATION_URL": feed.events_url,
            "DESTINATION_SECRET": webhook,
            "RENEW_SCHEDULE": "0 0 0 1 1 *",
            **changes,
        }
        trust = ssl.create_default_context(cafile=authority.ca)
        with (
            kind(settings, log=directory / "host.log", authority=authority, port=port) as host,
            httpx.Client(base_url=host.url, verify=trust, timeout=60) as http,
        ):
            yield SecurityHarness(host, feed, graph, secret, key, queue, http)


def declarations() -> str:
    """All chats and all channels, and one chat and one channel."""
    resources = (IN_CHATS, IN_CHANNELS, IN_ONE_CHAT, IN_ONE_CHANNEL)
    return msgspec.json.encode(
        [
            {
                "resource": resource,
                "changeTypes": ["created", "updated"],
                "includeResourceData": True,
                "tenantId": tenant,
            }
            for resource in resources
            for tenant in (TENANT, OTHER_TENANT)
        ]
    ).decode()
