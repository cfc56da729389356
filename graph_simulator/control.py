"""The simulator's own controls under `/simulator/`, which tests and `make run` use, all in JSON."""

from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from graph_simulator.calls import Calls
from graph_simulator.clock import milliseconds
from graph_simulator.conversation import Entry
from graph_simulator.faults import changed
from graph_simulator.orders import (
    ClockOrder,
    ConsentOrder,
    ForgeOrder,
    GenerateOrder,
    LifecycleOrder,
    MemberListsOrder,
    MemberOrder,
    MessagesOrder,
    PermissionsOrder,
    ResourceOrder,
    read_order,
)
from graph_simulator.permissions import Grants, every_permission
from graph_simulator.refusal import Refusal, bad_request, not_found
from graph_simulator.resource_store import TYPES
from graph_simulator.simulator import Simulator, Tenant
from graph_simulator.writing import write


class Control:
    """Answers the controls of one simulator."""

    def __init__(self, simulator: Simulator, calls: Calls) -> None:
        self._simulator = simulator
        self._calls = calls

    def routes(self) -> list[Route]:
        """Return the routes, paths relative to `/simulator`."""
        table: tuple[tuple[str, str, Callable[[Request], Awaitable[Response]]], ...] = (
            ("GET", "/summary", self._summary),
            ("GET", "/calls", self._list_calls),
            ("GET", "/places", self._places),
            ("GET", "/subscriptions", self._subscriptions),
            ("POST", "/generate", self._generate),
            ("POST", "/stop", self._stop),
            ("GET", "/messages", self._truth),
            ("POST", "/messages", self._write),
            ("GET", "/people", self._people),
            ("GET", "/resources", self._held),
            ("POST", "/resources", self._hold),
            ("POST", "/groups", self._change_group),
            ("POST", "/member-lists", self._empty_lists),
            ("GET", "/faults", self._get_faults),
            ("POST", "/faults", self._set_faults),
            ("POST", "/lifecycle", self._lifecycle),
            ("POST", "/forge", self._forge),
            ("POST", "/signing-keys/rotate", self._rotate),
            ("POST", "/clock", self._advance),
            ("POST", "/consent", self._consent),
            ("POST", "/permissions", self._permissions),
            ("POST", "/event-hubs/fetch", self._fetch),
            ("DELETE", "/subscriptions/{subscription_id}", self._remove),
        )
        return [Route(path, _answering(handler), methods=[method]) for method, path, handler in table]

    async def _summary(self, _: Request) -> Response:
        return _json(self._simulator.summary())

    async def _list_calls(self, _: Request) -> Response:
        return _json(self._calls.listed())

    async def _places(self, _: Request) -> Response:
        """Answer every chat and channel by its path, with its title."""
        return _json(
            [
                {"tenant": tenant.world.tenant, "path": place.path, "title": place.title}
                for tenant in self._simulator.tenants()
                for place in tenant.world.places.values()
            ]
        )

    async def _subscriptions(self, _: Request) -> Response:
        return _json(
            [
                {"id": subscription.id, "resource": subscription.watched.identity}
                for subscription in self._simulator.subscriptions
            ]
        )

    async def _generate(self, request: Request) -> Response:
        order = await read_order(request, GenerateOrder)
        self._simulator.generator.start(order.rate, order.messages)
        return _json({"generating": True})

    async def _stop(self, _: Request) -> Response:
        self._simulator.generator.stop()
        return _json({"generating": False})

    async def _truth(self, _: Request) -> Response:
        def lines() -> Iterator[bytes]:
            for tenant in self._simulator.tenants():
                for entry in tenant.conversation:
                    yield msgspec.json.encode(_true(tenant, entry)) + b"\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def _write(self, request: Request) -> Response:
        order = await read_order(request, MessagesOrder)
        tenant = self._simulator.tenant(order.tenant or self._simulator.home)
        entries = write(tenant, order, self._simulator.chance, milliseconds(self._simulator.clock()))
        return _json({"messages": [_true(tenant, entry) for entry in entries]})

    async def _people(self, _: Request) -> Response:
        """Answer every user: id, user principal name, whether licensed for Teams, id of the drive."""
        return _json(
            [
                {
                    "tenant": tenant.world.tenant,
                    "id": person.id,
                    "userPrincipalName": tenant.world.principal_name(person.id),
                    "licensed": person.licensed,
                    "drive": f"b!{person.id}",
                }
                for tenant in self._simulator.tenants()
                for person in tenant.world.people
            ]
        )

    async def _held(self, _: Request) -> Response:
        """Answer every resource that is not a message, in its last state, like GET /simulator/messages."""
        return Response(
            b"".join(
                msgspec.json.encode(
                    {
                        "tenant": tenant.world.tenant,
                        "path": stored.path,
                        "deleted": stored.fields is None,
                        "resource": stored.shown(),
                    }
                )
                + b"\n"
                for tenant in self._simulator.tenants()
                for stored in tenant.resource_store
            ),
            media_type="application/x-ndjson",
        )

    async def _hold(self, request: Request) -> Response:
        order = await read_order(request, ResourceOrder)
        if order.kind not in TYPES or (order.delete and order.id is None):
            raise bad_request(f"A kind of {', '.join(TYPES)} is needed, and an id of what is to be deleted.")
        resource_store = self._simulator.tenant(order.tenant or self._simulator.home).resource_store
        try:
            held = (
                resource_store.delete(order.kind, order.id or "")
                if order.delete
                else resource_store.put(order.kind, order.owner, order.container, order.id, order.fields)
            )
        except KeyError:
            raise not_found(f"There is no {order.kind} {order.id}.") from None
        return _json({"id": held.id, "owner": held.owner, "container": held.container, "resource": held.fields})

    async def _change_group(self, request: Request) -> Response:
        order = await read_order(request, MemberOrder)
        groups = self._simulator.tenant(order.tenant or self._simulator.home).groups
        groups.change(order.group, order.member, order.kind, removed=order.removed)
        return _json({"members": groups.members(order.group)})

    async def _empty_lists(self, request: Request) -> Response:
        order = await read_order(request, MemberListsOrder)
        self._simulator.tenant(order.tenant or self._simulator.home).groups.lists_nobody = order.empty
        return _json({"empty": order.empty})

    async def _get_faults(self, _: Request) -> Response:
        return _json(self._simulator.faults)

    async def _set_faults(self, request: Request) -> Response:
        self._simulator.faults = changed(self._simulator.faults, await request.body())
        return _json(self._simulator.faults)

    async def _lifecycle(self, request: Request) -> Response:
        order = await read_order(request, LifecycleOrder)
        self._simulator.send_lifecycle(order.subscription_id, order.event, order.times)
        return _json({"sent": order.times})

    async def _forge(self, request: Request) -> Response:
        order = await read_order(request, ForgeOrder)
        self._simulator.forge(order.kind, self._simulator.subscriptions.find(order.subscription_id))
        return _json({"forged": order.kind})

    async def _rotate(self, _: Request) -> Response:
        return _json({"kid": self._simulator.keys.rotate()})

    async def _advance(self, request: Request) -> Response:
        order = await read_order(request, ClockOrder)
        self._simulator.clock.advance(timedelta(seconds=order.advance_seconds))
        return _json({"now": self._simulator.clock()})

    async def _consent(self, request: Request) -> Response:
        order = await read_order(request, ConsentOrder)
        self._simulator.set_consent(order.tenant, order.granted)
        return _json({"granted": order.granted})

    async def _permissions(self, request: Request) -> Response:
        order = await read_order(request, PermissionsOrder)
        granted = None if order.application is None else frozenset(order.application)
        unknown = sorted((granted or frozenset()) - every_permission())
        if unknown:
            raise bad_request(f"No application permission is known by the name {unknown[0]}.")
        specific = {place.strip("/").lower(): frozenset(names) for place, names in order.specific.items()}
        self._simulator.grant(order.tenant, Grants(granted, specific))
        return _json({"application": None if granted is None else sorted(granted)})

    async def _fetch(self, _: Request) -> Response:
        return _json({"events": self._simulator.event_hubs.fetched()})

    async def _remove(self, request: Request) -> Response:
        self._simulator.subscriptions.remove(request.path_params["subscription_id"])
        return Response(status_code=HTTPStatus.NO_CONTENT)


def _true(tenant: Tenant, entry: Entry) -> dict[str, Any]:
    """Return a message as GET /simulator/messages shows it."""
    return {
        "tenant": tenant.world.tenant,
        "path": entry.path,
        "deleted": entry.message["deletedDateTime"] is not None,
        "resource": entry.message,
    }


def _json(document: Any) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json")


def _answering(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Turn a refused or malformed body into an answer that names the mistake."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except Refusal as refusal:
            return Response(msgspec.json.encode({"error": refusal.message}), refusal.status)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return Response(msgspec.json.encode({"error": str(error)}), HTTPStatus.BAD_REQUEST)

    return answer
