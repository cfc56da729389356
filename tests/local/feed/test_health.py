from datetime import UTC, datetime, timedelta

from local.feed.health import HealthHistory
from local.feed.relay_metrics import RelayCounters

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def relay(reachable: bool = True, **retried: int) -> RelayCounters:
    return RelayCounters(reachable=reachable, retried=retried)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_messages_that_pass_through_the_queue_are_no_trouble() -> None:
    history = HealthHistory()
    for second in range(60):
        assert history.judge(after(second), relay(), second % 2, 0, []).ok


def test_waiting_messages_are_shown_with_their_age() -> None:
    history = HealthHistory()
    history.judge(NOON, relay(), 0, 0, [])
    health = history.judge(after(19), relay(), 40, 0, [])
    assert (health.ok, health.waiting_since) == (True, NOON.isoformat())
    assert history.judge(after(20), relay(), 40, 0, []).causes == [("slow", "")]
    assert history.judge(after(21), relay(), 0, 0, []).waiting_since is None


def test_retries_are_a_cause_for_a_while_the_most_frequent_first() -> None:
    history = HealthHistory()
    history.judge(NOON, relay(destination=7), 0, 0, [])
    health = history.judge(after(1), relay(destination=9, key_store=30), 5, 0, [])
    assert health.causes == [("retried", "key_store"), ("retried", "destination")]
    assert history.judge(after(20), relay(destination=9, key_store=30), 5, 0, []).causes == health.causes
    assert history.judge(after(40), relay(destination=9, key_store=30), 0, 0, []).ok


def test_a_relay_that_started_again_has_not_retried_less() -> None:
    history = HealthHistory()
    history.judge(NOON, relay(destination=700), 0, 0, [])
    assert history.judge(after(1), relay(destination=0), 0, 0, []).ok


def test_a_relay_that_does_not_answer_is_a_cause_at_once() -> None:
    assert HealthHistory().judge(NOON, relay(reachable=False), None, None, []).causes == [("relay_away", "")]


def test_messages_that_only_graph_has_are_shown_as_such() -> None:
    history = HealthHistory()
    history.judge(NOON, None, None, 0, [])
    assert history.judge(after(30), None, None, 12, []).causes == [("graph_holds", "")]


def test_a_busy_queue_is_no_trouble_while_events_arrive_in_time() -> None:
    history = HealthHistory()
    for second in range(60):
        history.arrived(after(second), [250.0])
        assert history.judge(after(second), relay(), 30, 5, []).ok
    assert history.judge(after(80), relay(), 30, 5, []).causes == [("slow", "")]
