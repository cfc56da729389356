"""Delivery to a real HTTP server."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import requests
import standardwebhooks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graph_simulator.authority import Authority
from shared import http_client
from shared.circuit_breaker import ERRORS_PER_FAILURE, FAILURE_THRESHOLD
from shared.configuration.destinations import DEFAULT, Mode
from shared.delivery.acceptance import Acceptance
from shared.delivery.destination import Delivery, Destination
from shared.delivery.event import Event, event_read_back
from shared.delivery.request import BATCH, RequestFormat, encode
from shared.errors import Reason, RetryLater
from shared.storage.state import Times
from shared.storage.tables import Row
from tests.builders import NOW, TENANT, Clock, destination_secret, message
from tests.memory import MemoryTables
from tests.servers import RESET, RecordedRequest, Script, ScriptedResponse, Server, in_turn, serving

DONE = ScriptedResponse(204)


def some(count: int) -> list[Event]:
    return [
        event_read_back(msgspec.json.encode(message(str(number))), "chats/getAllMessages", TENANT, NOW)
        for number in range(count)
    ]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(lambda _: DONE) as running:
        yield running


@pytest.fixture
def secret() -> str:
    return destination_secret()


@pytest.fixture
def destination(server: Server, session: requests.Session, secret: str) -> Destination:
    return Destination(f"{server.url}/events?from=relay", [secret], session, lambda: NOW)


def ids(request: RecordedRequest) -> list[str]:
    return [event["id"] for event in json.loads(request.body)]


def test_events_are_delivered_together_as_a_batch_of_cloudevents(destination: Destination, server: Server) -> None:
    events = some(5)
    assert destination.deliver(events).delivered == tuple(events)
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/events?from=relay")
    assert asked.headers["content-type"] == BATCH
    assert ids(asked) == [event.id for event in events]


def test_no_events_need_no_request(destination: Destination, server: Server) -> None:
    assert destination.deliver([]).delivered == ()
    assert server.asked == []


def test_an_access_token_is_sent_along_if_the_destination_wants_one(
    server: Server, session: requests.Session, secret: str
) -> None:
    Destination(server.url, [secret], session, lambda: NOW, lambda: "t0ken").deliver(some(1))
    assert server.asked[0].headers["authorization"] == "Bearer t0ken"


def test_events_are_kept_while_there_is_no_access_token(server: Server, session: requests.Session, secret: str) -> None:
    def unavailable() -> str:
        raise RetryLater(Reason.LOGIN)

    delivery = Destination(server.url, [secret], session, lambda: NOW, unavailable).deliver(some(2))
    assert len(delivery.undelivered) == 2
    assert delivery.failure is not None
    assert delivery.failure.reason is Reason.LOGIN
    assert server.asked == []


def test_both_libraries_verify_either_signature(server: Server, session: requests.Session) -> None:
    import svix  # noqa: PLC0415 - half a second of each worker, for one test

    secrets = [destination_secret(), destination_secret()]
    Destination(server.url, secrets, session, lambda: datetime.now(UTC)).deliver(some(2))
    (asked,) = server.asked
    headers = dict(asked.headers)
    for secret in secrets:
        assert standardwebhooks.Webhook(secret).verify(asked.body.decode(), headers) == json.loads(asked.body)
        svix.Webhook(secret).verify(asked.body, headers)  # raises if it does not fit
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(destination_secret()).verify(asked.body.decode(), headers)
    with pytest.raises(svix.WebhookVerificationError):
        svix.Webhook(secrets[0]).verify(asked.body + b" ", headers)


def test_attempts_with_the_same_events_share_an_id_and_have_own_times(
    server: Server, session: requests.Session, secret: str
) -> None:
    clock = Clock()
    destination = Destination(server.url, [secret], session, clock)
    server.script = lambda _: ScriptedResponse(503)
    destination.deliver(some(2))
    clock.advance(seconds=1)
    destination.deliver(some(2))
    destination.deliver(some(1))
    first, second, other = (request.headers for request in server.asked)
    assert first["webhook-id"] == second["webhook-id"] != other["webhook-id"]
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 1


def test_a_request_says_who_sends_it_and_carries_the_headers_that_are_set(
    server: Server, session: requests.Session, secret: str
) -> None:
    headers = {"X-Api-Key": "k3y", "content-type": "application/json"}
    Destination(server.url, [secret], session, lambda: NOW, request_format=RequestFormat(headers=headers)).deliver(
        some(1)
    )
    (asked,) = server.asked
    assert asked.headers["user-agent"] == f"graph-relay/{http_client.VERSION}"
    assert asked.headers["x-api-key"] == "k3y"
    assert asked.headers["content-type"] == "application/json"


def test_without_a_secret_nothing_is_signed(server: Server, session: requests.Session) -> None:
    Destination(server.url, [], session, lambda: NOW).deliver(some(1))
    assert not any(name.startswith("webhook-") for name in server.asked[0].headers)


def test_requests_have_at_most_so_many_events_and_bytes(server: Server, session: requests.Session, secret: str) -> None:
    events = some(7)
    size = len(encode(events[0]))
    for most, sizes in (
        (RequestFormat(max_events=3), [3, 3, 1]),
        (RequestFormat(max_bytes=2 * size + 10), [2, 2, 2, 1]),
        (RequestFormat(max_bytes=1), [1] * 7),  # one that is larger is sent alone
    ):
        server.asked.clear()
        delivery = Destination(server.url, [secret], session, lambda: NOW, request_format=most).deliver(events)
        assert delivery.delivered == tuple(events)
        assert [len(ids(request)) for request in server.asked] == sizes
        assert all(len(request.body) <= most.max_bytes or len(ids(request)) == 1 for request in server.asked)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_success(destination: Destination, server: Server, status: int) -> None:
    server.script = lambda _: ScriptedResponse(status)
    assert len(destination.deliver(some(2)).delivered) == 2


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_failure_and_is_not_followed(destination: Destination, server: Server, status: int) -> None:
    server.script = lambda _: ScriptedResponse(status, headers={"Location": f"{server.url}/elsewhere"})
    assert_kept(destination, 2, Reason.DESTINATION)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [401, 404, 405, 407, 408, 423, 425, 429, 502, 503, 504, 599])
def test_a_status_about_the_destination_does_not_split_the_batch(
    destination: Destination, server: Server, status: int
) -> None:
    server.script = lambda _: ScriptedResponse(status)
    assert_kept(destination, 4, Reason.DESTINATION)
    assert len(server.asked) == 1


def test_a_500_is_not_an_outage_since_one_event_may_cause_it(destination: Destination, server: Server) -> None:
    server.script = lambda _: ScriptedResponse(500)
    assert_kept(destination, 4, Reason.DESTINATION_ERROR)


def test_a_destination_that_is_down_gets_single_attempts_until_it_is_back(
    server: Server, session: requests.Session, secret: str
) -> None:
    clock = Clock()
    destination = Destination(server.url, [secret], session, clock)
    server.script = lambda _: ScriptedResponse(503)
    waits = [failure.retry_after for _ in range(50) if (failure := destination.deliver(some(1)).failure)]
    assert len(waits) == 50
    assert len(server.asked) < 10
    assert waits[-1]
    server.script = lambda _: DONE
    clock.advance(seconds=waits[-1].total_seconds())
    assert len(destination.deliver(some(1)).delivered) == 1


@pytest.mark.parametrize("status", [429, 503, 408])
def test_the_destination_says_how_long_to_wait(destination: Destination, server: Server, status: int) -> None:
    server.script = lambda _: ScriptedResponse(status, headers={"Retry-After": "120"})
    assert assert_kept(destination, 1, Reason.DESTINATION).retry_after == timedelta(seconds=120)


@pytest.mark.parametrize("status", [408, 410, 429, 500, 503])
@pytest.mark.parametrize("wait", ["31536000", "Fri, 31 Dec 2099 23:59:59 GMT"])
def test_the_destination_stops_delivery_for_an_hour_at_most(
    destination: Destination, server: Server, status: int, wait: str
) -> None:
    server.script = lambda _: ScriptedResponse(status, headers={"Retry-After": wait})
    failure = destination.deliver(some(1)).failure
    assert failure is not None
    assert failure.retry_after == timedelta(hours=1)


@pytest.mark.parametrize("nonsense", ["soon", "1 Jan 99999999999999999999 0:0:0"])
def test_a_malformed_retry_after_is_ignored(destination: Destination, server: Server, nonsense: str) -> None:
    server.script = lambda _: ScriptedResponse(503, headers={"Retry-After": nonsense})
    assert assert_kept(destination, 1, Reason.DESTINATION).retry_after is None


def test_gone_stops_delivery_and_keeps_what_there_is(destination: Destination, server: Server) -> None:
    server.script = lambda _: ScriptedResponse(410)
    wait = assert_kept(destination, 1, Reason.DESTINATION_GONE).retry_after
    assert wait is not None
    assert wait >= timedelta(minutes=10)
    assert len(server.asked) == 1


@pytest.mark.parametrize(("status", "reason"), [(403, Reason.DESTINATION), (410, Reason.DESTINATION_GONE)])
def test_what_may_mean_too_large_is_halved_once_before_everything_waits(
    destination: Destination, server: Server, status: int, reason: Reason
) -> None:
    server.script = lambda request: ScriptedResponse(status) if len(ids(request)) > 4 else DONE
    assert len(destination.deliver(some(8)).delivered) == 8
    server.asked.clear()
    server.script = lambda _: ScriptedResponse(status)
    assert_kept(destination, 8, reason)
    assert [len(ids(request)) for request in server.asked] == [8, 4]


@pytest.mark.parametrize("status", [402, 406, 411, 414, 415, 421, 426, 428, 431, 451, 499])
def test_what_speaks_of_the_form_of_requests_is_no_fault_of_an_event(
    destination: Destination, server: Server, status: int
) -> None:
    server.script = lambda _: ScriptedResponse(status)
    failure = assert_kept(destination, 4, Reason.DESTINATION_REJECTS)
    assert str(status) in failure.detail
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 409, 413, 422])
@pytest.mark.parametrize("count", [1, 5])
def test_nothing_is_rejected_as_long_as_nothing_is_accepted(
    destination: Destination, server: Server, status: int, count: int
) -> None:
    server.script = lambda _: ScriptedResponse(status)
    failure = assert_kept(destination, count, Reason.DESTINATION_REJECTS)
    assert str(status) in failure.detail


def test_an_event_is_rejected_if_others_are_accepted_after_it_was_tried(
    server: Server, session: requests.Session, secret: str
) -> None:
    clock = Clock()
    destination = Destination(server.url, [secret], session, clock)
    bad, good = some(2)
    server.script = rejecting({bad.id}, 422)
    destination.deliver([good])
    clock.advance(seconds=1)
    assert destination.deliver([bad]).undelivered == (bad,)
    tried = {bad.id: clock()}
    clock.advance(seconds=1)
    assert destination.deliver([bad], tried=tried).undelivered == (bad,)  # nothing was accepted in between
    destination.deliver([good])
    assert [rejection.event for rejection in destination.deliver([bad], tried=tried).rejected] == [bad]


def test_what_one_instance_delivers_shows_another_that_an_event_is_at_fault(
    server: Server, session: requests.Session, secret: str
) -> None:
    clock, tables = Clock(), MemoryTables()

    def instance() -> Destination:
        return Destination(server.url, [secret], session, clock, acceptance=Acceptance(clock, tables))

    bad, good = some(2)
    server.script = rejecting({bad.id}, 422)
    assert instance().deliver([bad]).undelivered == (bad,)
    tried = {bad.id: clock()}
    clock.advance(seconds=1)
    instance().deliver([good])
    assert [rejection.event for rejection in instance().deliver([bad], tried=tried).rejected] == [bad]


class OncePerTable(MemoryTables):
    """Tables whose storage fails after the first read."""

    reads = 0

    def get(self, table: str, partition: str, key: str) -> Row | None:
        self.reads += 1
        self.available = self.reads < 2
        return super().get(table, partition, key)


@pytest.mark.parametrize("number", [1, 50])
def test_what_becomes_of_rejected_events_is_decided_once(
    server: Server, session: requests.Session, secret: str, number: int
) -> None:
    """Another instance notes an acceptance; it is read once, and its row can't be read after that."""
    clock, tables = Clock(), OncePerTable()
    events = some(number)
    server.script = rejecting({event.id for event in events}, 400)
    tried = {event.id: clock() for event in events}
    clock.advance(seconds=1)
    Acceptance(clock, tables).note()
    destination = Destination(server.url, [secret], session, clock, acceptance=Acceptance(clock, tables))
    delivery = destination.deliver(events, tried=tried)
    assert [rejection.event for rejection in delivery.rejected] == events
    assert (delivery.undelivered, delivery.failure) == ((), None)
    assert tables.reads == 1
    again = destination.deliver(events, tried=tried)  # what was read is known
    assert (len(again.rejected), tables.reads) == (number, 1)


def test_an_older_acceptance_that_is_written_later_changes_nothing() -> None:
    clock, tables = Clock(), MemoryTables()
    acceptance, began = Acceptance(clock, tables), clock()
    clock.advance(seconds=5)
    Acceptance(clock, tables).note()
    assert acceptance.last(began) == clock()
    Times(tables, "accepted", "at").set(DEFAULT, began)  # by an instance whose request took longer
    assert acceptance.last(clock()) == clock()


def test_while_the_tables_hang_what_is_accepted_does_not_wait_for_them() -> None:
    class Hanging(MemoryTables):
        def get(self, table: str, partition: str, key: str) -> Row | None:
            noting = threading.Thread(target=acceptance.note)
            noting.start()
            noting.join(30)
            noted.append(not noting.is_alive())
            refused.append(not acceptance.may_give_up())  # a second thread is not kept waiting either
            return super().get(table, partition, key)

    noted, refused = list[bool](), list[bool]()
    acceptance = Acceptance(Clock(), Hanging())
    assert acceptance.may_give_up()
    assert noted == refused == [True, True]


def test_undelivered_events_have_a_failure() -> None:
    with pytest.raises(ValueError, match="failure"):
        Delivery(undelivered=tuple(some(1)))


def test_a_rejected_event_does_not_wait_for_another_until_the_horizon(
    server: Server, session: requests.Session, secret: str
) -> None:
    """One is given up after each acceptance, and then one in six hours: who rejects everything must not lose it all."""
    clock, tables = Clock(), MemoryTables()
    good, *bad = some(4)
    server.script = rejecting({event.id for event in bad}, 400)

    def given_up(event: Event, minutes: float) -> bool:
        """In a new process, `minutes` after the last attempt."""
        clock.advance(minutes=minutes)
        destination = Destination(server.url, [secret], session, clock, acceptance=Acceptance(clock, tables))
        tried = {event.id: clock() - timedelta(minutes=minutes)}
        return bool(destination.deliver([event], tried=tried).rejected)

    assert not given_up(bad[0], 300)  # nothing was ever accepted
    Destination(server.url, [secret], session, clock, acceptance=Acceptance(clock, tables)).deliver([good])
    clock.advance(minutes=1)
    assert not given_up(bad[0], 5)
    assert given_up(bad[0], 20)
    assert not given_up(bad[1], 300)
    assert given_up(bad[1], 61)
    assert not given_up(bad[2], 300)
    Destination(server.url, [secret], session, clock, acceptance=Acceptance(clock, tables)).deliver([good])
    clock.advance(minutes=1)
    assert given_up(bad[2], 20)


def test_of_several_rejected_events_one_at_a_time_is_given_up(
    server: Server, session: requests.Session, secret: str
) -> None:
    clock = Clock()
    good, *bad = some(4)
    server.script = rejecting({event.id for event in bad}, 400)
    destination = Destination(server.url, [secret], session, clock)
    destination.deliver([good])
    clock.advance(minutes=1)
    left = tuple(bad)
    for number in (1, 0, 0):  # the first is new at its first attempt: its turn comes later
        tried = {event.id: clock() for event in left[number:]}
        clock.advance(hours=7)
        delivery = destination.deliver(left, tried=tried)
        assert [rejection.event for rejection in delivery.rejected] == [left[number]]
        left = delivery.undelivered
    assert left == ()


def test_several_rejected_together_are_the_fault_of_the_destination(
    server: Server, session: requests.Session, secret: str
) -> None:
    clock = Clock()
    destination = Destination(server.url, [secret], session, clock)
    good, *bad = some(3)
    server.script = rejecting({event.id for event in bad}, 400)
    destination.deliver([good])
    clock.advance(hours=5)
    for minutes, rejected in ((10, 0), (240, 1), (240, 0)):
        tried = {event.id: clock() - timedelta(minutes=minutes) for event in bad}
        assert len(destination.deliver(bad, tried=tried).rejected) == rejected


@pytest.mark.parametrize("status", [403, 406, 410, 415, 431, 451, 500])
@pytest.mark.parametrize("count", [2, 12])
def test_an_event_that_alone_is_refused_does_not_affect_its_neighbours(
    destination: Destination, server: Server, status: int, count: int
) -> None:
    """As a firewall refuses what it finds in one message."""
    events = some(count)
    refused = events[count // 2]
    server.script = rejecting({refused.id}, status)
    delivery = destination.deliver(events, isolate_errors=True)
    assert delivery.undelivered == (refused,)
    assert len(delivery.delivered) == count - 1
    assert str(status) in str(delivery.failure)


def test_an_event_that_alone_is_refused_does_not_keep_those_that_are_sent_alone(
    server: Server, session: requests.Session, secret: str
) -> None:
    destination = Destination(server.url, [secret], session, lambda: NOW, request_format=RequestFormat(Mode.STRUCTURED))
    refused, *others = some(4)
    server.script = lambda request: ScriptedResponse(403) if json.loads(request.body)["id"] == refused.id else DONE
    assert destination.deliver([refused, *others], isolate_errors=True).delivered == tuple(others)


@pytest.mark.parametrize("status", [403, 415, 500])
def test_a_destination_that_refuses_everything_is_not_asked_for_every_event(
    destination: Destination, server: Server, status: int
) -> None:
    server.script = lambda _: ScriptedResponse(status)
    assert len(destination.deliver(some(64), isolate_errors=True).undelivered) == 64
    assert len(server.asked) < 12


def test_a_destination_that_rejects_everything_is_not_asked_for_every_message(
    server: Server, session: requests.Session, secret: str
) -> None:
    destination = Destination(server.url, [secret], session, Clock())
    server.script = lambda _: ScriptedResponse(400)
    for _ in range(50):
        assert len(destination.deliver(some(1)).undelivered) == 1
    assert len(server.asked) < 10


def test_events_that_make_the_destination_fail_do_not_stop_the_others(
    server: Server, session: requests.Session, secret: str
) -> None:
    destination = Destination(server.url, [secret], session, Clock())
    poison, good = some(2)
    server.script = rejecting({poison.id}, 500)
    destination.deliver([good])
    for _ in range(10):
        kept = destination.deliver([poison], isolate_errors=True, tried={poison.id: NOW - timedelta(days=1)})
        assert kept.failure is not None
        assert kept.failure.reason is Reason.DESTINATION_ERROR
    assert destination.deliver([good]).delivered == (good,)


@pytest.mark.parametrize("status", [400, 409, 413, 422])
def test_a_rejected_event_is_isolated_and_does_not_affect_its_neighbours(
    destination: Destination, server: Server, status: int
) -> None:
    events = some(9)
    server.script = rejecting({events[4].id}, status)
    delivery = destination.deliver(events)
    assert [rejected.event for rejected in delivery.rejected] == [events[4]]
    assert delivery.rejected[0].status == status
    assert delivery.delivered == (*events[:4], *events[5:])
    assert len(server.asked) <= 2 * 4 + 1


@given(st.sets(st.integers(0, 11)), st.integers(0, 12), st.integers(0, 12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_every_event_is_in_exactly_one_place(
    server: Server, session: requests.Session, secret: str, bad: set[int], count: int, works: int
) -> None:
    events = some(count)
    destination = Destination(server.url, [secret], session, lambda: NOW)
    reject = rejecting({event.id for number, event in enumerate(events) if number in bad}, 400)
    asked_before = len(server.asked)
    server.script = lambda request: (
        reject(request) if len(server.asked) - asked_before <= works else ScriptedResponse(503)
    )
    delivery = destination.deliver(events)
    placed = [*delivery.delivered, *(rejection.event for rejection in delivery.rejected), *delivery.undelivered]
    assert sorted(event.id for event in placed) == sorted(event.id for event in events)
    assert bool(delivery.undelivered) is (delivery.failure is not None)
    assert not {rejection.event.id for rejection in delivery.rejected} - {
        events[number].id for number in bad if number < count
    }


def test_the_other_half_is_not_tried_on_a_destination_in_trouble(destination: Destination, server: Server) -> None:
    server.script = in_turn(ScriptedResponse(400), ScriptedResponse(503))
    delivery = destination.deliver(some(8))
    assert len(delivery.undelivered) == 8
    assert len(server.asked) == 2


def test_a_connection_that_is_reset_keeps_the_events(destination: Destination, server: Server) -> None:
    server.script = lambda _: RESET
    assert_kept(destination, 2, Reason.DESTINATION)


def test_a_destination_that_is_not_there_keeps_the_events(session: requests.Session, secret: str) -> None:
    assert_kept(Destination("http://127.0.0.1:9/", [secret], session, lambda: NOW), 2, Reason.DESTINATION)


def test_a_destination_with_another_certificate_gets_nothing(
    authority: Authority, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    with serving(lambda _: DONE, authority) as server, http_client.session() as stranger:
        assert_kept(Destination(server.url, [secret], stranger, lambda: NOW), 1, Reason.DESTINATION)
        assert server.asked == []


@pytest.mark.parametrize("status", [200, 400, 503])
def test_a_huge_answer_is_not_read_and_its_status_counts(destination: Destination, server: Server, status: int) -> None:
    server.script = lambda _: ScriptedResponse(status, b"x" * (20 << 20))
    delivery = destination.deliver(some(1))
    assert (len(delivery.delivered), len(delivery.rejected), len(delivery.undelivered)) == {
        200: (1, 0, 0),
        400: (0, 0, 1),
        503: (0, 0, 1),
    }[status]


@pytest.mark.parametrize(("status", "delivered"), [(200, 1), (503, 0)])
def test_an_answer_that_drips_is_not_waited_for_and_its_status_counts(
    destination: Destination, server: Server, status: int, delivered: int
) -> None:
    server.script = lambda _: ScriptedResponse(
        status, b"x" * 10_000, drip=0.2
    )  # which would take longer than a test may
    assert len(destination.deliver(some(1)).delivered) == delivered


def test_an_answer_that_breaks_off_behind_its_status_counts_as_its_status(
    destination: Destination, server: Server
) -> None:
    server.script = lambda _: ScriptedResponse(200, b"x", {"Content-Length": "1000", "Connection": "close"})
    assert len(destination.deliver(some(1)).delivered) == 1


def test_no_complaint_holds_an_event_or_a_secret(server: Server, session: requests.Session, secret: str) -> None:
    for answer in (
        ScriptedResponse(503, b"the answer"),
        ScriptedResponse(500, b"the answer"),
        RESET,
        ScriptedResponse(410),
        ScriptedResponse(302),
    ):
        server.script = in_turn(answer)
        destination = Destination(server.url, [secret], session, lambda: NOW)
        failure = destination.deliver(some(1)).failure
        assert failure is not None
        for hidden in ("Ada Marsh", "19:", secret.removeprefix("whsec_"), "the answer"):
            assert hidden not in str(failure)


def rejecting(bad: set[str], status: int) -> Script:
    return lambda request: ScriptedResponse(status) if bad & set(ids(request)) else DONE


def assert_kept(destination: Destination, count: int, reason: Reason) -> RetryLater:
    events = some(count)
    delivery = destination.deliver(events)
    assert delivery.undelivered == tuple(events)
    assert delivery.delivered == ()
    assert delivery.rejected == ()
    assert delivery.failure is not None
    assert delivery.failure.reason is reason
    return delivery.failure


def test_events_that_the_destination_fails_on_again_do_not_hold_up_others(
    destination: Destination, server: Server
) -> None:
    *failing, good = some(6)
    server.script = lambda request: DONE if ids(request) == [good.id] else ScriptedResponse(500)
    for event in failing:  # one after the other, more than open the breaker
        delivery = destination.deliver([event], isolate_errors=True)
        assert delivery.failure is not None
        assert delivery.failure.reason is Reason.DESTINATION_ERROR
    assert destination.deliver([good]).delivered == (good,)


def test_a_destination_that_fails_on_everything_is_left_alone_for_a_while(
    destination: Destination, server: Server
) -> None:
    server.script = lambda _: ScriptedResponse(500)
    for event in some(FAILURE_THRESHOLD * ERRORS_PER_FAILURE + 5):
        destination.deliver([event])
    # ten of them count as one failure: each may be the fault of its event alone; sums of tenths are not exact
    assert len(server.asked) in (FAILURE_THRESHOLD * ERRORS_PER_FAILURE, FAILURE_THRESHOLD * ERRORS_PER_FAILURE + 1)
