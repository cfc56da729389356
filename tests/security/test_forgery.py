"""Each forgery, posted beside a genuine item, has its expected outcome; the genuine item arrives."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
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
from tests.token_cases import ACCEPTED, TokenCase


@pytest.fixture(scope="module")
def harness(
    tmp_path_factory: pytest.TempPathFactory, azurite: Azurite, authority: Authority, simulator: GraphServer
) -> Iterator[SecurityHarness]:
    with staged(tmp_path_factory.mktemp("stage"), azurite, authority, simulator) as running:
        yield running


def assert_ends(
    harness: SecurityHarness, items: Sequence[Any], tokens: Sequence[str], ends: Counter[str], delivered: int = 0
) -> None:
    """Post `items` around a genuine item; the genuine item is delivered, and each other has its outcome in `ends`."""
    neighbour = harness.item(NEIGHBOUR)
    before = harness.ends()
    expected = ends + Counter({"delivered": 1 + delivered})
    answer = harness.post(body(*items[:1], neighbour, *items[1:], tokens=[*tokens, harness.token(NEIGHBOUR)]))
    assert (answer.status_code, answer.content) == (202, b"")
    until(lambda: harness.ends() - before == expected)
    assert harness.ends() - before == expected
    assert message_id(neighbour) in harness.delivered()


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
def test_a_forgery_is_counted_and_its_neighbour_arrives(harness: SecurityHarness, forgery: Forgery) -> None:
    items, tokens = forgery.made(harness)
    assert_ends(harness, items, tokens, forgery.ends, forgery.delivered)
    if not forgery.delivered:
        assert not {message_id(item) for item in items if "resource" in item} & harness.delivered()


def test_keys_that_nobody_has_are_looked_for_once_and_end_in_their_reasons(
    tmp_path: Path, azurite: Azurite, authority: Authority, simulator: GraphServer
) -> None:
    """In a process that has asked the authority and the key store after these items came: earlier ones would wait."""
    with staged(tmp_path, azurite, authority, simulator) as harness:
        items: list[Any] = []
        tokens: list[str] = []
        ends: Counter[str] = Counter()
        for number, forgery in enumerate(AT_ONCE_ONLY):
            made, brought = forgery.made(replace(harness, home=f"c7d1e2f3-0a0b-4c0d-8e0f-0000000001{number:02}"))
            items += made
            tokens += brought
            ends += forgery.ends
        before = fetched_keys(simulator)
        assert_ends(harness, items, tokens, ends)
        assert fetched_keys(simulator) - before == 2  # one set for each version of tokens


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


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.name)
def test_what_is_odd_and_genuine_arrives(harness: SecurityHarness, case: TokenCase) -> None:
    assert_ends(harness, [harness.item()], [case.token(harness.mint())], Counter(), delivered=1)


SPELLINGS = ("{}", "/{}", "users('5d')/{}")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_message_of_the_chat_that_was_declared_arrives_however_its_path_is_spelled(
    harness: SecurityHarness, spelling: str
) -> None:
    for path in (f"chats('{ONE_CHAT}')/messages('1')", f"Chats/{ONE_CHAT.upper().replace('@', '%40')}/messages/1"):
        item = harness.item_of(message(fresh_id(), chatId=ONE_CHAT), declared=IN_ONE_CHAT)
        assert_ends(harness, [{**item, "resource": spelling.format(path)}], [harness.token()], Counter(), delivered=1)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_message_of_the_channel_that_was_declared_arrives_however_its_path_is_spelled(
    harness: SecurityHarness, spelling: str
) -> None:
    place = {"teamId": TEAM.upper(), "channelId": ONE_CHANNEL}
    for path in (
        f"teams('{TEAM}')/channels('{ONE_CHANNEL}')/messages('1')/replies('2')",
        f"Teams/{TEAM.upper()}/channels/{ONE_CHANNEL}/messages/1",
    ):
        item = harness.item_of(message(fresh_id(), chatId=None, channelIdentity=place), declared=IN_ONE_CHANNEL)
        assert_ends(harness, [{**item, "resource": spelling.format(path)}], [harness.token()], Counter(), delivered=1)
