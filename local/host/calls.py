"""The messages between the host and the worker for an invocation: plain values."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class HttpCall:
    """A request, as an HTTP function sees it."""

    method: str
    url: str
    headers: dict[str, str]
    params: dict[str, str]
    route_params: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class QueueCall:
    """A queue message, as a queue function sees it."""

    id: str
    body: bytes
    dequeue_count: int
    expiration_time: datetime | None
    insertion_time: datetime | None
    time_next_visible: datetime | None
    pop_receipt: str


@dataclass(frozen=True)
class TimerCall:
    """A timer's run, as a timer function sees it."""

    past_due: bool
    last: str
    next: str


Call = HttpCall | QueueCall | TimerCall


@dataclass(frozen=True)
class HttpAnswer:
    """The answer of an HTTP function."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes
