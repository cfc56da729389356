"""A channel with resource-specific consent for its team, and no permission for the tenant."""

from tests.life.conftest import AppEnvironment, declared


def test_a_channel_is_served_and_read_back_without_a_tenant_permission(
    world: AppEnvironment,
) -> None:
    tenant = world.graph.registration.tenant
    place = next(
        place for place in world.graph.simulator.tenant(tenant).world.places.values() if place.team is not None
    )
    specific = {f"teams/{place.team}": ["ChannelMessage.Read.Group"]}
    world.graph.post("permissions", tenant=tenant, application=[], specific=specific)
    channel = declared(f"/teams/{place.team}/channels/{place.channel}/messages") | {"consent": "resource"}
    app = world.instance(channel)
    app.tick()
    world.graph.post("messages", count=2, team=place.team, channel=place.channel)
    app.work_until(world.delivered())
    [subscription] = world.graph.subscriptions()
    world.graph.delete(f"subscriptions/{subscription.id}")
    world.graph.post("messages", count=3, team=place.team, channel=place.channel)
    app.tick()
    app.work_until(world.delivered())
    assert len(world.inbox.messages()) == 5
    assert app.dead_letters() == 0
