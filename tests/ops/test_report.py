from contextlib import suppress
from datetime import UTC, datetime, timedelta

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.report import plain, span
from ops.time_argument import Moment, Span


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, None),
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7_200, "2 h"),
        (9_000, "2.5 h"),
        (172_800, "2 d"),
        (-300, "-5 min"),
    ],
)
def test_a_span_is_shown_in_the_unit_that_fits(seconds: float | None, shown: str | None) -> None:
    assert span(seconds) == shown


@given(st.text())
def test_no_text_can_do_anything_to_a_terminal(text: str) -> None:
    assert all(character.isprintable() or character == "\n" for character in plain(text))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-23T10:00Z", datetime(2026, 11, 23, 10, tzinfo=UTC)),
        ("2026-11-23 10:00:30+02:00", datetime(2026, 11, 23, 8, 0, 30, tzinfo=UTC)),
    ],
)
def test_a_time_is_utc_unless_it_says_otherwise(typed: str, meant: datetime) -> None:
    assert Moment().convert(typed, None, None) == meant


@given(st.text())
def test_whatever_is_typed_is_a_time_or_wrong_usage(typed: str) -> None:
    with suppress(click.BadParameter):
        assert Moment().convert(typed, None, None).tzinfo is UTC


@pytest.mark.parametrize(("typed", "meant"), [("90s", 90), ("30m", 1_800), ("12h", 43_200), ("1w", 604_800)])
def test_a_span_has_a_unit(typed: str, meant: int) -> None:
    assert Span().convert(typed, None, None) == timedelta(seconds=meant)


@pytest.mark.parametrize("typed", ["", "12", "h", "1.5h", "-2d", "1y", "\u0661h"])
def test_anything_else_is_wrong_usage(typed: str) -> None:
    with pytest.raises(click.BadParameter):
        Span().convert(typed, None, None)
