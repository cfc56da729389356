"""How the versions of one resource order."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.delivery import version
from tests.builders import NOW

MICROSECOND = timedelta(microseconds=1)
moments = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
etags = st.integers(0, 10**15 - 1)


@given(st.tuples(moments, etags), st.tuples(moments, etags))
def test_of_modifications_the_later_is_the_greater_and_of_one_time_the_greater_etag(
    one: tuple[datetime, int], other: tuple[datetime, int]
) -> None:
    first, second = (version.of_modification(at, str(etag)) for at, etag in (one, other))
    assert (first < second) is (one < other)
    assert (first == second) is (one == other)


@given(moments, moments, moments, st.binary(), st.binary())
def test_of_arrivals_at_one_time_the_later_is_the_greater_whatever_the_content(
    at: datetime, arrived: datetime, later: datetime, content: bytes, other: bytes
) -> None:
    first, second = version.of_arrival(at, arrived, content), version.of_arrival(at, later, other)
    if arrived != later:
        assert (first < second) is (arrived < later)
    assert (first == second) is ((arrived, content) == (later, other))


@given(moments, st.sampled_from(["created", "updated", None]), st.binary(), st.binary())
def test_bare_notifications_that_came_together_are_one_version_only_if_they_say_the_same(
    received: datetime, change_type: str | None, data: bytes, other: bytes
) -> None:
    one = version.of_bare_notification(received, "", change_type, data)
    assert (one == version.of_bare_notification(received, "", change_type, other)) is (data == other)
    assert one != version.of_bare_notification(received, "", "deleted", data)
    assert one < version.of_bare_notification(received + MICROSECOND, "", "deleted", other)


def test_a_modification_with_an_etag_follows_one_that_says_no_more_than_its_time() -> None:
    assert version.of_modification(NOW, None) < version.of_modification(NOW, "1")


def test_versions_stay_what_they_are_since_destinations_compare_them() -> None:
    assert version.of_modification(NOW, "1700000060000") == "001927857906000000.001700000060000"
    assert version.of_modification(NOW, None) == "001927857906000000.000000000000000"


@pytest.mark.parametrize(
    ("message_id", "created"),
    [
        ("1700000000000", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ("1700000000001", datetime(2023, 11, 14, 22, 13, 20, 1000, tzinfo=UTC)),
        ("", None),
        ("AAMkAD", None),
        ("17000000000", None),
        ("170000000000000", None),
        ("170000000000٣", None),
        ("-1700000000000", None),
    ],
)
def test_the_id_of_a_teams_message_is_the_time_of_its_creation(message_id: str, created: datetime | None) -> None:
    assert version.created_at(message_id) == created
