"""Graph with lists of members, within the process, and instances of the app."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import unquote

import requests

from renew_timer.run import RenewalRun
from shared.configuration.declaration import Declaration
from shared.configuration.settings import Settings
from shared.relay import Relay
from shared.subscriptions.wait_budget import WaitBudget
from tests.builders import Clock, environment
from tests.in_process import InProcess
from tests.memory import MemoryAccount
from tests.servers import RecordedRequest, ScriptedResponse, in_json
from tests.stand_ins.entra import entra

URL = "https://graph.example"
GROUP = "1a2b3c4d-0a0b-4c0d-8e0f-000000000001"
USER = "#microsoft.graph.user"
Change = tuple[str, bool]
"""A member, and whether it left."""


def person(number: int) -> str:
    """Return the id of a user."""
    return f"5d000000-0a0b-4c0d-8e0f-{number:012d}"


@dataclass
class MemberLists:
    """lists: by path below /v1.0/, the content of Graph's list, or its answer instead. changes: the result of the
    group's next delta query; None: Graph no longer accepts the link.
    """

    settings: dict[str, str]
    clock: Clock = field(default_factory=Clock)
    lists: dict[str, list[dict[str, str]] | ScriptedResponse] = field(default_factory=dict)
    changes: list[Change] | None = field(default_factory=list)
    subscriptions: dict[str, dict[str, Any]] = field(default_factory=dict)
    made: int = 0
    account: MemoryAccount = field(init=False)
    graph: InProcess = field(init=False)
    app: Relay = field(init=False)

    def __post_init__(self) -> None:
        self.account = MemoryAccount(self.clock)
        self.graph = InProcess(self._answer, self.clock)

    @staticmethod
    def with_templates(directory: Path, *entries: dict[str, Any], **settings: str) -> "MemberLists":
        """Return Graph and an app with these declarations."""
        whole = [{"changeTypes": ["created"], **entry} for entry in entries]
        own = {
            "SUBSCRIPTIONS": json.dumps(whole),
            "KEY_STORE": f"file:{directory / 'keys'}",
            "GRAPH_BASE_URL": URL,
            "LOGIN_BASE_URL": URL,
            "NOTIFICATION_URL": f"{URL}/api/notifications",
        }
        found = MemberLists(environment(**(own | settings)))
        found.app = found.instance()
        return found

    def instance(self, **settings: str) -> Relay:
        """Start an instance of the app."""
        session: requests.Session = self.graph.mounted(URL)
        return Relay(
            Settings.from_environment(self.settings | settings),
            self.account.clients(),
            clock=self.clock,
            session=session,
            random=Random(1),
        )

    def put(self, path: str, members: Iterable[str], type_: str = USER) -> None:
        """Set the content of Graph's list."""
        self.lists[path] = [{"@odata.type": type_, "id": member_id} for member_id in members]

    def group(self, *numbers: int) -> None:
        """Set the users that Graph lists as members of the group."""
        self.put(f"groups/{GROUP}/members", map(person, numbers))

    def refresh(self, minutes: float = 0) -> list[str]:
        """Run the first step of the timer after some minutes; return the declared resources."""
        self.clock.advance(minutes=minutes)
        self.app.declarations.refresh()
        return sorted(declaration.resource for declaration in self.app.declarations)

    def run(self, minutes: float = 0) -> None:
        """Run the timer, after some minutes."""
        self.clock.advance(minutes=minutes)
        RenewalRun(self.app, WaitBudget.none())()

    def watched(self) -> list[str]:
        """Return the resources with subscriptions at Graph."""
        return sorted(subscription["resource"] for subscription in self.subscriptions.values())

    def asked(self) -> list[str]:
        """Return the paths of Graph's requests since the last call, without those of subscriptions."""
        paths = [
            request.path.removeprefix("/v1.0/") for request in self.graph.asked if request.path.startswith("/v1.0/")
        ]
        self.graph.asked.clear()
        return [path for path in paths if not path.startswith(("subscriptions", "applications"))]

    def template(self) -> Declaration:
        (template,) = self.app.declarations.templates
        return template

    def _answer(self, request: RecordedRequest) -> ScriptedResponse:
        found = entra(request, URL)
        if found is not None:
            return found
        path, _, query = request.path.removeprefix("/v1.0/").partition("?")
        if path.startswith("/api/notifications"):
            token = unquote(query.partition("validationToken=")[2].partition("&")[0])
            return ScriptedResponse(200, token.encode(), {"Content-Type": "text/plain"})
        if path.startswith("subscriptions"):
            return self._subscriptions(request, path)
        if path.endswith("/delta"):
            return self._delta(path, query)
        listed = self.lists.get(unquote(path), ScriptedResponse(404))
        return listed if isinstance(listed, ScriptedResponse) else in_json({"value": listed})

    def _delta(self, path: str, query: str) -> ScriptedResponse:
        link = {"@odata.deltaLink": f"{URL}/v1.0/{path}?$deltatoken=next"}
        if "deltatoken=latest" in query.lower():
            return in_json({"value": [], **link})
        if self.changes is None:
            self.changes = []
            return in_json({"error": {"code": "syncStateNotFound", "message": "start over"}}, 410)
        changes = [
            {"@odata.type": USER, "id": member_id, **({"@removed": {"reason": "deleted"}} if gone else {})}
            for member_id, gone in self.changes
        ]
        self.changes = []
        entries = [{"id": GROUP, "members@delta": changes}] if path.startswith("groups") and changes else changes
        return in_json({"value": entries, **link})

    def _subscriptions(self, request: RecordedRequest, path: str) -> ScriptedResponse:
        name = path.partition("/")[2]
        if request.method == "POST":
            self.made += 1
            made = json.loads(request.body) | {"id": f"00000000-0a0b-4c0d-8e0f-{self.made:012d}"}
            self.subscriptions[made["id"]] = made
            return in_json(made, 201)
        if request.method == "DELETE":
            del self.subscriptions[name]
            return ScriptedResponse(204)
        if request.method == "PATCH":
            self.subscriptions[name] |= json.loads(request.body)
            return in_json(self.subscriptions[name])
        return in_json(self.subscriptions[name] if name else {"value": list(self.subscriptions.values())})
