"""Warns before a secret or certificate of the app registration expires, where Graph lets us see it.

Reading an app registration takes a permission (Application.Read.All) that this app does not need otherwise: without
it there is no warning, and no complaint either.
"""

import logging
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from shared.errors import Reason, RetryLater
from shared.graph.client import GraphClient, GraphRequestError

_log = logging.getLogger("graph_relay.identity")

SOON = timedelta(days=30)

LOOKED_EVERY = timedelta(days=1)


class _Credential(msgspec.Struct, frozen=True, rename="camel"):
    end_date_time: datetime
    key_id: str = ""
    display_name: str | None = None


class _Registration(msgspec.Struct, frozen=True, rename="camel"):
    password_credentials: list[_Credential] = []
    key_credentials: list[_Credential] = []


class CredentialExpiry:
    """Looks once a day; one object serves all threads."""

    def __init__(self, graph: GraphClient, tenant_id: str, client_id: str) -> None:
        self._graph = graph
        self._tenant_id = tenant_id
        self._path = f"applications(appId='{client_id}')?$select=passwordCredentials,keyCredentials"
        self._lock = threading.Lock()
        self._looked: datetime | None = None

    def report(self, now: datetime) -> list[str]:
        """Warn of what expires before long, and return the warnings.

        Raises RetryLater, GraphRequestError: it is looked again at the next call.
        """
        with self._lock:
            if self._looked is not None and now - self._looked < LOOKED_EVERY:
                return []
            warnings = list(_warnings(self._registration(), now))
            self._looked = now
        for warning in warnings:
            _log.warning("%s", warning)
        return warnings

    def _registration(self) -> _Registration:
        try:
            return msgspec.convert(self._graph.get(self._tenant_id, self._path), _Registration)
        except GraphRequestError as refusal:
            if refusal.status in (403, 404):
                return _Registration()  # we may not see it
            raise
        except msgspec.ValidationError:
            raise RetryLater(Reason.GRAPH, "Graph's answer is not an app registration") from None


def _warnings(registration: _Registration, now: datetime) -> Iterator[str]:
    """An expired one that lies there beside the one in use is of no interest: were it ours, we had not come so far."""
    kinds = (("secret", registration.password_credentials), ("certificate", registration.key_credentials))
    for kind, credentials in kinds:
        for one in credentials:
            if now < one.end_date_time <= now + SOON:
                days = (one.end_date_time - now) / timedelta(days=1)
                name = one.display_name or one.key_id
                yield (
                    f"The {kind} '{name}' of the app registration expires in {days:.0f} days, on "
                    f"{one.end_date_time:%Y-%m-%d}. If it is the one in use, make a new one and change the setting"
                )
