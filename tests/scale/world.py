"""The app and a simulated Graph in one process, on one virtual clock: days of ten thousand subscriptions in a minute.

The app's own modules and the simulator's own rules and limits; a call between them takes virtual time and uses no
socket. Without threads, calls run one after the other, each with the duration of a call divided by the app's
concurrency.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any

import msgspec
import requests

from graph_simulator.subscription import Subscription
from graph_simulator.world import Person
from renew_timer.run import LONGEST_RUN, RenewalRun
from shared.configuration.declaration import Declaration
from shared.configuration.settings import Settings
from shared.relay import Relay
from shared.subscriptions.wait_budget import WaitBudget
from shared.subscriptions.workers import AT_ONCE, Workers
from tests.builders import CLIENT_ID, TENANT, Clock, environment
from tests.crash.services import KeysInMemory, made_key
from tests.memory import MemoryAccount
from tests.scale.graph import ENDPOINT, GRAPH, Graph, Taken

TICK = timedelta(minutes=5)
"""Time between two runs."""

GROUP = "1a2b3c4d-0a0b-4c0d-8e0f-00000000000a"
"""The id of the group of users in each tenant."""

INBOX = "/users/{id}/mailFolders('inbox')/messages?$select=subject"


@dataclass
class Figures(Taken):
    """The cost of one or several runs: virtual time, and CPU seconds of the app without the simulator.

    most_cpu: of the most expensive run.
    """

    runs: int = 0
    time: timedelta = timedelta(0)
    longest_run: timedelta = timedelta(0)
    cpu: float = 0.0
    most_cpu: float = 0.0

    def add_run(self, took: timedelta, cpu: float) -> None:
        """Add a run."""
        self.runs += 1
        self.cpu += cpu
        self.longest_run, self.most_cpu = max(self.longest_run, took), max(self.most_cpu, cpu)

    def add(self, others: "Figures") -> None:
        """Add other costs."""
        self.runs += others.runs
        self.cpu += others.cpu
        self.longest_run = max(self.longest_run, others.longest_run)
        self.most_cpu = max(self.most_cpu, others.most_cpu)
        self.add_calls(others)


def user(number: int, tenant: str = TENANT) -> str:
    """Return the id of a user: a different one in each tenant."""
    return f"{tenant[:-12]}{tenant[-1]}{number:011x}"


def mailboxes(number: int, tenant: str = TENANT) -> list[Declaration]:
    """Return declarations of the inboxes of a number of users, one each."""
    return [
        Declaration(INBOX.replace("{id}", user(person, tenant)), ("created", "updated"), True, tenant)
        for person in range(number)
    ]


def everybody_in(source: str, tenant: str = TENANT) -> Declaration:
    """Return the declaration of the inboxes of all members of a list."""
    return Declaration(INBOX, ("created", "updated"), True, tenant, for_each=source)


class Scale:
    """A deployment that declares subscriptions in Graph's tenants.

    threads: whether calls are concurrent, as in production; then the measurements vary.
    """

    def __init__(self, declarations: Sequence[Declaration], *, threads: bool = False) -> None:
        self.clock = Clock()
        self.account = MemoryAccount(self.clock)
        self.keys: Any = KeysInMemory([made_key("enc-1", self.clock())])
        self._threads = threads
        self._environment = environment(
            GRAPH_BASE_URL=GRAPH, LOGIN_BASE_URL=GRAPH, NOTIFICATION_URL=f"{ENDPOINT}/api/notifications"
        )
        self.graph = Graph(
            self.clock, TENANT, CLIENT_ID, self._environment["GRAPH_CLIENT_SECRET"], 1 if threads else AT_ONCE
        )
        self._figures = Figures()
        self.declare(declarations)

    @property
    def secret(self) -> str:
        """CLIENT_STATE_SECRET, the current value."""
        return self._environment["CLIENT_STATE_SECRET"].partition(",")[0]

    @property
    def present_url(self) -> str:
        """NOTIFICATION_URL."""
        return self._environment["NOTIFICATION_URL"]

    def declare(self, declarations: Sequence[Declaration] | None = None, **settings: str) -> None:
        """Start a process with other declarations or settings."""
        if declarations is not None:
            settings["SUBSCRIPTIONS"] = msgspec.json.encode(declarations).decode()
        self._environment |= settings
        self._settings = Settings.from_environment(self._environment)
        self.start()

    def start(self) -> None:
        """Start a process: only stored state of the earlier one remains."""
        session, transport = requests.Session(), self.graph.connection()
        session.adapters.clear()
        for url in (GRAPH, ENDPOINT):
            session.mount(url, transport)
        self.relay = Relay(
            self._settings,
            self.account.clients(),
            clock=self.clock,
            session=session,
            random=Random(1),
            key_store=self.keys,
        )
        if not self._threads:
            self.relay.reconciler.workers = Workers(at_once=1)

    def employ(self, numbers: Iterable[int], tenant: str = TENANT) -> None:
        """Add users to a tenant and to its group."""
        there = self.graph.simulator.tenant(tenant)
        for number in numbers:
            there.world.people.append(Person(user(number, tenant), f"User {number}"))
            there.groups.change(GROUP, user(number, tenant))

    def leave(self, numbers: Iterable[int], tenant: str = TENANT) -> None:
        """Remove users from a tenant and its group."""
        there, gone = self.graph.simulator.tenant(tenant), {user(number, tenant) for number in numbers}
        there.world.people[:] = [person for person in there.world.people if person.id not in gone]
        for name in sorted(gone):
            there.groups.change(GROUP, name, removed=True)

    def rotate(self) -> None:
        """Add a new key to the key store, and start a process."""
        key = made_key(f"enc-{len(self.keys.keys) + 1}", self.clock())
        self.keys.keys[key.key_id] = key
        self.start()

    def run(self) -> None:
        """Run the timer once, and wait until the next run is due."""
        began, cpu, in_graph = self.clock(), time.process_time(), self.graph.cpu
        budget = WaitBudget(LONGEST_RUN, lambda wait: self.clock.advance(seconds=wait.total_seconds()))
        try:
            RenewalRun(self.relay, budget)()
        finally:
            self._figures.add_run(self.clock() - began, time.process_time() - cpu - (self.graph.cpu - in_graph))
            self.account.queues.take()  # comparisons are not measured
            self.clock.now = max(began + TICK, self.clock())

    def run_until(self, condition: Callable[[], bool], most: int = 100) -> None:
        """Run until a condition is true."""
        for _ in range(most):
            if condition():
                return
            self.run()
        assert condition(), f"not reached within {most} runs"

    @contextmanager
    def measured(self) -> Iterator[Figures]:
        """Measure the cost of a block; the enclosing measurement includes it."""
        outer, figures, began = self._figures, Figures(), self.clock()
        self._figures = self.graph.taken = figures
        try:
            yield figures
        finally:
            figures.time = self.clock() - began
            outer.add(figures)
            self._figures = self.graph.taken = outer

    def subscriptions(self) -> Sequence[Subscription]:
        """Return Graph's subscriptions."""
        return list(self.graph.simulator.subscriptions)

    def ids(self) -> set[str]:
        """Return the ids of Graph's subscriptions."""
        return {held.id for held in self.subscriptions()}

    def resources(self, tenant: str = TENANT) -> set[str]:
        """Return the resources with subscriptions in a tenant."""
        return {held.resource for held in self.subscriptions() if held.owner.tenant == tenant}

    def declared(self) -> list[Declaration]:
        """Return the declarations that Graph does not refuse."""
        rooms = self.graph.without_mailbox
        return [each for each in self.relay.declarations if each.resource.split("/")[2] not in rooms]

    def is_complete(self) -> bool:
        """Whether each declaration has one subscription, with the current URL, secret and key."""
        declared, found = self.declared(), self.subscriptions()
        if len(found) != len(declared):
            return False
        desired = self.relay.desired_state(self.relay.keys.current())
        assert desired.key is not None
        urls = {(each.tenant_id, desired.url_for(each)) for each in declared}
        return (
            {(held.owner.tenant, held.notification_url) for held in found} == urls
            and {(held.owner.tenant, held.lifecycle_url or "") for held in found} == urls
            and {held.recipient.certificate_id for held in found if held.recipient} == {desired.key.key_id}
        )
