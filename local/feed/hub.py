"""The open pages: each receives the changes since its last update, in few pieces."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from sse_starlette import ServerSentEvent

from local.feed.message import Message

_MOST_PENDING = 1_000  # messages; a watcher that is further behind reads the history again
_BREATH = 0.05  # seconds between two pieces: twenty a second look live and leave a slow browser time to draw


class Watcher:
    """One open stream. Of a state (pace, relay), only the latest value is sent; of messages, all."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._states: dict[str, Any] = {}
        self._something = asyncio.Event()
        self._closed = False

    def close(self) -> None:
        """End the stream after the pending updates."""
        self._closed = True
        self._something.set()

    def publish(self, state: str, value: Any) -> None:
        """Replace the pending value of a state."""
        self._states[state] = value
        self._something.set()

    def show(self, messages: list[Message]) -> None:
        """Add messages; too many pending become one `behind`, which has the page read the history again."""
        self._messages += messages
        if len(self._messages) > _MOST_PENDING:
            self._messages.clear()
            self._states["behind"] = None
        self._something.set()

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        """Yield pending updates repeatedly; after `close`, the last ones."""
        while True:
            await self._something.wait()
            self._something.clear()
            for event in self._take():
                yield event
            if self._closed:
                return
            await asyncio.sleep(_BREATH)

    def _take(self) -> list[ServerSentEvent]:
        pending, self._states = self._states, {}
        if self._messages:
            pending["messages"], self._messages = self._messages, []
        return [ServerSentEvent(msgspec.json.encode(value).decode(), event=name) for name, value in pending.items()]


class Hub:
    """All watchers. Used on the event loop only."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()
        self._closed = False

    @contextmanager
    def watch(self) -> Iterator[Watcher]:
        """Register a watcher for the duration of the block."""
        watcher = Watcher()
        if self._closed:
            watcher.close()
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def publish(self, state: str, value: Any) -> None:
        """Publish a new state to every watcher."""
        for watcher in self._watchers:
            watcher.publish(state, value)

    def show(self, messages: list[Message]) -> None:
        """Publish new or changed messages to every watcher."""
        for watcher in self._watchers:
            watcher.show(messages)

    def close(self) -> None:
        """End every stream, including future ones."""
        self._closed = True
        for watcher in self._watchers:
            watcher.close()
