"""Several destinations: what one of them does not accept waits for it alone, and delays no other."""

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import requests

from graph_simulator.authority import Authority
from process_queue.changes import ChangeHandler
from process_queue.readback import ReadbackHandler
from process_queue.requeue import Requeue
from shared.configuration.declaration import Declarations
from shared.configuration.destinations import DEFAULT, EventFilter
from shared.delivery.destination import Destination
from shared.delivery.event import Event
from shared.delivery.lane import Lane, Limits
from shared.delivery.ledger import Ledger
from shared.delivery.outbox import Misconfigured, Outbox, Outboxes
from shared.errors import Reason, RetryLater
from shared.graph.client import GraphClient
from shared.graph.resolver import Resolver
from shared.messages.account import Account
from shared.messages.envelope import ChangeBatch, ReadbackPage, destination_of, read, read_dead_letter, write
from shared.outgoing import INVOCATIONS
from shared.readback.checkpoints import Checkpoints
from shared.readback.directory_states import DirectoryStates
from shared.readback.pings import Pings
from shared.storage.queues import Queue
from shared.subscriptions.silence import LastSeen
from tests.builders import NOW, Clock, admission, changes, destination_secret, message, rich
from tests.memory import MemoryAccount
from tests.process_queue.readback_harness import asked_for
from tests.process_queue.test_changes import item, names_of
from tests.process_queue.verification import TOKEN, verifier
from tests.servers import Answer, Asked, Script, Server, in_json, serving
from tests.shared.delivery.test_destination import ids
from tests.shared.graph.test_client import Bearer

NAMES = (DEFAULT, "search", "archive")
DONE = Answer(204)
CHAT_LIST = "/v1.0/chats/19:9e/messages"


class System:
    """The app, from an envelope to three destinations, each a scripted server."""

    def __init__(self, servers: dict[str, Server], session: requests.Session) -> None:
        self.servers = servers
        self.clock = Clock()
        self.account = MemoryAccount(undelayed=True)
        self.entered = Account(self.account.tables, self.clock, random.Random(1).randbytes)
        self.selections: dict[str, EventFilter] = {}
        self.requeue = Requeue(self.account.queues, timedelta(hours=72), self.clock, lambda: 0.0)
        self._session = session
        self.start()

    def start(self) -> None:
        """Start a new process."""
        self.outboxes = Outboxes(
            Outbox(
                Destination(server.url, [destination_secret()], self._session, self.clock),
                Ledger(self.account.tables, timedelta(days=60), name),
                self.selections.get(name),
            )
            for name, server in self.servers.items()
        )

    def relay(self, envelope: ChangeBatch) -> None:
        tables = self.account.tables
        pings = Pings(tables, self.account.queues, self.clock)
        entered = self.entered
        handler = ChangeHandler(
            verifier(), self.outboxes, LastSeen(tables), self.requeue, self.clock, pings, account=entered
        )
        try:
            handler.handle(envelope)
        except RetryLater as failure:
            self.requeue.later(envelope, failure)

    def read_back(self, graph: Server, page: ReadbackPage) -> None:
        client = GraphClient(graph.url, Bearer(), self._session, self.clock)
        ReadbackHandler(
            client,
            Checkpoints(self.account.tables),
            self.account.queues,
            self.outboxes,
            self.requeue,
            self.clock,
            Declarations(()),
            Resolver(client, self.clock),
            DirectoryStates(self.account.tables),
        ).handle(page)

    def queued(self) -> list[Any]:
        return [read(text) for text in self.account.queues.take()]

    def received(self, name: str) -> list[str]:
        return [event["data"]["id"] for asked in self.servers[name].asked for event in json.loads(asked.body)]


@pytest.fixture
def system(session: requests.Session) -> Iterator[System]:
    with ExitStack() as stack:
        yield System({name: stack.enter_context(serving(lambda _: DONE)) for name in NAMES}, session)


def answering(status: int) -> Script:
    return lambda _: Answer(status)


def two(**more: Any) -> ChangeBatch:
    return msgspec.structs.replace(changes(item("1"), item("2"), tokens=[TOKEN]), **more)


def test_every_destination_receives_everything_once(system: System) -> None:
    for _ in range(2):
        system.relay(two())
    assert [system.received(name) for name in NAMES] == [["1", "2"]] * 3
    assert system.queued() == []


def test_what_one_does_not_accept_waits_for_that_one_alone(system: System) -> None:
    system.servers["search"].script = answering(503)
    system.relay(two())
    (again,) = system.queued()
    assert again.destination == "search"
    assert names_of(again) == ["1", "2"]
    system.servers["search"].script = lambda _: DONE
    system.relay(again)
    assert system.received(DEFAULT) == system.received("archive") == ["1", "2"]
    assert system.received("search") == ["1", "2"] * 2  # refused once, then accepted
    assert system.queued() == []


def test_what_one_rejects_is_its_dead_letter_and_its_replay_reaches_no_other(system: System) -> None:
    system.servers["search"].script = lambda asked: (
        Answer(422) if b'"id":"2"' in asked.body.replace(b" ", b"") else DONE
    )
    system.relay(two())
    (text,) = system.account.queues.texts(Queue.DEAD_LETTERS)
    letter = read_dead_letter(text)
    assert (letter.reason, destination_of(letter.envelope)) == (Reason.DESTINATION_REJECTED, "search")
    system.servers["search"].script = lambda _: DONE
    again = admission().replayed(letter.envelope, authentic=True)
    assert isinstance(again, ChangeBatch)
    before = len(system.received(DEFAULT))
    system.relay(again)
    assert system.received("search")[-1] == "2"
    assert len(system.received(DEFAULT)) == before


def test_the_ledger_knows_for_each_destination_what_arrived(system: System) -> None:
    system.servers["archive"].script = answering(503)
    system.relay(two())
    system.queued()
    system.servers["archive"].script = lambda _: DONE
    system.start()
    system.relay(two())  # the same again, as Graph repeats notifications
    assert system.received(DEFAULT) == ["1", "2"]
    assert system.received("archive")[-2:] == ["1", "2"]


def test_a_filter_leaves_out_what_a_destination_does_not_want(system: System) -> None:
    system.selections = {"search": EventFilter(types=("Microsoft.Graph.User*",)), "archive": EventFilter(("chats",))}
    system.start()
    system.relay(two())
    assert system.received("search") == []
    assert system.received("archive") == ["1", "2"]


def test_an_event_that_no_destination_wants_is_counted_beside_one_that_is_delivered(system: System) -> None:
    system.selections = dict.fromkeys(NAMES, EventFilter(("chats/*/messages/1",)))
    system.start()
    system.relay(two())
    system.entered.flush()
    [hour] = system.entered.hours().values()
    assert (hour.outcomes["unselected"], hour.outcomes["delivered"], hour.outcomes["duplicates"]) == (1, 3, 0)


def test_what_waits_for_a_destination_that_is_no_more_is_kept(system: System) -> None:
    system.relay(two(destination="removed"))
    letters = [read_dead_letter(text) for text in system.account.queues.texts(Queue.DEAD_LETTERS)]
    assert [letter.reason for letter in letters] == [Reason.DESTINATION_UNKNOWN] * 2
    assert system.received(DEFAULT) == []


def test_the_events_of_an_invalid_entry_are_kept_for_it(system: System) -> None:
    ledger = Ledger(system.account.tables, timedelta(days=60), "broken")
    system.outboxes = Outboxes([Outbox(Misconfigured("url: missing"), ledger), system.outboxes[DEFAULT]])
    system.relay(two())
    (again,) = system.queued()
    assert again.destination == "broken"
    assert "url: missing" in again.history[-1].detail
    assert system.received(DEFAULT) == ["1", "2"]


def test_what_waits_for_one_that_is_unavailable_is_not_even_decrypted(system: System) -> None:
    system.servers["search"].script = answering(503)
    for _ in range(3):  # open its circuit breaker
        system.relay(two())
    asked = len(system.servers["search"].asked)
    forged = msgspec.structs.replace(changes(item("1"), tokens=["forged"]), destination="search")
    system.queued()
    system.relay(forged)
    assert system.queued()[0].items == forged.items  # verified, it would be refused
    assert len(system.servers["search"].asked) == asked
    system.clock.advance(minutes=5)
    system.servers["search"].script = lambda _: DONE
    system.relay(two(destination="search"))
    assert system.received("search")[-2:] == ["1", "2"]


def test_an_envelope_of_version_0_1_is_for_all_destinations(system: System) -> None:
    old = msgspec.json.decode(msgspec.json.encode(two()), type=dict[str, Any])
    del old["destination"]
    envelope = read(json.dumps({"kind": "change", **old}))
    assert isinstance(envelope, ChangeBatch)
    system.relay(envelope)
    assert [system.received(name) for name in NAMES] == [["1", "2"]] * 3


def test_one_that_does_not_answer_delays_no_other(system: System) -> None:
    """The two others have their events while the slow one still holds its request."""
    release, others = threading.Event(), threading.Barrier(3)

    def slow(_: Asked) -> Answer:
        release.wait(30)
        return DONE

    def fast(_: Asked) -> Answer:
        others.wait(30)
        return DONE

    system.servers["search"].script = slow
    for name in (DEFAULT, "archive"):
        system.servers[name].script = fast
    worker = threading.Thread(target=system.relay, args=(two(),))
    worker.start()
    others.wait(30)  # passes only if both were requested
    release.set()
    worker.join(30)
    assert not worker.is_alive()
    assert [system.received(name) for name in NAMES] == [["1", "2"]] * 3


@pytest.fixture
def graph(authority: Authority, trusted: object) -> Iterator[Server]:
    pages: dict[str, Any] = {}

    def page(asked: Asked) -> Answer:
        if asked.path.startswith("/next"):
            return in_json({"value": [message("2")]})
        return in_json({"value": [message("1")], "@odata.nextLink": f"{server.url}/v1.0/../next"})

    with serving(page, authority) as server:
        pages["url"] = server.url
        yield server


def test_a_page_goes_on_for_the_others_while_one_destination_is_behind(system: System, graph: Server) -> None:
    graph.script = lambda _: in_json({"value": [message("1")], "@odata.nextLink": f"{graph.url}/v1.0/next"})
    system.servers["search"].script = answering(503)
    system.read_back(graph, asked_for("/chats/19:9e/messages"))
    own, following = sorted(system.queued(), key=lambda page: page.link)
    assert (own.destination, own.link, own.attempt) == ("search", "", 1)
    assert (following.destination, following.without) == ("", ("search",))
    assert system.received(DEFAULT) == ["1"]
    graph.script = lambda _: in_json({"value": [message("2")]})
    system.read_back(graph, following)
    assert system.received("archive") == ["1", "2"]
    assert system.received("search") == ["1"]  # the former attempt
    graph.script = lambda _: in_json({"value": [message("1"), message("2")]})
    system.servers["search"].script = lambda _: DONE
    system.clock.advance(minutes=2)
    system.read_back(graph, own)
    assert system.received("search")[1:] == ["1", "2"]
    assert system.received(DEFAULT) == ["1", "2"]


def test_a_page_that_no_destination_takes_is_read_again_for_all(system: System, graph: Server) -> None:
    graph.script = lambda _: in_json({"value": [message("1")]})
    for name in NAMES:
        system.servers[name].script = answering(503)
    with pytest.raises(Exception, match="destination"):
        system.read_back(graph, asked_for("/chats/19:9e/messages"))
    assert system.queued() == []


def test_the_entries_of_a_delta_query_are_read_one_by_one_for_the_one_that_is_behind(
    system: System, graph: Server
) -> None:
    """Its walk cannot start over: the stored link has advanced with the other destinations."""
    user = {"id": "5d", "displayName": "Ada"}
    graph.script = lambda _: in_json({"value": [user], "@odata.deltaLink": f"{graph.url}/v1.0/users/delta?t=2"})
    system.read_back(graph, asked_for("/users", since=NOW))
    system.queued()
    system.servers["search"].script = answering(503)
    system.read_back(graph, asked_for("/users"))
    (own,) = system.queued()
    assert (own.destination, own.resource) == ("search", "users/5d")
    assert ids(system.servers[DEFAULT].asked[0])


def test_rich_items_stay_sealed_for_the_one_that_is_behind(system: System) -> None:
    system.servers["search"].script = answering(503)
    system.relay(changes(rich(message("1", body={"contentType": "text", "content": "private words"})), tokens=[TOKEN]))
    (text,) = system.account.queues.texts()
    assert "private words" not in text


def test_with_one_dead_and_one_slow_the_third_receives_everything_and_each_account_closes(
    system: System, session: requests.Session
) -> None:
    """The slow destination answers only after the third has everything: if it delayed the third, both would hang."""
    envelopes, invocations = 40, INVOCATIONS
    complete = threading.Event()
    expected = {str(number) for number in range(2 * envelopes)}

    def third(asked: Asked) -> Answer:
        if expected <= {*system.received("archive"), *(event["data"]["id"] for event in json.loads(asked.body))}:
            complete.set()
        return DONE

    def slow(_: Asked) -> Answer:
        return DONE if complete.wait(60) else Answer(500)

    system.servers[DEFAULT].script = answering(503)
    system.servers["search"].script = slow
    system.servers["archive"].script = third
    limits = Limits().shared_by(3, invocations)
    system.outboxes = Outboxes(
        Outbox(
            Destination(server.url, [destination_secret()], session, system.clock),
            Ledger(system.account.tables, timedelta(days=60), name),
            lane=Lane(limits, system.clock),
        )
        for name, server in system.servers.items()
    )
    for number in range(envelopes):
        items = (item(str(2 * number)), item(str(2 * number + 1)))
        system.account.queues.send(write(changes(*items, tokens=[TOKEN])))
    work_off(system, invocations, complete.is_set)
    assert complete.is_set()
    system.servers[DEFAULT].script = lambda _: DONE
    work_off(system, invocations, lambda: False)
    for name in NAMES:
        assert set(system.received(name)) == expected
        known = Ledger(system.account.tables, timedelta(days=60), name)
        events = [event for asked in system.servers[name].asked for event in json.loads(asked.body)]
        assert known.undelivered([msgspec.json.decode(json.dumps(event), type=Event) for event in events[:20]]) == []
    assert system.account.queues.texts(Queue.DEAD_LETTERS) == []


def work_off(system: System, invocations: int, finished: Callable[[], bool]) -> None:
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
            system.clock.advance(seconds=30)
            envelope = read(texts[0])
            assert isinstance(envelope, ChangeBatch)
            system.relay(envelope)
            with offering:
                working[0] -= 1

    offering, pause, working = threading.Lock(), threading.Event(), [0]
    threads = [threading.Thread(target=invocation) for _ in range(invocations)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
