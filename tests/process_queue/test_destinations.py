"""Several destinations: what one of them does not accept waits for it alone, and delays no other."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import requests

from process_queue.handler import MessageHandler
from shared.configuration.destinations import DEFAULT
from shared.delivery.event import Event
from shared.delivery.ledger import Ledger
from shared.errors import Reason
from shared.messages.envelope import (
    ChangeBatch,
    Envelope,
    ReadbackPage,
    destination_of,
    read,
    read_dead_letter,
    write,
)
from shared.outboxes_in_force import INVOCATIONS
from shared.paths import read_path
from shared.storage.queues import Queue
from tests.builders import NOW, Clock, changes, destination_secret, message, rich
from tests.in_process import InProcess
from tests.memory import MemoryAccount
from tests.process_queue.app import start_app
from tests.process_queue.readback_harness import asked_for
from tests.process_queue.test_changes import item, names_of
from tests.process_queue.verification import TOKEN
from tests.servers import RecordedRequest, Script, ScriptedResponse, Server, in_json, serving
from tests.shared.delivery.test_destination import ids

NAMES = (DEFAULT, "search", "archive")
DONE = ScriptedResponse(204)
GRAPH = "https://graph.example.org"
CHAT_LIST = "/v1.0/chats/19:9e/messages"


class System:
    """The app, with a scripted Graph and three destinations, each a scripted server."""

    def __init__(self, servers: dict[str, Server], session: requests.Session) -> None:
        self.servers = servers
        self.clock = Clock()
        self.account = MemoryAccount(undelayed=True)
        self.graph = InProcess(lambda _: in_json({"value": []}), self.clock)
        session.mount(GRAPH, self.graph)
        self._session = session
        self.start()

    def start(self, *further: dict[str, Any], default: bool = True) -> None:
        """Start a new process, with these changes to the entries of DESTINATIONS; `default`: beside the default one."""
        entries = {name: {"name": name, "url": f"{self.servers[name].url}/"} for name in ("search", "archive")}
        for entry in further:
            entries[entry["name"]] = entries.get(entry["name"], {}) | entry
        for entry in entries.values():
            entry["secret"] = destination_secret()
        self.relay = start_app(
            self.account.clients(),
            self.clock,
            self._session,
            GRAPH_BASE_URL=GRAPH,
            DESTINATIONS=json.dumps(list(entries.values())),
            DESTINATION_URL=self.servers[DEFAULT].url if default else None,
            DESTINATION_SECRET=destination_secret() if default else None,
        )
        self.handler = MessageHandler(self.relay)

    def handle(self, envelope: Envelope) -> None:
        self.handler.handle([envelope])

    def read_back(self, page: ReadbackPage) -> None:
        self.handler.readback.handle(page)

    def queued(self) -> list[Any]:
        return [read(text) for text in self.account.queues.take()]

    def received(self, name: str) -> list[str]:
        return [event["data"]["id"] for request in self.servers[name].asked for event in json.loads(request.body)]


@pytest.fixture
def system(session: requests.Session) -> Iterator[System]:
    with ExitStack() as stack:
        yield System({name: stack.enter_context(serving(lambda _: DONE)) for name in NAMES}, session)


def answering(status: int) -> Script:
    return lambda _: ScriptedResponse(status)


def two(**more: Any) -> ChangeBatch:
    return msgspec.structs.replace(changes(item("1"), item("2"), tokens=[TOKEN]), **more)


def test_every_destination_receives_everything_once(system: System) -> None:
    for _ in range(2):
        system.handle(two())
    assert [system.received(name) for name in NAMES] == [["1", "2"]] * 3
    assert system.queued() == []


def test_unaccepted_events_wait_for_their_destination_only(system: System) -> None:
    system.servers["search"].script = answering(503)
    system.handle(two())
    (again,) = system.queued()
    assert again.destination == "search"
    assert names_of(again) == ["1", "2"]
    system.servers["search"].script = lambda _: DONE
    system.handle(again)
    assert system.received(DEFAULT) == system.received("archive") == ["1", "2"]
    assert system.received("search") == ["1", "2"] * 2  # refused once, then accepted
    assert system.queued() == []


def test_a_rejected_event_is_replayed_to_its_own_destination_only(system: System) -> None:
    system.servers["search"].script = lambda request: (
        ScriptedResponse(422) if b'"id":"2"' in request.body.replace(b" ", b"") else DONE
    )
    system.handle(two())
    (text,) = system.account.queues.texts(Queue.DEAD_LETTERS)
    letter = read_dead_letter(text)
    assert (letter.reason, destination_of(letter.envelope)) == (Reason.DESTINATION_REJECTED, "search")
    system.servers["search"].script = lambda _: DONE
    again = system.relay.admission.replayed(letter.envelope, authentic=True)
    assert isinstance(again, ChangeBatch)
    before = len(system.received(DEFAULT))
    system.handle(again)
    assert system.received("search")[-1] == "2"
    assert len(system.received(DEFAULT)) == before


def test_the_path_of_an_event_names_each_destination(system: System) -> None:
    system.handle(two())
    paths = [read_path(kept) for kept in system.relay.ledgers[0].all_details(NOW - timedelta(days=36_500))]
    assert sorted(path.destination for path in paths) == ["", "", "archive", "archive", "search", "search"]
    assert len({path.event for path in paths}) == 2


def test_the_ledger_records_deliveries_for_each_destination(system: System) -> None:
    system.servers["archive"].script = answering(503)
    system.handle(two())
    system.queued()
    system.servers["archive"].script = lambda _: DONE
    system.start()
    system.handle(two())  # the same again, as Graph repeats notifications
    assert system.received(DEFAULT) == ["1", "2"]
    assert system.received("archive")[-2:] == ["1", "2"]


def test_a_filter_excludes_events(system: System) -> None:
    system.start({"name": "search", "types": ["Microsoft.Graph.User*"]}, {"name": "archive", "resources": ["chats"]})
    system.handle(two())
    assert system.received("search") == []
    assert system.received("archive") == ["1", "2"]


def test_an_event_that_no_filter_selects_is_counted(system: System) -> None:
    filters = [{"name": name, "resources": ["chats/*/messages/1"]} for name in ("search", "archive")]
    system.start(*filters, default=False)
    system.handle(two())
    system.relay.account.flush()
    [hour] = system.relay.account.hours().values()
    assert (hour.outcomes["unselected"], hour.outcomes["delivered"], hour.outcomes["duplicates"]) == (1, 2, 0)


def test_items_for_a_removed_destination_are_dead_lettered(system: System) -> None:
    system.handle(two(destination="removed"))
    letters = [read_dead_letter(text) for text in system.account.queues.texts(Queue.DEAD_LETTERS)]
    assert [letter.reason for letter in letters] == [Reason.DESTINATION_UNKNOWN] * 2
    assert system.received(DEFAULT) == []


def test_the_events_of_an_invalid_entry_are_kept_for_it(system: System) -> None:
    system.start({"name": "broken"})
    system.handle(two())
    (again,) = system.queued()
    assert again.destination == "broken"
    assert "url: missing" in again.history[-1].detail
    assert system.received(DEFAULT) == ["1", "2"]


def test_items_for_an_unavailable_destination_are_not_decrypted(system: System) -> None:
    system.servers["search"].script = answering(503)
    for _ in range(3):  # open its circuit breaker
        system.handle(two())
    asked = len(system.servers["search"].asked)
    forged = msgspec.structs.replace(changes(item("1"), tokens=["forged"]), destination="search")
    system.queued()
    system.handle(forged)
    assert system.queued()[0].items == forged.items  # verified, it would be refused
    assert len(system.servers["search"].asked) == asked
    system.clock.advance(minutes=5)
    system.servers["search"].script = lambda _: DONE
    system.handle(two(destination="search"))
    assert system.received("search")[-2:] == ["1", "2"]


def test_an_envelope_of_version_0_1_is_for_all_destinations(system: System) -> None:
    old = msgspec.json.decode(msgspec.json.encode(two()), type=dict[str, Any])
    del old["destination"]
    envelope = read(json.dumps({"kind": "change", **old}))
    assert isinstance(envelope, ChangeBatch)
    system.handle(envelope)
    assert [system.received(name) for name in NAMES] == [["1", "2"]] * 3


def test_a_destination_that_does_not_answer_delays_no_other(system: System) -> None:
    """The two others have their events while the slow one still holds its request."""
    release, others = threading.Event(), threading.Barrier(3)

    def slow(_: RecordedRequest) -> ScriptedResponse:
        release.wait(30)
        return DONE

    def fast(_: RecordedRequest) -> ScriptedResponse:
        others.wait(30)
        return DONE

    system.servers["search"].script = slow
    for name in (DEFAULT, "archive"):
        system.servers[name].script = fast
    worker = threading.Thread(target=system.handle, args=(two(),))
    worker.start()
    others.wait(30)  # passes only if both were requested
    release.set()
    worker.join(30)
    assert not worker.is_alive()
    assert [system.received(name) for name in NAMES] == [["1", "2"]] * 3


def test_a_page_continues_for_the_other_destinations(system: System) -> None:
    system.graph.script = lambda _: in_json({"value": [message("1")], "@odata.nextLink": f"{GRAPH}/v1.0/next"})
    system.servers["search"].script = answering(503)
    system.read_back(asked_for("/chats/19:9e/messages"))
    own, following = sorted(system.queued(), key=lambda page: page.link)
    assert (own.destination, own.link, own.attempt) == ("search", "", 1)
    assert (following.destination, following.without) == ("", ("search",))
    assert system.received(DEFAULT) == ["1"]
    system.graph.script = lambda _: in_json({"value": [message("2")]})
    system.read_back(following)
    assert system.received("archive") == ["1", "2"]
    assert system.received("search") == ["1"]  # the former attempt
    system.graph.script = lambda _: in_json({"value": [message("1"), message("2")]})
    system.servers["search"].script = lambda _: DONE
    system.clock.advance(minutes=2)
    system.read_back(own)
    assert system.received("search")[1:] == ["1", "2"]
    assert system.received(DEFAULT) == ["1", "2"]


def test_a_page_that_no_destination_takes_is_read_again_for_all(system: System) -> None:
    system.graph.script = lambda _: in_json({"value": [message("1")]})
    for name in NAMES:
        system.servers[name].script = answering(503)
    with pytest.raises(Exception, match="destination"):
        system.read_back(asked_for("/chats/19:9e/messages"))
    assert system.queued() == []


def test_entries_of_a_delta_query_are_read_singly_for_a_destination_behind(system: System) -> None:
    """Its walk cannot start over: the stored link has advanced with the other destinations."""
    user = {"id": "5d", "displayName": "Ada"}
    system.graph.script = lambda _: in_json({"value": [user], "@odata.deltaLink": f"{GRAPH}/v1.0/users/delta?t=2"})
    system.read_back(asked_for("/users", since=NOW))
    system.queued()
    system.servers["search"].script = answering(503)
    system.read_back(asked_for("/users"))
    (own,) = system.queued()
    assert (own.destination, own.resource) == ("search", "users/5d")
    assert ids(system.servers[DEFAULT].asked[0])


def test_rich_items_for_a_destination_behind_stay_sealed(system: System) -> None:
    system.servers["search"].script = answering(503)
    system.handle(changes(rich(message("1", body={"contentType": "text", "content": "private words"})), tokens=[TOKEN]))
    (text,) = system.account.queues.texts()
    assert "private words" not in text


def test_with_one_dead_and_one_slow_the_third_receives_everything_and_each_account_closes(
    system: System, session: requests.Session
) -> None:
    """The slow destination answers only after the third has everything: if it delayed the third, both would hang."""
    envelopes, invocations = 30, INVOCATIONS
    complete = threading.Event()
    expected = {str(number) for number in range(2 * envelopes)}

    def third(request: RecordedRequest) -> ScriptedResponse:
        if expected <= {*system.received("archive"), *(event["data"]["id"] for event in json.loads(request.body))}:
            complete.set()
        return DONE

    def slow(_: RecordedRequest) -> ScriptedResponse:
        return DONE if complete.wait(60) else ScriptedResponse(500)

    system.servers[DEFAULT].script = answering(503)
    system.servers["search"].script = slow
    system.servers["archive"].script = third
    for number in range(envelopes):
        items = (item(str(2 * number)), item(str(2 * number + 1)))
        system.account.queues.send(write(changes(*items, tokens=[TOKEN])))
    drain(system, invocations, complete.is_set)
    assert complete.is_set()
    system.servers[DEFAULT].script = lambda _: DONE
    drain(system, invocations, lambda: False)
    for name in NAMES:
        assert set(system.received(name)) == expected
        known = Ledger(system.account.tables, timedelta(days=60), name)
        events = [event for request in system.servers[name].asked for event in json.loads(request.body)]
        assert known.undelivered([msgspec.json.decode(json.dumps(event), type=Event) for event in events[:20]]) == []
    assert system.account.queues.texts(Queue.DEAD_LETTERS) == []


def drain(system: System, invocations: int, finished: Callable[[], bool]) -> None:
    """Handle the queue with several invocations at once, as the host does, until it is empty or `finished`."""

    def invocation() -> None:
        while not finished():
            with offering:
                texts = system.account.queues.take()
                for text in texts[1:]:
                    system.account.queues.send(text)
                working[0] += bool(texts)
            if not texts:
                if not working[0]:
                    return
                pause.wait(0.01)
                continue
            system.clock.advance(seconds=3)  # far below what would take the many rounds beyond the horizon
            envelope = read(texts[0])
            assert isinstance(envelope, ChangeBatch)
            system.handle(envelope)
            with offering:
                working[0] -= 1

    offering, pause, working = threading.Lock(), threading.Event(), [0]
    threads = [threading.Thread(target=invocation) for _ in range(invocations)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
