"""The bodies of the controls under `/simulator/`."""

from typing import Annotated, Any, TypeVar

import msgspec
from starlette.requests import Request

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
    """Create or change a resource of a kind (a name of `graph_simulator.resource_store.TYPES`), or delete the one with
    an id.

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


async def read_order(request: Request, kind: type[Order]) -> Order:
    """Return the body of a control. Raises msgspec.DecodeError."""
    return msgspec.json.decode(await request.body(), type=kind)
