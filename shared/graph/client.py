"""Authenticated calls to Microsoft Graph: tokens, paging, throttling (docs/graph.md, "Errors")."""

import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests

from shared import deadline
from shared.circuit_breaker import CircuitBreaker
from shared.errors import Reason, RelayError, RetryLater, TimedOut
from shared.graph.entra import EntraClient, granted_permissions
from shared.graph.json_repair import repaired
from shared.graph.limits import limited_with
from shared.http_client import Response, exchange, retry_after
from shared.text import line

_TIME_LIMIT = (5, 30)  # a create lasts while Graph does two handshakes, up to 10 s each
_MAX_RESPONSE_BYTES = 32 << 20
_DEFAULT_RETRY_AFTER = timedelta(seconds=20)  # for a 429 without Retry-After: the window of Graph's limits
_RETRYABLE_STATUSES = (408, 412, 423, 429)

LONGEST_WAIT = timedelta(minutes=10)
"""Upper limit for Graph's Retry-After: its windows last seconds (docs/graph.md, "Limits")."""

Json = dict[str, Any]


class Page(msgspec.Struct, frozen=True):
    """A page of a list, with its entries unparsed; an empty page may still link to a next one."""

    value: list[msgspec.Raw]
    next_link: str | None = msgspec.field(name="@odata.nextLink", default=None)
    delta_link: str | None = msgspec.field(name="@odata.deltaLink", default=None)


class Answer(msgspec.Struct, frozen=True):
    """Graph's description of a failed request, for the operator and for Microsoft's support.

    `message` is Graph's text about the request, without content of a resource. `inner_code` is the more precise code
    that some services add. Support asks for `request_id` and `date` first.
    """

    status: int
    code: str = ""
    message: str = ""
    inner_code: str = ""
    request_id: str = ""
    date: str = ""

    def __str__(self) -> str:
        """Return one line: status, code, message, and the identifiers for Microsoft's support."""
        said = ": ".join(filter(None, (f"{self.status} {self.inner_code or self.code}".rstrip(), self.message)))
        found_by = ", ".join(filter(None, (self.request_id and f"request-id {self.request_id}", self.date)))
        return f"{said} ({found_by})" if found_by else said


class GraphRequestError(RelayError):
    """Graph has refused a request; repeating it is useless. For the meaning of `status`, see docs/graph.md, "Errors".

    granted: the permissions of the token that got a 403; None if unknown.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        inner_code: str = "",
        granted: frozenset[str] | None = None,
        answer: Answer | None = None,
    ) -> None:
        self.answer = answer or Answer(status, code, message, inner_code)
        super().__init__(Reason.GRAPH_REFUSED, str(self.answer))
        self.status = status
        self.code = code
        self.message = line(message)
        self.inner_code = inner_code
        self.granted = granted

    @property
    def is_about_mailbox(self) -> bool:
        """Whether a 404 is about the mailbox: the requested item may still exist."""
        return any(code.lower().startswith(_MAILBOX_CODES) for code in (self.code, self.inner_code) if code)


class GraphClient:
    """Calls Graph as this app, in any of its tenants; one object serves all threads."""

    def __init__(self, url: str, entra: EntraClient, session: requests.Session, clock: Callable[[], datetime]) -> None:
        self._url = url
        self._entra = entra
        self._session = session
        self._clock = clock
        self._lock = threading.Lock()
        self._not_before: dict[tuple[str, str], datetime] = {}
        self._breaker = CircuitBreaker(Reason.GRAPH, clock)

    def get(self, tenant_id: str, path: str) -> Json:
        """Read a resource; `path` is relative to `/v1.0/`, or a link that Graph returned.

        Raises:
            GraphRequestError: Graph refuses the request.
            RetryLater: Graph or the login authority is unavailable, or throttles the app. NotAttempted: that happened a
                moment ago, or the invocation's time is over.
        """
        return _json(self._call(tenant_id, "GET", path))

    def get_raw(self, tenant_id: str, path: str) -> bytes:
        """Read a resource as `get` does; return the JSON byte for byte.

        Raises as `get`; RetryLater also if the answer is not an object: then a gateway answered, and the resource still
        exists.
        """
        text = self._call(tenant_id, "GET", path)
        if not text.lstrip().startswith(b"{"):
            raise RetryLater(Reason.GRAPH, "Graph's answer is not a resource")
        return text

    def get_page(self, tenant_id: str, path: str) -> Page:
        """Read one page of a list; `path` may be the next link of another page. Raises as `get`."""
        text = self._call(tenant_id, "GET", path)
        try:
            try:
                return msgspec.json.decode(text, type=Page)
            except msgspec.DecodeError:
                return msgspec.json.decode(repaired(text), type=Page)
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            raise RetryLater(Reason.GRAPH, "Graph's answer is not a page of a list") from None

    def post(self, tenant_id: str, path: str, body: Json) -> Json:
        """Create a resource. Raises as `get`."""
        return _json(self._call(tenant_id, "POST", path, body))

    def patch(self, tenant_id: str, path: str, body: Json) -> Json:
        """Update a resource. Raises as `get`."""
        return _json(self._call(tenant_id, "PATCH", path, body))

    def delete(self, tenant_id: str, path: str) -> None:
        """Delete a resource; a missing one is fine. Raises as `get`."""
        try:
            self._call(tenant_id, "DELETE", path)
        except GraphRequestError as refusal:
            if refusal.status != 404:
                raise

    def pages(self, tenant_id: str, path: str) -> Iterator[list[msgspec.Raw]]:
        """Yield the entries of a list, page by page. Raises as `get`."""
        link: str | None = path
        while link is not None:
            page = self.get_page(tenant_id, link)
            if page.next_link == link:
                raise RetryLater(Reason.GRAPH, "Graph's link to the next page leads to the same page")
            yield page.value
            link = page.next_link

    def _call(self, tenant_id: str, method: str, path: str, body: Json | None = None) -> bytes:
        url = address(self._url, path)
        limit = (tenant_id, limited_with(method, url))
        self._raise_if_throttled(limit)
        response = self._send(tenant_id, method, url, body)
        if response.status == 401:
            self._entra.forget(tenant_id)
            response = self._send(tenant_id, method, url, body)
        if response.status < 300:
            return response.body
        answer, delay = _answer(response), retry_after(response.headers, self._clock(), LONGEST_WAIT)
        if response.status == 429:
            delay = delay or _DEFAULT_RETRY_AFTER
        if delay is not None and response.status >= 400:
            self._note_throttling(limit, delay)
        if response.status == 429:
            raise RetryLater(Reason.GRAPH_THROTTLED, f"Graph throttles {limit[1]}: {answer}", retry_after=delay)
        if response.status >= 500 or response.status in _RETRYABLE_STATUSES:
            raise RetryLater(Reason.GRAPH, f"Graph answers {answer}", retry_after=delay)
        raise self._refused(tenant_id, answer)

    def _refused(self, tenant_id: str, answer: Answer) -> GraphRequestError:
        roles = granted_permissions(self._entra.token(tenant_id, self._scope)) if answer.status == 403 else None
        return GraphRequestError(
            answer.status, answer.code, answer.message, inner_code=answer.inner_code, granted=roles, answer=answer
        )

    def _send(self, tenant_id: str, method: str, url: str, body: Json | None) -> Response:
        headers = {
            "Authorization": f"Bearer {self._entra.token(tenant_id, self._scope)}",
            "Accept": "application/json",
            "client-request-id": str(uuid.uuid4()),
            # otherwise system messages have the type `unknownFutureValue`, and what is moved within a mailbox gets
            # another id (docs/graph.md, "Subscriptions")
            "Prefer": 'include-unknown-enum-members, IdType="ImmutableId"',
        }
        deadline.check()
        with self._breaker.attempt():
            response = self._exchange(method, url, headers, body)
            if response.status >= 500 and retry_after(response.headers, self._clock(), LONGEST_WAIT) is None:
                raise RetryLater(Reason.GRAPH, f"Graph answers {_answer(response)}")
        return response

    def _exchange(self, method: str, url: str, headers: dict[str, str], body: Json | None) -> Response:
        try:
            return exchange(
                self._session, method, url, timeout=_TIME_LIMIT, limit=_MAX_RESPONSE_BYTES, headers=headers, json=body
            )
        except requests.Timeout as error:
            raise TimedOut(Reason.GRAPH, f"Graph does not answer ({type(error).__name__})") from None
        except requests.RequestException as error:
            raise RetryLater(Reason.GRAPH, f"Graph does not answer ({type(error).__name__})") from None

    @property
    def _scope(self) -> str:
        return f"{self._url}/.default"

    def _raise_if_throttled(self, limit: tuple[str, str]) -> None:
        with self._lock:
            delay = self._not_before.get(limit, self._clock()) - self._clock()
        if delay > timedelta(0):
            raise RetryLater(Reason.GRAPH_THROTTLED, f"Graph throttles {limit[1]}", retry_after=delay)

    def _note_throttling(self, limit: tuple[str, str], delay: timedelta) -> None:
        """If several threads are throttled, the latest end applies. Past ends are deleted."""
        with self._lock:
            now = self._clock()
            until = max(self._not_before.get(limit, now), now + delay)
            self._not_before = {name: end for name, end in self._not_before.items() if end > now} | {limit: until}


def _answer(response: Response) -> Answer:
    error = _member(_json(response.body), "error")
    inner = _member(error, "innerError") or _member(error, "innererror")
    return Answer(
        response.status,
        _line(error.get("code"), 100),
        _line(error.get("message"), 500).rstrip("."),
        _line(inner.get("code"), 100),
        _line(response.headers.get("request-id") or inner.get("request-id"), 64),
        _line(response.headers.get("Date") or inner.get("date"), 64),
    )


def _line(text: object, longest: int) -> str:
    """Shorten a text of Graph to one line: it is logged and shown."""
    return line(str(text or "")[:longest])


_MAILBOX_CODES = ("mailbox", "errormailbox", "errornonexistentmailbox", "errorinvaliduser")


def address(graph_url: str, path: str) -> str:
    """Return the URL of a path or of a link that Graph returned.

    Links are used unchanged, but only on the host that the token is for (docs/graph.md, "Reading back").

    Raises RetryLater for a link to anywhere else.
    """
    if not path.startswith("https://"):
        return f"{graph_url}/v1.0/{path.lstrip('/')}"
    try:
        expected, given = urlsplit(graph_url), urlsplit(path)
    except ValueError:
        raise RetryLater(Reason.GRAPH, "Graph returned an invalid link") from None
    if (expected.scheme, expected.netloc.lower()) != (given.scheme, given.netloc.lower()):
        raise RetryLater(Reason.GRAPH, "Graph returned a link to another host")
    return path


def _member(document: Json, name: str) -> Json:
    """Return the object in a member; an empty one if it is missing."""
    member = document.get(name)
    return member if isinstance(member, dict) else {}


def _json(text: bytes) -> Json:
    """Gateways may answer with pages of their own: a body that is not an object reads as an empty one."""
    try:
        return msgspec.json.decode(text, type=Json)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {}
