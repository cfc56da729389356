"""Group commit: one queue message stores the envelopes of several concurrent requests.

Most of the cost of an answer to Graph is the put into the queue. Requests that arrive during puts share the next one; a
request that arrives without a put in progress starts one immediately.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property

from shared.errors import Reason, RetryLater
from shared.messages.envelope import together
from shared.storage.queues import MESSAGE_LIMIT, Queue, Sender
from shared.threads import ContextThreadPool

MOST_PUTS = 2
"""Concurrent puts. With more of them, each stores less."""

MOST_ENVELOPES = 16
"""Envelopes that share a queue message. More would hardly reduce the cost of each."""


@dataclass(frozen=True)
class _Request:
    """The texts of one request, and whether they are stored."""

    texts: Sequence[str]
    stored: Future[None] = field(default_factory=Future)

    @property
    def size(self) -> int:
        """The bytes of the texts in a shared message."""
        return sum(len(text) + 1 for text in self.texts)


class GroupCommit:
    """Enqueues the texts of concurrent requests together; one object serves all threads.

    Texts that fill a message are sent separately, so that their size does not delay other requests. Of a request with
    several texts, the last one may share a message.
    """

    def __init__(self, sender: Sender, limit: int = MESSAGE_LIMIT) -> None:
        """`limit`: bytes of a queue message."""
        self._sender = sender
        self._space = limit - len("[]")
        self._lock = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._puts = 0

    def send(self, text: str, queue: Queue = Queue.NOTIFICATIONS, *, delay: timedelta = timedelta(0)) -> None:
        """See Sender: a text with a delay, or for another queue, is sent separately."""
        self._sender.send(text, queue, delay=delay)

    def send_all(self, texts: Sequence[str], *, within: timedelta) -> None:
        """See Sender."""
        ends = time.monotonic() + within.total_seconds()
        alone, shared = self._split(texts)
        request = self._join(shared) if shared else None
        try:
            if alone:
                self._sender.send_all(alone, within=within)
        except BaseException:
            if request is not None:
                request.stored.cancel()
            raise
        if request is not None:
            self._wait(request, ends - time.monotonic())

    def _split(self, texts: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
        """Return the texts to send separately, and those to share a message."""
        if _Request(texts).size <= self._space and len(texts) <= MOST_ENVELOPES:
            return (), texts
        has_room = len(texts) > 1 and _Request(texts[-1:]).size <= self._space // 2
        return (texts[:-1], texts[-1:]) if has_room else (texts, ())

    def _join(self, texts: Sequence[str]) -> _Request:
        request = _Request(texts)
        with self._lock:
            self._waiting.append(request)
            starts = self._puts < MOST_PUTS
            self._puts += starts
        if starts:
            self._pool.submit(self._put_groups)
        return request

    def _wait(self, request: _Request, seconds: float) -> None:
        try:
            request.stored.result(max(seconds, 0))
        except TimeoutError:
            request.stored.cancel()  # a put that has not begun never does: the sender resends
            raise RetryLater(Reason.STORAGE, "the queue did not answer in time") from None

    def _put_groups(self) -> None:
        while group := self._next_group():
            try:
                self._sender.send(together([text for request in group for text in request.texts]))
            except RetryLater as failure:
                for request in group:
                    request.stored.set_exception(failure.copy())
            except Exception as error:
                for request in group:
                    request.stored.set_exception(error)
            else:
                for request in group:
                    request.stored.set_result(None)

    def _next_group(self) -> list[_Request]:
        """Return the requests of the next put, in the order of their arrival; empty at the end of the series."""
        group: list[_Request] = []
        space, places = self._space, MOST_ENVELOPES
        with self._lock:
            while self._waiting and self._waiting[0].size <= space and len(self._waiting[0].texts) <= places:
                request = self._waiting.popleft()
                if request.stored.set_running_or_notify_cancel():
                    group.append(request)
                    space -= request.size
                    places -= len(request.texts)
            if not group:
                self._puts -= 1
        return group

    @cached_property
    def _pool(self) -> ContextThreadPool:
        return ContextThreadPool(MOST_PUTS, thread_name_prefix="group-commit")
