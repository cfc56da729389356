"""The simulator's own controls under `/simulator/`, which tests and `make run` use, all in JSON."""

from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from graph_simulator import author
from graph_simulator.calls import Calls
from graph_simulator.clock import milliseconds
from graph_simulator.conversation import Entry
from graph_simulator.faults import changed
from graph_simulator.holdings import TYPES
from graph_simulator.permissions import Grants, every_permission
from graph_simulator.refusal import Refusal, bad_request, not_found
from graph_simulator.simulator import Simulator, Tenant
from graph_simulator.world import Place

Positive = Annotated[int, msgspec.Meta(ge=1, le=100_000)]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a control; unknown members are refused."""


Order = TypeVar("Order", bound=Strict)


class GenerateOrder(Strict, frozen=True):
    """Messages per second, and how many in total (null: until stopped)."""

    rate: Annotated[float, msgspec.Meta(gt=0)]
    messages: Positive | None = None


class MessagesOrder(Strict, frozen=True):
    """Write messages (`count`, in a `chat` or a `team`'s `channel`, below `root`), or change the message at a path."""

    count: Positive = 1
    chat: str | None = None
    team: str | None = None
    channel: str | None = None
    root: str | None = None
    text: str | None = None
    html: str | None = None
    edit: str | None = None
    delete: str | None = None
    restore: str | None = None
    react: str | None = None
    tenant: str | None = None


class ResourceOrder(Strict, frozen=True):
    """Create or change a resource of a kind (a name of `graph_simulator.holdings.TYPES`), or delete the one with an id.

    owner: `users/{id}`, `drives/{id}`, `sites/{id}/lists/{id}`; "" for users and groups. container: its folder.
    """

    kind: str
    owner: str = ""
    container: str = ""
    id: str | None = None
    fields: dict[str, Any] = {}
    delete: bool = False
    tenant: str | None = None


class MemberOrder(Strict, frozen=True):
    """Add a member to a group, or remove one. kind: the type of the member, such as `user` or `group`."""

    group: str
    member: str
    kind: str = "user"
    removed: bool = False
    tenant: str | None = None


class MemberListsOrder(Strict, frozen=True):
    """Whether lists of a group's members come empty, whatever its members."""

    empty: bool
    tenant: str | None = None


class LifecycleOrder(Strict, frozen=True, rename="camel"):
    """A lifecycle event, its subscription, and how many times to send it."""

    subscription_id: str
    event: str
    times: Positive = 1


class ForgeOrder(Strict, frozen=True, rename="camel"):
    """One forgery (a kind of `graph_simulator.hostile`) for a rich subscription's endpoint."""

    subscription_id: str
    kind: str


class ClockOrder(Strict, frozen=True):
    """By how much to advance the clock."""

    advance_seconds: Annotated[float, msgspec.Meta(ge=0)]


class ConsentOrder(Strict, frozen=True):
    """Whether a tenant grants the app its permissions."""

    tenant: str
    granted: bool


class PermissionsOrder(Strict, frozen=True):
    """What a tenant grants the app: permissions for the tenant (null: every permission), and for places in it.

    `specific`: path of a team, chat, user or meeting, such as `teams/{id}` → permissions.
    """

    tenant: str
    application: list[str] | None = None
    specific: dict[str, list[str]] = {}


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
        order = await _order(request, GenerateOrder)
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
        order = await _order(request, MessagesOrder)
        tenant = self._simulator.tenant(order.tenant or self._simulator.home)
        return _json({"messages": [_true(tenant, entry) for entry in self._written(tenant, order)]})

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
                        "path": holding.path,
                        "deleted": holding.fields is None,
                        "resource": holding.shown(),
                    }
                )
                + b"\n"
                for tenant in self._simulator.tenants()
                for holding in tenant.holdings
            ),
            media_type="application/x-ndjson",
        )

    async def _hold(self, request: Request) -> Response:
        order = await _order(request, ResourceOrder)
        if order.kind not in TYPES or (order.delete and order.id is None):
            raise bad_request(f"A kind of {', '.join(TYPES)} is needed, and an id of what is to be deleted.")
        holdings = self._simulator.tenant(order.tenant or self._simulator.home).holdings
        try:
            held = (
                holdings.delete(order.kind, order.id or "")
                if order.delete
                else holdings.put(order.kind, order.owner, order.container, order.id, order.fields)
            )
        except KeyError:
            raise not_found(f"There is no {order.kind} {order.id}.") from None
        return _json({"id": held.id, "owner": held.owner, "container": held.container, "resource": held.fields})

    async def _change_group(self, request: Request) -> Response:
        order = await _order(request, MemberOrder)
        groups = self._simulator.tenant(order.tenant or self._simulator.home).groups
        groups.change(order.group, order.member, order.kind, removed=order.removed)
        return _json({"members": groups.members(order.group)})

    async def _empty_lists(self, request: Request) -> Response:
        order = await _order(request, MemberListsOrder)
        self._simulator.tenant(order.tenant or self._simulator.home).groups.lists_nobody = order.empty
        return _json({"empty": order.empty})

    async def _get_faults(self, _: Request) -> Response:
        return _json(self._simulator.faults)

    async def _set_faults(self, request: Request) -> Response:
        self._simulator.faults = changed(self._simulator.faults, await request.body())
        return _json(self._simulator.faults)

    async def _lifecycle(self, request: Request) -> Response:
        order = await _order(request, LifecycleOrder)
        self._simulator.send_lifecycle(order.subscription_id, order.event, order.times)
        return _json({"sent": order.times})

    async def _forge(self, request: Request) -> Response:
        order = await _order(request, ForgeOrder)
        self._simulator.forge(order.kind, self._simulator.subscriptions.find(order.subscription_id))
        return _json({"forged": order.kind})

    async def _rotate(self, _: Request) -> Response:
        return _json({"kid": self._simulator.keys.rotate()})

    async def _advance(self, request: Request) -> Response:
        order = await _order(request, ClockOrder)
        self._simulator.clock.advance(timedelta(seconds=order.advance_seconds))
        return _json({"now": self._simulator.clock()})

    async def _consent(self, request: Request) -> Response:
        order = await _order(request, ConsentOrder)
        self._simulator.set_consent(order.tenant, order.granted)
        return _json({"granted": order.granted})

    async def _permissions(self, request: Request) -> Response:
        order = await _order(request, PermissionsOrder)
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

    def _written(self, tenant: Tenant, order: MessagesOrder) -> list[Entry]:
        """Carry out the body of a control.

        Raises:
            Refusal: 404, there is no such message; 400, members of the body contradict each other.
        """
        conversation = tenant.conversation
        path = order.edit or order.delete or order.restore or order.react
        if path is None:
            return self._posted(tenant, order)
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

    def _posted(self, tenant: Tenant, order: MessagesOrder) -> list[Entry]:
        """Write new messages, a millisecond apart, none in the future."""
        place = _place(tenant, order)
        begin = milliseconds(self._simulator.clock()) - order.count
        entries = []
        for number in range(order.count):
            draft = author.draft(tenant.world, place, self._simulator.chance, answer=order.root is not None)
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


def _true(tenant: Tenant, entry: Entry) -> dict[str, Any]:
    """Return a message as GET /simulator/messages shows it."""
    return {
        "tenant": tenant.world.tenant,
        "path": entry.path,
        "deleted": entry.message["deletedDateTime"] is not None,
        "resource": entry.message,
    }


async def _order(request: Request, kind: type[Order]) -> Order:
    return msgspec.json.decode(await request.body(), type=kind)


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
