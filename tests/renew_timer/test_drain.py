"""The timer handles overdue messages while the queue trigger sleeps, and does nothing otherwise."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from process_queue.handler import MessageHandler
from renew_timer.drain import WORK_TIME, drain
from shared.configuration.settings import Settings
from shared.errors import Reason, RetryLater, Undeliverable
from shared.messages.activity import SLEEPING_AFTER
from shared.messages.envelope import write
from shared.relay import Relay
from shared.storage.queues import Queue
from tests.builders import Clock, change, changes, environment
from tests.memory import MemoryAccount

MESSAGES = 40


class SleepingTrigger:
    """An app with messages on its queue that only the timer takes."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.account = MemoryAccount(self.clock)
        self.relay = Relay(Settings.from_environment(environment()), self.account.clients(), clock=self.clock)
        self.handled: list[str] = []

    def queue(self, number: int = MESSAGES) -> None:
        for _ in range(number):
            self.account.queues.send(write(changes(change())))

    def run(self, handle: Callable[[str], None] | None = None) -> int:
        return drain(self.relay, handle or self.handled.append)


@pytest.fixture
def app() -> SleepingTrigger:
    return SleepingTrigger()


def test_due_messages_are_handled(app: SleepingTrigger, caplog: pytest.LogCaptureFixture) -> None:
    app.queue()
    app.clock.now += SLEEPING_AFTER
    assert app.run() == MESSAGES == len(app.handled)
    assert app.account.queues.length() == 0
    assert f"renew_timer handled {MESSAGES} of them" in caplog.text


def test_what_became_due_a_moment_ago_is_left_to_the_trigger(app: SleepingTrigger) -> None:
    app.queue()
    app.clock.now += SLEEPING_AFTER - timedelta(seconds=1)
    assert app.run() == 0


def test_while_the_trigger_works_the_timer_does_not(app: SleepingTrigger) -> None:
    """A backlog has old messages at its head, however many instances work on it."""
    app.queue()
    app.clock.now += timedelta(hours=5)
    app.relay.activity.note()
    app.clock.advance(seconds=90)
    assert app.run() == 0
    app.clock.now += SLEEPING_AFTER
    assert app.run() == MESSAGES


def test_what_waits_for_its_next_attempt_is_not_due(app: SleepingTrigger) -> None:
    """Nor has it been due for long when it has just become visible, though it was enqueued hours ago."""
    MessageHandler(app.relay).requeue.later(changes(change()), RetryLater(Reason.GRAPH, retry_after=timedelta(hours=1)))
    app.clock.advance(minutes=30)
    assert app.run() == 0
    delay = app.account.queues.delays[0]
    app.clock.now += delay - timedelta(minutes=30) + timedelta(seconds=1)
    assert app.run() == 0
    app.clock.now += SLEEPING_AFTER
    assert app.run() == 1


def test_a_run_ends_in_time_and_the_next_goes_on(app: SleepingTrigger) -> None:
    app.queue()
    app.clock.now += SLEEPING_AFTER

    def slow(text: str) -> None:
        app.clock.now += WORK_TIME
        app.handled.append(text)

    first = app.run(slow)
    assert 0 < first < MESSAGES
    assert app.run() == MESSAGES - first  # unhandled messages are visible again


def test_an_unreadable_message_goes_to_the_poison_queue(app: SleepingTrigger) -> None:
    app.queue(1)
    app.clock.now += SLEEPING_AFTER

    def refuse(_: str) -> None:
        raise Undeliverable(Reason.MALFORMED)

    assert app.run(refuse) == 1
    assert app.account.queues.length() == 0
    assert app.account.queues.length(Queue.POISON) == 1


def test_a_message_that_could_not_be_handled_comes_again(app: SleepingTrigger) -> None:
    app.queue(1)
    app.clock.now += SLEEPING_AFTER

    def unavailable(_: str) -> None:
        raise RetryLater(Reason.STORAGE)

    with pytest.raises(RetryLater):
        app.run(unavailable)
    app.clock.advance(minutes=15)
    assert app.run() == 1
