"""A process that dies in each call to Graph during changes of a few subscriptions: before Graph acts, or after."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.builders import client_state_secret
from tests.scale.graph import ENDPOINT, Killed
from tests.scale.phases import ALL_ARE_DUE
from tests.scale.world import Scale, mailboxes

MOST_RUNS = 12
"""Runs after the death until the state must be correct: refused creations wait for two runs."""


def _is_due(world: Scale) -> None:
    world.clock.now += ALL_ARE_DUE


def _another_secret(world: Scale) -> None:
    fresh = base64.b64encode(client_state_secret("another")).decode()
    world.declare(CLIENT_STATE_SECRET=f"{fresh},{world.secret}")


def _another_url(world: Scale) -> None:
    world.declare(NOTIFICATION_URL=f"{ENDPOINT}/api/notifications?code=2")


def _others(world: Scale) -> None:
    """One declaration is removed, another one is added."""
    number = len(world.relay.declarations)
    world.declare(mailboxes(number + 1)[1:])


CHANGES: dict[str, Callable[[Scale], object]] = {
    "creation": lambda _: None,
    "renewal": _is_due,
    "a new key": Scale.rotate,
    "another secret": _another_secret,
    "another URL": _another_url,
    "other declarations": _others,
}


@dataclass(frozen=True)
class Death:
    """The death of a process: in which call of a change; done: whether Graph had executed it. broken: the broken
    promises, in words.
    """

    change: str
    call: int
    done: bool
    broken: tuple[str, ...]


def deaths(change: str, number: int) -> Iterator[Death]:
    """Yield the result of a death in each call, until the change makes no more calls."""
    call, is_over = 0, False
    while not is_over:
        for done in (False, True):
            world = _changed(change, number)
            is_over = not _dies(world, call, done)
            yield Death(change, call, done, tuple(_broken(world)))
        call += 1


def _changed(change: str, number: int) -> Scale:
    world = Scale(mailboxes(number))
    if change != "creation":
        world.run_until(world.is_complete)
    CHANGES[change](world)
    return world


def _dies(world: Scale, call: int, done: bool) -> bool:
    """Run, and return whether the process died in that call; then another process continues."""
    world.graph.kill_at, world.graph.kill_after = world.graph.calls + call, done
    try:
        world.run()
    except Killed:
        return True
    finally:
        world.graph.kill_at = None
        world.start()
    return False


def _broken(world: Scale) -> Iterator[str]:
    try:
        world.run_until(world.is_complete, most=MOST_RUNS)
    except AssertionError as error:
        yield str(error)
    if {each.resource for each in world.relay.declarations} & set(world.graph.unserved):
        yield "a subscription was deleted before its successor lived"
