import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.feed.server import RunningFeed, running
from tests.local.feed.relay import relay_that_says
from tests.local.feed.sender import Sender, channel_message, chat_message, event
from tests.waiting import LIMIT

pytestmark = pytest.mark.server


def test_a_signed_batch_is_answered_204_and_kept(feed: RunningFeed, sender: Sender) -> None:
    resource = chat_message("naïve ☕ \u2028 text", nested={"numbers": [1.5, -0, 10**20], "none": None})
    sent = event(resource)
    answer = sender.send(sent)
    assert (answer.status_code, answer.content) == (204, b"")
    kept = {"deleted": False} | {name: sent[name] for name in ("source", "subject", "version", "type", "data")}
    assert feed.contents() == [kept]


def test_an_empty_batch_is_fine(feed: RunningFeed, sender: Sender) -> None:
    assert sender.send().status_code == 204
    assert feed.contents() == []


def test_what_is_refused_is_not_kept_and_counted_by_reason(feed: RunningFeed, sender: Sender) -> None:
    batch = json.dumps([event(chat_message())]).encode()
    stranger = httpx.post(feed.events_url, content=batch, headers={"content-type": "application/json"})
    answers = [
        stranger,
        sender.send_body(batch, webhook_signature="v1,AAAA"),
        sender.send_body(batch, webhook_signature="nonsense"),
        sender.send_body(b"not json"),
        sender.send_body(b"\xff\xfe"),
        sender.send_body(b'[{"id": "incomplete"}]'),
        sender.send_body(batch, content_type="application/json"),
    ]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 400, 401, 400, 415]
    assert feed.contents() == []
    assert feed.summary()["refused"] == {"unsigned": 1, "signature": 3, "not_events": 2, "media_type": 1}


def test_the_summary_counts_what_came_and_measures_its_lag(feed: RunningFeed, sender: Sender) -> None:
    message = chat_message()
    first = event(message, age=timedelta(seconds=5))
    sender.send(first, event(channel_message(), age=timedelta(seconds=60)))
    sender.send(first)
    sender.send(event(message | {"deletedDateTime": "2026-11-23T10:00:00Z"}, "Deleted", revision=1))
    summary = feed.summary()
    assert {name: summary[name] for name in ("events", "duplicates", "messages", "deleted", "refused")} == {
        "events": 4, "duplicates": 1, "messages": 2, "deleted": 1, "refused": {},
    }  # fmt: skip
    assert 5_000 <= summary["lag_ms"]["p50"] < 60_000 <= summary["lag_ms"]["p99"]


def test_a_simulated_outage_answers_as_set_and_stores_nothing(feed: RunningFeed, sender: Sender) -> None:
    assert feed.control(mode="status", status=503, retry_after=7)["status"] == 503
    answer = sender.send(event(chat_message()))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert feed.contents() == []
    feed.control()
    assert sender.send(event(chat_message())).status_code == 204


def test_a_batch_that_holds_a_refused_event_is_refused_whole(feed: RunningFeed, sender: Sender) -> None:
    good, bad = event(chat_message()), event(chat_message())
    feed.control(refuse_ids=[bad["id"]])
    assert sender.send(good, bad).status_code == 400
    assert feed.contents() == []
    assert sender.send(good).status_code == 204
    assert feed.summary()["refused"] == {"rehearsed": 1}


def test_a_feed_set_to_hang_answers_late_and_stores_its_events(feed: RunningFeed, sender: Sender) -> None:
    feed.control(hang_seconds=0.7)
    started = time.monotonic()
    assert sender.send(event(chat_message())).status_code == 204
    assert time.monotonic() - started >= 0.7
    assert len(feed.contents()) == 1


@pytest.mark.parametrize("conduct", [{"mode": "off"}, {"status": 99}, {"hang_seconds": -1}, {"refuse": []}])
def test_malformed_faults_are_reported_and_change_nothing(feed: RunningFeed, conduct: dict[str, Any]) -> None:
    assert httpx.post(f"{feed.url}/control", json=conduct).status_code == 400
    assert httpx.get(f"{feed.url}/control").json()["mode"] == "ok"


def test_messages_come_in_pages_newest_first(feed: RunningFeed, sender: Sender) -> None:
    for n in range(5):
        sender.send(event(chat_message(f"number {n}")))
    newest = httpx.get(f"{feed.url}/api/messages?limit=2").json()
    older = httpx.get(f"{feed.url}/api/messages?limit=2&before={newest[-1]['position']}").json()
    assert [message["data"]["body"]["content"][-1] for message in newest + older] == list("4321")
    assert httpx.get(f"{feed.url}/api/messages?limit=many").status_code == 400


def test_only_local_names_are_answered(feed: RunningFeed) -> None:
    assert httpx.get(f"{feed.url}/api/contents", headers={"host": "rebound.example"}).status_code == 400


def test_every_answer_forbids_the_page_anything_foreign(feed: RunningFeed) -> None:
    for path in ("/", "/page/feed.js", "/api/summary", "/nowhere"):
        headers = httpx.get(f"{feed.url}{path}").headers
        assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_the_stream_has_messages_as_they_arrive_and_the_pace(feed: RunningFeed, sender: Sender) -> None:
    with httpx.stream("GET", f"{feed.url}/api/stream", timeout=LIMIT) as stream:
        events = server_sent(stream)
        assert [next(events)[0] for _ in range(3)] == ["history", "pace", "relay"]
        sender.send(event(chat_message("news")))
        messages = next(value for name, value in events if name == "messages")
        assert [message["data"]["body"]["content"] for message in messages] == ["news"]
        [second] = next(value["seconds"] for name, value in events if name == "pace" and value["seconds"])
        assert (second["events"], second["lag_ms"]["p50"]) == (1, messages[0]["lag_ms"])


def test_messages_and_the_pace_outlive_a_restart(secret: str, tmp_path: Path) -> None:
    with running(secret, tmp_path / "feed.db") as first:
        Sender(first.url, secret).send(event(chat_message(), age=timedelta(seconds=3)))
        before = first.summary()
    with running(secret, tmp_path / "feed.db") as again:
        assert len(again.contents()) == 1
        assert again.summary()["lag_ms"] == before["lag_ms"]


def test_the_relays_counters_are_forwarded_and_kept_when_it_stops(secret: str, tmp_path: Path) -> None:
    metrics = [{"name": "graph_relay.refused", "attributes": {"reason": "client_state"}, "value": 3}]
    with (
        relay_that_says(metrics) as (url, stop),
        running(secret, tmp_path / "feed.db", relay=url) as feed,
        httpx.stream("GET", f"{feed.url}/api/stream", timeout=LIMIT) as stream,
    ):
        states = (value for name, value in server_sent(stream) if name == "relay")
        answering = next(state for state in states if state["reachable"])
        stop()
        away = next(state for state in states if not state["reachable"])
    assert answering["refused"] == away["refused"] == {"client_state": 3}


def test_without_a_relay_there_are_no_counters_of_it(feed: RunningFeed) -> None:
    with httpx.stream("GET", f"{feed.url}/api/stream", timeout=LIMIT) as stream:
        assert next(value for name, value in server_sent(stream) if name == "relay") is None


def test_the_feed_stops_at_once_although_somebody_watches(secret: str, tmp_path: Path) -> None:
    with running(secret, tmp_path / "feed.db") as feed:
        client = httpx.Client(timeout=LIMIT)
        stream = client.send(client.build_request("GET", f"{feed.url}/api/stream"), stream=True)
    assert b"history" in b"".join(stream.iter_raw())  # the stream ended, in good order
    client.close()


def server_sent(stream: httpx.Response) -> Iterator[tuple[str, Any]]:
    name, deadline = "", time.monotonic() + LIMIT
    for line in stream.iter_lines():
        assert time.monotonic() < deadline, "what was awaited did not come"  # the stream itself never falls silent
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


FOREIGN = [
    {"origin": "https://example.com"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:1"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("path", ["/control", "/api/breakages"])
def test_a_page_of_another_origin_can_order_nothing(feed: RunningFeed, path: str, headers: dict[str, str]) -> None:
    order = {"mode": "status"} if path == "/control" else {"name": "destination_down"}
    assert httpx.post(f"{feed.url}{path}", json=order, headers=headers).status_code == 403
    assert httpx.get(f"{feed.url}/control").json()["mode"] == "ok"


@pytest.mark.parametrize("path", ["/control", "/api/breakages"])
def test_an_order_is_json_of_a_bounded_size(feed: RunningFeed, path: str) -> None:
    def order(body: bytes, media_type: str = "application/json") -> int:
        return httpx.post(f"{feed.url}{path}", content=body, headers={"content-type": media_type}).status_code

    assert order(b"{}", "text/plain") == 415
    assert order(b"{}", "application/x-www-form-urlencoded") == 415
    assert order(b" " * 70_000) == 413
    assert order(b"{") == 400
    assert order(b'{"unknown": 1}') == 400


def test_unsupported_faults_are_refused(feed: RunningFeed) -> None:
    for name in ("storage", "drop", "nonsense"):
        answer = httpx.post(f"{feed.url}/api/breakages", json={"name": name})
        assert (answer.status_code, "available" in answer.json()["error"]) == (400, True)


def test_only_one_fault_of_the_destination_is_on_at_a_time(feed: RunningFeed) -> None:
    for name, status in (("destination_down", 503), ("destination_410", 410)):
        httpx.post(f"{feed.url}/api/breakages", json={"name": name}).raise_for_status()
        assert httpx.get(f"{feed.url}/control").json()["status"] == status
    active = [state["name"] for state in httpx.get(f"{feed.url}/api/breakages").json() if state["active"]]
    assert active == ["destination_410"]
    httpx.post(f"{feed.url}/api/breakages", json={"name": "destination_410", "on": False}).raise_for_status()
    assert httpx.get(f"{feed.url}/control").json()["mode"] == "ok"


@pytest.mark.parametrize("query", ["before=1e22", f"before={10**22}", "before=-1", "limit=-1", "limit=x", "state=odd"])
def test_a_list_that_makes_no_sense_is_refused(feed: RunningFeed, query: str) -> None:
    assert httpx.get(f"{feed.url}/api/messages?{query}").status_code == 400


def test_the_database_is_for_its_owner_alone(feed: RunningFeed, sender: Sender) -> None:
    sender.send(event(chat_message()))
    files = list(feed.database.parent.glob("feed.db*"))
    assert {file.name: file.stat().st_mode & 0o777 for file in files} == {file.name: 0o600 for file in files}
    assert len(files) > 1


def test_the_last_refusals_are_listed_and_no_more_of_them(feed: RunningFeed, sender: Sender) -> None:
    for _ in range(3):
        sender.send_body(b"[]", webhook_signature="v1,AAAA")
    listed = httpx.get(f"{feed.url}/api/refusals").json()
    assert [(refusal["status"], refusal["reason"]) for refusal in listed] == [(401, "signature")] * 3
