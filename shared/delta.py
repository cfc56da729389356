"""Where Graph tells what has changed since it was last asked: delta queries, and the links they go on from (§7).

A link is kept only once everything before it has been delivered, and never leaves our own table but to Graph.
"""

import re

from shared.client_state import declaration_id
from shared.resource_path import encoded, segments
from shared.tables import Tables

_TABLE = "state"
_PARTITION = "delta"

# Patterns over the raw path, names in any case: (what is watched, what asks for its changes, what one is called).
_PATHS = (
    (r"users", "users/delta", "User"),
    (r"groups", "groups/delta", "Group"),
    (r"users/[^/]+/mailfolders/[^/]+/messages", "{}/delta", "Message"),
    (r"users/[^/]+/(contactfolders/[^/]+/)?contacts", "{}/delta", "Contact"),
    (r"(drives/[^/]+|(users|groups|sites)/[^/]+/drive)/root", "{}/delta", "DriveItem"),
    (r"sites/[^/]+/lists/[^/]+", "{}/items/delta", "ListItem"),
    (r"users/[^/]+/todo/lists/[^/]+/tasks", "{}/delta", "TodoTask"),
)


def delta_path(resource: str) -> str | None:
    """Return the path of a resource's first delta query; None if there is none."""
    for pattern, path, _ in _PATHS:
        if re.fullmatch(pattern, "/".join(segments(resource)), re.IGNORECASE):
            return path.format(encoded(segments(resource)))
    return None


def kind_of(resource: str) -> str:
    """Return what an entry of a resource that has a delta query is called, as in `@odata.type`."""
    path = "/".join(segments(resource))
    return next(kind for pattern, _, kind in _PATHS if re.fullmatch(pattern, path, re.IGNORECASE))


def load(tables: Tables, tenant_id: str, resource: str) -> str | None:
    """Return the link to go on from, or None. Raises NotNow."""
    row = tables.get(_TABLE, _PARTITION, declaration_id(tenant_id, resource))
    return str(row["link"]) if row else None


def save(tables: Tables, tenant_id: str, resource: str, link: str) -> None:
    """Keep the link to go on from. Raises NotNow."""
    tables.put(_TABLE, _PARTITION, declaration_id(tenant_id, resource), {"link": link})
