"""The functions of an app and their triggers."""

from dataclasses import dataclass


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
    """A schedule: NCRONTAB of six fields, or an interval written hh:mm:ss. `use_monitor`: catch up on missed runs."""

    schedule: str
    run_on_startup: bool
    use_monitor: bool


@dataclass(frozen=True)
class Function:
    """One function; its only argument, called `argument`, is the value of its trigger."""

    name: str
    argument: str
    trigger: HttpTrigger | QueueTrigger | TimerTrigger
