"""The app and a simulated Graph in one process, on one virtual clock: days of ten thousand subscriptions in a minute.

The app's own modules and the simulator's own rules and limits; between them a call that takes virtual time and no
socket. Without threads, calls come one after the other, each taking the time of a call divided by those that the app
makes at once.
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
"""Between two runs."""

GROUP = "1a2b3c4d-0a0b-4c0d-8e0f-00000000000a"
"""A group of users, in each tenant."""

INBOX = "/users/{id}/mailFolders('inbox')/messages?$select=subject"


@dataclass
class Figures(Taken):
    """What one or several runs took: virtual time, and CPU seconds of the app without the simulator.

    most_cpu: of the run that took most of it.
    """

    runs: int = 0
    time: timedelta = timedelta(0)
    longest_run: timedelta = timedelta(0)
    cpu: float = 0.0
    most_cpu: float = 0.0

    def add_run(self, took: timedelta, cpu: float) -> None:
        """Count a run."""
        self.runs += 1
        self.cpu += cpu
        self.longest_run, self.most_cpu = max(self.longest_run, took), max(self.most_cpu, cpu)

    def add(self, others: "Figures") -> None:
        """Count what others have counted."""
        self.runs += others.runs
        self.cpu += others.cpu
        self.longest_run = max(self.longest_run, others.longest_run)
        self.most_cpu = max(self.most_cpu, others.most_cpu)
        self.add_calls(others)


def user(number: int, tenant: str = TENANT) -> str:
    """Return the id of a user: another one in each tenant."""
    return f"{tenant[:-12]}{tenant[-1]}{number:011x}"


def mailboxes(number: int, tenant: str = TENANT) -> list[Declaration]:
    """Return declarations of the inboxes of so many users, written one by one."""
    return [
        Declaration(INBOX.replace("{id}", user(person, tenant)), ("created", "updated"), True, tenant)
        for person in range(number)
    ]


def everybody_in(source: str, tenant: str = TENANT) -> Declaration:
    """Return the declaration of the inboxes of everybody on a list."""
    return Declaration(INBOX, ("created", "updated"), True, tenant, for_each=source)


class Scale:
    """A deployment that declares subscriptions in Graph's tenants.

    threads: whether calls are made at once, as in production; what is measured then varies.
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
        """CLIENT_STATE_SECRET, the present one."""
        return self._environment["CLIENT_STATE_SECRET"].partition(",")[0]

    @property
    def present_url(self) -> str:
        """NOTIFICATION_URL."""
        return self._environment["NOTIFICATION_URL"]

    def declare(self, declarations: Sequence[Declaration] | None = None, **settings: str) -> None:
        """Start a process with other declarations or other settings."""
        if declarations is not None:
            settings["SUBSCRIPTIONS"] = msgspec.json.encode(declarations).decode()
        self._environment |= settings
        self._settings = Settings.from_environment(self._environment)
        self.start()

    def start(self) -> None:
        """Start a process: of the one before, nothing is left but what it stored."""
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
        """Take users out of a tenant and of its group."""
        there, gone = self.graph.simulator.tenant(tenant), {user(number, tenant) for number in numbers}
        there.world.people[:] = [person for person in there.world.people if person.id not in gone]
        for name in sorted(gone):
            there.groups.change(GROUP, name, removed=True)

    def rotate(self) -> None:
        """Put a new key into the key store, and start a process."""
        key = made_key(f"enc-{len(self.keys.keys) + 1}", self.clock())
        self.keys.keys[key.key_id] = key
        self.start()

    def run(self) -> None:
        """Do one run of the timer, and wait until it is time for the next one."""
        began, cpu, in_graph = self.clock(), time.process_time(), self.graph.cpu
        budget = WaitBudget(LONGEST_RUN, lambda wait: self.clock.advance(seconds=wait.total_seconds()))
        try:
            RenewalRun(self.relay, budget)()
        finally:
            self._figures.add_run(self.clock() - began, time.process_time() - cpu - (self.graph.cpu - in_graph))
            self.account.queues.take()  # comparisons are not what is measured
            self.clock.now = max(began + TICK, self.clock())

    def run_until(self, condition: Callable[[], bool], most: int = 100) -> None:
        """Run until something has come true."""
        for _ in range(most):
            if condition():
                return
            self.run()
        assert condition(), f"not reached within {most} runs"

    @contextmanager
    def measured(self) -> Iterator[Figures]:
        """Count what happens within; what is measured around it counts that too."""
        outer, figures, began = self._figures, Figures(), self.clock()
        self._figures = self.graph.taken = figures
        try:
            yield figures
        finally:
            figures.time = self.clock() - began
            outer.add(figures)
            self._figures = self.graph.taken = outer

    def subscriptions(self) -> Sequence[Subscription]:
        """Return what Graph has."""
        return list(self.graph.simulator.subscriptions)

    def ids(self) -> set[str]:
        """Return the ids of what Graph has."""
        return {held.id for held in self.subscriptions()}

    def resources(self, tenant: str = TENANT) -> set[str]:
        """Return the resources that Graph has subscriptions to in a tenant."""
        return {held.resource for held in self.subscriptions() if held.owner.tenant == tenant}

    def declared(self) -> list[Declaration]:
        """Return the declarations for which Graph does not refuse a subscription."""
        rooms = self.graph.without_mailbox
        return [each for each in self.relay.declarations if each.resource.split("/")[2] not in rooms]

    def is_complete(self) -> bool:
        """Whether each declaration has one subscription, at our URL, made with our secret, with our key."""
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
