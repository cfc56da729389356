"""A tenant that withdraws its consent, and grants it again."""

import logging
import re
import uuid
from datetime import timedelta

import pytest

from tests.life.conftest import CHATS, TEAMS, AppEnvironment, declared

OTHER = str(uuid.uuid4())
TICK = timedelta(minutes=5)


@pytest.fixture
def both(world: AppEnvironment) -> AppEnvironment:
    """Two tenants, each declared, with messages delivered from each."""
    app = world.instance(declared(CHATS), declared(TEAMS), declared(CHATS, tenant=OTHER), declared(TEAMS, tenant=OTHER))
    app.tick()
    world.graph.post("messages", count=2)
    world.graph.post("messages", count=2, tenant=OTHER)
    app.work_until(world.delivered())
    return world


def live(world: AppEnvironment, tenant: str) -> int:
    return sum(subscription.owner.tenant == tenant for subscription in world.graph.subscriptions())


def run(world: AppEnvironment, **time: float) -> None:
    """Advance the time, with a run of the timer every five minutes."""
    app = world.instances[-1]
    for _ in range(timedelta(**time) // TICK):
        world.graph.advance(seconds=TICK.total_seconds())
        app.tick()
        app.work()


def test_a_tenant_without_consent_is_reported_with_a_remedy_and_affects_no_other(
    both: AppEnvironment, caplog: pytest.LogCaptureFixture
) -> None:
    home = both.graph.registration.tenant
    both.graph.post("consent", tenant=OTHER, granted=False)
    with caplog.at_level(logging.ERROR):
        run(both, minutes=45)
    said = [record.getMessage() for record in caplog.records]
    assert all(OTHER in line and home not in line for line in said)
    of_the_tenant = [line for line in said if "consent is missing or was withdrawn" in line]
    assert len(of_the_tenant) >= 9
    assert all("grant ChannelMessage.Read.All, Chat.Read.All" in line for line in of_the_tenant)
    of_one_subscription = [line for line in said if line not in of_the_tenant]
    assert of_one_subscription
    assert all(re.search("tenant has granted (Channel|Chat)", line) for line in of_one_subscription)
    assert (live(both, home), live(both, OTHER)) == (2, 0)
    both.graph.post("messages", count=3)
    both.instances[-1].work_until(both.delivered())


def test_when_consent_returns_one_run_restores_all_and_gaps_are_read_back(
    both: AppEnvironment,
) -> None:
    both.graph.post("consent", tenant=OTHER, granted=False)
    both.graph.post("messages", count=4, tenant=OTHER)
    run(both, minutes=45)
    both.graph.post("messages", count=1, tenant=OTHER)
    both.graph.post("consent", tenant=OTHER, granted=True)
    assert live(both, OTHER) == 0
    run(both, minutes=5)
    assert live(both, OTHER) == 2
    both.graph.post("messages", count=2, tenant=OTHER)
    both.instances[-1].work_until(both.delivered())
    assert len(both.inbox.messages()) == 11
    assert both.instances[-1].dead_letters() == 0


def test_consent_that_returns_before_a_removal_has_the_gap_read_back(
    both: AppEnvironment,
) -> None:
    """No lifecycle notification came, no subscription is missing; only Graph's refusal shows that changes were lost."""
    both.graph.post("consent", tenant=OTHER, granted=False)
    both.graph.post("messages", count=4, tenant=OTHER)
    run(both, minutes=15)
    both.graph.post("consent", tenant=OTHER, granted=True)
    run(both, minutes=10)
    both.instances[-1].work_until(both.delivered())


def test_an_unknown_permission_of_one_resource_does_not_affect_the_others(world: AppEnvironment) -> None:
    """The handshake, and so the creation, fails for one resource: the others are created."""
    app = world.instance(declared("/no/such/resource", "updated", rich=False), declared(CHATS))
    app.tick()
    assert [subscription.resource for subscription in world.graph.subscriptions()] == [CHATS]
