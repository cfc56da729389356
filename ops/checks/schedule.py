"""Whether the timer runs often enough for what it renews."""

from collections.abc import Iterator

from ops.checks.result import CheckResult, attention, fine
from ops.report import span
from shared.relay import relay
from shared.resources.renewal import too_rare


def schedule() -> Iterator[CheckResult]:
    """Compare RENEW_SCHEDULE with the lives of the declared subscriptions."""
    check, pause = "schedule", relay().renewal_pause()
    complaints = [
        complaint
        for declaration in relay().declarations.entries
        if (complaint := too_rare(declaration.resource, rich=declaration.include_resource_data, pause=pause))
    ]
    for complaint in complaints:
        why, _, todo = complaint.partition(". ")
        yield attention(check, why, todo)
    if not complaints:
        yield fine(check, f"renew_timer runs at least every {span(pause.total_seconds())}")
