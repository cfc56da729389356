"""The time of an answer does not reveal whether a clientState is valid."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from notify_http.answer_time import LONGEST, TYPICAL, AnswerTime
from notify_http.receive import receive
from shared import telemetry
from shared.messages.ingest import ExpectedRecipient
from shared.throttle import Throttle
from tests.builders import NOW, TENANT, body, change, client_state_secret, rich
from tests.memory import MemoryQueues, account_of_items

RECIPIENT = ExpectedRecipient(TENANT, [client_state_secret()])


class Times:
    """A clock, and the sleeps so far."""

    def __init__(self) -> None:
        self.now = 0.0
        self.answers = AnswerTime(lambda: self.now, self.sleep, max)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def answer(self, work: float, *, stored: bool) -> float:
        """Return the duration of an answer, of which the app's own work takes `work`."""
        began = self.now
        self.now += work
        self.answers.level(began, stored=stored)
        return self.now - began


def test_a_refusal_takes_as_long_as_storing_does() -> None:
    times = Times()
    assert times.answer(0.0016, stored=False) == pytest.approx(TYPICAL)
    assert times.answer(0.02, stored=True) == pytest.approx(0.02)
    assert times.answer(0.0016, stored=False) == pytest.approx(0.02)


def test_storage_that_is_slow_holds_no_stranger_for_long() -> None:
    times = Times()
    times.answer(2.3, stored=True)
    assert times.answer(0.0016, stored=False) == pytest.approx(LONGEST)


def test_what_took_long_itself_is_not_held_back() -> None:
    assert Times().answer(0.5, stored=False) == pytest.approx(0.5)


def test_the_answer_does_not_show_whether_anything_was_stored() -> None:
    queues = MemoryQueues()
    good = receive(body(change()), RECIPIENT, queues, NOW, None, account_of_items())
    bad = receive(body(change(clientState="guess")), RECIPIENT, queues, NOW, None, account_of_items())
    assert (good.stored, bad.stored) == (True, False)
    assert good == bad  # the answers are equal


@contextmanager
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """The spans exported meanwhile."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "_tracer", provider.get_tracer("graph_relay"))
    yield exporter
    provider.shutdown()


def test_a_refused_post_exports_no_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each span costs money, and any caller can have a POST refused."""
    with spans(monkeypatch) as exported:
        for text in (body(change(clientState="guess")), body(rich(clientState=None)), body(), b"{", b""):
            receive(text, RECIPIENT, MemoryQueues(), NOW, None, account_of_items())
        assert exported.get_finished_spans() == ()
        receive(body(change(clientState="guess"), change()), RECIPIENT, MemoryQueues(), NOW, None, account_of_items())
        assert [span.name for span in exported.get_finished_spans()] == ["notify_http"]


def test_a_line_that_anybody_can_cause_is_written_once_a_minute() -> None:
    now = [0.0]
    throttle = Throttle(60, lambda: now[0])
    assert [throttle() for _ in range(3)] == [True, False, False]
    now[0] = 60
    assert [throttle() for _ in range(2)] == [True, False]
