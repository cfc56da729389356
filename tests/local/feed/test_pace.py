from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from local.feed.pace import Lag, Pace, percentiles

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_percentiles_are_lags_that_occurred_and_bound_their_share(lags: list[float]) -> None:
    found = percentiles(lags)
    for share, value in ((0.5, found.p50), (0.99, found.p99)):
        assert value in lags
        assert sum(lag <= value for lag in lags) >= share * len(lags)


def test_nothing_yet_has_no_lag() -> None:
    assert Pace().lag(NOON) == Lag(None, None)
    assert Pace().rate(NOON) == 0


def test_the_rate_is_that_of_the_last_ten_finished_seconds() -> None:
    pace = Pace()
    pace.add(after(-11), [1.0] * 500)
    pace.add(after(-10), [1.0] * 30)
    pace.add(after(-0.5), [1.0] * 20)
    pace.add(NOON, [1.0] * 700)
    assert pace.rate(NOON) == 5


def test_the_window_is_five_minutes() -> None:
    pace = Pace()
    pace.add(after(0), [9_000.0])
    pace.add(after(200), [1.0, 3.0])
    assert pace.lag(after(299)) == Lag(3.0, 9_000.0)
    assert pace.lag(after(301)) == Lag(1.0, 3.0)
    assert pace.lag(after(501)) == Lag(None, None)


def test_history_holds_the_finished_seconds_in_which_something_came() -> None:
    pace = Pace()
    pace.add(after(0), [5.0])
    pace.add(after(2.1), [1.0])
    pace.add(after(2.9), [3.0])
    pace.add(after(4), [7.0])
    history = [(second.at - int(NOON.timestamp()), second.events) for second in pace.history(after(4.5))]
    assert history == [(0, 1), (2, 2)]
    assert [second.events for second in pace.history(after(4.5), timedelta(seconds=3))] == [2]
