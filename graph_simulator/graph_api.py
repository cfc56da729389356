"""The calls of Microsoft Graph that the simulator answers: a table of paths, and one function for each."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import msgspec

from graph_simulator import limits
from graph_simulator.audience import shown_types
from graph_simulator.directory import Directory
from graph_simulator.faults import happens
from graph_simulator.groups import Groups, selects_members
from graph_simulator.limits import Limit, Limiter
from graph_simulator.login import Caller
from graph_simulator.paging import Pager
from graph_simulator.permissions import check_read, check_subscription
from graph_simulator.reads import Reads
from graph_simulator.refusal import Refusal, bad_request
from graph_simulator.resource_reads import ResourceReads
from graph_simulator.simulator import Simulator
from graph_simulator.subscription import Subscription
from graph_simulator.watchable import WatchedResource, path_segments
from graph_simulator.world import World

ALL_TYPES = "include-unknown-enum-members"
IMMUTABLE = 'idtype="immutableid"'
PRIMARY_CALENDAR = "calendar"


@dataclass(frozen=True)
class Call:
    """One call: caller, path, options and body. `root` is `https://host/v1.0` as the caller knows it."""

    caller: Caller
    ids: tuple[str, ...]
    options: dict[str, str]
    body: bytes
    root: str
    prefer: str
    path: str = ""
    roles: frozenset[str] | None = None
    """The application permissions in the token; None: every permission."""

    @property
    def knows_all_types(self) -> bool:
        """Whether the caller asks for all message types by name."""
        return ALL_TYPES in self.prefer.lower()

    @property
    def immutable_ids(self) -> bool:
        """Whether the caller asks for immutable ids."""
        return IMMUTABLE in self.prefer.lower().replace(" ", "")

    def document(self) -> dict[str, Any]:
        """Return the body.

        Raises:
            Refusal: 400, the body is not a JSON object.
        """
        try:
            return msgspec.json.decode(self.body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise bad_request("Unable to read JSON request payload.", "BadRequest") from error


Answer = tuple[HTTPStatus, bytes]
Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True)
class Route:
    """A row of the table; `{}` is a placeholder for an id."""

    method: str
    template: str
    limit: Limit
    handler: Handler

    def ids(self, method: str, segments: tuple[str, ...]) -> tuple[str, ...] | None:
        """Return the ids in a path that matches this row, None if it does not match. Words compare without case."""
        wanted = self.template.split("/")
        if method != self.method or len(wanted) != len(segments):
            return None
        if any(word not in {"{}", given.lower()} for word, given in zip(wanted, segments, strict=True)):
            return None
        return tuple(given for word, given in zip(wanted, segments, strict=True) if word == "{}")


class GraphApi:
    """Finds the row for a call, checks its limits and the tenant's consent, and answers."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._pager = Pager(
            simulator.clock,
            simulator.chance,
            lambda: simulator.faults.loop_links,
            lambda: simulator.faults.forget_links,
        )
        self._limiter = Limiter(simulator.clock, simulator.chance)
        read, listing = self._read, self._listing
        channel, chat = "teams/{}/channels/{}", "chats/{}"
        self._routes = (
            Route("POST", "subscriptions", limits.SUBSCRIPTION_WRITE, self._create),
            Route("GET", "subscriptions", limits.SUBSCRIPTION_LIST, self._list),
            Route("GET", "subscriptions/{}", limits.SUBSCRIPTION_GET, self._get),
            Route("PATCH", "subscriptions/{}", limits.SUBSCRIPTION_WRITE, self._update),
            Route("DELETE", "subscriptions/{}", limits.SUBSCRIPTION_WRITE, self._delete),
            Route("POST", "subscriptions/{}/reauthorize", limits.SUBSCRIPTION_REAUTHORIZE, self._reauthorize),
            Route("GET", f"{chat}/messages", limits.MESSAGES, read(
                lambda r, c: r.of_chat(_chat(c), c.options, f"{c.root}/{_quoted_chat(c)}/messages"))),
            Route("GET", f"{chat}/messages/{{}}", limits.MESSAGES, read(lambda r, c: r.message(_chat(c), c.ids[1]))),
            Route("GET", f"{channel}/messages/delta", limits.MESSAGES, read(
                lambda r, c: r.channel_delta(_channel(c), c.options, f"{c.root}/{_quoted_channel(c)}/messages/delta"))),
            Route("GET", f"{channel}/messages/{{}}", limits.MESSAGES, read(
                lambda r, c: r.message(_channel(c), c.ids[2]))),
            Route("GET", f"{channel}/messages/{{}}/replies", limits.MESSAGES, read(lambda r, c: r.replies(
                _channel(c), c.ids[2], c.options, f"{c.root}/{_quoted_channel(c)}/messages/{c.ids[2]}/replies"))),
            Route("GET", f"{channel}/messages/{{}}/replies/{{}}", limits.MESSAGES, read(
                lambda r, c: r.message(_channel(c), c.ids[3], c.ids[2]))),
            Route("GET", "teams/{}/channels/getallmessages", limits.EXPORT, read(
                lambda r, c: r.of_team(c.ids[0], c.options, f"{c.root}/teams('{c.ids[0]}')/channels/getallMessages"))),
            Route("GET", "users/{}/chats/getallmessages", limits.EXPORT, read(
                lambda r, c: r.of_user(c.ids[0], c.options, f"{c.root}/users('{c.ids[0]}')/chats/getallMessages"))),
            Route("GET", "users/{}/chats/getallmessages/delta", limits.EXPORT, read(lambda r, c: r.user_delta(
                c.ids[0], c.options, f"{c.root}/users('{c.ids[0]}')/chats/getallMessages/delta"))),
            Route("GET", f"applications(appid='{simulator.registration.client_id.lower()}')", limits.DIRECTORY,
                  self._app_registration),
            Route("GET", "users", limits.DIRECTORY, listing(lambda d, c: d.users(c.options, f"{c.root}/users"))),
            Route("GET", "groups", limits.DIRECTORY, listing(lambda d, c: d.groups(c.options, f"{c.root}/groups"))),
            Route("GET", "groups/{}/members", limits.DIRECTORY, self._members(Groups.members)),
            Route("GET", "groups/{}/transitivemembers", limits.DIRECTORY, self._members(Groups.transitive_members)),
            Route("GET", "users/{}/drives", limits.FILES, listing(
                lambda d, c: d.drives(c.ids[0], c.options, f"{c.root}/users('{c.ids[0]}')/drives"))),
            Route("GET", "sites/{}/lists", limits.FILES, listing(
                lambda d, c: d.lists(c.ids[0], c.options, f"{c.root}/sites/{c.ids[0]}/lists"))),
            Route("GET", "teams", limits.OTHER, listing(lambda d, c: d.teams(c.options, f"{c.root}/teams"))),
            Route("GET", "teams/{}/channels", limits.CHANNELS, listing(
                lambda d, c: d.channels(c.ids[0], c.options, f"{c.root}/teams('{c.ids[0]}')/channels"))),
            Route("GET", "teams/{}/members", limits.CHANNELS, listing(
                lambda d, c: d.team_members(c.ids[0], c.options, f"{c.root}/teams('{c.ids[0]}')/members"))),
            Route("GET", f"{channel}/members", limits.CHANNEL_MEMBERS, listing(
                lambda d, c: d.place_members(_channel(c), c.options, f"{c.root}/{_quoted_channel(c)}/members"))),
            Route("GET", f"{chat}/members", limits.OTHER, listing(
                lambda d, c: d.place_members(_chat(c), c.options, f"{c.root}/{_quoted_chat(c)}/members"))),
            Route("GET", "users/{}/chats", limits.CHATS, listing(
                lambda d, c: d.chats(c.ids[0], c.options, f"{c.root}/users('{c.ids[0]}')/chats"))),
            *self._held_routes(),
        )  # fmt: skip

    def route(self, method: str, path: str) -> tuple[Route, tuple[str, ...]]:
        """Return the row for a path below `/v1.0/` (percent-decoded) and the ids in it.

        Raises:
            Refusal: 400, Graph has no such segment; 405, the method is not allowed.
        """
        segments = path_segments(path)
        for route in self._routes:
            if (ids := route.ids(method, segments)) is not None:
                return route, ids
        if any(route.ids(route.method, segments) is not None for route in self._routes):
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "BadRequest", "The method is not allowed here.")
        raise bad_request(f"Resource not found for the segment '{segments[-1] if segments else ''}'.", "BadRequest")

    async def answer(self, route: Route, call: Call) -> Answer:
        """Answer a call.

        Raises:
            Refusal: anything but success.
        """
        self._limiter.check(route.limit, call.caller, "/".join(call.ids[:2] if "channels/{}" in route.template
                                                               else call.ids[:1]))  # fmt: skip
        self._simulator.check_consent(call.caller.tenant)
        if route.method == "GET":
            check_read(self._simulator.grants(call.caller.tenant), call.roles, route.template, call.ids)
        return await route.handler(call)

    def _check_subscription(self, call: Call, watched: WatchedResource, *, renew: bool = False) -> None:
        """What the tenant has granted, and, of a user by principal name, that there is one."""
        user = watched.segments[1] if len(watched.segments) > 2 and watched.segments[0].lower() == "users" else ""
        if "." in user.partition("@")[2] and self._simulator.tenant(call.caller.tenant).world.named(user) is None:
            reason = f"Operation: Create; Exception: [Status Code: NotFound; Reason: The user '{user}' is invalid.]"
            raise Refusal(HTTPStatus.NOT_FOUND, "ExtensionError", reason)
        check_subscription(self._simulator.grants(call.caller.tenant), call.roles, watched, renew=renew)

    async def _create(self, call: Call) -> Answer:
        subscription = await self._simulator.subscriptions.create(
            call.document(),
            call.caller,
            lambda watched: self._check_subscription(call, watched),
            self._simulator.validate,
            call.knows_all_types,
            call.immutable_ids,
        )
        return HTTPStatus.CREATED, msgspec.json.encode(subscription)

    async def _list(self, call: Call) -> Answer:
        if "$skiptoken" in call.options:
            return _ok(self._pager.next_page(call.options["$skiptoken"]))
        if call.options:
            raise bad_request("Listing subscriptions takes no query options.", "BadRequest")
        shown = self._simulator.listed(call.caller)
        for subscription in shown:
            del subscription["@odata.context"]
        return _ok(self._pager.page(f"{call.root}/subscriptions", shown, self._simulator.subscriptions_at_once))

    async def _get(self, call: Call) -> Answer:
        return _ok(self._simulator.shown(self._allowed(call)))

    def _allowed(self, call: Call, *, renew: bool = False) -> Subscription:
        """Return the subscription that a call names. Every call needs the permissions of the creation."""
        subscription = self._simulator.subscriptions.find(call.ids[0], call.caller)
        self._check_subscription(call, subscription.watched, renew=renew)
        return subscription

    async def _update(self, call: Call) -> Answer:
        self._allowed(call, renew=self._simulator.faults.renewing_takes_more)
        return _ok(
            await self._simulator.subscriptions.update(
                call.ids[0], call.document(), call.caller, self._simulator.validate, call.knows_all_types
            )
        )

    async def _delete(self, call: Call) -> Answer:
        self._allowed(call)
        self._simulator.subscriptions.remove(call.ids[0], call.caller)
        return HTTPStatus.NO_CONTENT, b""

    async def _reauthorize(self, call: Call) -> Answer:
        self._allowed(call)
        self._simulator.subscriptions.reauthorize(call.ids[0], call.caller)
        return HTTPStatus.NO_CONTENT, b""

    async def _app_registration(self, _: Call) -> Answer:
        return _ok(self._simulator.registration.shown())

    def _read(self, read: Callable[[Reads, Call], dict[str, Any]]) -> Handler:
        """Return a handler of a read of messages."""

        async def handler(call: Call) -> Answer:
            tenant = self._simulator.tenant(call.caller.tenant)
            faults = self._simulator.faults
            reads = Reads(
                tenant.world, tenant.conversation, self._pager, self._simulator.clock, faults.late(),
                self._simulator.lags, checks_licences=faults.checks_licences,
            )  # fmt: skip
            status, body = _ok(read(reads, call))
            return status, shown_types(body, call.knows_all_types)

        return handler

    def _listing(self, listing: Callable[[Directory, Call], dict[str, Any]]) -> Handler:
        """Return a handler of a listing."""

        async def handler(call: Call) -> Answer:
            tenant = self._simulator.tenant(call.caller.tenant)
            return _ok(listing(Directory(tenant.world, self._pager, tenant.resource_store), call))

        return handler

    def _members(self, members: Callable[[Groups, str], dict[str, str]]) -> Handler:
        """Make a handler that lists members of a group."""

        async def handler(call: Call) -> Answer:
            tenant = self._simulator.tenant(call.caller.tenant)
            directory = Directory(tenant.world, self._pager)
            return _ok(directory.members(tenant.groups, members(tenant.groups, call.ids[0]), call.options, _link(call)))

        return handler

    async def _groups_delta(self, call: Call) -> Answer:
        """Changes of memberships, if these are selected; otherwise of the groups themselves."""
        if not selects_members(call.options, self._pager):
            return await self._held(_delta("group", lambda *_: "", None, "$deltatoken"))(call)
        groups = self._simulator.tenant(call.caller.tenant).groups
        return _ok(groups.delta(self._pager, call.options, _link(call)))

    def _held(self, read: Callable[[ResourceReads, Call, World], dict[str, Any]]) -> Handler:
        """Return a handler of a read of other resources."""

        async def handler(call: Call) -> Answer:
            simulator = self._simulator
            tenant, faults = simulator.tenant(call.caller.tenant), simulator.faults
            reads = ResourceReads(
                tenant.resource_store, self._pager, simulator.clock, timedelta(seconds=faults.lag_seconds),
                lambda: happens(faults.lagging, simulator.chance), immutable=call.immutable_ids,
                short_lists=faults.short_lists,
            )  # fmt: skip
            return _ok(read(reads, call, tenant.world))

        return handler

    def _user(self, reads: ResourceReads, call: Call, world: World) -> dict[str, Any]:
        """Return a user of the tenant, or a user that a control created."""
        if reads.has("user", "", call.ids[0].lower()):
            return reads.one("user", "", call.ids[0].lower(), call.options)
        return Directory(world, self._pager).user(call.ids[0], call.options)

    def _calendar_view(self, depth: int | None) -> "HeldRead":
        """Answer changes in a calendar's range of dates; `depth`: the calendar's place in the path, None if primary."""
        return lambda reads, call, world: reads.calendar_view_delta(
            _owner(call, world), _container(call, depth) or PRIMARY_CALENDAR, call.options, _link(call),
            tells_of_others=self._simulator.faults.calendar_tells_of_others,
        )  # fmt: skip

    def _held_routes(self) -> tuple[Route, ...]:
        """Return the routes of mail, events, contacts, tasks, files, list items and the directory's delta queries."""
        held = self._held
        mailbox = (
            ("message", "messages", "mailFolders"),
            ("contact", "contacts", "contactFolders"),
            ("event", "events", "calendars"),
        )
        routes: list[Route] = []
        for kind, name, folders in mailbox:
            whole, folder = f"users/{{}}/{name}", f"users/{{}}/{folders.lower()}/{{}}/{name}"
            for path, depth in ((whole, None), (folder, 1)):
                routes += [
                    Route("GET", path, limits.MAILBOX, held(_by_time(kind, depth))),
                    Route("GET", f"{path}/delta", limits.MAILBOX, held(_delta(kind, _owner, depth))),
                    Route("GET", f"{path}/{{}}", limits.MAILBOX, held(_one(kind, _owner, depth))),
                ]
        tasks = "users/{}/todo/lists/{}/tasks"
        routes = [route for route in routes if route.template not in _UNDOCUMENTED]
        routes += [
            Route("GET", "users/{}/calendar/events", limits.MAILBOX, held(lambda reads, call, world: reads.by_time(
                "event", _owner(call, world), PRIMARY_CALENDAR, call.options, _link(call)))),
            Route("GET", "users/{}/calendarview/delta", limits.MAILBOX, held(self._calendar_view(None))),
            Route("GET", "users/{}/calendars/{}/calendarview/delta", limits.MAILBOX, held(self._calendar_view(1))),
            Route("GET", f"{tasks}/delta", limits.MAILBOX, held(_delta("todoTask", _owner, 1))),
            Route("GET", f"{tasks}/{{}}", limits.MAILBOX, held(_one("todoTask", _owner, 1))),
            Route("GET", "users/{}/drive", limits.FILES, held(lambda _, call, world: {"id": _drive_of(call, world)})),
            Route("GET", "users/{}/drive/root/delta", limits.FILES, held(_delta(
                "driveItem", lambda call, world: f"drives/{_drive_of(call, world)}", None, "token"))),
            Route("GET", "drives/{}/root/delta", limits.FILES, held(_delta(
                "driveItem", lambda call, _: f"drives/{call.ids[0]}", None, "token"))),
            Route("GET", "drives/{}/items/{}", limits.FILES, held(_one(
                "driveItem", lambda call, _: f"drives/{call.ids[0]}", None))),
            Route("GET", "sites/{}/lists/{}/items/delta", limits.FILES, held(_delta(
                "listItem", lambda call, _: f"sites/{call.ids[0]}/lists/{call.ids[1]}", None, "token"))),
            Route("GET", "sites/{}/lists/{}/items/{}", limits.FILES, held(_one(
                "listItem", lambda call, _: f"sites/{call.ids[0]}/lists/{call.ids[1]}", None))),
            Route("GET", "users/delta", limits.DIRECTORY, held(_delta("user", lambda *_: "", None, "$deltatoken"))),
            Route("GET", "groups/delta", limits.DIRECTORY, self._groups_delta),
            Route("GET", "groups/{}", limits.DIRECTORY, held(_one("group", lambda *_: "", None))),
            Route("GET", "users/{}", limits.DIRECTORY, held(self._user)),
        ]  # fmt: skip
        return tuple(routes)


_UNDOCUMENTED = ("users/{}/messages/delta", "users/{}/contacts/delta", "users/{}/events/delta",
                 "users/{}/calendars/{}/events/delta")  # fmt: skip
"""Graph documents delta queries of folders, and of a calendar view."""

HeldRead = Callable[[ResourceReads, Call, World], dict[str, Any]]
Owner = Callable[[Call, World], str]


def _owner(call: Call, world: World) -> str:
    """Return the user in a path, by id or principal name.

    Raises:
        Refusal: 404, the user does not exist.
    """
    person = world.named(call.ids[0])
    if person is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "ErrorInvalidUser", f"The requested user '{call.ids[0]}' is invalid.")
    return f"users/{person.id}"


def _drive_of(call: Call, world: World) -> str:
    return f"b!{_owner(call, world).removeprefix('users/')}"


def _by_time(kind: str, depth: int | None) -> HeldRead:
    return lambda reads, call, world: reads.by_time(
        kind, _owner(call, world), _container(call, depth), call.options, _link(call)
    )


def _delta(kind: str, owner: Owner, depth: int | None, latest: str = "") -> HeldRead:
    return lambda reads, call, world: reads.delta(
        kind, owner(call, world), _container(call, depth), call.options, _link(call), latest
    )


def _one(kind: str, owner: Owner, depth: int | None) -> HeldRead:
    return lambda reads, call, world: reads.one(
        kind, owner(call, world), call.ids[-1], call.options, _container(call, depth)
    )


def _container(call: Call, depth: int | None) -> str | None:
    return None if depth is None else call.ids[depth].lower() if len(call.ids[depth]) < 30 else call.ids[depth]


def _link(call: Call) -> str:
    return f"{call.root}/{quote(call.path)}"


def _ok(document: dict[str, Any]) -> Answer:
    return HTTPStatus.OK, msgspec.json.encode(document)


def _chat(call: Call) -> str:
    return f"chats/{call.ids[0]}"


def _channel(call: Call) -> str:
    return f"teams/{call.ids[0]}/channels/{call.ids[1]}"


def _quoted_chat(call: Call) -> str:
    return f"chats('{quote(call.ids[0], safe='')}')"


def _quoted_channel(call: Call) -> str:
    return f"teams('{call.ids[0]}')/channels('{quote(call.ids[1], safe='')}')"
