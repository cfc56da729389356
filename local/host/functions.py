"""What an app offers: its functions and what triggers each, read through the public API of azure-functions."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import azure.functions as func


class UnsupportedFunction(Exception):
    """The app uses something of Azure Functions that this stand-in does not know."""


@dataclass(frozen=True)
class HttpTrigger:
    """Requests to `route` (without the prefix of host.json) with one of `methods`; no methods means any."""

    route: str
    methods: tuple[str, ...]


@dataclass(frozen=True)
class QueueTrigger:
    """Messages of a queue; `connection` names the setting that holds the connection string."""

    queue: str
    connection: str


@dataclass(frozen=True)
class TimerTrigger:
    """A schedule: NCRONTAB of six fields, or an interval written hh:mm:ss. `use_monitor`: catch up missed runs."""

    schedule: str
    run_on_startup: bool
    use_monitor: bool


@dataclass(frozen=True)
class Function:
    """One function; it takes its trigger's value, and nothing else, by the name `argument`."""

    name: str
    argument: str
    trigger: HttpTrigger | QueueTrigger | TimerTrigger


def functions_of(registered: Iterable[Any]) -> list[Function]:
    """Return what `app.get_functions()` holds, settings in their bindings (%NAME%) not yet filled in.

    Raises:
        UnsupportedFunction: a function has another kind of trigger, or further bindings.
    """
    return [function_of(function) for function in registered]


def function_of(registered: Any) -> Function:
    """Translate one registration; the only output known is an HTTP function's answer."""
    name = registered.get_function_name()
    bindings = [binding.get_dict_repr() for binding in registered.get_bindings()]
    triggers = [binding for binding in bindings if binding["type"].endswith("Trigger")]
    others = {binding["type"] for binding in bindings if binding not in triggers}
    if len(triggers) != 1 or others - {"http"}:
        raise UnsupportedFunction(f"{name}: expected one trigger and no other binding than an HTTP answer")
    binding = triggers[0]
    return Function(name, binding["name"], trigger_of(name, binding))


def trigger_of(name: str, binding: dict[str, Any]) -> HttpTrigger | QueueTrigger | TimerTrigger:
    """Translate the trigger of the function called `name`; an HTTP route left out is the function's name."""
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
