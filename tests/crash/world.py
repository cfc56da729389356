"""The environment of a process that may die: storage, keys, Graph, the destination, and the Functions host."""

import base64
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import msgspec

from notify_http.receive import receive
from process_queue.handler import MessageHandler
from renew_timer.drain import drain
from renew_timer.run import RenewalRun
from shared import http_client
from shared.configuration.declaration import Declaration
from shared.configuration.settings import Settings
from shared.errors import RelayError, Undeliverable
from shared.keys.key import newest_valid
from shared.keys.store import KeyStore
from shared.messages.envelope import ReadbackPage, read, read_dead_letter, singles
from shared.relay import Relay
from shared.storage.clients import StorageClients
from shared.storage.queues import Queue, QueuedMessage, Queues
from shared.storage.tables import Tables
from shared.subscriptions.marks import read_url
from shared.subscriptions.wait_budget import WaitBudget
from tests.builders import TENANT, Clock, body, change, encrypted, environment, minted, rsa_key
from tests.crash.operations import (
    Operations,
    WatchedClaims,
    WatchedKeys,
    WatchedQueues,
    WatchedSession,
    WatchedTables,
)
from tests.crash.services import (
    DESTINATION,
    GRAPH,
    PLAINTEXT,
    RELAY,
    Graph,
    KeysInMemory,
    Receiver,
    written,
)
from tests.memory import MemoryAccount
from tests.servers import RecordedRequest, ScriptedResponse
from tests.stand_ins.login import LOGIN, login
from tests.token_cases import Mint

FUNCTION_TIMEOUT = timedelta(minutes=10)
"""host.json: the time after which the host restarts the worker process."""

TICK, _LATER_TICK = timedelta(minutes=5), timedelta(minutes=20)
_EVENTFUL = timedelta(hours=6)
"""How long the timer runs every TICK. Later, messages wait for days, and hundreds of runs would change nothing."""

_LEASE = timedelta(minutes=10)  # of a message whose host ended
_RETRY = timedelta(seconds=30)  # host.json: visibilityTimeout
_MOST_DELIVERIES = 10  # host.json: maxDequeueCount

CHATS = "/chats/getAllMessages"
EVERY = ("created", "updated", "deleted")


@dataclass
class Post:
    """A POST of Graph's, retried until it is answered 202."""

    names: tuple[str, ...]
    items: Callable[[], list[dict[str, Any]]]
    acknowledged: bool = False


@dataclass
class World:
    """The state that persists when a process dies.

    expected: the ids of the messages that must be delivered or dead-lettered. dead: those that may be dead-lettered.
    key_store: creates the key store of a process, over `keys`. most_keys: how many keys may remain. watched: the
    resources that must have a subscription at the end; empty: the declared ones. says_when_it_changed: whether a
    resource has one id per version.
    """

    declarations: list[Declaration] = field(default_factory=lambda: [declared(CHATS)])
    clock: Clock = field(default_factory=Clock)
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.account = MemoryAccount(self.clock)
        self.graph = Graph(self.clock)
        self.receiver = Receiver()
        self.keys: KeyStore = KeysInMemory()
        self.key_store: Callable[[Operations], KeyStore] = self._watched_keys
        self.expected: set[str] = set()
        self.dead: set[str] = set()
        self.posts: list[Post] = []
        self.problems: list[str] = []
        self.logged: list[str] = []
        self.most_keys = 1
        self.watched: Sequence[str] = ()
        self.processes = 0
        self.says_when_it_changed = True
        self._deliveries: Counter[str] = Counter()
        self._began = self._next_tick = self.clock()
        self._environment = environment(
            GRAPH_BASE_URL=GRAPH,
            LOGIN_BASE_URL=LOGIN,
            NOTIFICATION_URL=RELAY,
            DESTINATION_URL=DESTINATION,
            SWEEP_INTERVAL_HOURS="0",
            **self.settings,
        )

    def configure(self, **settings: str) -> None:
        """Change settings, for processes that start from now on."""
        self._environment |= settings

    def process(self, operations: Operations | None = None) -> "Process":
        """Start a process."""
        declarations = msgspec.json.encode(self.declarations).decode()
        settings = Settings.from_environment({**self._environment, "SUBSCRIPTIONS": declarations})
        return Process(self, settings, operations or Operations(self.clock))

    def secret(self) -> bytes:
        """Return the clientState secret of the live subscriptions."""
        return base64.b64decode(self._environment["CLIENT_STATE_SECRET"].partition(",")[0])

    def rich(self, *names: str, filler: int = 0) -> Post:
        """Write messages with rich notifications; return the POST, not sent yet."""
        secret = self.secret()
        key = newest_valid((held for name in self.keys.ids() if (held := self.keys.get(name))), self.clock())
        assert key is not None

        def items() -> list[dict[str, Any]]:
            return [
                change(
                    f"chats('c')/messages('{name}')",
                    clientState=minted(TENANT, CHATS, secret),
                    encryptedContent=encrypted({**written(name), "filler": "x" * filler}, key),
                )
                for name in names
            ]

        return self._posted(names, items)

    def basic(self, resource: str, *names: str) -> Post:
        """The same with basic notifications."""
        secret = self.secret()

        def items() -> list[dict[str, Any]]:
            return [
                change(
                    f"chats('c')/messages('{name}')",
                    clientState=minted(TENANT, resource, secret),
                    resourceData={"id": name, "@odata.type": "#Microsoft.Graph.ChatMessage"},
                )
                for name in names
            ]

        return self._posted(names, items)

    def lifecycle(self, event: str) -> Post:
        """A lifecycle notification of the first subscription, present or former."""
        held = next(iter(self.graph.subscriptions.values()))
        item = {
            "subscriptionId": held["id"],
            "subscriptionExpirationDateTime": held["expirationDateTime"],
            "tenantId": TENANT,
            "clientState": held["clientState"],
            "lifecycleEvent": event,
        }
        if event == "subscriptionRemoved":
            del self.graph.subscriptions[held["id"]]
        return self._posted((), lambda: [item])

    def send(self, process: "Process") -> None:
        """Send every unacknowledged POST."""
        for post in self.posts:
            if not post.acknowledged:
                token = Mint(rsa_key("authority"), now=self.clock()).token()
                post.acknowledged = process.post(body(*post.items(), tokens=[token])) == 202

    def work(self, process: "Process") -> int:
        """Pass the visible messages to the process, as the host does; return how many were completed."""
        finished = 0
        for message in self.account.queues.receive(Queue.NOTIFICATIONS, _LEASE):
            self._deliveries[message.id] += 1
            try:
                self._timed(process.handle, message.text)
            except (RelayError, UnicodeError):
                self._failed(message)
            else:
                self.account.queues.delete(message)
                finished += 1
        return finished

    def tick(self, process: "Process") -> None:
        """Run the timer."""
        self._next_tick = self.clock() + (TICK if self.clock() - self._began < _EVENTFUL else _LATER_TICK)
        self._timed(process.tick)

    def settle(self, process: "Process", longest: timedelta = timedelta(hours=80)) -> None:
        """Run the host and Graph until no work is left, or `longest` has passed.

        That is beyond the horizon of 72 hours: then an event that a destination rejects becomes a dead letter even if
        the destination accepts no other event meanwhile.
        """
        end = self.clock() + longest
        quiet = 0
        while quiet < 2 and self.clock() < end:
            self.send(process)
            if self.clock() >= self._next_tick:
                self.tick(process)
                quiet += self.is_done()
            while self.work(process):
                quiet = 0
            self._sleep()

    def is_done(self) -> bool:
        return all(post.acknowledged for post in self.posts) and not self.account.queues.length()

    def _watched_keys(self, operations: Operations) -> KeyStore:
        return cast("KeyStore", WatchedKeys(self.keys, operations))

    def _sleep(self) -> None:
        """Advance the clock to the next due time."""
        due = [stored.visible for stored in self.account.queues._stored[Queue.NOTIFICATIONS]]
        self.clock.now = max(self.clock() + timedelta(seconds=1), min([self._next_tick, *due]))

    def _failed(self, message: QueuedMessage) -> None:
        if self._deliveries[message.id] >= _MOST_DELIVERIES:
            self.account.queues.enqueue(message.text, Queue.POISON, self.clock() + timedelta(days=7))
            self.account.queues.delete(message)
            return
        for stored in self.account.queues._held(message):
            stored.visible = self.clock() + _RETRY

    def _timed(self, invoke: Callable[..., object], *arguments: object) -> None:
        began = self.clock()
        try:
            invoke(*arguments)
        finally:
            if (took := self.clock() - began) > FUNCTION_TIMEOUT:
                self.problems.append(f"an invocation of {invoke.__name__} takes {took}")

    def _posted(self, names: tuple[str, ...], items: Callable[[], list[dict[str, Any]]]) -> Post:
        self.graph.messages |= {name: written(name) for name in names}
        self.expected |= set(names)
        self.posts.append(Post(names, items))
        return self.posts[-1]

    # The promises, checked at the end

    def violations(self, process: "Process") -> list[str]:
        """Return the broken promises."""
        return [
            *dict.fromkeys(self.problems),
            *self._lost(),
            *self._under_two_ids(),
            *self._plaintext(),
            *self._subscriptions(process),
            *self._keys(),
            *(line for line in self.logged if line.startswith("Notifications were queued, never handled")),
        ]

    def letters(self) -> set[str]:
        """Return the ids of the messages in the dead letters and the poison queue."""
        queues = self.account.queues
        found = [read_dead_letter(text).envelope for text in queues.texts(Queue.DEAD_LETTERS)]
        with suppress(Undeliverable):
            found += [read(text) for text in queues.texts(Queue.POISON)]
        names = set()
        for envelope in found:
            if isinstance(envelope, ReadbackPage):
                names.add(envelope.resource.rpartition("/")[2])
                continue
            for single in singles(envelope):
                assert not isinstance(single, ReadbackPage)
                names.add(str(msgspec.json.decode(single.items[0])["resource"]).rpartition("'")[0].rpartition("'")[2])
        return names

    def _lost(self) -> list[str]:
        letters = self.letters()
        lost = self.expected - self.receiver.ids.keys() - letters
        wrongly_dead = (letters & self.expected) - self.dead - self.receiver.ids.keys()
        unanswered = [post.names for post in self.posts if not post.acknowledged]
        waiting = self.account.queues.length()
        return [
            *([f"lost: {sorted(lost)}"] if lost else []),
            *([f"dead-lettered without need: {sorted(wrongly_dead)}"] if wrongly_dead else []),
            *([f"never acknowledged: {unanswered}"] if unanswered else []),
            *([f"{waiting} messages wait without end"] if waiting else []),
        ]

    def _under_two_ids(self) -> list[str]:
        if (
            not self.says_when_it_changed
        ):  # versioned by arrival: docs/decisions, "A resource without a modification time"
            return []
        return [f"{name} has {len(ids)} ids" for name, ids in self.receiver.ids.items() if len(ids) > 1]

    def _plaintext(self) -> list[str]:
        queues = self.account.queues
        stored = [text for queue in Queue for text in queues.texts(queue)]
        stored += self.account.claims.texts.values()
        stored += [str(row) for table in self.account.tables.names() for row in self.account.tables.rows(table)]
        places = ["storage" for text in stored if PLAINTEXT in text] + [
            "a log" for text in self.logged if PLAINTEXT in text
        ]
        return [f"plaintext in {place}" for place in dict.fromkeys(places)]

    def _subscriptions(self, process: "Process") -> list[str]:
        held = Counter(subscription["resource"] for subscription in self.graph.subscriptions.values())
        wanted = Counter(self.watched or [declaration.resource for declaration in self.declarations])
        problems = [] if held == wanted else [f"subscriptions: {dict(held)} instead of {dict(wanted)}"]
        problems += [f"{name} was deleted before its successor lived" for name in self.graph.unserved if name in wanted]
        for subscription in self.graph.subscriptions.values():
            key = subscription.get("encryptionCertificateId")
            if key is not None and key not in self.keys.ids():
                problems.append(f"a subscription names the key {key}, which is not there")
            if read_url(subscription["notificationUrl"]).minted_by != process.relay.desired_state(None).fingerprint:
                problems.append("a subscription was made with another secret")
        return problems

    def _keys(self) -> list[str]:
        number = len(self.keys.ids())
        return [f"{number} keys are left over"] if number > self.most_keys else []


class Process:
    """A process of the app: its relay, with every request counted."""

    def __init__(self, world: World, settings: Settings, operations: Operations) -> None:
        account, clock = world.account, world.clock
        world.processes += 1
        claims = WatchedClaims(account, operations)
        queues = cast("Queues", WatchedQueues(account, claims, operations))
        tables = cast("Tables", WatchedTables(account, operations))
        session = http_client.session()
        for url, name, script in (
            (GRAPH, "graph", world.graph.answer),
            (LOGIN, "login", login),
            (RELAY, "endpoint", _handshake),
            (DESTINATION, "destination", world.receiver.answer),
        ):
            session.mount(url, WatchedSession(name, script, operations))
        self.operations = operations
        self.relay = Relay(
            settings,
            StorageClients(queues, queues, claims, tables, account.documents),
            clock=clock,
            session=session,
            random=Random(world.processes),
            key_store=world.key_store(operations),
        )
        self._clock = clock

    def post(self, content: bytes) -> int:
        """Answer a POST; return the status."""
        relay = self.relay
        return receive(content, relay.recipient, relay.acknowledging, relay.clock(), relay.paths, relay.account).status

    def handle(self, text: str) -> None:
        """Run process_queue."""
        self.relay.activity.note()
        MessageHandler(self.relay).handle_message(text)

    def tick(self) -> None:
        """Run renew_timer."""
        budget = WaitBudget(timedelta(minutes=3), self._wait)
        with suppress(RelayError):
            RenewalRun(self.relay, budget)()
            drain(self.relay, MessageHandler(self.relay).handle_message)

    def _wait(self, time: timedelta) -> None:
        self._clock.now += time


def declared(resource: str, *, rich: bool = True, hydrate: bool = False, types: Sequence[str] = EVERY) -> Declaration:
    """A declaration of the home tenant."""
    return Declaration(resource, tuple(types), include_resource_data=rich, tenant_id=TENANT, hydrate=hydrate)


def _handshake(request: RecordedRequest) -> ScriptedResponse:
    token = parse_qs(urlsplit(request.path).query)["validationToken"][0]
    return ScriptedResponse(200, token.encode(), {"Content-Type": "text/plain"})
