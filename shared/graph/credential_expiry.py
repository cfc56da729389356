"""Warns before a secret or certificate of the app registration expires, if the app may read its registration.

Reading it takes the permission Application.Read.All, which this app does not need otherwise. Without the permission
there is neither a warning nor an error.
"""

import logging
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from shared.errors import Reason, RetryLater
from shared.graph.client import GraphClient, GraphRequestError

_log = logging.getLogger("graph_relay.identity")

WARNING_PERIOD = timedelta(days=30)

CHECK_INTERVAL = timedelta(days=1)


class _Credential(msgspec.Struct, frozen=True, rename="camel"):
    end_date_time: datetime
    key_id: str = ""
    display_name: str | None = None


class _Registration(msgspec.Struct, frozen=True, rename="camel"):
    password_credentials: list[_Credential] = []
    key_credentials: list[_Credential] = []


class CredentialExpiry:
    """Checks once a day; one object serves all threads."""

    def __init__(self, graph: GraphClient, tenant_id: str, client_id: str) -> None:
        self._graph = graph
        self._tenant_id = tenant_id
        self._path = f"applications(appId='{client_id}')?$select=passwordCredentials,keyCredentials"
        self._lock = threading.Lock()
        self._last_check: datetime | None = None

    def report(self, now: datetime) -> list[str]:
        """Log a warning for each credential that expires soon, and return the warnings.

        Raises RetryLater, GraphRequestError: the next call checks again.
        """
        with self._lock:
            if self._last_check is not None and now - self._last_check < CHECK_INTERVAL:
                return []
            warnings = list(_warnings(self._registration(), now))
            self._last_check = now
        for warning in warnings:
            _log.warning("%s", warning)
        return warnings

    def _registration(self) -> _Registration:
        try:
            return msgspec.convert(self._graph.get(self._tenant_id, self._path), _Registration)
        except GraphRequestError as error:
            if error.status in (403, 404):
                return _Registration()  # the app may not read it
            raise
        except msgspec.ValidationError:
            raise RetryLater(Reason.GRAPH, "Graph's answer is not an app registration") from None


def _warnings(registration: _Registration, now: datetime) -> Iterator[str]:
    """Expired credentials are skipped: if the app's own had expired, the call to Graph would have failed."""
    kinds = (("secret", registration.password_credentials), ("certificate", registration.key_credentials))
    for kind, credentials in kinds:
        for credential in credentials:
            if now < credential.end_date_time <= now + WARNING_PERIOD:
                days = (credential.end_date_time - now) / timedelta(days=1)
                name = credential.display_name or credential.key_id
                yield (
                    f"The {kind} '{name}' of the app registration expires in {days:.0f} days, on "
                    f"{credential.end_date_time:%Y-%m-%d}. If the app uses it, create a new one and change the setting"
                )
