"""The whole app, on storage in memory, with the simulator: mail, calendars, contacts, tasks, drives, lists, users.

A pushed, a hydrated and a swept resource have one identity, with one event id for each version.
"""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
import requests

from graph_simulator.authority import Authority
from graph_simulator.server import GraphServer, Registration, running
from notify_http.receive import receive
from process_queue.handler import MessageHandler
from renew_timer.run import RenewalRun
from shared.configuration.settings import Settings
from shared.keys.directory import KeyDirectory
from shared.relay import Relay
from shared.storage.queues import Queue
from shared.subscriptions.wait_budget import WaitBudget
from tests.builders import NOW, Clock, environment
from tests.memory import MemoryAccount
from tests.servers import RecordedRequest, ScriptedResponse, serving
from tests.waiting import eventually

ALL = ["created", "updated", "deleted"]


@dataclass
class Whole:
    """The app and the simulator, on one clock."""

    graph: GraphServer
    clock: Clock
    account: MemoryAccount = field(default_factory=MemoryAccount)
    events: list[dict[str, Any]] = field(default_factory=list)
    posts: list[bytes] = field(default_factory=list)
    relay: Relay | None = None

    @property
    def app(self) -> Relay:
        assert self.relay is not None
        return self.relay

    @property
    def person(self) -> dict[str, Any]:
        found: dict[str, Any] = self.graph.get("people")[0]
        return found

    def hold(self, kind: str, **order: Any) -> dict[str, Any]:
        made: dict[str, Any] = self.graph.post("resources", kind=kind, **order)
        return made

    def tick(self, meanwhile: Callable[["Whole"], object] = lambda _: None) -> None:
        """Run `renew_timer` once, and handle the messages that it enqueues after what happens `meanwhile`."""
        RenewalRun(self.app, WaitBudget.none())()
        meanwhile(self)
        self.settle()

    def settle(self, **time: float) -> None:
        """Advance the time, let Graph deliver, and handle the due messages."""
        self.clock.advance(**time)
        self.graph.post("clock", advance_seconds=0)
        eventually(lambda: self.graph.get("summary")["pending"] == 0)
        while received := self.account.queues.receive(Queue.NOTIFICATIONS, timedelta(minutes=5)):
            for message in received:
                MessageHandler(self.app).handle_message(message.text)
                self.account.queues.delete(message)

    def sweep(self) -> None:
        """Record a suspected gap of every declaration, and read it back."""
        for declaration in self.app.declarations:
            self.app.sweep.suspect_gap(declaration, self.clock())
        self.clock.advance(seconds=1)
        self.app.sweep.start(self.app.declarations, (), self.clock())
        self.settle()

    def delivered(self) -> list[tuple[str, str]]:
        return [(event["type"].removeprefix("Microsoft.Graph."), event["subject"]) for event in self.events]

    def dead(self) -> list[str]:
        return self.account.queues.texts(Queue.DEAD_LETTERS)


@contextmanager
def declared(
    directory: Path,
    authority: Authority,
    session: requests.Session,
    make: Callable[[Whole], list[dict[str, Any]]],
    meanwhile: Callable[[Whole], object],
) -> Iterator[Whole]:
    """Run the app with declarations for the tenant's content, subscribed. See `Whole.tick`."""
    clock = Clock(NOW)
    registration = Registration(str(uuid.uuid4()), str(uuid.uuid4()), uuid.uuid4().hex)
    with running(authority, registration, clock=clock) as graph:
        graph.post("faults", answer_seconds=60, repeat_answer_seconds=60, validation_seconds=60)
        whole = Whole(graph, clock, MemoryAccount(clock))

        def hook(request: RecordedRequest) -> ScriptedResponse:
            if token := parse_qs(urlsplit(request.path).query).get("validationToken"):
                return ScriptedResponse(200, token[0].encode(), {"Content-Type": "text/plain"})
            whole.posts.append(request.body)
            app = whole.app
            answer = receive(request.body, app.recipient, app.acknowledging, clock(), app.paths, app.account)
            return ScriptedResponse(answer.status)

        def take(request: RecordedRequest) -> ScriptedResponse:
            whole.events += json.loads(request.body)
            return ScriptedResponse(204)

        with serving(hook, authority) as endpoint, serving(take) as destination:
            settings = environment(
                SUBSCRIPTIONS=msgspec.json.encode(make(whole)).decode(),
                GRAPH_TENANT_ID=registration.tenant,
                GRAPH_CLIENT_ID=registration.client_id,
                GRAPH_CLIENT_SECRET=registration.client_secret,
                NOTIFICATION_URL=f"{endpoint.url}/api/notifications",
                KEY_STORE=f"file:{directory / 'keys'}",
                GRAPH_BASE_URL=graph.url,
                LOGIN_BASE_URL=graph.url,
                DESTINATION_URL=destination.url,
            )
            whole.relay = Relay(
                Settings.from_environment(settings),
                whole.account.clients(),
                clock=clock,
                session=session,
                key_store=KeyDirectory(directory / "keys"),
            )
            whole.tick(meanwhile)
            yield whole


class Start(Protocol):
    """Starts the app with declarations, subscribed; see `Whole.tick`."""

    def __call__(
        self, make: Callable[[Whole], list[dict[str, Any]]], meanwhile: Callable[[Whole], object] = lambda _: None
    ) -> Whole: ...


@pytest.fixture
def start(
    tmp_path: Path, authority: Authority, session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Start]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.ca))
    opened: list[Any] = []

    def starting(
        make: Callable[[Whole], list[dict[str, Any]]], meanwhile: Callable[[Whole], object] = lambda _: None
    ) -> Whole:
        opened.append(declared(tmp_path, authority, session, make, meanwhile))
        whole: Whole = opened[0].__enter__()
        return whole

    yield starting
    for system in opened:
        system.__exit__(None, None, None)


def declaring(resource: str, types: list[str] | None = None, **options: Any) -> Callable[[Whole], list[dict[str, Any]]]:
    """A declaration of a resource; `{id}` and `{userPrincipalName}` are those of a user."""
    return lambda whole: [{"resource": resource.format(**whole.person), "changeTypes": types or ALL, **options}]


@pytest.mark.parametrize(
    ("resource", "kind", "container", "subject"),
    [
        ("/users/{id}/messages", "message", "inbox", "users/{id}/messages"),
        ("/users/{userPrincipalName}/messages", "message", "inbox", "users/{id}/messages"),
        ("/users/{id}/mailFolders('inbox')/messages", "message", "inbox", "users/{id}/messages"),
        ("/users/{userPrincipalName}/events", "event", "calendar", "users/{id}/events"),
        ("/users/{id}/contactFolders/f/contacts", "contact", "f", "users/{id}/contacts"),
        ("/users/{id}/todo/lists/l/tasks", "todoTask", "l", "users/{id}/todo/lists/l/tasks"),
    ],
)
def test_pushed_hydrated_and_swept_it_is_one_resource_with_one_id_a_version(
    start: Start, resource: str, kind: str, container: str, subject: str
) -> None:
    whole = start(declaring(resource, hydrate=True))
    person = whole.person
    made = whole.hold(kind, owner=f"users/{person['id']}", container=container, fields={"subject": "a"})
    whole.settle()
    whole.hold(kind, owner=f"users/{person['id']}", container=container, id=made["id"], fields={"subject": "b"})
    whole.settle()
    named = f"{subject.format(**person)}/{made['id']}"
    pushed = [event["id"] for event in whole.events]
    assert {event["subject"] for event in whole.events} == {named}
    assert [event["data"]["subject"] for event in whole.events] == ["a", "b"]
    assert [event["version"] for event in whole.events] == sorted(event["version"] for event in whole.events)
    whole.sweep()
    assert [event["id"] for event in whole.events] == pushed
    whole.hold(kind, id=made["id"], delete=True)
    whole.settle()
    whole.sweep()
    assert {event["subject"] for event in whole.events} == {named}
    assert max(whole.events, key=lambda event: str(event["version"]))["type"].endswith("Deleted")
    assert whole.dead() == []


@pytest.mark.parametrize(
    ("resource", "kind", "owner", "subject"),
    [
        ("/drives/b1/root", "driveItem", "drives/b1", "drives/b1/items"),
        ("/sites/h,1,2/drives/b1/root", "driveItem", "drives/b1", "drives/b1/items"),
        ("/sites/h,1,2/lists/l", "listItem", "sites/h,1,2/lists/l", "sites/h,1,2/lists/l/items"),
    ],
)
@pytest.mark.parametrize("hydrate", [True, False])
def test_files_and_list_items_arrive_within_a_minute_and_the_ping_is_no_event(
    start: Start, resource: str, kind: str, owner: str, subject: str, hydrate: bool
) -> None:
    whole = start(declaring(resource, ["updated"], hydrate=hydrate))
    made = whole.hold(kind, owner=owner, fields={"name": "a"})
    whole.settle()
    whole.settle(seconds=10)
    assert [(event["subject"], event["data"]["name"]) for event in whole.events] == [(f"{subject}/{made['id']}", "a")]
    whole.hold(kind, id=made["id"], delete=True)
    whole.settle()
    whole.settle(minutes=1)
    assert [kind[:1].upper() + kind[1:] + change for change in ("Created", "Deleted")] == [
        name for name, _ in whole.delivered()
    ]


@pytest.mark.parametrize(
    ("resource", "kind", "owner"),
    [
        ("/drives/b1/root", "driveItem", "drives/b1"),
        ("/sites/h,1,2/lists/l", "listItem", "sites/h,1,2/lists/l"),
    ],
)
def test_what_changes_in_a_drive_or_list_before_its_first_query_arrives(
    start: Start, resource: str, kind: str, owner: str
) -> None:
    """The subscription exists, and the first query waits in the queue."""
    from_before: list[str] = []

    def make(whole: Whole) -> list[dict[str, Any]]:
        from_before.extend(whole.hold(kind, owner=owner, fields={"name": name})["id"] for name in ("kept", "deleted"))
        whole.clock.advance(days=1)
        return declaring(resource, ["updated"])(whole)

    def meanwhile(whole: Whole) -> None:
        whole.clock.advance(seconds=1)
        whole.hold(kind, owner=owner, id="new", fields={"name": "new"})
        whole.hold(kind, id=from_before[1], delete=True)

    whole = start(make, meanwhile)
    whole.settle(minutes=2)
    changed = [(event["type"].rpartition(kind[1:])[2], event["data"]["id"]) for event in whole.events]
    assert sorted(changed) == [("Created", "new"), ("Deleted", from_before[1])]


@pytest.mark.parametrize(
    ("resource", "kind", "owner", "container"),
    [
        ("/users/{id}/mailFolders/inbox/messages", "message", "users/{id}", "inbox"),
        ("/users/{id}/contactFolders/f/contacts", "contact", "users/{id}", "f"),
        ("/users/{id}/todo/lists/l/tasks", "todoTask", "users/{id}", "l"),
        ("/users/{id}/messages", "message", "users/{id}", "inbox"),
        ("/groups", "group", None, None),
        ("/users", "user", None, None),
    ],
)
def test_a_notification_missed_before_the_first_query_is_read_back(
    start: Start, resource: str, kind: str, owner: str | None, container: str | None
) -> None:
    def one(whole: Whole) -> str:
        placed = {"owner": owner.format(**whole.person), "container": container} if owner else {}
        made: str = whole.hold(kind, fields={"displayName": "a"}, **placed)["id"]
        return made

    made: list[str] = []

    def make(whole: Whole) -> list[dict[str, Any]]:
        one(whole)
        whole.clock.advance(days=1)
        return declaring(resource, ["updated", "deleted"] if owner is None else None, hydrate=True)(whole)

    def meanwhile(whole: Whole) -> None:
        whole.clock.advance(seconds=1)
        whole.graph.post("faults", drop=1)
        made.append(one(whole))

    whole = start(make, meanwhile)
    whole.settle(minutes=15)
    whole.sweep()
    assert [event["data"]["id"] for event in whole.events] == made


def test_a_missed_notification_of_a_mailbox_is_read_back(start: Start) -> None:
    whole = start(declaring("/users/{id}/messages", hydrate=True))
    whole.graph.post("faults", drop=1)
    made = whole.hold("message", owner=f"users/{whole.person['id']}", container="inbox")
    whole.settle()
    assert whole.events == []
    (subscription,) = whole.graph.get("subscriptions")
    whole.settle(seconds=1)
    whole.graph.post("lifecycle", subscriptionId=subscription["id"], event="missed")
    whole.settle()
    assert [event["data"]["id"] for event in whole.events] == [made["id"]]


def test_a_mail_that_a_rule_moves_is_not_deleted(start: Start) -> None:
    whole = start(declaring("/users/{id}/messages", hydrate=True))
    owner = f"users/{whole.person['id']}"
    made = whole.hold("message", owner=owner, container="inbox")
    whole.settle()
    whole.hold("message", owner=owner, container="archive", id=made["id"])
    whole.settle()
    whole.sweep()
    assert {subject for _, subject in whole.delivered()} == {f"{owner}/messages/{made['id']}"}
    assert {event["data"]["parentFolderId"] for event in whole.events} == {"inbox", "archive"}


@pytest.mark.parametrize(
    ("kind", "folders", "first", "second"),
    [("message", "mailFolders", "inbox", "archive"), ("contact", "contactFolders", "f1", "f2")],
)
@pytest.mark.parametrize("both", [True, False], ids=["both folders", "one folder"])
def test_what_is_moved_out_of_a_folder_is_not_deleted(
    start: Start, kind: str, folders: str, first: str, second: str, both: bool
) -> None:
    def make(whole: Whole) -> list[dict[str, Any]]:
        watched = (first, second) if both else (first,)
        paths = [f"/users/{{id}}/{folders}/{folder}/{kind}s" for folder in watched]
        return [declaration for path in paths for declaration in declaring(path, hydrate=True)(whole)]

    whole = start(make)
    owner = f"users/{whole.person['id']}"
    moved, deleted = (whole.hold(kind, owner=owner, container=first)["id"] for _ in range(2))
    whole.settle()
    whole.sweep()
    whole.events.clear()
    whole.graph.post("faults", drop=1)
    whole.settle(minutes=15)
    whole.hold(kind, owner=owner, container=second, id=moved)
    whole.hold(kind, id=deleted, delete=True)
    whole.sweep()
    whole.settle(minutes=6)
    name = kind.title()
    expected = [(f"{name}Deleted", f"{owner}/{kind}s/{deleted}")]
    assert sorted(whole.delivered()) == sorted(expected + [(f"{name}Updated", f"{owner}/{kind}s/{moved}")] * both)
    assert whole.dead() == []


@pytest.mark.parametrize("change", ["created", "updated", "deleted"])
def test_a_notification_of_what_has_left_the_declared_folder_is_no_deletion(start: Start, change: str) -> None:
    """A rule moves a mail before it is read."""
    whole = start(declaring("/users/{id}/mailFolders/inbox/messages", [change], hydrate=True))
    owner = f"users/{whole.person['id']}"
    mail = whole.hold("message", owner=owner, container="archive")["id"]
    (subscription,) = whole.graph.get("subscriptions")
    item = {
        "subscriptionId": subscription["id"],
        "changeType": change,
        "clientState": next(iter(whole.graph.simulator.subscriptions)).client_state,
        "tenantId": whole.graph.registration.tenant,
        "resource": f"Users/{whole.person['id']}/Messages/{mail}",
        "resourceData": {"@odata.type": "#Microsoft.Graph.Message", "id": mail},
    }
    app = whole.app
    receive(json.dumps({"value": [item]}).encode(), app.recipient, app.acknowledging, whole.clock(), None, app.account)
    for _ in range(3):
        whole.settle(minutes=3)
    assert whole.delivered() == []
    assert (whole.account.queues.length(), whole.dead()) == (0, [])


def test_a_replica_that_lags_makes_no_deletion_and_hides_none(start: Start) -> None:
    whole = start(declaring("/users/{id}/messages", hydrate=True))
    whole.graph.post("faults", lagging=1, lag_seconds=30)
    made = whole.hold("message", owner=f"users/{whole.person['id']}", container="inbox")
    whole.settle()
    assert whole.events == []
    whole.settle(seconds=60)
    assert [name for name, _ in whole.delivered()] == ["MessageCreated"]
    whole.hold(
        "message", id=made["id"], owner=f"users/{whole.person['id']}", container="inbox", fields={"subject": "b"}
    )
    whole.settle()
    assert len(whole.events) == 1
    whole.settle(seconds=60)
    assert whole.events[-1]["data"]["subject"] == "b"
    whole.hold("message", id=made["id"], delete=True)
    whole.settle()
    assert len(whole.events) == 2
    whole.settle(seconds=60)
    assert [name for name, _ in whole.delivered()] == ["MessageCreated", "MessageUpdated", "MessageDeleted"]


def test_a_replica_that_lags_costs_no_content_of_a_message_deleted_at_once(start: Start) -> None:
    whole = start(declaring("/chats/getAllMessages", ["deleted"], hydrate=True))
    whole.graph.post("faults", lagging=1, lag_seconds=30)
    whole.graph.post("messages", count=1)
    (written,) = whole.graph.messages()
    whole.graph.post("messages", delete=written["path"])
    whole.settle()
    assert whole.events == []
    whole.settle(seconds=60)
    (event,) = whole.events
    assert (event["data"]["id"], event["data"]["from"]) == (written["resource"]["id"], written["resource"]["from"])


def test_guests_and_rooms_do_not_affect_a_sweep_of_all_chats(start: Start) -> None:
    whole = start(declaring("/chats/getAllMessages", hydrate=True))
    whole.graph.post("messages", count=2)
    whole.settle()
    whole.settle(minutes=1)  # Graph allows one read a second of a chat
    before = len(whole.events)
    assert before == 2
    whole.sweep()
    unlicensed = [person["id"] for person in whole.graph.get("people") if not person["licensed"]]
    assert unlicensed
    assert not [call for call in whole.graph.get("calls") if call["status"] == 403 and "chats" in call["path"]]
    assert (len(whole.events), whole.dead()) == (before, [])


def test_capitals_in_members_change_nothing(start: Start) -> None:
    whole = start(declaring("/users/{id}/messages", hydrate=True))
    whole.graph.post("faults", spell_members=1)
    made = whole.hold("message", owner=f"users/{whole.person['id']}", container="inbox")
    whole.settle()
    assert [event["data"]["id"] for event in whole.events] == [made["id"]]


def test_the_directory_begins_from_now_on_and_is_read_back(start: Start) -> None:
    whole = start(declaring("/groups", ["updated", "deleted"], hydrate=True))
    whole.graph.post("faults", drop=1)
    made = whole.hold("group", fields={"displayName": "a"})
    whole.settle()
    whole.sweep()
    assert whole.delivered() == [("GroupUpdated", f"groups/{made['id']}")]


@pytest.mark.parametrize(
    ("resource", "calendar"),
    [
        ("/users/{id}/events", "calendar"),
        ("/users/{userPrincipalName}/calendar/events", "calendar"),
        ("/users/{id}/calendars/c1/events", "c1"),
    ],
)
def test_an_unseen_deletion_is_found_and_a_moved_event_is_not_deleted(
    start: Start, resource: str, calendar: str
) -> None:
    whole = start(declaring(resource, hydrate=True))
    owner = f"users/{whole.person['id']}"

    def meeting(subject: str, year: int, event_id: str | None = None) -> str:
        fields = {"subject": subject, "start": {"dateTime": f"{year}-02-10T09:00:00.0000000", "timeZone": "UTC"}}
        made: str = whole.hold("event", owner=owner, container=calendar, id=event_id, fields=fields)["id"]
        return made

    cancelled, moved = meeting("cancelled", NOW.year), meeting("moved", NOW.year)
    whole.settle()
    whole.sweep()
    whole.events.clear()
    whole.graph.post("faults", drop=1)
    whole.hold("event", id=cancelled, delete=True)
    meeting("moved", NOW.year + 9, moved)
    whole.settle(minutes=15)
    whole.graph.post("faults", lagging=1, lag_seconds=1200)  # what is gone is not believed to be there either
    whole.sweep()
    whole.settle(minutes=6)
    whole.sweep()
    whole.settle(minutes=6)
    assert sorted(whole.delivered()) == [
        ("EventDeleted", f"{owner}/events/{cancelled}"),
        ("EventUpdated", f"{owner}/events/{moved}"),
    ]
    assert whole.dead() == []


@pytest.mark.parametrize(("kind", "resource", "subject"), [("user", "/users", "users"), ("group", "/groups", "groups")])
def test_after_a_resync_of_the_directory_only_changes_and_deletions_are_delivered(
    start: Start, kind: str, resource: str, subject: str
) -> None:
    from_before: list[str] = []

    def make(whole: Whole) -> list[dict[str, Any]]:
        from_before.extend(whole.hold(kind, fields={"displayName": "from before"})["id"] for _ in range(3))
        return declaring(resource, ["updated", "deleted"], hydrate=True)(whole)

    whole = start(make)
    whole.graph.post("faults", drop=1)
    ids = [whole.hold(kind, fields={"displayName": f"number {number}"})["id"] for number in range(6)]
    whole.settle(minutes=15)
    whole.sweep()
    assert sorted(whole.delivered()) == sorted((f"{kind.title()}Updated", f"{subject}/{item_id}") for item_id in ids)
    whole.hold(kind, id=ids[0], fields={"displayName": "renamed", "jobTitle": None})
    whole.settle(minutes=15)
    whole.sweep()
    whole.events.clear()
    whole.hold(kind, id=ids[1], fields={"displayName": "renamed in the gap"})
    whole.hold(kind, id=from_before[0], delete=True)
    whole.hold(kind, id=from_before[1], fields={"displayName": "renamed too"})
    new = whole.hold(kind, fields={"displayName": "new"})["id"]
    whole.settle(days=8)  # Graph keeps links of the directory for 7 days
    whole.sweep()
    whole.settle(minutes=6)
    expected = [("Updated", ids[1]), ("Deleted", from_before[0]), ("Updated", from_before[1]), ("Updated", new)]
    assert sorted(whole.delivered()) == sorted(
        (f"{kind.title()}{change}", f"{subject}/{item_id}") for change, item_id in expected
    )
    whole.graph.post("faults", forget_links=True)
    whole.sweep()
    whole.graph.post("faults", forget_links=False)
    whole.sweep()
    whole.settle(minutes=6)
    assert len(whole.delivered()) == len(expected)
    whole.graph.post("faults", forget_links=True, short_lists=True)
    whole.sweep()  # whom Graph leaves out of a list is not gone
    whole.graph.post("faults", forget_links=False, short_lists=False)
    whole.settle(minutes=6)
    whole.graph.post("faults", forget_links=True)
    whole.sweep()
    whole.settle(minutes=6)
    assert len(whole.delivered()) == len(expected)
    assert whole.dead() == []
