"""Graph and a destination that persist when the process under test dies; they refuse like the originals."""

import json
import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from shared.keys.key import EncryptionKey, new_key
from tests.builders import Clock, encryption_key, message
from tests.servers import RecordedRequest, ScriptedResponse, in_json

GRAPH = "https://graph.crash.example"
RELAY, DESTINATION = "https://relay.crash.example/api/notifications", "https://destination.crash.example"

GROUP = "1a2b3c4d-0a0b-4c0d-8e0f-00000000000a"
"""A group whose members come and go."""

PLAINTEXT = "Nobody but the destination may read this"
"""Part of the content of each message."""


def error(status: int, code: str) -> ScriptedResponse:
    return in_json({"error": {"code": code, "message": f"{code}."}}, status)


@dataclass
class Graph:
    """Subscriptions, chat messages, users and a group.

    membership: changes of the group. unserved: resources whose last subscription was deleted.
    """

    clock: Clock
    subscriptions: dict[str, dict[str, Any]] = field(default_factory=dict)
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    users: list[dict[str, Any]] = field(default_factory=list)
    membership: list[dict[str, Any]] = field(default_factory=list)
    page_size: int = 2
    unserved: list[str] = field(default_factory=list)
    refuses_certificates: bool = False
    """Whether a PATCH with a certificate is refused: Microsoft's pages disagree (docs/graph.md, "Certificates")."""

    def answer(self, request: RecordedRequest) -> ScriptedResponse:
        if not request.headers.get("authorization", "").startswith("Bearer "):
            return error(401, "InvalidAuthenticationToken")
        url = urlsplit(request.path)
        path = unquote(url.path.removeprefix("/v1.0/"))
        if path.startswith("subscriptions"):
            self._expire()
            return self._subscription(request, path.partition("/")[2])
        if request.method != "GET":
            return error(405, "MethodNotAllowed")
        return self._resource(path, {name: values[0] for name, values in parse_qs(url.query).items()})

    def _subscription(self, request: RecordedRequest, subscription_id: str) -> ScriptedResponse:
        if request.method == "GET" and not subscription_id:
            return in_json({"value": [self._shown(subscription) for subscription in self.subscriptions.values()]})
        if request.method == "POST":
            return self._create(json.loads(request.body))
        held = self.subscriptions.get(subscription_id)
        if held is None:
            return error(404, "ResourceNotFound")
        if request.method == "DELETE":
            del self.subscriptions[subscription_id]
            if held["resource"] not in {subscription["resource"] for subscription in self.subscriptions.values()}:
                self.unserved.append(held["resource"])
            return ScriptedResponse(204)
        if request.method == "PATCH":
            wanted = json.loads(request.body)
            if self.refuses_certificates and "encryptionCertificate" in wanted:
                return error(400, "InvalidRequest")
            held |= wanted
        return in_json(self._shown(held))

    def _create(self, wanted: dict[str, Any]) -> ScriptedResponse:
        expires = datetime.fromisoformat(wanted["expirationDateTime"])
        if not self.clock() < expires <= self.clock() + timedelta(days=3):
            return error(400, "InvalidExpiration")
        if wanted.get("includeResourceData") and not wanted.get("encryptionCertificate"):
            return error(400, "MissingCertificate")
        for other in self.subscriptions.values():
            if (other["resource"], other["changeType"]) == (wanted["resource"], wanted["changeType"]):
                return error(409, "Conflict")
        made = {"id": str(uuid.uuid4()), **wanted}
        self.subscriptions[made["id"]] = made
        return in_json(self._shown(made), 201)

    def _shown(self, held: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in held.items() if name not in ("clientState", "encryptionCertificate")}

    def _expire(self) -> None:
        now = self.clock()
        self.subscriptions = {
            name: subscription
            for name, subscription in self.subscriptions.items()
            if datetime.fromisoformat(subscription["expirationDateTime"]) > now
        }

    def _resource(self, path: str, query: dict[str, str]) -> ScriptedResponse:
        parts = path.strip("/").split("/")
        if path.startswith("users/delta"):
            return self._page(self.users, f"{GRAPH}/v1.0/users/delta", query, delta=True)
        if parts[0] == "groups":
            return self._group(path, query)
        if path == "users":
            return in_json({"value": [{"id": "ada"}]})
        if path.endswith("chats/getAllMessages"):
            return self._page(list(self.messages.values()), f"{GRAPH}/v1.0/{path}", query, delta=False)
        if parts[0] == "users" and len(parts) == 2:
            found = next((user for user in self.users if user["id"] == parts[1]), None)
            return in_json(found) if found else error(404, "NotFound")
        found = self.messages.get(parts[-1])
        return in_json(found) if found else error(404, "NotFound")

    def _group(self, path: str, query: dict[str, str]) -> ScriptedResponse:
        if path == f"groups/{GROUP}/members":
            last = {change["id"]: change for change in self.membership}
            return in_json({"value": [change for change in last.values() if "@removed" not in change]})
        groups = [{"id": GROUP, "members@delta": [change]} for change in self.membership]
        return self._page(groups, f"{GRAPH}/v1.0/groups/delta", query, delta=True)

    def _page(self, entries: list[dict[str, Any]], url: str, query: dict[str, str], *, delta: bool) -> ScriptedResponse:
        if "$deltatoken" in query:
            first = int(query["$deltatoken"]) if query["$deltatoken"].isdigit() else len(entries)
        else:
            first = int(query.get("$skiptoken", 0))
        page: dict[str, Any] = {"value": entries[first : first + self.page_size]}
        if first + self.page_size < len(entries):
            page["@odata.nextLink"] = f"{url}?$skiptoken={first + self.page_size}"
        elif delta:
            page["@odata.deltaLink"] = f"{url}?$deltatoken={len(entries)}"
        return in_json(page)


@dataclass
class Receiver:
    """The destination: keeps accepted events, rejects chosen ones, and is unavailable for some requests.

    ids: the event ids by message id. accepted: how often each event id came.
    """

    rejects: frozenset[str] = frozenset()
    unavailable: int = 0
    ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    accepted: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def answer(self, request: RecordedRequest) -> ScriptedResponse:
        if "webhook-signature" not in request.headers:
            return ScriptedResponse(401)
        if self.unavailable:
            self.unavailable -= 1
            return ScriptedResponse(503)
        events = msgspec.json.decode(request.body)
        if any(self._name(event) in self.rejects for event in events):
            return ScriptedResponse(422)
        for event in events:
            self.ids[self._name(event)].add(event["id"])
            self.accepted[event["id"]] += 1
        return ScriptedResponse(204)

    def _name(self, event: dict[str, Any]) -> str:
        return str(event["subject"]).rpartition("/")[2]


class KeysInMemory:
    """A key store that persists when the process dies."""

    def __init__(self, keys: Iterable[EncryptionKey] = (encryption_key("enc-1"),)) -> None:
        self.keys = {key.key_id: key for key in keys}
        self.retired: set[str] = set()

    def ids(self) -> list[str]:
        return sorted(self.keys.keys() - self.retired)

    def get(self, key_id: str) -> EncryptionKey | None:
        return self.keys.get(key_id) if key_id not in self.retired else None

    def create(self, now: datetime) -> EncryptionKey:
        key = made_key(f"enc-{len(self.keys) + 1}", now)
        self.keys[key.key_id] = key
        return key

    def retire(self, key_id: str) -> None:
        self.retired.add(key_id)


_made: dict[tuple[str, datetime], EncryptionKey] = {}


def made_key(key_id: str, now: datetime) -> EncryptionKey:
    """Return a key with that name and age, from a cache: creating one is slow, and hundreds of runs use the same
    keys.
    """
    if (key_id, now) not in _made:
        _made[key_id, now] = new_key(key_id, now, timedelta(days=365))
    return _made[key_id, now]


def written(message_id: str) -> dict[str, Any]:
    """Return a message, as Graph returns it."""
    return message(message_id, body={"contentType": "text", "content": PLAINTEXT})
