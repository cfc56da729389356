"""The worker's use of azure-functions: an app's functions, the values of their triggers, their responses.

The host itself does not import that library, which would add a fifth to its start.
"""

from collections.abc import Iterable
from typing import Any

import azure.functions as func
from azure.functions.http import HttpRequest
from azure.functions.queue import QueueMessage
from azure.functions.timer import TimerRequest

from local.host.calls import Call, HttpAnswer, HttpCall, QueueCall, TimerCall
from local.host.functions import Function, HttpTrigger, QueueTrigger, TimerTrigger


class UnsupportedFunction(Exception):
    """The app uses a part of Azure Functions that this stand-in does not support."""


def functions_of(registered: Iterable[Any]) -> list[Function]:
    """Return what `app.get_functions()` holds, with the settings in bindings (%NAME%) not yet expanded.

    Raises:
        UnsupportedFunction: a function has another kind of trigger, or further bindings.
    """
    return [function_of(function) for function in registered]


def function_of(registered: Any) -> Function:
    """Translate one registration; an HTTP function's answer is the only supported output."""
    name = registered.get_function_name()
    bindings = [binding.get_dict_repr() for binding in registered.get_bindings()]
    triggers = [binding for binding in bindings if binding["type"].endswith("Trigger")]
    others = {binding["type"] for binding in bindings if binding not in triggers}
    if len(triggers) != 1 or others - {"http"}:
        raise UnsupportedFunction(f"{name}: expected one trigger and no other binding than an HTTP answer")
    binding = triggers[0]
    return Function(name, binding["name"], trigger_of(name, binding))


def trigger_of(name: str, binding: dict[str, Any]) -> HttpTrigger | QueueTrigger | TimerTrigger:
    """Translate the trigger of the function called `name`; an omitted HTTP route is the function's name."""
    match binding["type"]:
        case "httpTrigger":
            methods = tuple(func.HttpMethod(method).value.upper() for method in binding.get("methods") or ())
            return HttpTrigger(binding.get("route") or name, methods)
        case "queueTrigger":
            return QueueTrigger(binding["queueName"], binding["connection"])
        case "timerTrigger":
            monitored = binding.get("useMonitor", True) is not False
            return TimerTrigger(binding["schedule"], bool(binding.get("runOnStartup")), monitored)
        case other:
            raise UnsupportedFunction(f"{name}: the trigger {other} is not known here; `func start` knows it")


def value_of(call: Call) -> HttpRequest | QueueMessage | TimerRequest:
    """Return the value that the worker passes to the function."""
    match call:
        case HttpCall():
            return HttpRequest(
                method=call.method,
                url=call.url,
                headers=call.headers,
                params=call.params,
                route_params=call.route_params,
                body_type="bytes",
                body=call.body,
            )
        case QueueCall():
            return QueueMessage(  # type: ignore[no-untyped-call]  # azure-functions has no types
                id=call.id,
                body=call.body,
                dequeue_count=call.dequeue_count,
                expiration_time=call.expiration_time,
                insertion_time=call.insertion_time,
                time_next_visible=call.time_next_visible,
                pop_receipt=call.pop_receipt,
            )
        case TimerCall():
            status = {"Last": call.last, "Next": call.next, "LastUpdated": call.last}
            return TimerRequest(past_due=call.past_due, schedule_status=status, schedule={"AdjustForDST": True})


def answer_of(returned: object) -> HttpAnswer:
    """Build the answer; text without a content type is text/plain, as in the worker.

    Raises:
        TypeError: a function returned something else than an HTTP answer.
    """
    if isinstance(returned, str):
        return HttpAnswer(200, [("content-type", "text/plain; charset=utf-8")], returned.encode())
    if not isinstance(returned, func.HttpResponse):
        raise TypeError(f"expected HttpResponse or str, not {type(returned).__name__}")
    headers = [(name.lower(), value) for name, value in returned.headers.items()]
    if not any(name == "content-type" for name, _ in headers):
        charset = f"; charset={returned.charset}" if returned.mimetype.startswith("text/") else ""
        headers.append(("content-type", returned.mimetype + charset))
    return HttpAnswer(returned.status_code, headers, returned.get_body())
