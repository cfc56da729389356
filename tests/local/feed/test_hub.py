import json
from typing import Any

import msgspec
from sse_starlette import ServerSentEvent

from local.feed.hub import Hub, Watcher
from local.feed.message import Message
from tests.coroutines import completed


def message(position: int) -> Message:
    nothing = {"conversation": "", "source": "", "subject": "", "type": "", "version": "", "time": "", "arrived": ""}
    flags = {"deleted": False, "partial": False, "revisions": 1, "author_id": None, "author": None}
    return msgspec.convert({"position": position, "lag_ms": 0, "data": msgspec.Raw(b"{}")} | nothing | flags, Message)


def sent(watcher: Watcher) -> list[tuple[str, Any]]:
    """Return all entries of the watcher's stream, which has to be closed."""

    async def read() -> list[ServerSentEvent]:
        return [event async for event in watcher.events()]

    watcher.close()
    return [(str(event.event), json.loads(str(event.data))) for event in completed(read())]


def test_waiting_messages_are_sent_together_and_only_the_latest_state() -> None:
    watcher = Watcher()
    watcher.show([message(1)])
    watcher.publish("pace", 1)
    watcher.show([message(2), message(3)])
    watcher.publish("pace", 2)
    (pace, value), (messages, shown) = sent(watcher)
    assert (pace, value, messages) == ("pace", 2, "messages")
    assert [message["position"] for message in shown] == [1, 2, 3]


def test_a_watcher_far_behind_is_notified_and_uses_no_memory() -> None:
    watcher = Watcher()
    watcher.show([message(n) for n in range(2_000)])
    watcher.show([message(2_000)])
    behind, (_, shown) = sent(watcher)
    assert behind == ("behind", None)
    assert [message["position"] for message in shown] == [2_000]


def test_every_watcher_is_notified_until_it_leaves() -> None:
    hub = Hub()
    with hub.watch() as stays:
        with hub.watch() as leaves:
            hub.show([message(1)])
        hub.show([message(2)])
        hub.close()
        assert [[message["position"] for message in value] for _, value in sent(leaves)] == [[1]]
        assert [[message["position"] for message in value] for _, value in sent(stays)] == [[1, 2]]
