"""Rows in Azure Table storage: what has to be remembered from one run to the next."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.data.tables import TableClient, TableServiceClient, UpdateMode

from shared.configuration.settings import StorageSettings
from shared.errors import Reason, RetryLater
from shared.storage.queues import BACKGROUND_LIMITS, identity_credential, settings_checked

Value = str | int | float | bool | datetime
Row = Mapping[str, Value]

TRANSACTION_LIMIT = 100
"""Rows of one partition that can be written together."""


class Tables:
    """The tables of this app in a storage account; one object serves all threads. A missing table is made.

    Raises SettingsError if the connection string is none.
    """

    def __init__(self, settings: StorageSettings) -> None:
        # Table names hold letters and digits alone, begin with a letter, and end at 63; the hash tells a-b from ab.
        readable = re.sub("[^a-z0-9]", "", settings.queue)[:30]
        self._prefix = f"relay{readable}{hashlib.sha256(settings.queue.encode()).hexdigest()[:8]}"
        if settings.connection_string:
            with settings_checked():
                self._service = TableServiceClient.from_connection_string(
                    settings.connection_string, **BACKGROUND_LIMITS.options()
                )
        else:
            credential = identity_credential(settings)
            self._service = TableServiceClient(settings.urls[2], credential=credential, **BACKGROUND_LIMITS.options())

    def get(self, table: str, partition: str, key: str) -> Row | None:
        """Return a row, or None. Raises RetryLater."""
        with _translated():
            try:
                return dict(self._table(table).get_entity(partition, key))
            except ResourceNotFoundError:
                return None

    def put(self, table: str, partition: str, key: str, row: Row) -> None:
        """Write a row whole, whether or not it was there. Raises RetryLater."""
        self.put_all(table, partition, {key: row})

    def put_all(self, table: str, partition: str, rows: Mapping[str, Row]) -> None:
        """Write rows of one partition, many at a time. Raises RetryLater; some may have been written even so."""
        entities = [{**row, "PartitionKey": partition, "RowKey": key} for key, row in rows.items()]
        with _translated():
            for first in range(0, len(entities), TRANSACTION_LIMIT):
                some = entities[first : first + TRANSACTION_LIMIT]
                try:
                    self._write(table, some)
                except HttpResponseError as error:
                    if getattr(error, "error_code", None) != "TableNotFound":
                        raise
                    self._create(table)
                    self._write(table, some)

    def remove(self, table: str, partition: str, key: str) -> None:
        """Remove a row; one that isn't there is fine. Raises RetryLater."""
        with _translated():
            self._table(table).delete_entity(partition, key)

    def find(self, table: str, where: str, parameters: Row, columns: Iterable[str] = ()) -> Iterator[Row]:
        """Yield the rows that an OData filter selects, `@name` standing for a parameter. Raises RetryLater."""
        with _translated():
            try:
                yield from self._table(table).query_entities(
                    where, parameters=dict(parameters), select=list(columns) or None
                )
            except ResourceNotFoundError:
                return

    def names(self) -> list[str]:
        """Return the names of the tables there are, without our prefix. Raises RetryLater."""
        with _translated():
            names = [one.name for one in self._service.list_tables()]
        return [name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix)]

    def drop(self, table: str) -> None:
        """Remove a table with all its rows; one that isn't there is fine. Raises RetryLater."""
        with _translated():
            self._service.delete_table(self._prefix + table)

    def _table(self, table: str) -> TableClient:
        return self._service.get_table_client(self._prefix + table)

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


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except AzureError as error:
        raise RetryLater(
            Reason.STORAGE, f"the storage account's tables do not answer ({type(error).__name__})"
        ) from None
