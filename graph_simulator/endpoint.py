"""How Graph rates an endpoint by the speed of its answers (docs/graph.md, "Slow endpoints")."""

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum

WINDOW = timedelta(minutes=10)
ENOUGH_ANSWERS = 100
SLOW_SHARE, DROP_SHARE = 0.10, 0.15
PROBES = 5


class EndpointState(Enum):
    """How Graph treats new notifications for an endpoint."""

    PROMPT = "prompt"
    SLOW = "slow"
    """Graph sends them ten minutes late."""
    DROP = "drop"
    """Graph drops them silently."""


class Endpoint:
    """The answers of one host in the last ten minutes; durations are real, the window is virtual."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._answers: deque[tuple[datetime, EndpointState]] = deque()
        self._judged = EndpointState.PROMPT
        self._until = clock()
        self._probes = 0

    def answered(self, seconds: float, slow_after: float = 3.0, lost_after: float = 10.0) -> None:
        """Record the duration of an answer; a time-out counts as the time waited."""
        now = self._clock()
        speed = (
            EndpointState.DROP
            if seconds >= lost_after
            else EndpointState.SLOW
            if seconds >= slow_after
            else EndpointState.PROMPT
        )
        self._answers.append((now, speed))
        while self._answers[0][0] < now - WINDOW:
            self._answers.popleft()
        if self._judged is EndpointState.PROMPT and (verdict := self._verdict()) is not EndpointState.PROMPT:
            self._judged, self._until, self._probes = verdict, now + WINDOW, 0

    def state(self) -> EndpointState:
        """Return the present standing; after ten minutes a few notifications pass as a probe, which decides."""
        if self._judged is not EndpointState.PROMPT and self._clock() >= self._until:
            if self._probes == 0:
                self._answers.clear()
            self._probes += 1
            if self._probes <= PROBES:
                return EndpointState.PROMPT
            if len(self._answers) >= PROBES:
                self._judged = self._verdict(enough=PROBES)
                self._until, self._probes = self._clock() + WINDOW, 0
        return self._judged

    def _verdict(self, enough: int = ENOUGH_ANSWERS) -> EndpointState:
        count = len(self._answers)
        if count < enough:
            return EndpointState.PROMPT
        if sum(speed is EndpointState.DROP for _, speed in self._answers) > DROP_SHARE * count:
            return EndpointState.DROP
        if sum(speed is not EndpointState.PROMPT for _, speed in self._answers) > SLOW_SHARE * count:
            return EndpointState.SLOW
        return EndpointState.PROMPT
