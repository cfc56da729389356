"""How the speed of an endpoint's answers affects its notifications."""

from datetime import UTC, datetime, timedelta

from graph_simulator.clock import VirtualClock
from graph_simulator.endpoint import ENOUGH_ANSWERS, PROBES, WINDOW, Endpoint, EndpointState


def endpoint(*answers: float) -> tuple[Endpoint, VirtualClock]:
    clock = VirtualClock(lambda: datetime(2031, 1, 1, tzinfo=UTC))
    judged = Endpoint(clock)
    for seconds in answers:
        judged.answered(seconds)
    return judged, clock


def test_prompt_answers_keep_an_endpoint_prompt() -> None:
    judged, _ = endpoint(*[0.1] * 90, *[3.5] * 10)
    assert judged.state() is EndpointState.PROMPT


def test_more_than_a_tenth_over_three_seconds_makes_it_slow() -> None:
    judged, _ = endpoint(*[0.1] * 89, *[3.5] * 11)
    assert judged.state() is EndpointState.SLOW


def test_more_than_fifteen_percent_over_ten_seconds_makes_its_notifications_drop() -> None:
    judged, _ = endpoint(*[0.1] * 84, *[10.5] * 16)
    assert judged.state() is EndpointState.DROP


def test_a_few_answers_do_not_change_the_standing() -> None:
    judged, _ = endpoint(*[10.5] * (ENOUGH_ANSWERS - 1))
    assert judged.state() is EndpointState.PROMPT


def test_answers_of_more_than_ten_minutes_ago_do_not_count() -> None:
    judged, clock = endpoint(*[3.5] * 60)
    clock.advance(WINDOW + timedelta(seconds=1))
    for _ in range(60):
        judged.answered(0.1)
    assert judged.state() is EndpointState.PROMPT


def test_after_ten_minutes_prompt_answers_to_a_probe_end_the_delay() -> None:
    judged, clock = endpoint(*[3.5] * 100)
    clock.advance(WINDOW)
    assert [judged.state() for _ in range(PROBES + 1)] == [EndpointState.PROMPT] * PROBES + [EndpointState.SLOW]
    for _ in range(PROBES):
        judged.answered(0.1)
    assert judged.state() is EndpointState.PROMPT


def test_a_probe_that_is_slow_again_prolongs_the_delay() -> None:
    judged, clock = endpoint(*[3.5] * 100)
    clock.advance(WINDOW)
    for _ in range(PROBES):
        judged.state()
        judged.answered(3.5)
    assert [judged.state() for _ in range(20)] == [EndpointState.SLOW] * 20
