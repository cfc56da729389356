"""The faults that can be switched on in the page, with their expected effects."""

from collections import Counter
from typing import Any, Literal

import msgspec

from local.feed.control import Control

Where = Literal["destination", "graph", "machine"]


class Breakage(msgspec.Struct, frozen=True):
    """One fault. A switch stays on until it is switched off; other faults happen once.

    conduct: of this feed; faults: of the Graph simulator; action: a command to the simulator, or to the run's process.
    """

    name: str
    where: Where
    title: str
    expect: str
    is_switch: bool = True
    conduct: Control | None = None
    faults: dict[str, Any] = {}
    action: str = ""


BREAKAGES: tuple[Breakage, ...] = (
    Breakage(
        "destination_down", "destination", "Destination down (503)",
        "Deliveries are retried with growing delays, one attempt at a time. When it is back, all that waited "
        "arrives, in its last version, once.",
        conduct=Control(mode="status", status=503),
    ),
    Breakage(
        "destination_500", "destination", "Destination fails (500)",
        "As with 503, but from the second attempt on in smaller batches, in case one event is the cause.",
        conduct=Control(mode="status", status=500),
    ),
    Breakage(
        "destination_410", "destination", "Destination gone (410)",
        "Delivery stops and everything is kept in the queue; `doctor` names it. This feed asks for another attempt "
        "after 15 s (Retry-After); without that, the app tries again once an hour.",
        conduct=Control(mode="status", status=410, retry_after=15),
    ),
    Breakage(
        "destination_slow", "destination", "Destination slow (3 s an answer)",
        "Nothing is lost or repeated; the lag grows to several seconds.",
        conduct=Control(hang_seconds=3),
    ),
    Breakage(
        "storage", "machine", "Storage unavailable",
        "notify_http answers 503 and Graph sends again later: nothing counts as received that is not stored. "
        "Delivery goes on when storage is back.",
    ),
    Breakage(
        "key_store", "machine", "Key store unavailable",
        "Keys in memory go on decrypting, so messages keep arriving; subscriptions are still renewed. `doctor` "
        "reports the key store.",
    ),
    Breakage(
        "restart", "machine", "Kill the functions",
        "What was in progress is processed again after the restart; the feed sees an id twice at most, never a gap.",
        is_switch=False,
    ),
    Breakage(
        "signing_keys", "graph", "Microsoft's signing keys unavailable",
        "Graph signs with a new key that cannot be fetched: items wait (reason signing_keys), none is refused or "
        "believed. All arrive within five minutes of the keys' return: strangers must not make the app ask more often.",
        faults={"unavailable": ["keys"]}, action="signing-keys/rotate",
    ),
    Breakage(
        "graph_down", "graph", "Graph API unavailable (503)",
        "Pushed messages need no call to Graph, so they keep arriving; renewals wait, well before anything expires.",
        faults={"unavailable": ["graph"]},
    ),
    Breakage(
        "throttle", "graph", "Graph throttles (half of all calls 429)",
        "Calls wait as long as Retry-After says; pushed messages are not affected.",
        faults={"throttle": 0.5},
    ),
    Breakage(
        "drop", "graph", "Graph drops half of the notifications",
        "Nothing announces a loss. The comparison with Graph's own list finds the missing messages five to nine "
        "minutes later and reads them back.",
        faults={"drop": 0.5},
    ),
    Breakage(
        "duplicate", "graph", "Graph sends half of them twice",
        "The second copy is recognised by its id: counted as a duplicate, not delivered.",
        faults={"duplicate": 0.5},
    ),
    Breakage(
        "reorder", "graph", "Graph changes the order",
        "An edit may come before its message. The greater version wins; the page shows the last state.",
        faults={"reorder": 0.5},
    ),
    Breakage(
        "forge", "graph", "Forged notifications",
        "Each forgery is right in all but one respect. All are refused, or kept as dead letters; none shows among "
        "the messages.",
        faults={"forge": 0.5},
    ),
    Breakage(
        "remove_subscription", "graph", "Graph removes a subscription",
        "The app creates it again within seconds and reads back what was written in between.",
        is_switch=False, action="lifecycle",
    ),
    Breakage(
        "rotate_keys", "graph", "Microsoft changes its signing key",
        "The new key is fetched when the first token names it, or five minutes after the last request for keys: until "
        "then items wait.",
        is_switch=False, action="signing-keys/rotate",
    ),
)  # fmt: skip

_BY_NAME = {breakage.name: breakage for breakage in BREAKAGES}
_NO_FAULTS: dict[str, Any] = {"unavailable": [], "throttle": 0, "drop": 0, "duplicate": 0, "reorder": 0, "forge": 0}


class BreakageState(msgspec.Struct, frozen=True):
    """A fault as the page shows it. times: how often it was requested."""

    name: str
    where: Where
    title: str
    expect: str
    is_switch: bool
    available: bool
    active: bool
    times: int


class Unavailable(Exception):
    """The fault does not exist, or nothing here can cause it."""


class Broken:
    """The faults that are on.

    simulated: a Graph simulator is available; supervised: a process (`make run`) reads the list and acts on it.
    """

    def __init__(self, *, simulated: bool, supervised: bool) -> None:
        self._available: dict[Where, bool] = {"destination": True, "graph": simulated, "machine": supervised}
        self._active: list[str] = []
        self._times: Counter[str] = Counter()

    def order(self, name: str, *, on: bool) -> Breakage:
        """Switch a fault on or off, or count one that happens once; of the destination's faults, only one is on at a
        time.

        Raises:
            Unavailable: nothing here can cause it.
        """
        breakage = _BY_NAME.get(name)
        if breakage is None or not self._available[breakage.where]:
            raise Unavailable(name)
        self._active = [
            other
            for other in self._active
            if other != name and not (on and breakage.where == "destination" == _BY_NAME[other].where)
        ]
        if on:
            self._times[name] += 1
            if breakage.is_switch:
                self._active.append(name)
        return breakage

    def active(self) -> list[Breakage]:
        """Return the faults that are on, the last first."""
        return [_BY_NAME[name] for name in reversed(self._active)]

    def conduct(self) -> Control:
        """Return the feed's behaviour."""
        return next((breakage.conduct for breakage in self.active() if breakage.conduct), Control())

    def faults(self) -> dict[str, Any]:
        """Return the faults of the simulator, including those that are off."""
        faults = dict(_NO_FAULTS)
        for breakage in self.active():
            for name, value in breakage.faults.items():
                faults[name] = faults[name] + value if isinstance(value, list) else value
        return faults

    def states(self) -> list[BreakageState]:
        """Return the states of all faults."""
        return [
            BreakageState(
                name=breakage.name,
                where=breakage.where,
                title=breakage.title,
                expect=breakage.expect,
                is_switch=breakage.is_switch,
                available=self._available[breakage.where],
                active=breakage.name in self._active,
                times=self._times[breakage.name],
            )
            for breakage in BREAKAGES
        ]
