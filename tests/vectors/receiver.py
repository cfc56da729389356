"""The app as a reader of vectors: the outcome of each case in its own modules, in the terms of the manifest."""

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import requests
from requests.adapters import HTTPAdapter
from starlette.requests import Request

from graph_simulator.authority import Authority
from local.host.bindings import answer_of, value_of
from local.host.http import received, sent
from notify_http.function import notify_http
from notify_http.receive import receive
from process_queue.verify import Verifier
from shared import http_client
from shared.configuration.declaration import Declaration, Declarations
from shared.delivery.event import Event
from shared.errors import Reason, Refused, RelayError
from shared.graph.client import GraphClient
from shared.graph.notification import Collection, read_collection, read_notification
from shared.graph.signing_keys import SigningKeys
from shared.keys.directory import KeyDirectory
from shared.keys.ring import KeyRing
from shared.messages.account import Account
from shared.messages.envelope import ChangeBatch, read, write
from shared.messages.ingest import ExpectedRecipient, sort_items, validation_tokens
from shared.messages.packing import Sealed, pack_changes
from shared.readback.pings import Ping
from shared.storage.queues import Queues
from tests.builders import Clock
from tests.memory import account_of_items
from tests.process_queue.verification import READERS, hydration
from tests.servers import RecordedRequest, ScriptedResponse, in_json, serving
from tests.shared.graph.test_client import Bearer

LONG_AFTER = datetime(9999, 1, 1, tzinfo=UTC)
"""When an answer of Graph that contradicts a notification is believed."""

Case = dict[str, Any]
Outcome = dict[str, Any]


@dataclass(frozen=True)
class Vectors:
    """A set on disk."""

    directory: Path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return dict(json.loads(self.read("manifest.json")))

    def read(self, path: str) -> bytes:
        return (self.directory / path).read_bytes()

    def files(self) -> list[str]:
        """The paths of all files."""
        paths = (path for path in self.directory.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.directory).as_posix() for path in paths)


@dataclass
class App:
    """The app's modules, from the webhook to the event; only storage, which the webhook needs, is not from the set."""

    vectors: Vectors
    clock: Clock
    queues: Queues
    recipient: ExpectedRecipient
    account: Account
    verifier: Verifier

    def outcome(self, case: Case) -> Outcome:
        """Return the app's outcome of a case, in the form of `expected` in the manifest; plain texts as octets."""
        if case["request"]["body"] is None:
            return self._echo(case["request"])
        body, moment = self.vectors.read(case["request"]["body"]), datetime.fromisoformat(case["receivedAt"])
        # An unknown key may be newer than the last look: only a look after receipt decides.
        self.clock.now = moment + timedelta(minutes=1)
        status = receive(body, self.recipient, self.queues, moment, None, self.account).status
        try:
            collection = read_collection(body)
        except Refused:
            return {"status": status, "items": []}
        return {"status": status, "items": self._items(collection, moment)}

    def _echo(self, request: dict[str, Any]) -> Outcome:
        """Pass the query through the host's parser, and the answer through its writer."""
        scope = {
            "type": "http",
            "method": request["method"],
            "scheme": "https",
            "path": "/api/notifications",
            "raw_path": b"/api/notifications",
            "query_string": request["query"].encode(),
            "headers": [(b"host", b"localhost"), (b"content-type", request["contentType"].encode())],
        }
        call = received(Request(scope), b"")
        answer = sent(answer_of(notify_http.build().get_user_function()(value_of(call))))
        kind = answer.headers["content-type"].partition(";")[0]
        return {"status": answer.status_code, "contentType": kind, "body": bytes(answer.body)}

    def _items(self, collection: Collection, moment: datetime) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        passed: dict[int, Sealed] = {}
        for place, item in enumerate(collection.value):
            try:
                event = read_notification(item).lifecycle_event
            except Refused as refused:
                outcomes[place] = rejected(refused.reason)
                continue
            found = sort_items([item], self.recipient)
            if found.changes:
                passed[place] = found.changes[0]
            elif found.lifecycle:
                outcomes[place] = {"verdict": "accept", "lifecycleEvent": event}
            else:
                outcomes[place] = rejected(next(iter(found.refused)))
        batches: Sequence[ChangeBatch] = ()
        if passed:
            evidence = validation_tokens(collection)(dict.fromkeys(item.tenant for item in passed.values()))
            batches = pack_changes(passed.values(), evidence, moment, "")
        outcomes |= zip(passed, self._changes([read(write(batch)) for batch in batches]), strict=True)
        return [outcomes[place] for place in range(len(collection.value))]

    def _changes(self, batches: Sequence[object]) -> Iterator[Outcome]:
        known: set[str] = set()
        for batch in batches:
            assert isinstance(batch, ChangeBatch)
            verified = self.verifier.batch(batch)
            for item in batch.items:
                try:
                    event = verified.event(item)
                except RelayError as refused:
                    yield rejected(refused.reason)
                    continue
                if isinstance(event, Ping):  # of a drive or a list: its delta query is started
                    yield {"verdict": "accept"}
                    continue
                yield {"verdict": "duplicate"} if event.id in known else accepted(event)
                known.add(event.id)


def rejected(reason: Reason) -> Outcome:
    return {"verdict": "reject", "detail": str(reason)}


def accepted(event: Event) -> Outcome:
    return {"verdict": "accept"} | ({} if event.partial else {"plainText": bytes(event.data)})


def complaint(vectors: Vectors, expected: dict[str, Any], outcome: Outcome) -> str:
    """Return how an outcome differs from the manifest; "" if it does not."""
    if outcome["status"] not in expected["status"]:
        return f"answered {outcome['status']}"
    if "body" in expected:
        echoed = expected["contentType"] == outcome["contentType"] and vectors.read(expected["body"]) == outcome["body"]
        return "" if echoed else "another echo"
    if len(expected["items"]) != len(outcome["items"]):
        return f"{len(outcome['items'])} items"
    for place, (want, have) in enumerate(zip(expected["items"], outcome["items"], strict=True)):
        if not fits(vectors, want, have):
            return f"item {place}: {have['verdict']} {have.get('detail', '')}"
    return ""


def fits(vectors: Vectors, want: dict[str, Any], have: Outcome) -> bool:
    if want["verdict"] == "either":
        if have["verdict"] == "reject":
            return str(have["detail"]).startswith("token_")
        want = {**want, "verdict": "accept"}
    if want.get("reason") != reason_of(want.get("detail")):
        return False
    wanted = {name: value for name, value in want.items() if name != "reason"}
    if wanted.get("detail") == "resource":
        wanted["detail"] = Reason.CLIENT_STATE  # the app counts both as one: a clientState used for another resource
    if "plainText" in wanted:
        wanted["plainText"] = vectors.read(wanted["plainText"])
    return wanted == have


def reason_of(detail: str | None) -> str | None:
    """Return the reason that a receiver must report for a detail; independent of the generator."""
    if detail is None:
        return None
    coarse = {"tokens_null": "token", "key_unknown": "key", "client_state": "client_state"}
    kind = detail.partition("_")[0]
    return coarse.get(detail, kind if kind in ("token", "content") else detail)


class LoginAdapter(HTTPAdapter):
    """Sends requests for the login authority to a server with the published files of the set."""

    def __init__(self, login: str, url: str, trusted: Path) -> None:
        super().__init__()
        self._login = login
        self._url = url
        self._trusted = trusted

    def send(self, request: requests.PreparedRequest, *args: Any, **more: Any) -> requests.Response:
        assert request.url is not None
        request.url = request.url.replace(self._login, self._url)
        return super().send(request, *args, **{**more, "verify": str(self._trusted)})


@contextmanager
def running_app(vectors: Vectors, queues: Queues, authority: Authority, directory: Path) -> Iterator[App]:
    """Assemble the app from the content of a set."""
    manifest = vectors.manifest
    login = manifest["login"]["authority"]

    def published(request: RecordedRequest) -> ScriptedResponse:
        # The app reads items of a rich subscription without content; here the resource is gone.
        if request.path.startswith("/v1.0/"):
            return in_json({"error": {"code": "NotFound", "message": "gone"}}, 404)
        return ScriptedResponse(200, vectors.read(f"login{request.path}"), {"Content-Type": "application/json"})

    for key in manifest["encryptionKeys"]:
        pem = directory / f"{key['id']}.pem"
        pem.touch(mode=0o600)
        pem.write_bytes(vectors.read(key["privateKey"]) + vectors.read(key["certificate"]))
    clock = Clock()
    with serving(published, authority) as server, http_client.session() as session:
        for url in (login, server.url):
            session.mount(url, LoginAdapter(login, server.url, authority.ca))
        tenant = manifest["app"]["tenantId"]
        verifier = Verifier(
            tenant,
            manifest["app"]["clientId"],
            Declarations(declaration(subscription) for subscription in manifest["subscriptions"]),
            SigningKeys(login, session, clock),
            KeyRing(KeyDirectory(directory), clock),
            hydration(GraphClient(server.url, Bearer(), session, clock), Clock(LONG_AFTER)),
            READERS,
        )
        recipient = ExpectedRecipient(tenant, [base64.b64decode(manifest["clientStateSecret"])])
        yield App(vectors, clock, queues, recipient, account_of_items(), verifier)


def declaration(given: dict[str, Any]) -> Declaration:
    return msgspec.convert(
        {
            "resource": given["resource"],
            "changeTypes": given["changeType"].split(","),
            "includeResourceData": given["includeResourceData"],
            "tenantId": given["tenantId"],
        },
        Declaration,
    )
