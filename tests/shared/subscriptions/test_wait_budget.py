"""The total waiting time of one run."""

from datetime import timedelta

import pytest

from shared.subscriptions.wait_budget import WaitBudget

MINUTE = timedelta(minutes=1)


def test_it_waits_as_long_as_there_is_time_left() -> None:
    slept: list[timedelta] = []
    budget = WaitBudget(3 * MINUTE, slept.append)
    assert [budget.wait(2 * MINUTE), budget.wait(2 * MINUTE), budget.wait(MINUTE), budget.wait(MINUTE)] == [
        True,
        False,
        True,
        False,
    ]
    assert slept == [2 * MINUTE, MINUTE]


def test_a_time_that_is_unknown_is_not_waited_for() -> None:
    assert not WaitBudget(MINUTE, lambda _: pytest.fail("it waits")).wait(None)


def test_no_budget_is_no_wait() -> None:
    assert not WaitBudget.none().wait(timedelta(microseconds=1))
