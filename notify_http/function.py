"""The HTTP trigger: `POST /api/notifications`, anonymous, for change and lifecycle notifications alike."""

import logging
import time

import azure.functions as func

from notify_http.answer_time import AnswerTime
from notify_http.receive import Answer, receive
from shared import telemetry
from shared.configuration.settings import SettingsError
from shared.relay import relay
from shared.throttle import Throttle

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]
_log = logging.getLogger("graph_relay.notify")
_answer_time = AnswerTime()
_chunked_body, _invalid_settings = Throttle(), Throttle()
"""Limits these log lines: anybody can cause them."""


@blueprint.function_name("notify_http")
@blueprint.route(route="notifications", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
def notify_http(req: func.HttpRequest) -> func.HttpResponse:
    """Answer a handshake, or store notifications and answer 202."""
    token = req.params.get("validationToken")
    if token is not None:
        return handshake(token)
    began = time.perf_counter()
    answer = _receive(req.get_body(), chunked="transfer-encoding" in req.headers)
    if answer.status == 202:
        _answer_time.level(began, stored=answer.stored)
    telemetry.ACKNOWLEDGE_SECONDS.record(time.perf_counter() - began, {"status": answer.status})
    headers = {} if answer.retry_after is None else {"Retry-After": str(answer.retry_after)}
    return func.HttpResponse(answer.text, status_code=answer.status, headers=headers, mimetype="text/plain")


def handshake(token: str) -> func.HttpResponse:
    """Echo the decoded token, byte for byte; `nosniff` replaces escaping (docs/graph.md, "Handshake")."""
    return func.HttpResponse(
        token.encode("utf-8", "surrogateescape"),
        mimetype="text/plain",
        headers={"X-Content-Type-Options": "nosniff"},
    )


def _receive(body: bytes, *, chunked: bool) -> Answer:
    if chunked and not body:
        # github.com/Azure/azure-functions-host/issues/7930. Graph sends Content-Length; a proxy may not.
        if _chunked_body():
            _log.error("The Functions host dropped a chunked body. Have the proxy before the app send Content-Length")
        return Answer(503, "The body did not arrive. Please send this again, with Content-Length.", retry_after=10)
    try:
        app = relay()
        return receive(body, app.recipient, app.acknowledging, app.clock(), app.paths, app.account)
    except SettingsError as error:
        if _invalid_settings():
            _log.error("Invalid settings; notifications are answered with 503 until they are fixed:\n%s", error)
        return Answer(503, "The receiver is not configured yet. Please send this again.", retry_after=60)
