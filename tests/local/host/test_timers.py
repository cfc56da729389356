"""Timer functions on the local host."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import azure.functions as func
import httpx
import pytest

from local.host.configuration import ConfigurationError
from local.host.timers import NEVER as NO_TIME
from local.host.timers import schedule_of
from tests.local.host.conftest import timer_app
from tests.local.host.in_thread import running
from tests.waiting import eventually

NOON = datetime(2031, 5, 6, 12, 0, 0, tzinfo=UTC)
NEVER = "0 0 0 1 1 *"

HostJson = Callable[..., Path]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("*/15 * * * * *", NOON.replace(second=15)),
        ("0 */5 * * * *", NOON.replace(minute=5)),
        ("30 0 12 * * *", NOON.replace(second=30)),
        ("0 0 12 * * *", NOON.replace(day=7)),
        ("0 0 9 * * MON-FRI", NOON.replace(day=7, hour=9)),
        ("00:00:20", NOON.replace(second=20)),
        ("1.00:00:00", NOON.replace(day=7)),
        ("50-10 * * * * *", NOON.replace(second=10)),
        ("5/20 * * * * *", NOON.replace(second=5)),
        ("0 0 0 13 * Fri", NOON.replace(month=6, day=13, hour=0)),
        ("0 0 0 29 feb *", NOON.replace(year=2032, month=2, day=29, hour=0)),
        ("0 0 0 30 2 *", NO_TIME),
    ],
)
def test_a_schedule_says_when_it_runs_next(schedule: str, expected: datetime) -> None:
    assert schedule_of(schedule)(NOON) == expected


@pytest.mark.parametrize(
    "schedule", ["", "* * * * *", "99 * * * * *", "0\t0 * * * *", "0 */0 * * * *", "0 , * * * *", "00:00:00", "soon"]
)
def test_anything_else_is_no_schedule(schedule: str) -> None:
    with pytest.raises(ConfigurationError):
        schedule_of(schedule)


@pytest.mark.server
def test_it_runs_again_and_again_on_the_schedule_a_setting_names(host_json: HostJson) -> None:
    seen: list[func.TimerRequest] = []
    settings = {"SCHEDULE": "* * * * * *"}
    with running(timer_app(seen.append, "%SCHEDULE%"), settings, host_json=host_json()):
        eventually(lambda: len(seen) >= 3)
    assert not seen[0].past_due


@pytest.mark.server
def test_it_runs_at_start_only_if_it_says_so(host_json: HostJson) -> None:
    seen: list[func.TimerRequest] = []
    with running(timer_app(seen.append, NEVER, at_start=True), {}, host_json=host_json()):
        eventually(lambda: seen)


@pytest.mark.server
def test_it_can_be_run_by_hand(host_json: HostJson) -> None:
    seen: list[func.TimerRequest] = []
    with running(timer_app(seen.append, NEVER), {}, host_json=host_json()) as url:
        assert httpx.post(f"{url}/admin/functions/tick").status_code == 202
        eventually(lambda: len(seen) == 1)
        assert httpx.post(f"{url}/admin/functions/nobody").status_code == 404
    assert len(seen) == 1


@pytest.mark.server
def test_a_run_never_overlaps_another_and_a_failure_ends_nothing(host_json: HostJson) -> None:
    running_now = threading.Lock()
    outcomes: list[bool] = []

    def call(_: func.TimerRequest) -> None:
        alone = running_now.acquire(blocking=False)
        outcomes.append(alone)
        if alone:
            threading.Event().wait(1.3)
            running_now.release()
        raise ValueError

    with running(timer_app(call, "* * * * * *"), {}, host_json=host_json()) as url:
        httpx.post(f"{url}/admin/functions/tick")
        eventually(lambda: len(outcomes) >= 3)
    assert all(outcomes)
