"""What an app offers: its functions and what triggers each."""

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
