"""The example consumers, run as their README describes, with real requests of the app."""

import json
import secrets
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import requests
from standardwebhooks import Webhook

from shared.configuration.destinations import Mode
from shared.delivery.destination import Destination
from shared.delivery.event import Event
from shared.delivery.request import RequestFormat
from tests.examples.conftest import Consumer
from tests.shared.delivery.test_destination import some

pytestmark = pytest.mark.process


def destination(consumer: Consumer, mode: Mode = Mode.BATCH) -> Destination:
    session = requests.Session()
    now = lambda: datetime.now(UTC)  # noqa: E731
    return Destination(consumer.url, [consumer.secret], session, now, request_format=RequestFormat(mode))


def event(version: str, data: bytes = b"{}", subject: str | None = None) -> Event:
    subject = subject or f"chats/{secrets.token_hex(8)}/messages/1"
    (usual,) = some(1)
    return msgspec.structs.replace(
        usual, id=f"t/{subject}@{version}", subject=subject, version=version, data=msgspec.Raw(data)
    )


def post(consumer: Consumer, body: bytes, **changes: str) -> int:
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(consumer.secret).sign("msg_1", now, body.decode()),
        "content-type": "application/cloudevents-batch+json",
    }
    return requests.post(consumer.url, data=body, headers=headers | changes, timeout=30).status_code


@pytest.mark.parametrize("mode", [Mode.BATCH, Mode.STRUCTURED])
def test_the_greatest_version_wins_in_whatever_order_versions_come(consumer: Consumer, mode: Mode) -> None:
    first = event("0017.10")
    second, third = (msgspec.structs.replace(first, version=version) for version in ("0017.9", "0018.A"))
    sent = destination(consumer, mode)
    for sent_event in (first, third, second, third, first):
        assert sent.deliver([sent_event]).delivered == (sent_event,)
    assert consumer.stored()[first.subject][0] == "0018.A"


def test_one_batch_may_hold_several_versions(consumer: Consumer) -> None:
    newer, older = event("2"), event("1")
    older = msgspec.structs.replace(older, subject=newer.subject)
    assert len(destination(consumer).deliver([newer, older, event("1")]).delivered) == 3
    assert consumer.stored()[newer.subject][0] == "2"


def test_what_json_allows_is_stored(consumer: Consumer) -> None:
    data = b'{"a": "\\u0000", "b": "\\ud800", "c": 9007199254740993, "d": "\xc3\xa4\xf0\x9f\x98\x80", "a": 1}'
    odd = event("1", data)
    assert destination(consumer).deliver([odd]).delivered == (odd,)
    assert json.loads(consumer.stored()[odd.subject][1])["subject"] == odd.subject


def test_an_unreadable_event_does_not_affect_its_neighbours(consumer: Consumer) -> None:
    """Python refuses numbers of so many digits; the other examples accept them."""
    good, odd = event("1"), event("1", b'{"n": ' + b"9" * 5000 + b"}")
    delivery = destination(consumer).deliver([good, odd])
    assert good in delivery.delivered
    assert good.subject in consumer.stored()
    assert delivery.undelivered == ()


@pytest.mark.parametrize(
    "changes", [{"webhook-signature": "v1,AAAA"}, {"webhook-signature": "nonsense"}, {"webhook-timestamp": "1"}]
)
def test_what_is_not_signed_is_refused(consumer: Consumer, changes: dict[str, str]) -> None:
    assert post(consumer, b"[]", **changes) == 401


@pytest.mark.parametrize(("body", "status"), [(b"[]", 204), (b"[1]", 422), (b'[{"id": "1"}]', 422), (b"nothing", 422)])
def test_what_is_no_batch_of_events_is_unprocessable(consumer: Consumer, body: bytes, status: int) -> None:
    assert post(consumer, body) == status


def test_a_request_that_is_too_large_is_answered_413(consumer: Consumer) -> None:
    assert post(consumer, b" " * (17 << 20)) == 413


def test_doctor_and_send_test_are_answered(consumer: Consumer) -> Any:
    assert destination(consumer).ping() == 204
