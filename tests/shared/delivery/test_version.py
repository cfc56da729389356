"""The order of the versions of one resource."""

import base64
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
def test_versions_sort_by_time_then_by_etag(left: tuple[datetime, int], right: tuple[datetime, int]) -> None:
    first, second = (version.of_modification(at, str(etag)) for at, etag in (left, right))
    assert (first < second) is (left < right)
    assert (first == second) is (left == right)


@given(moments, moments, moments, st.binary(), st.binary())
def test_of_arrivals_at_one_time_the_later_is_the_greater_whatever_the_content(
    at: datetime, arrived: datetime, later: datetime, content: bytes, other: bytes
) -> None:
    first, second = version.of_arrival(at, arrived, content), version.of_arrival(at, later, other)
    if arrived != later:
        assert (first < second) is (arrived < later)
    assert (first == second) is ((arrived, content) == (later, other))


@given(moments, st.sampled_from(["created", "updated", None]), st.binary(), st.binary())
def test_bare_notifications_of_one_time_are_one_version_only_if_equal(
    received: datetime, change_type: str | None, data: bytes, other: bytes
) -> None:
    bare = version.of_bare_notification(received, "", change_type, data)
    assert (bare == version.of_bare_notification(received, "", change_type, other)) is (data == other)
    assert bare != version.of_bare_notification(received, "", "deleted", data)
    assert bare < version.of_bare_notification(received + MICROSECOND, "", "deleted", other)


def test_a_version_with_an_etag_sorts_above_one_without() -> None:
    assert version.of_modification(NOW, None) < version.of_modification(NOW, "1")


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1700000060000", "1700000060001"),
        ('W/"9"', 'W/"10"'),
        ('"{12AD05BB-59B8-43AA-9456-77C44E9BC066},9"', '"{12AD05BB-59B8-43AA-9456-77C44E9BC066},10"'),
        ('"12ad05bb-59b8-43aa-9456-77c44e9bc066,99"', '"12ad05bb-59b8-43aa-9456-77c44e9bc066,100"'),
        ('W/"CQAAABYAAADHcgC8Hl9tRZ/hc1wEUs1TAAAwR4Hz"', 'W/"CQAAABYAAADHcgC8Hl9tRZ/hc1wEUs1TAAAwR4H+"'),
        ('W/"CQAAABYAAADHcgC8Hl9tRZ/hc1wEUs1TAAAwR4Ha"', 'W/"CQAAABYAAADHcgC8Hl9tRZ/hc1wEUs1TAAAwR4IA"'),
    ],
)
def test_etags_sort_by_number_not_as_text(older: str, newer: str) -> None:
    first, second = (version.of_modification(NOW, version.sortable(etag)) for etag in (older, newer))
    assert first < second


@given(st.binary(min_size=12, max_size=40), st.binary(min_size=12, max_size=40))
def test_change_keys_of_one_length_sort_like_their_bytes(left: bytes, right: bytes) -> None:
    right = right.ljust(len(left), b"\0")[: len(left)]
    first, second = (version.sortable(f'W/"{base64.b64encode(key).decode()}"') for key in (left, right))
    if first is not None and second is not None and not (first.isdecimal() or second.isdecimal()):
        assert (first < second) is (left < right)


@pytest.mark.parametrize("etag", [None, "", 'W/""', 'W/"z"', '"no number"', 'W/"Cd EfghIjklMnop"', "x,", "1" * 41])
def test_an_etag_without_an_order_has_none(etag: str | None) -> None:
    assert version.sortable(etag) is None


def test_versions_of_one_time_without_an_etag_differ_by_their_content_only() -> None:
    whole = version.of_content(b'{"id": "1", "n": 2, "@odata.context": "a", "members@odata.count": 1}')
    assert whole == version.of_content(b'{"n":2,"id":"1"}')
    assert whole != version.of_content(b'{"n":3,"id":"1"}')
    assert version.of_content(b"[" * 100_000) != whole


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
