"""The scenarios: each prepares a world without faults, then acts in the process under test, which is interrupted."""

import base64
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta

from shared.configuration.declaration import Declaration
from shared.messages.envelope import together
from shared.storage.queues import Queue
from tests.builders import TENANT, client_state_secret
from tests.crash.key_stores import keep_keys_in_a_directory, keep_keys_in_a_vault
from tests.crash.services import GROUP, RELAY, KeysInMemory, made_key, written
from tests.crash.world import CHATS, EVERY, Process, World, declared
from tests.memory import NEVER

ALMOST_DUE = timedelta(days=89, hours=23, minutes=50)
"""The age of a key that rotation will replace within the hour (KEY_ROTATION_DAYS)."""


@dataclass(frozen=True)
class Scenario:
    """prepare: creates the initial world. act: the actions of one process, each request of which is interrupted."""

    name: str
    prepare: Callable[[], World]
    act: Callable[[World, Process], None]


def subscribed(world: World | None = None) -> World:
    """Return a world in which every declaration has its subscription, and no work is left."""
    world = world or World()
    process = world.process()
    for _ in range(2):
        world.tick(process)
        while world.work(process):
            continue
        world.clock.advance(minutes=1)
    return world


def receive_and_deliver(world: World, process: Process) -> None:
    world.send(process)
    while world.work(process):
        continue


def tick_and_work(world: World, process: Process) -> None:
    world.tick(process)
    while world.work(process):
        continue


def one_message() -> World:
    world = subscribed()
    world.rich("1")
    return world


def many() -> World:
    world = subscribed()
    world.rich(*[str(number) for number in range(20)])
    return world


def large() -> World:
    world = subscribed()
    world.rich("1", filler=70_000)
    world.rich("2", "3", filler=30_000)
    return world


def together_on_the_queue() -> World:
    """Concurrent requests share a queue message; one of their events is rejected."""
    world = subscribed()
    for number in range(4):
        world.rich(str(number))
    world.receiver.rejects = frozenset({"2"})
    world.dead = {"2"}
    process = world.process()
    world.send(process)
    process.relay.account.flush()
    queues = world.account.queues
    queues.enqueue(together(queues.take()), Queue.NOTIFICATIONS, NEVER)
    return world


def rejected() -> World:
    world = many()
    world.receiver.rejects = frozenset({"3", "11"})
    world.dead = {"3", "11"}
    return world


def outage() -> World:
    world = many()
    world.receiver.unavailable = 2
    return world


def hydration() -> World:
    world = subscribed(World([declared(CHATS, rich=False, hydrate=True)]))
    world.basic(CHATS, *[str(number) for number in range(6)])
    return world


def lifecycle(event: str) -> Callable[[], World]:
    def prepare() -> World:
        world = subscribed()
        world.clock.advance(minutes=20)
        if event == "missed":  # the subject of the notification: Graph has it and never pushed it
            add_unpushed(world, "missed-1", "missed-2", "missed-3")
        world.lifecycle(event)
        return world

    return prepare


def add_unpushed(world: World, *names: str) -> None:
    """Write messages without notifications."""
    for name in names:
        world.graph.messages[name] = written(name)
    world.expected |= set(names)


def nothing_yet() -> World:
    return World([declared(CHATS), declared("/users", rich=False, types=("updated",))])


MEMBERS = [f"5d000000-0a0b-4c0d-8e0f-{number:012d}" for number in range(3)]


def member(number: int, **change: object) -> dict[str, object]:
    return {"@odata.type": "#microsoft.graph.user", "id": MEMBERS[number], **change}


def members_come_and_go() -> World:
    """One member joins a group over which a declaration fans out, and one leaves."""
    template = Declaration(
        "/users/{id}/messages", EVERY, tenant_id=TENANT, for_each=f"/groups/{GROUP}/members", read_back=True
    )
    world = World([template])
    world.graph.membership = [member(0), member(1)]
    subscribed(world)
    world.clock.advance(minutes=10)
    world.graph.membership += [member(0, **{"@removed": {"reason": "deleted"}}), member(2)]
    world.watched = [f"/users/{person}/messages" for person in MEMBERS[1:]]
    return world


def expiring() -> World:
    world = subscribed()
    world.clock.advance(minutes=50)
    return world


def with_an_old_key() -> World:
    world = World()
    world.keys = KeysInMemory([made_key("enc-0", world.clock() - timedelta(days=95))])
    subscribed(world)
    return world


def rotating() -> World:
    world = World()
    world.keys = KeysInMemory([made_key("enc-0", world.clock() - ALMOST_DUE)])
    return due_soon(world)


def rotating_where_certificates_are_refused() -> World:
    world = rotating()
    world.graph.refuses_certificates = True
    return world


def rotating_in_a_directory() -> World:
    world = World()
    keep_keys_in_a_directory(world)
    world.keys.create(world.clock() - ALMOST_DUE)
    return due_soon(world)


def rotating_in_a_vault() -> World:
    world = World()
    keep_keys_in_a_vault(world)
    world.clock.now -= ALMOST_DUE
    world.keys.create(world.clock())
    world.clock.now += ALMOST_DUE
    return due_soon(world)


def due_soon(world: World) -> World:
    """Return the world at the time when the key is due for replacement, with a message that the old key encrypts."""
    subscribed(world)
    world.clock.advance(minutes=30)
    world.rich("1")
    world.most_keys = 2  # the old key overlaps
    return world


def another_secret() -> World:
    world = subscribed()
    world.rich("1")
    fresh = base64.b64encode(client_state_secret("changed")).decode()
    world.configure(CLIENT_STATE_SECRET=f"{fresh},{base64.b64encode(world.secret()).decode()}")
    return world


def replaced() -> World:
    world = subscribed()
    world.declarations = [declared(CHATS, types=("created", "updated"))]
    return world


def another_url() -> World:
    """The lifecycle URL can't be changed by a PATCH: a subscription whose new URL Graph validates replaces the old
    one.
    """
    world = subscribed()
    world.configure(NOTIFICATION_URL=f"{RELAY}?code=2")
    return world


def sweep() -> World:
    world = subscribed()
    world.clock.advance(hours=5)
    add_unpushed(world, *[f"swept-{number}" for number in range(5)])
    return suspected(world)


def delta() -> World:
    world = World([declared("/users", rich=False, types=("updated",))])
    subscribed(world)
    world.clock.advance(hours=3)
    names = [f"user-{number}" for number in range(5)]
    world.graph.users += [{"id": name, "displayName": name} for name in names]
    world.expected |= set(names)
    world.says_when_it_changed = False
    return suspected(world)


def suspected(world: World) -> World:
    """Record a suspected gap of each declaration: the timer's next run compares what Graph lists."""
    relay = world.process().relay
    for declaration in relay.declarations:
        relay.sweep.suspect_gap(declaration, world.clock())
    return world


def dead_letters() -> World:
    world = rejected()
    receive_and_deliver(world, world.process())
    world.receiver.rejects = frozenset()
    world.dead = set()
    return world


def replay(world: World, process: Process) -> None:
    letters = process.relay.dead_letters()
    with closing(letters.each()) as each:
        for letter in each:
            letters.replay(letter, process.relay.admission, process.relay.queues)
    while world.work(process):
        continue


def replay_again(world: World, process: Process) -> None:
    """An operator replays the dead letters that an interrupted replay left."""
    world.clock.advance(minutes=11)
    replay(world, process)


def poison() -> World:
    world = many()
    process = world.process()
    world.send(process)
    for message in world.account.queues.receive(Queue.NOTIFICATIONS, timedelta(minutes=1)):
        world.account.queues.enqueue(message.text, Queue.POISON, world.clock() + timedelta(days=7))
        world.account.queues.delete(message)
    world.dead = set(world.expected)
    return world


def sleeping() -> World:
    world = many()
    world.send(world.process())
    world.clock.advance(minutes=10)
    return world


SCENARIOS = (
    Scenario("a POST of one", one_message, receive_and_deliver),
    Scenario("a POST of many", many, receive_and_deliver),
    Scenario("POSTs larger than 64 KiB", large, receive_and_deliver),
    Scenario("a rejected event", rejected, receive_and_deliver),
    Scenario("envelopes that share a message", together_on_the_queue, receive_and_deliver),
    Scenario("a destination outage", outage, receive_and_deliver),
    Scenario("hydration", hydration, receive_and_deliver),
    Scenario("reauthorizationRequired", lifecycle("reauthorizationRequired"), receive_and_deliver),
    Scenario("subscriptionRemoved", lifecycle("subscriptionRemoved"), receive_and_deliver),
    Scenario("missed", lifecycle("missed"), receive_and_deliver),
    Scenario("creation", nothing_yet, tick_and_work),
    Scenario("members of a list come and go", members_come_and_go, tick_and_work),
    Scenario("renewal", expiring, tick_and_work),
    Scenario("rotation and re-key", rotating, tick_and_work),
    Scenario("rotation that replaces subscriptions", rotating_where_certificates_are_refused, tick_and_work),
    Scenario("rotation with a directory", rotating_in_a_directory, tick_and_work),
    Scenario("rotation with Key Vault", rotating_in_a_vault, tick_and_work),
    Scenario("replacement", replaced, tick_and_work),
    Scenario("another CLIENT_STATE_SECRET", another_secret, tick_and_work),
    Scenario("another NOTIFICATION_URL", another_url, tick_and_work),
    Scenario("a sweep of several pages", sweep, tick_and_work),
    Scenario("a delta of several pages", delta, tick_and_work),
    Scenario("replay of dead letters", dead_letters, replay),
    Scenario("poison is kept", poison, tick_and_work),
    Scenario("the queue trigger sleeps", sleeping, lambda world, process: world.tick(process)),
)
