"""The settings of the trigger decorators. Reading them never fails, so the host can always index them."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.configuration.schedule import is_schedule
from shared.configuration.values import RENEW_SCHEDULE, event_hub

EVENT_HUB_CONNECTION = "EventHubConnection"
"""The setting of the event hub's namespace, or the prefix of its settings, as the Functions host names it."""


@dataclass(frozen=True)
class TriggerSettings:
    """`event_hub` is the name of the hub that Graph sends to, None if Graph posts to `notify_http`."""

    queue: str
    renew_schedule: str
    event_hub: str | None


def trigger_settings(environ: Mapping[str, str]) -> TriggerSettings:
    """Return the settings of the triggers. Never raises: Settings reports what is invalid."""
    schedule = environ.get("RENEW_SCHEDULE", "").strip()
    return TriggerSettings(
        queue=environ.get("NOTIFICATION_QUEUE", "").strip() or "notifications",
        renew_schedule=schedule if is_schedule(schedule) else RENEW_SCHEDULE,
        event_hub=event_hub(environ.get("NOTIFICATION_URL", "").strip()),
    )
