"""The lists that a declaration can fan out over (`forEach`): what Graph lists there, and which permissions that takes.

Data alone. Microsoft's pages name delta queries for users and for groups with their members, and none for transitive
members, for teams, channels, drives and lists, or for users with a filter other than by id
(/graph/delta-query-overview, "Supported resources" and "Optional query parameters").
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from shared.resources.catalog import LIST_TEAMS, LIST_USERS, Operation
from shared.resources.path import segments

_MEMBERS = (
    "GroupMember.Read.All",
    "GroupMember.ReadBasic.All",
    "GroupMember.ReadWrite.All",
    "Group.ReadBasic.All",
    "Group.Read.All",
    "Group.ReadWrite.All",
    "Directory.Read.All",
)
_GROUPS_DELTA = Operation(
    "groups/delta",
    (
        "GroupMember.Read.All",
        "Group.ReadBasic.All",
        "Group.Read.All",
        "Group.ReadWrite.All",
        "Group-NestingSupport.ReadWrite.All",
        "Directory.Read.All",
        "Directory.ReadWrite.All",
    ),
)
_USERS_DELTA = Operation(
    "users/delta",
    (
        "User.Read.All",
        "User.ReadWrite.All",
        "Directory.Read.All",
        "Directory.ReadWrite.All",
        "AgentIdUser.ReadWrite.All",
        "AgentIdUser.ReadWrite.IdentityParentedBy",
    ),
)
_LIST_CHANNELS = Operation(
    "teams/{}/channels",
    (
        "Channel.ReadBasic.All",
        "ChannelSettings.Read.All",
        "ChannelSettings.ReadWrite.All",
        "Group.Read.All",
        "Group.ReadWrite.All",
        "Directory.Read.All",
        "Directory.ReadWrite.All",
    ),
    ("ChannelSettings.Read.Group", "ChannelSettings.ReadWrite.Group"),
)
_LIST_DRIVES = Operation(
    "users/{}/drives", ("Files.Read.All", "Files.ReadWrite.All", "Sites.Read.All", "Sites.ReadWrite.All")
)
_LIST_LISTS = Operation("sites/{}/lists", ("Sites.Read.All", "Sites.ReadWrite.All"))


@dataclass(frozen=True)
class MemberSource:
    """A kind of list. `{}` in a path stands for an id.

    Attributes:
        path: where it lies.
        within: the collections in whose paths an id of it may stand: `users` for `users/{id}/messages`.
        operations: the reads of the app; the first lists it.
        query: of the list.
        type: the `@odata.type` of the entries that count, lower case; "": all.
        filtered: whether a `$filter` may narrow it; it then has no delta query.
        delta: the first delta query, which begins from now on, with `{}` for the id; "" where Graph has none.
    """

    path: str
    within: tuple[str, ...]
    operations: tuple[Operation, ...]
    query: str = "$select=id"
    type: str = ""
    filtered: bool = False
    delta: str = ""


_USER = "#microsoft.graph.user"

MEMBER_SOURCES = (
    MemberSource(
        "groups/{}/members",
        ("users",),
        (Operation("groups/{}/members", _MEMBERS), _GROUPS_DELTA),
        "$select=id&$top=999",
        _USER,
        delta="groups/delta?$deltatoken=latest&$filter=id eq '{}'&$select=members",
    ),
    MemberSource(
        "groups/{}/transitiveMembers",
        ("users",),
        (Operation("groups/{}/transitiveMembers", _MEMBERS),),
        "$select=id&$top=999",
        _USER,
    ),
    MemberSource(
        "users",
        ("users",),
        (LIST_USERS, _USERS_DELTA),
        "$select=id&$top=999",
        filtered=True,
        delta="users/delta?$deltatoken=latest&$select=id",
    ),
    MemberSource("teams", ("teams", "groups"), (LIST_TEAMS,), "$select=id&$top=100"),
    MemberSource("teams/{}/channels", ("channels",), (_LIST_CHANNELS,)),
    MemberSource("users/{}/drives", ("drives",), (_LIST_DRIVES,)),
    MemberSource("sites/{}/lists", ("lists",), (_LIST_LISTS,)),
)

_FILTER = re.compile(r"\$filter=[^&]+", re.IGNORECASE)


def find_source(path: str) -> MemberSource | None:
    """Return the kind of a list, given by a path such as `/groups/GUID/members` or `/users?$filter=…`.

    None if there is no such list, or its query is none that it takes.
    """
    parts, _, query = path.partition("?")
    words = tuple(part.lower() for part in segments(parts))
    found = next((source for source in MEMBER_SOURCES if _fits(source, words)), None)
    if found is None or (query and not (found.filtered and _FILTER.fullmatch(query))):
        return None
    return found


def operations_of(path: str) -> tuple[Operation, ...]:
    """Return the reads that keep the members of a list known."""
    source = find_source(path)
    if source is None:
        return ()
    return source.operations[:1] if "?" in path else source.operations


def shown(sources: Iterable[MemberSource] = MEMBER_SOURCES) -> str:
    """Return the paths of lists, for a person."""
    return ", ".join(
        f"/{source.path.replace('{}', '{id}')}{' with a $filter' if source.filtered else ''}" for source in sources
    )


def _fits(source: MemberSource, words: tuple[str, ...]) -> bool:
    wanted = source.path.lower().split("/")
    return len(wanted) == len(words) and all(
        word == part or (word == "{}" and part) for word, part in zip(wanted, words, strict=True)
    )
