"""Group commit: one queue message stores the envelopes of several requests that come at the same time.

A put into the queue is most of what an answer to Graph costs. Requests that arrive while puts are under way share the
next one; a request that arrives while none is under way starts one, and waits for nobody.
"""

import threading
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
"""Puts under way at once. With more of them, each stores less."""

MOST_ENVELOPES = 16
"""Envelopes that share a queue message. More of them would hardly cost less each."""


@dataclass(frozen=True)
class _Request:
    """The texts of one request, and whether they are stored."""

    texts: Sequence[str]
    stored: Future[None] = field(default_factory=Future)

    @property
    def size(self) -> int:
        """The bytes that they take in a message with others."""
        return sum(len(text) + 1 for text in self.texts)


class GroupCommit:
    """Enqueues the texts of concurrent requests together; one object serves all threads.

    Texts that fill a message by themselves are sent by themselves: their size costs no other request any time.
    """

    def __init__(self, sender: Sender, limit: int = MESSAGE_LIMIT) -> None:
        """`limit`: bytes of a queue message."""
        self._sender = sender
        self._space = limit - len("[]")
        self._lock = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._puts = 0

    def send(self, text: str, queue: Queue = Queue.NOTIFICATIONS, *, delay: timedelta = timedelta(0)) -> None:
        """See Sender: what a caller delays, or sends elsewhere, is sent by itself."""
        self._sender.send(text, queue, delay=delay)

    def send_all(self, texts: Sequence[str], *, within: timedelta) -> None:
        """See Sender."""
        request = _Request(texts)
        if request.size > self._space or len(texts) > MOST_ENVELOPES:
            self._sender.send_all(texts, within=within)
        elif texts:
            self._wait(request, within)

    def _wait(self, request: _Request, within: timedelta) -> None:
        with self._lock:
            self._waiting.append(request)
            starts = self._puts < MOST_PUTS
            self._puts += starts
        if starts:
            self._pool.submit(self._put_groups)
        try:
            request.stored.result(within.total_seconds())
        except TimeoutError:
            request.stored.cancel()  # if its put has not begun, it never does: the sender sends it again
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
        """Return the requests of the next put, in the order of their arrival; none ends this series of puts."""
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
