"""A sender of events in place of the relay: builds events, signs batches and posts them."""

import base64
import itertools
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
from standardwebhooks import Webhook

TENANT = "c7d10000-0000-4000-8000-000000000001"
TEAM = "1a2b0000-0000-4000-8000-000000000002"
CHANNEL = "19:7c9e22f0@thread.tacv2"
CHAT = "19:9e4410aa@thread.v2"

_ids = itertools.count(1_800_000_000_000)


def new_secret() -> str:
    """Return a Standard Webhooks secret."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def chat_message(text: str = "Hello", author: str | None = "Ada Marsh", **fields: Any) -> dict[str, Any]:
    """Return a chatMessage of a chat (docs/graph.md, "Messages"); `html=` instead of `text` gives it an HTML body.

    Without an author it is a system message of Teams.
    """
    message_id = str(next(_ids))
    now = datetime.now(UTC).isoformat()
    html = fields.pop("html", None)
    return {
        "id": message_id,
        "replyToId": None,
        "etag": message_id,
        "messageType": "message",
        "createdDateTime": now,
        "lastModifiedDateTime": now,
        "lastEditedDateTime": None,
        "deletedDateTime": None,
        "subject": None,
        "chatId": CHAT,
        "channelIdentity": None,
        "importance": "normal",
        "from": author and {"user": {"id": f"id-of-{author}", "displayName": author}, "application": None},
        "body": {"contentType": "text" if html is None else "html", "content": text if html is None else html},
        "attachments": [],
        "mentions": [],
        "reactions": [],
        "policyViolation": None,
        "eventDetail": None,
    } | fields


def channel_message(text: str = "Hello", author: str | None = "Ada Marsh", **fields: Any) -> dict[str, Any]:
    """Return a chatMessage of a channel; `replyToId=` makes it a reply."""
    place = {"chatId": None, "channelIdentity": {"teamId": TEAM, "channelId": CHANNEL}}
    return chat_message(text, author, **place | fields)


def event(
    resource: dict[str, Any],
    change: str = "Created",
    *,
    revision: int = 0,
    age: timedelta = timedelta(),
    **attributes: Any,
) -> dict[str, Any]:
    """Return the event of a change to this message; a greater `revision` makes a later version."""
    source, subject = _place(resource)
    version = f"{int(resource['etag']):018d}.{revision:06d}"
    return {
        "specversion": "1.0",
        "id": f"{subject}:{version}",
        "source": f"/tenants/{TENANT}/{source}",
        "subject": subject,
        "type": f"Microsoft.Graph.ChatMessage{change}",
        "time": (datetime.now(UTC) - age).isoformat(),
        "datacontenttype": "application/json",
        "version": version,
        "data": resource,
    } | attributes


def _place(resource: dict[str, Any]) -> tuple[str, str]:
    own, root, channel = resource["id"], resource["replyToId"], resource["channelIdentity"]
    if channel is None:
        chat = resource["chatId"]
        return f"chats/{quote(chat, safe='')}/messages", f"chats/{chat}/messages/{own}"
    team, name = channel["teamId"], channel["channelId"]
    source = f"teams/{team}/channels/{quote(name, safe='')}/messages"
    subject = f"teams/{team}/channels/{name}/messages"
    if root is None:
        return source, f"{subject}/{own}"
    return f"{source}/{root}/replies", f"{subject}/{root}/replies/{own}"


class Sender:
    """Signs with its secret and posts to a feed."""

    def __init__(self, url: str, secret: str) -> None:
        self.url = url
        self._webhook = Webhook(secret)
        self._client = httpx.Client(timeout=30)

    def close(self) -> None:
        self._client.close()

    def send(self, *events: dict[str, Any]) -> httpx.Response:
        return self.send_body(json.dumps(events).encode())

    def send_body(self, body: bytes, **headers: str) -> httpx.Response:
        """Sign and post these bytes; `headers` (underscores for hyphens) override the default headers."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._client.post(f"{self.url}/events", content=body, headers=self._headers(body) | named)

    def _headers(self, body: bytes) -> dict[str, str]:
        now = datetime.now(UTC)
        message_id = secrets.token_hex(8)
        return {
            "content-type": "application/cloudevents-batch+json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(message_id, now, body.decode(errors="replace")),
        }
