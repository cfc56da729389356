"""Carries out the order to write messages, or to change one."""

from random import Random

from graph_simulator import author
from graph_simulator.conversation import Entry
from graph_simulator.orders import MessagesOrder
from graph_simulator.refusal import bad_request, not_found
from graph_simulator.simulator import Tenant
from graph_simulator.world import Place


def write(tenant: Tenant, order: MessagesOrder, chance: Random, now: int) -> list[Entry]:
    """Write messages, or change one. now: milliseconds.

    Raises:
        Refusal: 404, there is no such message; 400, members of the body contradict each other.
    """
    conversation = tenant.conversation
    path = order.edit or order.delete or order.restore or order.react
    if path is None:
        return _posted(tenant, order, chance, now)
    if path not in conversation:
        raise not_found(f"There is no message at {path}.")
    deleted = conversation.entry(path).message["deletedDateTime"] is not None
    if deleted != (order.restore is not None):
        raise bad_request("A deleted message can be restored, and no other.")
    if order.edit:
        return [conversation.edit(path, _body(order) or author.plain("Edited."))]
    if order.delete:
        return [conversation.delete(path)]
    if order.restore:
        return [conversation.restore(path)]
    return [conversation.react(path, tenant.world.people[0], "like")]


def _posted(tenant: Tenant, order: MessagesOrder, chance: Random, now: int) -> list[Entry]:
    """Write new messages, a millisecond apart, none in the future."""
    place = _place(tenant, order)
    begin = now - order.count
    entries = []
    for number in range(order.count):
        draft = author.draft(tenant.world, place, chance, answer=order.root is not None)
        if body := _body(order):
            draft = {"from": author.sender(place.members[0], tenant.world.tenant), "body": body}
        entries.append(tenant.conversation.post(place, draft, order.root, begin + number))
    return entries


def _place(tenant: Tenant, order: MessagesOrder) -> Place:
    if order.chat:
        return tenant.world.chat(order.chat)
    if order.team and order.channel:
        return tenant.world.channel(order.team.lower(), order.channel)
    if order.team or order.channel or order.root:
        raise bad_request("A channel message needs team and channel.")
    return next(place for place in tenant.world.places.values() if place.chat)


def _body(order: MessagesOrder) -> author.Draft | None:
    if order.html is not None:
        return author.markup(order.html)
    return author.plain(order.text) if order.text is not None else None
