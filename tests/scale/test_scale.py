"""A shortened form of `make bench ARGS=subscriptions`: the same phases for a few dozen subscriptions."""

from tests.scale.phases import Course


def test_nothing_is_lost_and_no_limit_exceeded_whatever_happens_to_many_subscriptions() -> None:
    phases = list(Course(24).phases(quiet_runs=1))
    assert {phase.name: phase.broken for phase in phases if phase.broken} == {}
    quiet = phases[1].figures
    assert set(quiet.calls) == {"list"}
