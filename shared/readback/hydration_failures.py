"""Declarations whose `hydrate` failed because of an unclear resource: stored once, for `ops doctor`."""

import logging
from contextlib import suppress
from datetime import datetime

from shared.configuration.declaration import Declaration
from shared.errors import RetryLater
from shared.storage.state import STATE
from shared.storage.tables import Row, Tables

_log = logging.getLogger("graph_relay.hydration")

_PARTITION = "unread"


class HydrationFailures:
    """Declarations with an item that could not be read; one object serves all threads."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._noted: set[str] = set()

    def note(self, declaration: Declaration, named: str, at: datetime) -> None:
        """Store the resource that a notification named; once per declaration and process. Never raises RetryLater."""
        if declaration.id in self._noted:
            return
        self._noted.add(declaration.id)
        _log.warning(
            "Notifications of %s in tenant %s are not hydrated: they name %s, which may not belong to the declaration",
            declaration.resource,
            declaration.tenant_id,
            named,
        )
        row: Row = {"named": named[:512], "at": at.isoformat()}
        with suppress(RetryLater):
            self._tables.put(STATE, _PARTITION, declaration.id, row)

    def all(self) -> dict[str, str]:
        """Return the last named resource, by the id of the declaration. Raises RetryLater."""
        return {str(row["RowKey"]): str(row["named"]) for row in self._tables.partition(STATE, _PARTITION)}
