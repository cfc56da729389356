"""Authenticated calls to Microsoft Graph: tokens, paging, throttling (docs/graph.md, "Errors")."""

import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests

from shared.errors import Reason, RelayError, RetryLater
from shared.graph.entra import EntraClient, granted_permissions
from shared.graph.json_repair import repaired
from shared.http_client import exchange, retry_after

_TIME_LIMIT = (5, 30)  # a create holds the call open for two handshakes of up to 10 s each
_LONGEST_ANSWER = 32 << 20
_UNTOLD_WAIT = timedelta(seconds=20)  # the window of Graph's limits, where a 429 names no time
_REPEATABLE = (408, 412, 423, 429)

LONGEST_WAIT = timedelta(minutes=10)
"""What is believed of Graph's Retry-After: its windows last seconds (docs/graph.md, "Limits")."""

Json = dict[str, Any]


class Page(msgspec.Struct, frozen=True):
    """A page of a list, its entries as they came; it may be empty and still have a link to the next one."""

    value: list[msgspec.Raw]
    next_link: str | None = msgspec.field(name="@odata.nextLink", default=None)
    delta_link: str | None = msgspec.field(name="@odata.deltaLink", default=None)


class GraphRequestError(RelayError):
    """Graph has answered, and asking the same again won't help. `status` tells what to do (docs/graph.md, "Errors").

    `message` is Graph's own, for a person; it speaks of our request and holds no content of a resource. `inner_code` is
    the more precise code that some services add. `granted` are the permissions of the token that got a 403; None if it
    does not say.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        inner_code: str = "",
        granted: frozenset[str] | None = None,
    ) -> None:
        super().__init__(Reason.GRAPH_REFUSED, f"{status} {inner_code or code}: {message}")
        self.status = status
        self.message = message
        self.inner_code = inner_code
        self.granted = granted


class GraphClient:
    """Calls Graph for one app in any of its tenants; one object serves all threads."""

    def __init__(self, url: str, entra: EntraClient, session: requests.Session, clock: Callable[[], datetime]) -> None:
        self._url = url
        self._entra = entra
        self._session = session
        self._clock = clock
        self._lock = threading.Lock()
        self._not_before: dict[str, datetime] = {}

    def get(self, tenant_id: str, path: str) -> Json:
        """Read a resource; `path` is relative to `/v1.0/`, or a link of Graph's.

        Raises:
            GraphRequestError: an answer that no repetition mends.
            RetryLater: Graph or the login authority is away, or asks us to wait.
        """
        return _json(self._call(tenant_id, "GET", path))

    def read(self, tenant_id: str, path: str) -> bytes:
        """Read a resource as `get` does, and return the very JSON that came."""
        return self._call(tenant_id, "GET", path)

    def page(self, tenant_id: str, path: str) -> Page:
        """Read one page of a list; `path` may be the link of a page before. Raises as `get`."""
        text = self._call(tenant_id, "GET", path)
        try:
            try:
                return msgspec.json.decode(text, type=Page)
            except msgspec.DecodeError:
                return msgspec.json.decode(repaired(text), type=Page)
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            raise RetryLater(Reason.GRAPH, "Graph's answer is not a page of a list") from None

    def post(self, tenant_id: str, path: str, body: Json) -> Json:
        """Create something. Raises as `get`."""
        return _json(self._call(tenant_id, "POST", path, body))

    def patch(self, tenant_id: str, path: str, body: Json) -> Json:
        """Change something. Raises as `get`."""
        return _json(self._call(tenant_id, "PATCH", path, body))

    def delete(self, tenant_id: str, path: str) -> None:
        """Delete something; what is gone already is fine. Raises as `get`."""
        try:
            self._call(tenant_id, "DELETE", path)
        except GraphRequestError as refusal:
            if refusal.status != 404:
                raise

    def pages(self, tenant_id: str, path: str) -> Iterator[list[msgspec.Raw]]:
        """Yield the entries of a list, page by page. Raises as `get`."""
        link: str | None = path
        while link is not None:
            page = self.page(tenant_id, link)
            yield page.value
            link = page.next_link

    def _call(self, tenant_id: str, method: str, path: str, body: Json | None = None) -> bytes:
        self._wait_is_over(tenant_id)
        url = self._address(path)
        status, text, wait = self._send(tenant_id, method, url, body)
        if status == 401:
            self._entra.forget(tenant_id)
            status, text, wait = self._send(tenant_id, method, url, body)
        if status == 429:
            wait = wait or _UNTOLD_WAIT
        if wait is not None and status >= 400:
            self._hold_back(tenant_id, wait)
        if status == 429:
            raise RetryLater(Reason.GRAPH_THROTTLED, "Graph asks us to wait", retry_after=wait)
        if status >= 500 or status in _REPEATABLE:
            raise RetryLater(Reason.GRAPH, f"Graph answers {status}", retry_after=wait)
        if status >= 300:
            raise self._refused(tenant_id, status, text)
        return text

    def _refused(self, tenant_id: str, status: int, text: bytes) -> GraphRequestError:
        error = _member(_json(text), "error")
        inner = _member(error, "innerError") or _member(error, "innererror")
        return GraphRequestError(
            status,
            str(error.get("code", ""))[:100],
            str(error.get("message", ""))[:500].rstrip("."),
            inner_code=str(inner.get("code", ""))[:100],
            granted=granted_permissions(self._entra.token(tenant_id, self._scope)) if status == 403 else None,
        )

    def _send(self, tenant_id: str, method: str, url: str, body: Json | None) -> tuple[int, bytes, timedelta | None]:
        headers = {
            "Authorization": f"Bearer {self._entra.token(tenant_id, self._scope)}",
            "Accept": "application/json",
            "client-request-id": str(uuid.uuid4()),
            # or system messages come as `unknownFutureValue` (docs/graph.md, "Subscriptions")
            "Prefer": "include-unknown-enum-members",
        }
        try:
            answer = exchange(
                self._session, method, url, timeout=_TIME_LIMIT, limit=_LONGEST_ANSWER, headers=headers, json=body
            )
            return answer.status, answer.body, retry_after(answer.headers, self._clock(), LONGEST_WAIT)
        except requests.RequestException as error:
            raise RetryLater(Reason.GRAPH, f"Graph does not answer ({type(error).__name__})") from None

    @property
    def _scope(self) -> str:
        return f"{self._url}/.default"

    def _address(self, path: str) -> str:
        """A link is followed exactly as given, but only to where the token belongs (docs/graph.md, "Reading back")."""
        if not path.startswith("https://"):
            return f"{self._url}/v1.0/{path.lstrip('/')}"
        try:
            desired, theirs = urlsplit(self._url), urlsplit(path)
        except ValueError:
            raise RetryLater(Reason.GRAPH, "Graph gave a link that is none") from None
        if (desired.scheme, desired.netloc.lower()) != (theirs.scheme, theirs.netloc.lower()):
            raise RetryLater(Reason.GRAPH, "Graph gave a link to another host")
        return path

    def _wait_is_over(self, tenant_id: str) -> None:
        with self._lock:
            wait = self._not_before.get(tenant_id, self._clock()) - self._clock()
        if wait > timedelta(0):
            raise RetryLater(Reason.GRAPH_THROTTLED, "Graph asked us to wait", retry_after=wait)

    def _hold_back(self, tenant_id: str, wait: timedelta) -> None:
        """Of several waits told, to several threads, the one that ends last counts."""
        with self._lock:
            until = self._clock() + wait
            self._not_before[tenant_id] = max(self._not_before.get(tenant_id, until), until)


def _member(document: Json, name: str) -> Json:
    """Return an object within an object; an empty one if it is not there."""
    member = document.get(name)
    return member if isinstance(member, dict) else {}


def _json(text: bytes) -> Json:
    """Gateways answer with pages of their own; what is not an object reads as an empty one."""
    try:
        return msgspec.json.decode(text, type=Json)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {}
