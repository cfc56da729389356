"""What the trigger decorators are bound to. Reading it never fails, so that functions are indexed with any settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.configuration.schedule import is_schedule
from shared.configuration.values import RENEW_SCHEDULE, event_hub

EVENT_HUB_CONNECTION = "EventHubConnection"
"""The setting, or beginning of settings, by which the Functions host finds the namespace of an event hub."""


@dataclass(frozen=True)
class TriggerSettings:
    """`event_hub` is the name of the hub that Graph sends to, None if Graph posts to `notify_http`."""

    queue: str
    renew_schedule: str
    event_hub: str | None


def trigger_settings(environ: Mapping[str, str]) -> TriggerSettings:
    """Return what the triggers are bound to. Never raises: what is invalid is reported by Settings."""
    schedule = environ.get("RENEW_SCHEDULE", "").strip()
    return TriggerSettings(
        queue=environ.get("NOTIFICATION_QUEUE", "").strip() or "notifications",
        renew_schedule=schedule if is_schedule(schedule) else RENEW_SCHEDULE,
        event_hub=event_hub(environ.get("NOTIFICATION_URL", "").strip()),
    )
