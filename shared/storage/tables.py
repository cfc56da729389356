"""Rows in Azure Table storage: the app's persistent state."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.data.tables import TableClient, TableServiceClient, UpdateMode

from shared.circuit_breaker import CircuitBreaker
from shared.configuration.settings import StorageSettings
from shared.errors import Reason
from shared.storage.account import TimeLimits, identity_credential, settings_checked, translated

Value = str | int | float | bool | datetime | bytes
Row = Mapping[str, Value]

TRANSACTION_LIMIT = 100
"""Maximum number of rows in one transaction."""


class Tables(Protocol):
    """The table operations of this app. Every method raises RetryLater if storage is unavailable.

    A missing table reads as empty and is created by the first write.
    """

    def get(self, table: str, partition: str, key: str) -> Row | None:
        """Return a row, or None."""

    def put(self, table: str, partition: str, key: str, row: Row) -> None:
        """Insert or replace a row."""

    def put_all(self, table: str, partition: str, rows: Mapping[str, Row]) -> None:
        """Insert or replace rows of one partition, by key. If it raises, some may have been written."""

    def remove(self, table: str, partition: str, key: str) -> None:
        """Delete a row; one that does not exist is fine."""

    def partition(self, table: str, partition: str, columns: Sequence[str] = ()) -> Iterator[Row]:
        """Yield the rows of a partition; the column `RowKey` has the key. columns: read only these."""

    def rows(self, table: str) -> Iterator[Row]:
        """Yield the rows of all partitions."""

    def names(self) -> list[str]:
        """Return the names of this app's tables."""

    def drop(self, table: str) -> None:
        """Delete a table with all its rows; one that does not exist is fine."""


class AzureTables:
    """The tables of this app in a storage account; one object serves all threads.

    Raises SettingsError if the connection string is invalid.
    """

    def __init__(
        self,
        settings: StorageSettings,
        limits: TimeLimits,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._breaker = CircuitBreaker(Reason.STORAGE, clock)
        # Table names have at most 63 letters and digits and begin with a letter; the hash distinguishes a-b from ab.
        readable = re.sub("[^a-z0-9]", "", settings.queue)[:30]
        self._prefix = f"relay{readable}{hashlib.sha256(settings.queue.encode()).hexdigest()[:8]}"
        self._clients: dict[str, TableClient] = {}
        if settings.connection_string:
            with settings_checked():
                self._service = TableServiceClient.from_connection_string(
                    settings.connection_string, **limits.options()
                )
        else:
            credential = identity_credential(settings)
            self._service = TableServiceClient(settings.urls[2], credential=credential, **limits.options())

    def get(self, table: str, partition: str, key: str) -> Row | None:
        """See Tables."""
        with self._guarded():
            try:
                return dict(self._table(table).get_entity(partition, key))
            except ResourceNotFoundError:
                return None

    def put(self, table: str, partition: str, key: str, row: Row) -> None:
        """See Tables."""
        self.put_all(table, partition, {key: row})

    def put_all(self, table: str, partition: str, rows: Mapping[str, Row]) -> None:
        """See Tables."""
        entities = [{**row, "PartitionKey": partition, "RowKey": key} for key, row in rows.items()]
        with self._guarded():
            for first in range(0, len(entities), TRANSACTION_LIMIT):
                batch = entities[first : first + TRANSACTION_LIMIT]
                try:
                    self._write(table, batch)
                except HttpResponseError as error:
                    if getattr(error, "error_code", None) != "TableNotFound":
                        raise
                    self._create(table)
                    self._write(table, batch)

    def remove(self, table: str, partition: str, key: str) -> None:
        """See Tables."""
        with self._guarded():
            self._table(table).delete_entity(partition, key)

    def partition(self, table: str, partition: str, columns: Sequence[str] = ()) -> Iterator[Row]:
        """See Tables."""
        yield from self._query(table, "PartitionKey eq @partition", {"partition": partition}, columns)

    def rows(self, table: str) -> Iterator[Row]:
        """See Tables."""
        yield from self._query(table, "", {})

    def names(self) -> list[str]:
        """See Tables."""
        with self._guarded():
            names = [table.name for table in self._service.list_tables()]
        return [name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix)]

    def drop(self, table: str) -> None:
        """See Tables."""
        with self._guarded():
            self._service.delete_table(self._prefix + table)
        self._clients.pop(table, None)

    def _query(self, table: str, where: str, parameters: Row, columns: Sequence[str] = ()) -> Iterator[Row]:
        with self._guarded():
            try:
                yield from self._table(table).query_entities(
                    where, parameters=dict(parameters), select=list(columns) or None
                )
            except ResourceNotFoundError:
                return

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Each envelope reads several tables in turn: while they hang, one caller waits, not all."""
        with self._breaker.attempt(), translated("the storage account's table service"):
            yield

    def _table(self, table: str) -> TableClient:
        """Return a client, created once for each table: one for each call would cost more than the call itself."""
        client = self._clients.get(table)
        if client is None:
            client = self._clients.setdefault(table, self._service.get_table_client(self._prefix + table))
        return client

    def _create(self, table: str) -> None:
        try:
            self._service.create_table(self._prefix + table)
        except ResourceExistsError:
            return  # another process was faster

    def _write(self, table: str, entities: list[dict[str, Value]]) -> None:
        client = self._table(table)
        if len(entities) == 1:
            client.upsert_entity(entities[0], mode=UpdateMode.REPLACE)
        else:
            replace = {"mode": UpdateMode.REPLACE}
            client.submit_transaction([("upsert", entity, replace) for entity in entities])
