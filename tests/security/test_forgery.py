"""Each forgery, posted beside a genuine item, has its expected outcome; the genuine item arrives."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import pytest

from graph_simulator.authority import Authority
from graph_simulator.server import GraphServer
from local.azurite import Azurite
from shared.graph.notification import MAX_TOKENS
from tests.builders import TEAM, TENANT, body, encrypted, message
from tests.security.forgeries import AT_ONCE_ONLY, FORGERIES, Forgery
from tests.security.harness import (
    IN_ONE_CHANNEL,
    IN_ONE_CHAT,
    NEIGHBOUR,
    ONE_CHANNEL,
    ONE_CHAT,
    SecurityHarness,
    fresh_id,
    message_id,
    staged,
    until,
)
from tests.security.test_abuse import strangers
from tests.token_cases import ACCEPTED

TOGETHER = 8
"""Forgeries posted one after the other before their outcomes are waited for. They have equal outcomes: the outcome of
one cannot stand for that of another.
"""

Post = tuple[Sequence[Any], Sequence[str]]
"""Items, and the tokens that come with them."""


@dataclass(frozen=True)
class Started:
    """A host, and what its first items made it do."""

    harness: SecurityHarness
    first_ends: Counter[str]
    fetches: int
    """Of signing keys, for these items."""


@pytest.fixture(scope="module")
def started(
    tmp_path_factory: pytest.TempPathFactory, azurite: Azurite, authority: Authority, simulator: GraphServer
) -> Iterator[Started]:
    """A host that began with the items whose keys nobody has: it had not asked the authority and the key store yet.
    Later ones of them would wait.
    """
    with staged(tmp_path_factory.mktemp("stage"), azurite, authority, simulator) as harness:
        items: list[Any] = []
        tokens: list[str] = []
        for number, forgery in enumerate(AT_ONCE_ONLY):
            made, brought = forgery.made(replace(harness, home=f"c7d1e2f3-0a0b-4c0d-8e0f-0000000001{number:02}"))
            items += made
            tokens += brought
        before, fetched = harness.ends(), fetched_keys(simulator)
        post(harness, (items, tokens))
        until(lambda: (harness.ends() - before).total() >= expected_at_first().total())
        yield Started(harness, harness.ends() - before, fetched_keys(simulator) - fetched)


@pytest.fixture
def harness(started: Started) -> SecurityHarness:
    return started.harness


def post(harness: SecurityHarness, sent: Post) -> str:
    """Post the items around a genuine item; return the id of its message."""
    items, tokens = sent
    neighbour = harness.item(NEIGHBOUR)
    answer = harness.post(body(*items[:1], neighbour, *items[1:], tokens=[*tokens, harness.token(NEIGHBOUR)]))
    assert (answer.status_code, answer.content) == (202, b"")
    return message_id(neighbour)


def assert_end(harness: SecurityHarness, posts: Sequence[Post], ends: Counter[str]) -> None:
    """Post the items, each time around a genuine item; the genuine items are delivered, and all others end so."""
    before = harness.ends()
    expected = ends + Counter({"delivered": len(posts)})
    neighbours = {post(harness, sent) for sent in posts}
    until(lambda: harness.ends() - before == expected)
    assert harness.ends() - before == expected
    assert neighbours <= harness.delivered()


def alike() -> list[Any]:
    """Return the forgeries in groups of equal outcomes, each as a parameter of a test."""

    def outcome(forgery: Forgery) -> str:
        words = [f"{number} {end}" for end, number in sorted(forgery.ends.items())]
        return ", ".join([*words, f"{forgery.delivered} delivered"])

    groups = {name: list(group) for name, group in groupby(sorted(FORGERIES, key=outcome), outcome)}
    return [
        pytest.param(group[first : first + TOGETHER], id=f"{name} ({first})")
        for name, group in groups.items()
        for first in range(0, len(group), TOGETHER)
    ]


@pytest.mark.parametrize("forgeries", alike())
def test_forgeries_are_counted_and_their_neighbours_arrive(
    harness: SecurityHarness, forgeries: Sequence[Forgery]
) -> None:
    posts = [forgery.made(harness) for forgery in forgeries]
    ends = sum((forgery.ends + Counter({"delivered": forgery.delivered}) for forgery in forgeries), Counter[str]())
    assert_end(harness, posts, ends)
    forged = {
        message_id(item)
        for forgery, (items, _) in zip(forgeries, posts, strict=True)
        for item in items
        if "resource" in item and not forgery.delivered
    }
    assert not forged & harness.delivered()


def expected_at_first() -> Counter[str]:
    return sum((forgery.ends for forgery in AT_ONCE_ONLY), Counter({"delivered": 1}))


def test_keys_that_nobody_has_are_looked_for_once_and_end_in_their_reasons(started: Started) -> None:
    assert started.first_ends == expected_at_first()
    assert started.fetches == 2  # one set for each version of tokens


def fetched_keys(simulator: GraphServer) -> int:
    return sum(call["count"] for call in simulator.get("calls") if call["path"].endswith("/keys"))


def test_the_maximum_of_invalid_tokens_does_not_affect_the_genuine_one(harness: SecurityHarness) -> None:
    forged = harness.mint().token(aud=TENANT)
    stem, _, signature = forged.rpartition(".")
    tokens = [harness.token(), *(f"{stem}.{number:06}{signature[6:]}" for number in range(MAX_TOKENS - 1))]
    item, before = harness.item(), harness.ends()
    assert harness.post(body(item, tokens=tokens)).status_code == 202
    assert until(lambda: (harness.ends() - before)["delivered"])  # counted only once the destination has answered
    assert message_id(item) in harness.delivered()
    ends = harness.ends() - before
    assert sum(number for name, number in ends.items() if name.startswith("suspicious_tokens")) == MAX_TOKENS - 1
    assert ends["delivered"] == 1


def test_five_megabytes_that_are_no_json_are_given_up_and_a_neighbour_arrives(harness: SecurityHarness) -> None:
    huge = harness.item()
    huge["encryptedContent"] = encrypted(b"x" * (5 << 20), harness.key)
    neighbour, before = harness.item(), harness.ends()
    # Storage of a busy machine may be too slow for the first answer; such an item is queued twice.
    assert harness.post(body(huge, neighbour, tokens=[harness.token()])).status_code == 202
    assert until(lambda: message_id(neighbour) in harness.delivered())
    assert until(lambda: bool((harness.ends() - before)["dead_lettered content_not_json"]))
    assert message_id(huge) not in harness.delivered()


def test_a_flood_of_strangers_causes_no_request_and_no_log_line(harness: SecurityHarness) -> None:
    """tests/security/test_abuse.py has the cost of each kind of junk."""
    assert_end(harness, [([harness.item()], [harness.token()])], Counter({"delivered": 1}))
    before, asked, said = harness.ends(), harness.graph.get("calls"), harness.host.log.read_bytes()
    for _ in range(20):
        assert harness.post(body(*strangers(40), tokens=[harness.token()] * 40)).status_code == 202
    refused = harness.ends() - before
    assert (refused["refused client_state"], refused["refused malformed"]) == (20 * 32, 20 * 8)
    assert harness.graph.get("calls") == asked
    assert harness.host.log.read_bytes() == said


def test_what_is_odd_and_genuine_arrives(harness: SecurityHarness) -> None:
    posts = [([harness.item()], [case.token(harness.mint())]) for case in ACCEPTED]
    assert_end(harness, posts, Counter({"delivered": len(ACCEPTED)}))


SPELLINGS = ("{}", "/{}", "users('5d')/{}")


def test_a_message_of_the_chat_that_was_declared_arrives_however_its_path_is_spelled(harness: SecurityHarness) -> None:
    paths = (f"chats('{ONE_CHAT}')/messages('1')", f"Chats/{ONE_CHAT.upper().replace('@', '%40')}/messages/1")
    assert_spelled(harness, paths, IN_ONE_CHAT, chatId=ONE_CHAT)


def test_a_message_of_the_channel_that_was_declared_arrives_however_its_path_is_spelled(
    harness: SecurityHarness,
) -> None:
    paths = (
        f"teams('{TEAM}')/channels('{ONE_CHANNEL}')/messages('1')/replies('2')",
        f"Teams/{TEAM.upper()}/channels/{ONE_CHANNEL}/messages/1",
    )
    place = {"teamId": TEAM.upper(), "channelId": ONE_CHANNEL}
    assert_spelled(harness, paths, IN_ONE_CHANNEL, chatId=None, channelIdentity=place)


def assert_spelled(harness: SecurityHarness, paths: Sequence[str], declared: str, **place: Any) -> None:
    """Post a message of the place under each path, in each spelling; all are delivered."""
    resources = [spelling.format(path) for spelling in SPELLINGS for path in paths]
    items = [
        {**harness.item_of(message(fresh_id(), **place), declared=declared), "resource": resource}
        for resource in resources
    ]
    assert_end(harness, [([item], [harness.token()]) for item in items], Counter({"delivered": len(items)}))
