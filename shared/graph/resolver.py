"""Resolves aliases in declarations to ids: a user's principal name, the drive of a user, a group or a site.

Graph's notifications contain only ids (docs/graph.md, "Resource strings"). Each alias is resolved once per process.
"""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from shared.errors import Reason, RetryLater
from shared.graph.client import GraphClient, GraphRequestError
from shared.resources.path import encoded, has_dot_segments, segments
from shared.resources.permissions import names_by_principal

_REPEAT_AFTER = timedelta(minutes=10)
"""How long a refusal is cached: otherwise every notification of a declaration would ask again."""


class Resolver:
    """Resolves aliases; one object serves all threads."""

    def __init__(self, graph: GraphClient, clock: Callable[[], datetime]) -> None:
        self._graph = graph
        self._clock = clock
        self._lock = threading.Lock()
        self._ids: dict[tuple[str, str], str] = {}
        self._refused: dict[tuple[str, str], tuple[datetime, RetryLater]] = {}

    def resolved(self, tenant_id: str, resource: str) -> str:
        """Return a path without aliases, its query unchanged; the same path if it has none.

        Raises RetryLater: Graph is unavailable, or refuses; the message contains advice.
        """
        path, mark, query = resource.partition("?")
        parts = segments(path)
        if has_dot_segments(parts):
            return resource
        alias = alias_in(parts)
        if alias is None:
            return resource
        length, collection = alias
        found = self._id(tenant_id, encoded(parts[:length]))
        return f"{encoded((collection, found, *parts[length:]))}{mark}{query}"

    def _id(self, tenant_id: str, path: str) -> str:
        key = (tenant_id, path.lower())
        with self._lock:
            known, refused = self._ids.get(key), self._refused.get(key)
        if known:
            return known
        if refused and self._clock() - refused[0] < _REPEAT_AFTER:
            raise refused[1].copy()
        try:
            found = str(self._graph.get(tenant_id, f"{path}?$select=id").get("id") or "")
        except GraphRequestError as refusal:
            failure = RetryLater(Reason.GRAPH_REFUSED, f"{path} does not resolve to an id: {refusal}. {ADVICE}")
            with self._lock:
                self._refused[key] = (self._clock(), failure)
            raise failure.copy() from refusal
        if not found:
            raise RetryLater(Reason.GRAPH, f"Graph's answer for {path} has no id")
        with self._lock:
            self._ids[key] = found
        return found


ADVICE = "Name it in the declaration by its id, or grant the permission to read it."


def alias_in(parts: tuple[str, ...]) -> tuple[int, str] | None:
    """Return how many parts of a path form an alias, and the collection of the resolved id; None without an alias."""
    words = tuple(part.lower() for part in parts)
    if len(words) > 3 and words[0] in ("users", "groups", "sites") and words[2:4] == ("drive", "root"):
        return 3, "drives"
    return (2, "users") if names_by_principal(encoded(parts)) else None
