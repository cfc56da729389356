"""The permissions that a tenant has granted, and those that Graph requires, from Microsoft's permission reference.

tools/permission_reference.py makes permission_reference.json from clones of Microsoft's repositories.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from graph_simulator.refusal import Refusal, bad_request, forbidden
from graph_simulator.watchable import WatchedResource

RESOURCE_CONSENT_QUERY = "useresourcespecificconsentbasedauthorization=true"
_SPECIFIC = ("Group", "Chat", "User")
_TYPES = {
    "messages": "message",
    "events": "event",
    "contacts": "contact",
    "alerts": "alert",
    "callrecords": "callrecord",
}
"""The resource type of paths with such an ending, as the reference names it."""


@cache
def reference() -> dict[str, Any]:
    """Return the reference."""
    text = files("graph_simulator").joinpath("permission_reference.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, Any])


@cache
def every_permission() -> frozenset[str]:
    """Return every permission for a whole tenant in the reference."""
    return frozenset(name for name in reference()["application"] if not is_specific(name))


@dataclass(frozen=True)
class Grants:
    """The permissions that one tenant has granted the app.

    application: permissions for the whole tenant; None: every permission, in a token without roles.
    specific: path of a team, chat, user or meeting, lower case, such as `chats/19:…` → the permissions granted there.
    """

    application: frozenset[str] | None = None
    specific: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def check(self, accepted: frozenset[str], roles: frozenset[str] | None, place: str | None, what: str) -> None:
        """Allow a call if the token's roles, or a consent for the place, suffice.

        Raises:
            Refusal: 403.
        """
        if roles is None and any(not is_specific(name) for name in accepted):
            return
        if (roles or frozenset()) & accepted:
            return
        given = [names for at, names in self.specific.items() if place is None or at == place]
        if any(names & accepted for names in given):
            return
        named = ", ".join(sorted(accepted)) or "none: application permissions are not supported"
        raise denied(f"Missing application permissions for {what}. Requires one of: {named}")


def check_subscription(
    grants: Grants, roles: frozenset[str] | None, watched: WatchedResource, *, renew: bool = False
) -> None:
    """Check the permissions of a subscription; `renew`: those on the page on renewal, if it names more.

    Raises:
        Refusal: 400, only the beta endpoint offers the resource; 403.
    """
    facts = _elsewhere(watched) or {"application": _listed(watched, "subscribe")}
    if facts.get("beta"):
        raise bad_request(f"Unsupported resource: '{'/'.join(watched.segments)}'.")
    accepted = frozenset(_listed(watched, "renew") if renew else facts["application"])
    if _asks_for_specific_consent(watched):
        accepted = frozenset(name for name in accepted if is_specific(name))
        grants.check(accepted, roles and frozenset(), None, watched.template)
        return
    if facts.get("page") and any(map(is_specific, accepted)):  # the page then names permissions for the query
        accepted = frozenset(name for name in accepted if not is_specific(name))
    grants.check(accepted, roles, place(watched.segments), watched.template)


def check_read(grants: Grants, roles: frozenset[str] | None, template: str, ids: tuple[str, ...]) -> None:
    """Check the permissions of a GET.

    Raises:
        Refusal: 403.
    """
    facts = reference()["operations"].get(f"GET {template.lower()}")
    if facts is not None:
        words, given = template.split("/"), iter(ids)
        where = place(tuple(next(given) if word == "{}" else word for word in words))
        grants.check(frozenset(facts["accepted"]), roles, where, template)


def place(segments: tuple[str, ...]) -> str | None:
    """Return the team, chat, user or meeting of a path; None if it has none."""
    words = tuple(segment.lower() for segment in segments)
    if words[:1] == ("copilot",):
        words = words[1:]
    if words[:2] == ("communications", "onlinemeetings"):
        return "/".join(words[:3])
    return "/".join(words[:2]) if len(words) > 1 and words[0] in ("teams", "chats", "users") else ""


def is_specific(name: str) -> bool:
    """Whether a permission is for one team, chat or user."""
    return name.rpartition(".")[2] in _SPECIFIC


def denied(message: str) -> Refusal:
    """Return the refusal for a missing permission."""
    return forbidden(message)


def _asks_for_specific_consent(watched: WatchedResource) -> bool:
    return RESOURCE_CONSENT_QUERY in watched.query.lower()


def _elsewhere(watched: WatchedResource) -> dict[str, Any] | None:
    table: dict[str, dict[str, Any]] = reference()["elsewhere"]
    return next((table[key] for key in _keys(watched) if key in table), None)


def _listed(watched: WatchedResource, table: str) -> list[str]:
    rows: dict[str, list[str]] = reference()[table]
    return next((rows[key] for key in _keys(watched) if key in rows), [])


def _keys(watched: WatchedResource) -> tuple[str, ...]:
    """Return the names under which the reference may list the resource: its path, or its type."""
    template = watched.template.lower()
    words = template.split("/")
    directory = words[0].removesuffix("s") if words[0] in ("users", "groups") else ""
    return template, watched.kind.name.lower(), _TYPES.get(words[-1], directory)
