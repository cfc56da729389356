"""Half a day of subscriptions with a lifetime of six hours."""

from datetime import timedelta

import pytest

from tests.life.conftest import CHATS, TEAMS, AppEnvironment, declared

TICK = timedelta(minutes=10)
HOURS = 12

SHIFTS = [
    declared(f"/teams/00000000-0000-4000-8000-00000000000{number}/schedule/shifts", "updated", rich=False)
    for number in range(2)
]
"""The shortest maximum lifetime among the resources that an app may subscribe to: six hours."""


@pytest.mark.parametrize("asked", [True, False], ids=["asked to re-authorize", "by the timer alone"])
def test_over_half_a_day_there_is_no_moment_without_a_live_subscription(world: AppEnvironment, asked: bool) -> None:
    declarations = [*SHIFTS, declared(CHATS), declared(TEAMS)]
    app = world.instance(*declarations)
    app.tick()
    first = {subscription.id for subscription in world.graph.subscriptions()}
    assert len(first) == len(declarations)
    for _ in range(timedelta(hours=HOURS) // TICK):
        world.graph.advance(seconds=TICK.total_seconds())
        # An expired subscription never comes back: a subscription seen now has existed all the time.
        assert {subscription.id for subscription in world.graph.subscriptions()} == first
        app.tick()
        if asked:
            app.work()
    assert world.graph.calls("DELETE") == []
    assert len(world.graph.calls("POST", "subscriptions")) == len(declarations)
    assert world.graph.simulator.summary()["flagged"] == []

    # Authorizations are renewed about every half hour.
    renewals = HOURS * 2 + 4
    assert len(world.graph.calls("PATCH")) >= HOURS // 6 * len(SHIFTS)
    assert len(world.graph.calls("PATCH")) <= renewals * len(declarations)
    # One list a run, which may take more pages than necessary, and the first call with each hour's token.
    of_its_own = [call for call in world.graph.calls() if call.path != "subscriptions"]
    assert len(world.graph.calls()) - len(of_its_own) <= 2 * (timedelta(hours=HOURS) // TICK)
    assert len(of_its_own) <= 2 * renewals * len(declarations) + 2
