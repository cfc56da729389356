"""What the host and the worker exchange for an invocation: plain values, and azure-functions' objects made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import azure.functions as func
from azure.functions.http import HttpRequest
from azure.functions.queue import QueueMessage
from azure.functions.timer import TimerRequest


@dataclass(frozen=True)
class HttpCall:
    """A request, as an HTTP function sees it."""

    method: str
    url: str
    headers: dict[str, str]
    params: dict[str, str]
    route_params: dict[str, str]
    body: bytes

    def value(self) -> HttpRequest:
        """Return what the worker hands to the function."""
        return HttpRequest(
            method=self.method,
            url=self.url,
            headers=self.headers,
            params=self.params,
            route_params=self.route_params,
            body_type="bytes",
            body=self.body,
        )


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

    def value(self) -> QueueMessage:
        """Return what the worker hands to the function."""
        return QueueMessage(  # type: ignore[no-untyped-call]  # azure-functions has no types
            id=self.id,
            body=self.body,
            dequeue_count=self.dequeue_count,
            expiration_time=self.expiration_time,
            insertion_time=self.insertion_time,
            time_next_visible=self.time_next_visible,
            pop_receipt=self.pop_receipt,
        )


@dataclass(frozen=True)
class TimerCall:
    """A timer's run, as a timer function sees it."""

    past_due: bool
    last: str
    next: str

    def value(self) -> TimerRequest:
        """Return what the worker hands to the function."""
        status = {"Last": self.last, "Next": self.next, "LastUpdated": self.last}
        return TimerRequest(past_due=self.past_due, schedule_status=status, schedule={"AdjustForDST": True})


Call = HttpCall | QueueCall | TimerCall


@dataclass(frozen=True)
class HttpAnswer:
    """The answer of an HTTP function."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


def answer_of(returned: object) -> HttpAnswer:
    """Build the answer; text without a type of its own is text/plain, as the worker has it.

    Raises:
        TypeError: a function returned what is no HTTP answer.
    """
    if isinstance(returned, str):
        return HttpAnswer(200, [("content-type", "text/plain; charset=utf-8")], returned.encode())
    if not isinstance(returned, func.HttpResponse):
        raise TypeError(f"expected HttpResponse or str, not {type(returned).__name__}")
    headers = [(name.lower(), value) for name, value in returned.headers.items()]
    if not any(name == "content-type" for name, _ in headers):
        charset = f"; charset={returned.charset}" if returned.mimetype.startswith("text/") else ""
        headers.append(("content-type", returned.mimetype + charset))
    return HttpAnswer(returned.status_code, headers, returned.get_body())
