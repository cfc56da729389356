"""The whole flow, along every error path, with marks in all confidential texts; and everything that was written."""

import base64
import json
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from local.azurite import Azurite
from local.ports import free_ports
from tests.builders import TENANT, armoured, body, change, encrypted, lifecycle, message
from tests.security.harness import SecurityHarness, fresh_id, until
from tests.security.talkative_host import TalkativeHost
from tests.servers import RecordedRequest, ScriptedResponse, Server

THROTTLED = b'" 429 '
"""The log's text for such an answer."""


@dataclass
class Written:
    """Everything that was written, by place; the marks, by meaning; and the outcomes of items."""

    places: dict[str, bytes] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)
    keys: dict[str, bytes] = field(default_factory=dict)
    """The app's secrets, which must appear nowhere."""
    proofs: dict[str, bytes] = field(default_factory=dict)
    """What Graph's items carry in the clear: the queue holds it as received, and no other place may."""
    ends: Counter[str] = field(default_factory=Counter)

    def text(self, name: str) -> str:
        """A new marked text."""
        mark = f"mark-{secrets.token_hex(12)}"
        self.texts[name] = mark.encode()
        return f"Grüße, {mark}!"

    def text_in_the_clear(self, name: str) -> str:
        """A new marked text that is not encrypted in notifications."""
        text = self.text(name)
        self.proofs[name] = self.texts.pop(name)
        return text

    def found(self, marks: dict[str, bytes], places: dict[str, bytes]) -> list[str]:
        """The places of a mark, as it is or in Base64."""
        return [
            f"{name} in {place}"
            for place, content in places.items()
            for name, mark in marks.items()
            if any(form in content for form in forms(mark))
        ]


def forms(mark: bytes) -> list[bytes]:
    """A mark as it is, and its invariant part in Base64 at each offset."""
    return [mark, *(base64.b64encode(bytes(shift) + mark)[4 if shift else 0 : -8] for shift in range(3))]


class Destination:
    """A destination with scripted answers that repeats its request, as verbose services do."""

    def __init__(self) -> None:
        self.status = 204
        self.taken = b""

    def __call__(self, request: RecordedRequest) -> ScriptedResponse:
        self.taken += request.body
        return ScriptedResponse(self.status, request.body, {"Location": "/elsewhere"} if self.status == 302 else {})


def note_keys(found: Written, harness: SecurityHarness, azurite: Azurite) -> None:
    settings = harness.host.settings
    found.keys |= {
        "GRAPH_CLIENT_SECRET": settings["GRAPH_CLIENT_SECRET"].encode(),
        "CLIENT_STATE_SECRET": settings["CLIENT_STATE_SECRET"].encode(),
        "DESTINATION_SECRET": settings["DESTINATION_SECRET"].removeprefix("whsec_").encode(),
        "AzureWebJobsStorage": azurite.connection_string.partition("AccountKey=")[2].partition(";")[0].encode(),
    }
    (pem,) = Path(settings["KEY_STORE"].removeprefix("file:")).glob("*.pem")
    found.keys["the encryption key"] = pem.read_bytes().splitlines()[2]


@dataclass
class LeakScenario:
    """Takes every path, with a marked text on each."""

    harness: SecurityHarness
    destination: Destination
    server: Server
    azurite: Azurite
    log: Path
    found: Written

    def success(self) -> None:
        """Pushed with content and without, repeated, by Graph itself and by the test."""
        self.timer()
        assert until(lambda: self.harness.graph.get("summary")["subscriptions"] > 0)
        self.harness.graph.post("messages", text=self.found.text("a message that Graph pushed"))
        item = self.item("a message that was pushed")
        self.post(item, item)
        clear = self.found.text_in_the_clear("what Graph says of a resource")
        state = self.harness.item()["clientState"]
        self.post(change(changeType="deleted", resourceData={"id": "1", "topic": clear}, clientState=state))
        self.ends("delivered", 3)
        for name in ("a message that Graph pushed", "a message that was pushed"):
            assert until(partial(self.arrived, name))

    def readback(self) -> None:
        """Messages that Graph dropped are read back, once Graph reports a removed subscription."""
        graph = self.harness.graph
        graph.post("faults", drop=1.0)
        graph.post("messages", text=self.found.text("a message that was read back"))
        graph.post("clock", advance_seconds=600)
        graph.post("faults", drop=0.0)
        for subscription in list(graph.simulator.subscriptions):
            graph.post("lifecycle", subscriptionId=subscription.id, event="subscriptionRemoved")
        assert until(partial(self.arrived, "a message that was read back"))

    def refusals(self) -> None:
        """Unproven items, with marks in everything that is in the clear."""
        harness, mark = self.harness, self.found.text
        self.post({**harness.item(clientState=mark("a wrong clientState")), "resource": mark("a stranger's resource")})
        self.post(lifecycle(clientState=mark("a stranger's clientState"), lifecycleEvent=mark("an event")))
        self.post(harness.item(subscriptionId=7, changeType=mark("a malformed item")))
        self.post(self.item("a message without a token"), tokens=[])
        for name in ("aud", "azp", "iss"):
            token = harness.mint().token(**{name: self.found.text_in_the_clear(f"a token's {name}")})
            self.found.proofs[f"a token with another {name}"] = token.encode()
            self.post(self.item(f"a message behind another {name}"), tokens=[token])
        self.raw(f'{{"value": {{"{mark("a body that is none")}'.encode())
        self.raw(mark("a body that is no JSON").encode("utf-16"))
        self.ends("refused", 8)
        answer = harness.http.get("/api/notifications", params={"x": mark("a query")})
        self.found.places["answer to a GET"] = answer.content

    def undeliverable(self) -> None:
        """Proven items that cannot be decrypted, or decrypt to something else than a resource."""
        broken = self.item("a message with a wrong signature")
        broken["encryptedContent"]["dataSignature"] = encrypted(b"x")["dataSignature"]
        words = self.harness.item()
        words["encryptedContent"] = encrypted(self.found.text("content that is no JSON").encode(), self.harness.key)
        lists = self.harness.item()
        lists["encryptedContent"] = encrypted(
            json.dumps({"id": [self.found.text("content of another type")]}).encode(), self.harness.key
        )
        self.post(broken, words, lists)
        self.ends("dead_lettered", 3)
        key_file = Path(self.harness.host.settings["KEY_STORE"].removeprefix("file:")) / "broken.pem"
        key_file.write_text(armoured(self.found.text("a key that is none")))
        key_file.chmod(0o600)
        self.timer()

    def destination_fails(self) -> None:
        """The destination rejects, fails, redirects, is gone, and repeats its request."""
        for status in (400, 422):
            self.destination.status = status
            self.post(self.item(f"a message that was answered {status}"))
            self.ends("retried destination_rejects", 1)
        for status in (500, 302, 401):
            self.destination.status = status
            before = len(self.server.asked)
            self.post(self.item(f"a message that was answered {status}"))
            assert until(partial(self.asked_more_than, before))
        self.ends("retried destination", 1)
        self.ends("retried destination_error", 1)
        self.destination.status = 204

    def graph_fails(self) -> None:
        """Graph is unavailable, refuses, and throttles for a while."""
        graph = self.harness.graph
        graph.post("faults", unavailable=["graph"])
        self.timer()
        graph.post("faults", unavailable=[])
        graph.post("consent", tenant=TENANT, granted=False)
        self.timer()
        graph.post("consent", tenant=TENANT, granted=True)
        graph.post("faults", throttle=1.0, retry_after=1)
        with self.timer_run():
            assert until(lambda: THROTTLED in self.log.read_bytes())
            graph.post("faults", throttle=0.0)

    def login_fails(self) -> None:
        """Entra is unavailable when a new access token is needed."""
        graph = self.harness.graph
        login = graph.simulator.login
        self.found.keys |= {f"old access token {n}": token.encode() for n, token in enumerate(login._tokens)}
        login._tokens.clear()
        graph.post("faults", unavailable=["login"])
        self.timer()
        graph.post("faults", unavailable=[])

    def storage_fails(self) -> None:
        """Storage becomes unavailable during every action."""
        item = self.item("a message that came while storage was away")
        self.azurite.stop()
        answer = self.harness.http.post("/api/notifications", content=body(item, tokens=[self.harness.token()]))
        assert answer.status_code == 503
        self.found.places["answer without storage"] = answer.content + str(answer.headers).encode()
        self.timer()
        self.azurite.start()
        self.post(item)
        assert until(partial(self.arrived, "a message that came while storage was away"))

    def arrived(self, name: str) -> bool:
        return self.found.texts[name] in self.destination.taken

    def asked_more_than(self, times: int) -> bool:
        return len(self.server.asked) > times

    def item(self, name: str) -> dict[str, Any]:
        """A genuine item of a message that is marked in its text, its title and its author."""
        marked = {
            "body": {"contentType": "text", "content": self.found.text(name)},
            "subject": self.found.text(f"subject of {name}"),
            "from": {"user": {"id": "5d", "displayName": self.found.text(f"author of {name}")}},
        }
        item = self.harness.item_of(message(fresh_id(), **marked))
        self.found.proofs[f"clientState of {name}"] = item["clientState"].encode()
        return item

    def post(self, *items: object, tokens: list[str] | None = None) -> None:
        tokens = [self.harness.token()] if tokens is None else tokens
        self.found.proofs |= {f"token {token[-8:]}": token.encode() for token in tokens}
        self.raw(body(*items, tokens=tokens))

    def raw(self, text: bytes) -> None:
        answer = self.harness.post(text)
        assert answer.status_code in (202, 400)
        self.found.places[f"answer {len(self.found.places)}"] = answer.content + str(answer.headers).encode()

    def ends(self, name: str, least: int) -> None:
        """Wait until so many items have this outcome."""
        assert until(
            lambda: sum(n for end, n in self.harness.ends().items() if f"{end} ".startswith(f"{name} ")) >= least
        ), f"{name}: {dict(self.harness.ends())}"

    def timer(self) -> None:
        """Run renew_timer, and wait for the end of its run."""
        with self.timer_run():
            pass

    @contextmanager
    def timer_run(self) -> Iterator[None]:
        """Start a run of renew_timer; on exit, wait for its end."""
        before = self.log.read_bytes().count(b"Executed 'Functions.renew_timer'")
        self.harness.http.post("/admin/functions/renew_timer", json={"input": ""}).raise_for_status()
        yield
        assert until(lambda: self.log.read_bytes().count(b"Executed 'Functions.renew_timer'") > before)


WRONG = {
    "GRAPH_TENANT_ID": "{}",
    "GRAPH_CLIENT_ID": "{}",
    "GRAPH_CLOUD": "{}",
    "GRAPH_BASE_URL": "https://user:{}@graph.example.org",
    "LOGIN_BASE_URL": "ftp://{}",
    "NOTIFICATION_URL": "http://{}",
    "CLIENT_STATE_SECRET": "{}",
    "KEY_STORE": "{}",
    "KEY_ROTATION_DAYS": "{}",
    "DESTINATION_URL": "http://user:{}@feed.example.org/",
    "DESTINATION_SECRET": "whsec_{}",
    "DELIVERY_HORIZON_HOURS": "{}",
    "AzureWebJobsStorage": "AccountKey={}",
}


def _holds(file: Path, text: bytes) -> bool:
    return text in file.read_bytes()


def wrong_settings(directory: Path, harness: SecurityHarness, found: Written) -> None:
    """Settings have marked values that are invalid, with and without those of storage."""
    wrong = {}
    for name, form in WRONG.items():
        found.text(name)
        wrong[name] = form.format(found.texts[name].decode())
    harness.post(body(harness.item(), tokens=[harness.token()]))
    for number, kept in enumerate(((), ("AzureWebJobsStorage",))):
        settings = {**harness.host.settings, **wrong, **{name: harness.host.settings[name] for name in kept}}
        log = directory / f"wrong-{number}.log"
        with TalkativeHost(settings, log=log, port=free_ports(1)[0]) as host:
            answer = httpx.post(f"{host.url}/api/notifications", content=body(harness.item(), tokens=[]))
            assert answer.status_code == 503
            found.places[f"answer with wrong settings {number}"] = answer.content + str(answer.headers).encode()
            httpx.post(f"{host.url}/admin/functions/renew_timer", json={"input": ""}).raise_for_status()
            assert until(partial(_holds, log, b"Executed 'Functions.renew_timer'"))
        found.places[f"log with wrong settings {number}"] = log.read_bytes()
