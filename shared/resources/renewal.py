"""Whether the timer runs often enough for the lives of the subscriptions that it renews."""

from datetime import timedelta

from shared.resources.catalog import longest_lifetime

RUNS_IN_A_LIFE = 2
"""A subscription outlives one run that fails."""


def too_rare(resource: str, *, rich: bool, pause: timedelta) -> str | None:
    """Return why a subscription may expire between runs that are up to `pause` apart, and what to do, as a sentence;
    None if it does not.
    """
    life = longest_lifetime(resource, rich=rich)
    if pause <= life / RUNS_IN_A_LIFE:
        return None
    lacking = "it expires between two of them" if pause >= life else "one run that fails lets it expire"
    return (
        f"renew_timer runs up to {_span(pause)} apart, and a subscription to {resource} lives {_span(life)}: "
        f"{lacking}. Set RENEW_SCHEDULE so that it runs at least every {_span(life / RUNS_IN_A_LIFE)}; without it, it "
        "runs every 5 minutes"
    )


def _span(time: timedelta) -> str:
    """Rounded down to whole minutes, or days from two on."""
    return f"{time.days} days" if time.days > 1 else f"{time // timedelta(minutes=1)} minutes"
