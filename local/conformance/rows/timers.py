"""Timers: NCRONTAB, missed runs, one timer over several hosts."""

import re
import time
from datetime import UTC, datetime

from local.conformance.table import Row
from local.conformance.trial import Trial, eventually, plural

HOST_ID = "AzureFunctionsWebHost__hostid"
EVERY_SECOND = "* * * * * *"


def _schedules(trial: Trial, event: str) -> str:
    """Describe when the timer for one rule of NCRONTAB ran, after other timers ran."""
    with trial.shared("schedules") as host:
        eventually(lambda: len(host.events("one day")) > 2, "a timer that is due each second has run")
        if event != "backwards":
            return f"{plural(len(host.events(event)), 'run')}, others run"
        eventually(lambda: host.events(event), "it runs", within=90)
        last, least = re.findall(r"\d+", host.process.settings["SCHEDULE_BACKWARDS"])
        seconds = {datetime.fromtimestamp(entry["at"], UTC).second for entry in host.events(event)}
        late = 2  # seconds that a busy machine may take to record a run
        inside = all(int(least) <= second <= int(last) + late for second in seconds)
        return "the range between" if inside else f"runs in the seconds {sorted(seconds)}"


def _missed(trial: Trial) -> str:
    settings = {HOST_ID: f"missed-{time.time_ns():x}"[:32], "CONFORMANCE_SCHEDULE": "*/3 * * * * *"}
    with trial.host(settings) as host:
        eventually(lambda: host.events("tick"), "the timer runs")
        host.process.stop()
        before = len(host.events("tick"))
        time.sleep(6)
        host.process.start()
        eventually(lambda: len(host.events("tick")) > before, "it runs again")
        late = host.events("tick")[before]["past_due"]
        return f"it runs at start, {'past due' if late else 'as if in time'}"


def _one_of_two(trial: Trial) -> str:
    settings = {HOST_ID: f"single-{time.time_ns():x}"[:32], "CONFORMANCE_SCHEDULE": EVERY_SECOND}
    with trial.host(settings) as host:
        twin = trial.twin(host)
        with twin.process:
            before = len(host.events("tick"))
            eventually(lambda: len(host.events("tick")) > before + 3, "the timer runs")
            return f"{'one runs it' if not twin.events('tick') else 'both run it'}"


ROWS = (
    Row(
        "schedule-both-days",
        "H11",
        "tomorrow's day of the month and today's day of the week",
        "0 runs, others run",
        lambda trial: _schedules(trial, "both days"),
    ),
    Row(
        "schedule-30-february",
        "H11",
        "a schedule for 30 February",
        "0 runs, others run",
        lambda trial: _schedules(trial, "february"),
    ),
    Row(
        "schedule-tab", "H11", "fields separated by a tab", "0 runs, others run", lambda trial: _schedules(trial, "tab")
    ),
    Row(
        "schedule-backwards",
        "H11",
        "a reversed range such as 50-10",
        "the range between",
        lambda trial: _schedules(trial, "backwards"),
    ),
    Row("timer-missed", "agrees", "a host is down while its timer is due", "it runs at start, past due", _missed),
    Row("timer-of-two-hosts", "agrees", "two hosts of one app share a timer", "one runs it", _one_of_two),
)
