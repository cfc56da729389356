"""Stand-ins for services of Microsoft, Dapr and Knative: each enforces the rules that its page publishes.

Sources: learn.microsoft.com/azure/event-grid/post-to-custom-topic and …/publisher-operations,
learn.microsoft.com/rest/api/eventhub/send-event and …/event-hubs-runtime-rest,
learn.microsoft.com/rest/api/servicebus/send-message-to-queue; docs.dapr.io/reference/api/pubsub_api; knative/eventing,
pkg/broker/ingress.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cloudevents.core.bindings.http import HTTPMessage, from_http
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from tests.servers import RecordedRequest, ScriptedResponse

MEGABYTE = 1 << 20
_EXTENSION = re.compile(r"[a-z0-9]{1,20}")
_STRUCTURED, _BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"


@dataclass
class Target:
    """A service that takes events; `events`: the accepted events, as the CloudEvents SDK reads them.

    key: signs the tokens that it accepts. limit: bytes of a request. broken: it is there, and refuses everything.
    """

    key: str
    limit: int = MEGABYTE
    exists: bool = True
    events: list[dict[str, Any]] = field(default_factory=list)

    def token(self, resource: str, *, roles: bool = True) -> str:
        """Issue a token as Entra ID does: for one resource, to an identity with or without the role."""
        now = datetime.now(UTC)
        claims = {"aud": resource, "exp": now + timedelta(hours=1), "may_send": roles}
        return jwt.encode(claims, self.key, "HS256")

    def refusal(self, request: RecordedRequest, resource: str) -> ScriptedResponse | None:
        """Return 401 without a valid token for the resource, or for an identity without the role."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            claims = jwt.decode(token, self.key, ["HS256"], audience=resource)
        except jwt.InvalidTokenError:
            return ScriptedResponse(401)
        return None if scheme == "Bearer" and claims["may_send"] else ScriptedResponse(401)

    def take(self, request: RecordedRequest, *, batches: bool) -> bool:
        """Accept the events of a request; return whether the request was valid."""
        media_type = request.headers.get("content-type", "").partition(";")[0].strip()
        try:
            found = _events(request, media_type, batches=batches)
        except (ValueError, CloudEventValidationError, KeyError, TypeError):
            return False
        self.events += found
        return True


def _events(request: RecordedRequest, media_type: str, *, batches: bool) -> list[dict[str, Any]]:
    if batches and media_type == _BATCH:
        entries = json.loads(request.body)
        if not isinstance(entries, list) or not entries:
            raise ValueError("no batch")
        return [_event({"content-type": _STRUCTURED}, json.dumps(entry).encode()) for entry in entries]
    if media_type == _STRUCTURED or "ce-specversion" in request.headers:
        return [
            _event(
                {n: v for n, v in request.headers.items() if n.startswith("ce-") or n == "content-type"}, request.body
            )
        ]
    raise ValueError("no CloudEvent")


def _event(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    attributes = dict(from_http(HTTPMessage(dict(headers), body), JSONFormat(), CloudEvent).get_attributes())
    if not all(_EXTENSION.fullmatch(name) for name in attributes):
        raise ValueError("the name of an extension is too long or has other characters than a-z and 0-9")
    return attributes


def event_grid_topic(target: Target) -> Callable[[RecordedRequest], ScriptedResponse]:
    """A custom topic with the CloudEvents input schema."""

    def answer(request: RecordedRequest) -> ScriptedResponse:
        path, query = urlsplit(request.path).path, parse_qs(urlsplit(request.path).query)
        if (request.method, path) != ("POST", "/api/events") or query.get("api-version") != ["2018-01-01"]:
            return ScriptedResponse(404)
        if refusal := target.refusal(request, "https://eventgrid.azure.net"):
            return refusal
        if len(request.body) > target.limit:
            return ScriptedResponse(413)
        return ScriptedResponse(200 if target.take(request, batches=True) else 400)

    return answer


def event_grid_namespace(target: Target) -> Callable[[RecordedRequest], ScriptedResponse]:
    """A topic of a namespace."""

    def answer(request: RecordedRequest) -> ScriptedResponse:
        path, query = urlsplit(request.path).path, parse_qs(urlsplit(request.path).query)
        if request.method != "POST" or query.get("api-version") != ["2024-06-01"]:
            return ScriptedResponse(400)
        if refusal := target.refusal(request, "https://eventgrid.azure.net"):
            return refusal
        if path != "/topics/TOPIC:publish" or not target.exists:
            return ScriptedResponse(410)
        if len(request.body) > target.limit:
            return ScriptedResponse(403)
        return ScriptedResponse(200, b"{}") if target.take(request, batches=True) else ScriptedResponse(400)

    return answer


def event_hub(target: Target) -> Callable[[RecordedRequest], ScriptedResponse]:
    """An event hub over HTTPS: one event a request, under the content type that its page prescribes."""

    def answer(request: RecordedRequest) -> ScriptedResponse:
        path, query = urlsplit(request.path).path, parse_qs(urlsplit(request.path).query)
        if request.method != "POST" or query.get("api-version") != ["2014-01"]:
            return ScriptedResponse(400)
        if refusal := target.refusal(request, "https://eventhubs.azure.net"):
            return refusal
        if path != "/HUB/messages" or not target.exists:
            return ScriptedResponse(410)
        if len(request.body) > target.limit:
            return ScriptedResponse(403)
        if request.headers["content-type"] != "application/atom+xml;type=entry;charset=utf-8":
            return ScriptedResponse(400)
        target.events.append(_event({"content-type": _STRUCTURED}, request.body))  # the body is opaque to the hub
        return ScriptedResponse(201)

    return answer


def service_bus(target: Target) -> Callable[[RecordedRequest], ScriptedResponse]:
    """A queue or a topic over HTTPS: one message a request, with any content type."""

    def answer(request: RecordedRequest) -> ScriptedResponse:
        if refusal := target.refusal(request, "https://servicebus.azure.net"):
            return refusal
        if request.method != "POST" or urlsplit(request.path).path != "/QUEUE-OR-TOPIC/messages" or not target.exists:
            return ScriptedResponse(410)
        if len(request.body) > target.limit:
            return ScriptedResponse(403)
        media_type = request.headers["content-type"].partition(";")[0]
        if media_type == "application/vnd.microsoft.servicebus.json":
            return ScriptedResponse(400)  # a batch in its own format, which CloudEvents are not
        target.events.append(_event({"content-type": _STRUCTURED}, request.body))
        return ScriptedResponse(201)

    return answer


def function(target: Target) -> Callable[[RecordedRequest], ScriptedResponse]:
    """An HTTP-triggered function of the level `function`."""

    def answer(request: RecordedRequest) -> ScriptedResponse:
        if request.headers.get("x-functions-key") != "FUNCTION-KEY":
            return ScriptedResponse(401)
        if request.path != "/api/events":
            return ScriptedResponse(404)
        return ScriptedResponse(200 if target.take(request, batches=True) else 400)

    return answer


def dapr(target: Target) -> Callable[[RecordedRequest], ScriptedResponse]:
    """The publish API of a sidecar that requires an API token."""

    def answer(request: RecordedRequest) -> ScriptedResponse:
        if request.headers.get("dapr-api-token") != "TOKEN":
            return ScriptedResponse(401)
        if request.path != "/v1.0/publish/PUBSUB/TOPIC" or not target.exists:
            return ScriptedResponse(404)
        if not request.headers["content-type"].startswith(_STRUCTURED):
            return ScriptedResponse(500)  # it would be wrapped into another event
        return ScriptedResponse(204 if target.take(request, batches=False) else 500)

    return answer


def knative(target: Target) -> Callable[[RecordedRequest], ScriptedResponse]:
    """The ingress of a broker."""

    def answer(request: RecordedRequest) -> ScriptedResponse:
        if request.method != "POST":
            return ScriptedResponse(405)
        if request.path != "/NAMESPACE/BROKER" or not target.exists:
            return ScriptedResponse(404)
        return ScriptedResponse(202 if target.take(request, batches=False) else 400)

    return answer
