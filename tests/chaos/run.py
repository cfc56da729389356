"""One fault run: messages with random faults, then none; no message may be lost, duplicated or forged."""

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from azure.storage.queue import QueueClient

from local.child import ChildFailed
from local.run.comparison import differences, key_of
from local.run.system import QUEUE
from shared.configuration.declaration import declaration_id
from shared.configuration.settings import Settings, StorageSettings
from shared.readback.checkpoints import Checkpoint, Checkpoints
from shared.relay import Relay
from shared.storage.clients import StorageClients
from tests.accounts import tables
from tests.chaos.account import Account, account, event_ids
from tests.chaos.dead_letters import DeadLetterReader
from tests.chaos.faults import FAULTS, FORGOTTEN, LASTING, Fault, plan, restore
from tests.chaos.receivers import Others, Receiver
from tests.chaos.system import ChaosSystem, now

LOOK_EVERY = 0.1  # seconds
OTHER_KINDS_EVERY = 0.3  # seconds between changes of mail, events, files and list items
FEW = 20  # missing versions that are looked for among the dead letters
PATIENCE = 900.0  # seconds, the time limit of each final step: longer than the lease of a real host

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """The result of a run; `wrong` names the discrepancies, and is empty for a good run.

    at_rest, replayed: the accounts before and after the replay of dead letters, of the destination with the
    faults. others: those of the other destinations, by name. abreast: with other destinations, how many of
    the versions that Graph sent each had received when the first had all. counted: the app's own counters when idle, of
    processes that still run. ended: how many hosts ended by themselves.
    """

    seed: int
    seconds: float
    faults: Counter[str]
    at_rest: Account
    replayed: Account
    counted: Counter[str]
    ended: int
    wrong: list[str]
    others: Mapping[str, tuple[Account, Account]]
    abreast: Mapping[str, int]


class TimeLimitExceeded(Exception):
    """A step did not complete in time; the message names it."""


class Run:
    """A run in a running system: `messages`, `rate` a second, with faults of `kinds`.

    The simulator has the faults `lasting` all the time. `patience`: time limit of each final step in seconds.
    """

    def __init__(
        self,
        system: ChaosSystem,
        messages: int,
        rate: float,
        say: Say,
        kinds: Sequence[Fault] = FAULTS,
        lasting: Mapping[str, object] = LASTING,
        patience: float = PATIENCE,
    ) -> None:
        self._system = system
        self._kinds = kinds
        self._lasting = lasting
        self._messages = messages
        self._rate = rate
        self._say = say
        self._patience = patience
        self._chance = random.Random(system.chaos.seed)
        self._storage = StorageSettings(QUEUE, system.azurite.connection_string)
        self._ended = 0
        self._next_change = 0.0
        self._struck = Counter[str]()
        self._dead = DeadLetterReader(
            Relay(Settings.from_environment(system.host.settings), StorageClients.of(self._storage)),
            system.notifications,
        )

    def play(self) -> Outcome:
        """Do the whole run.

        Raises:
            TimeLimitExceeded: the system does not become idle.
            ChildFailed: a process ended that should run.
        """
        system, began = self._system, time.monotonic()
        system.subscribe()
        system.tell_simulator("faults", **self._lasting)
        system.tell_simulator("generate", rate=self._rate, messages=self._messages)
        seen = self._suffer()
        self._say("peace")
        restore(system)
        abreast = self._let_the_first_finish(system.others) if system.others else {}
        self._drain()
        self._sweep()
        self._drain()
        names = [receiver.name for receiver in system.receivers]
        rejected = self._dead.look(names)
        at_rest = [account(system, receiver, rejected[receiver.name]) for receiver in system.receivers]
        counted = self._counted()
        for name in names:
            self._say(f"dead letters of {name}: {dict(rejected[name].reasons)}")
        for receiver in system.receivers:
            receiver.conduct.relent()
        self._dead.replay()
        self._drain()
        dead = self._dead.look(names)
        replayed = [
            account(system, receiver, dead[receiver.name], rejected[receiver.name]) for receiver in system.receivers
        ]
        accounts = dict(zip(names, zip(at_rest, replayed, strict=True), strict=True))
        return Outcome(
            system.chaos.seed,
            time.monotonic() - began,
            seen,
            at_rest[0],
            replayed[0],
            counted,
            self._ended,
            [line for receiver in system.receivers for line in self._wrong(receiver, *accounts[receiver.name])],
            {name: found for name, found in accounts.items() if name != system.struck.name},
            abreast,
        )

    def _wrong(self, receiver: Receiver, at_rest: Account, replayed: Account) -> list[str]:
        lines = [*self._compared(receiver), *at_rest.complaints(), *replayed.complaints(replayed=True)]
        return [f"{receiver.name}: {line}" for line in lines]

    def _let_the_first_finish(self, others: Others) -> dict[str, int]:
        """Wait until the first destination has Graph's notifications, while another is still slow, and a third dead.

        Return how much each has then. Only then do the others recover.
        """
        system, deadline = self._system, time.monotonic() + self._patience
        while (pending := self._summary()["pending"]) or self._missing(system.struck):
            self._look()
            if time.monotonic() > deadline:
                missing = len(self._missing(system.struck))
                raise TimeLimitExceeded(
                    f"Graph has {pending} notifications left to send, and {missing} versions wait behind the others"
                )
        abreast = {receiver.name: len(event_ids(receiver)) for receiver in system.receivers}
        self._say(f"the first destination has everything: {abreast}")
        others.recover()
        return abreast

    def _missing(self, receiver: Receiver) -> set[str]:
        """Return the versions that a destination has neither received nor refused, and that are no dead letters."""
        versions = set(self._system.notifications.received.versions)
        missing = versions - event_ids(receiver) - receiver.conduct.refused
        if 0 < len(missing) <= FEW:
            missing -= self._dead.look([receiver.name])[receiver.name].versions
        return missing

    def _suffer(self) -> Counter[str]:
        """Start faults while messages are written; return how often each fault occurred."""
        seconds = self._messages / self._rate
        due, began = plan(self._kinds, seconds, self._chance), time.monotonic()
        while due or self._summary()["generating"]:
            while due and due[0].at <= time.monotonic() - began:
                action = due.pop(0)
                if action.action is action.fault.begin:
                    self._struck[action.fault.name] += 1
                    self._say(f"{time.monotonic() - began:6.1f} {action.fault.name}")
                action.action(self._system, self._chance)
            self._look()
            self._change_other_kinds()
        return self._struck

    def _change_other_kinds(self) -> None:
        now = time.monotonic()
        if self._system.chaos.other_kinds and now >= self._next_change:
            self._next_change = now + OTHER_KINDS_EVERY
            self._system.change_other_kinds()

    def _drain(self) -> None:
        """Wait until Graph has nothing left to send, and the queue is empty."""
        deadline = time.monotonic() + self._patience
        while (pending := self._summary()["pending"]) or self._queued():
            self._look()
            if time.monotonic() > deadline:
                raise TimeLimitExceeded(
                    f"Graph has {pending} notifications left to send, the queue holds {self._queued()}"
                )

    def _sweep(self) -> None:
        """Make the app compare Graph's lists with the delivered events up to now, as for a suspected gap."""
        system = self._system
        checkpoints = Checkpoints(tables(self._storage))
        asked = now()
        names = [declaration_id(system.tenant, declaration["resource"]) for declaration in system.declared]
        for name in names:
            checkpoints.suspect_gap(name, asked)
        deadline = time.monotonic() + self._patience
        while any(
            found.due or found.until < asked - timedelta(minutes=1) for found in self._checkpoints(checkpoints, names)
        ):
            self._look()
            if time.monotonic() > deadline:
                raise TimeLimitExceeded("no sweep was started")

    def _checkpoints(self, checkpoints: Checkpoints, names: list[str]) -> list[Checkpoint]:
        known = checkpoints.all()
        return [known[name] for name in names]

    def _counted(self) -> Counter[str]:
        total = Counter[str]()
        for point in self._system.counters():
            total[point["name"].removeprefix("graph_relay.")] += point.get("value") or 0
        return total

    def _compared(self, receiver: Receiver) -> list[str]:
        simulator = f"{self._system.simulator_url}/simulator"
        written = [line for name in ("messages", "resources") for line in self._system.lines(f"{simulator}/{name}")]
        held = self._system.lines(f"{receiver.url}/api/contents")
        unknown = {(line["tenant"], line["path"]) for line in written if self._is_in_no_list(line)}
        written = [line for line in written if (line["tenant"], line["path"]) not in unknown]
        return sorted(differences(written, (line for line in held if key_of(line) not in unknown)))

    def _is_in_no_list(self, line: dict[str, Any]) -> bool:
        """Whether a resource was deleted that only a delta query reports: a list without a link does not name it
        (docs/configuration.md, "What can be read back").
        """
        return line["deleted"] and FORGOTTEN in self._struck and line["path"].startswith(("drives/", "sites/"))

    def _queued(self) -> int:
        client: QueueClient = self._system.queue
        return client.get_queue_properties().approximate_message_count or 0

    def _summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = self._system.simulator("summary")
        return summary

    def _look(self) -> None:
        time.sleep(LOOK_EVERY)
        self._ended += self._system.revive()
        for child in self._system.children:
            if not child.running:
                raise ChildFailed(f"{child.name} has ended\n{child.tail()}")
