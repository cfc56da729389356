"""The faults, how to start and end each, and a random plan of them from a seed."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from local.run.system import DECLARED
from shared.keys.directory import LIFETIME
from shared.keys.key import new_key, write_pem
from tests.chaos.system import ChaosSystem, now
from tests.chaos.tcp_proxy import TcpProxy

Action = Callable[[ChaosSystem, random.Random], None]

FORGOTTEN = "delta links are forgotten"

LASTING: dict[str, object] = {
    "duplicate": 0.04,
    "reorder": 0.05,
    "drop": 0.02,
    "forge": 0.15,
    "bare": 0.03,
    "late_seconds": 1,
    "lagging": 0.05,
    "lag_seconds": 1,
    "spell_members": 0.05,
    "respell": True,
}
"""Faults of the simulator during the whole run."""

PEACE: dict[str, object] = {
    **dict.fromkeys(("duplicate", "reorder", "drop", "forge", "bare", "late_seconds", "lagging", "spell_members"), 0),
    **dict.fromkeys(("throttle", "slow_seconds"), 0),
    **dict.fromkeys(("respell", "loop_links", "forget_links"), False),
    "listing": "true",
    "unavailable": [],
}


LONG = 60_000
"""Characters of a message that, encrypted, exceeds a queue message."""


def _nothing(_: ChaosSystem, __: random.Random) -> None:
    """For faults that end by themselves."""


@dataclass(frozen=True)
class Fault:
    """One kind of fault. `every`, `lasts`: seconds, the latter as a range."""

    name: str
    every: float
    begin: Action
    lasts: tuple[float, float] = (0, 0)
    end: Action = _nothing


@dataclass(frozen=True)
class ScheduledAction:
    """An action at a time, in seconds from the start."""

    at: float
    fault: Fault
    action: Action


def plan(kinds: Sequence[Fault], seconds: float, chance: random.Random) -> list[ScheduledAction]:
    """Return the actions of a run of that length: each fault at its rate, and at least once."""
    return sorted(_drawn(kinds, seconds, chance), key=lambda due: due.at)


def _drawn(kinds: Sequence[Fault], seconds: float, chance: random.Random) -> Iterator[ScheduledAction]:
    for fault in kinds:
        for _ in range(max(1, round(seconds / fault.every))):
            begin = chance.uniform(0.05, 0.9) * seconds
            lasts = chance.uniform(*fault.lasts)
            yield ScheduledAction(begin, fault, fault.begin)
            yield ScheduledAction(begin + lasts, fault, fault.end)


def restore(system: ChaosSystem) -> None:
    """End every fault."""
    system.road.state = TcpProxy.State.OPEN
    _storage_comes(system, random.Random(0))
    system.start_destination()
    system.conduct.behave()
    system.tell_simulator("faults", **PEACE)
    _raise_the_dead(system, random.Random(0))


def _kill(system: ChaosSystem, chance: random.Random) -> None:
    host = chance.choice(system.hosts)
    if host.child.running:
        system.killed.add(host)
        host.kill()


def _raise_the_dead(system: ChaosSystem, _: random.Random) -> None:
    """Restart the killed hosts. A host without storage listens later, so this does not wait."""
    while system.killed:
        system.killed.pop().launch()


def _storage_goes(system: ChaosSystem, _: random.Random) -> None:
    if system.storage_runs:
        system.azurite.stop()
        system.storage_runs = False


def _storage_comes(system: ChaosSystem, _: random.Random) -> None:
    if not system.storage_runs:
        system.azurite.start()
        system.storage_runs = True


def _destination(**manner: object) -> Action:
    return lambda system, _: system.conduct.behave(**manner)


def _road(state: TcpProxy.State) -> Action:
    def set_state(system: ChaosSystem, _: random.Random) -> None:
        system.road.state = state

    return set_state


def _graph(**faults: object) -> Action:
    return lambda system, _: system.tell_simulator("faults", **faults)


def _rotate_signing_keys(system: ChaosSystem, _: random.Random) -> None:
    system.tell_simulator("signing-keys/rotate")


def _bring_key(system: ChaosSystem, chance: random.Random) -> None:
    """Drop a key file into the directory, as an operator would."""
    key = new_key(f"brought-{chance.getrandbits(32):08x}", now(), LIFETIME)
    draft = system.directory / f"{key.key_id}.new"
    draft.touch(0o600)
    draft.write_bytes(write_pem(key))
    draft.replace(system.directory / "keys" / f"{key.key_id}.pem")


def _write_long(system: ChaosSystem, chance: random.Random) -> None:
    system.tell_simulator("messages", text=chance.choice("abc") * LONG)


def _of_teams(system: ChaosSystem, chance: random.Random) -> str | None:
    names = {resource.strip("/").lower() for resource in DECLARED}
    ids = [
        subscription["id"]
        for subscription in system.subscriptions()
        if subscription["resource"].strip("/").lower() in names
    ]
    return str(chance.choice(ids)) if ids else None


def _remove_silently(system: ChaosSystem, chance: random.Random) -> None:
    if found := _of_teams(system, chance):
        system.http.delete(f"{system.simulator_url}/simulator/subscriptions/{found}")


def _lifecycle(system: ChaosSystem, found: str | None, event: str, times: int) -> None:
    if found:  # which may be gone by now
        order = {"subscriptionId": found, "event": event, "times": times}
        sent = system.http.post(f"{system.simulator_url}/simulator/lifecycle", json=order)
        system.lifecycle_sent += times if sent.is_success else 0


def _remove(system: ChaosSystem, chance: random.Random) -> None:
    _lifecycle(system, _of_teams(system, chance), "subscriptionRemoved", chance.randint(1, 3))


def _challenge(system: ChaosSystem, chance: random.Random) -> None:
    _lifecycle(system, _of_teams(system, chance), "reauthorizationRequired", chance.randint(1, 20))


def _miss(system: ChaosSystem, chance: random.Random) -> None:
    ids = [
        subscription["id"]
        for subscription in system.subscriptions()
        if subscription["resource"].lower().endswith(("/messages", "/events"))
    ]
    _lifecycle(system, chance.choice(ids) if ids else None, "missed", chance.randint(1, 3))


_well, _open = _destination(), _road(TcpProxy.State.OPEN)

FAULTS = (
    Fault("host killed", 12, _kill, (0.5, 4), _raise_the_dead),
    Fault("storage away", 60, _storage_goes, (1, 6), _storage_comes),
    Fault("destination answers 500", 90, _destination(mode="status", status=500), (1, 6), _well),
    Fault("destination answers 429", 90, _destination(mode="status", status=429, retry_after=2), (1, 6), _well),
    Fault("destination answers 503", 90, _destination(mode="status", status=503), (1, 6), _well),
    Fault("destination hangs", 90, _destination(hang_seconds=6), (2, 8), _well),
    Fault("destination resets", 90, _road(TcpProxy.State.RESETS), (1, 6), _open),
    Fault("destination's answers are lost", 60, _road(TcpProxy.State.LOSES_ANSWERS), (1, 4), _open),
    Fault(
        "destination away",
        120,
        lambda system, _: system.stop_destination(),
        (5, 20),
        lambda system, _: system.start_destination(),
    ),
    Fault("Graph throttles", 90, _graph(throttle=0.4), (3, 10), _graph(throttle=0)),
    Fault("Graph away", 120, _graph(unavailable=["graph", "login"]), (2, 8), _graph(unavailable=[])),
    Fault("the list of subscriptions is empty", 90, _graph(listing="empty"), (2, 8), _graph(listing="true")),
    Fault("the list of subscriptions is stale", 90, _graph(listing="stale"), (2, 8), _graph(listing="true")),
    Fault("links lead nowhere", 90, _graph(loop_links=True), (2, 6), _graph(loop_links=False)),
    Fault(FORGOTTEN, 60, _graph(forget_links=True), (1, 4), _graph(forget_links=False)),
    Fault("signing keys away", 60, _graph(unavailable=["keys"]), (4, 15), _graph(unavailable=[])),
    Fault("signing keys rotate", 60, _rotate_signing_keys),
    Fault("encryption key brought", 60, _bring_key),
    Fault("long message", 20, _write_long),
    Fault("subscription removed silently", 200, _remove_silently),
    Fault("subscription removed", 200, _remove),
    Fault("Graph missed something", 200, _miss),
    Fault("storm of challenges", 90, _challenge),
)

GENTLE_FAULTS = tuple(fault for fault in FAULTS if fault.name.startswith(("destination", "Graph throttles", "signing")))
"""The faults that neither end a process of the app, nor concern storage or subscriptions."""
