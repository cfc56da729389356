"""Messages: with each change the version grows and the identity stays."""

import random
import uuid
from datetime import UTC, datetime

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from graph_simulator import author
from graph_simulator.clock import VirtualClock, iso, parse_iso
from graph_simulator.conversation import Change, Conversation
from graph_simulator.generator import Generator
from graph_simulator.world import Place, populated

TENANT = str(uuid.UUID(int=7))
START = datetime(2031, 2, 3, 4, 5, 6, 120_000, tzinfo=UTC)
WORLD = populated(TENANT, seed=1)
CHANNEL = next(place for place in WORLD.places.values() if place.team)
CHAT = next(place for place in WORLD.places.values() if place.chat)


def conversation() -> tuple[Conversation, list[Change]]:
    """Return a conversation at a fixed time, and a list of its changes."""
    changes: list[Change] = []
    return Conversation(TENANT, lambda: START, changes.append), changes


def drafted(place: Place = CHAT) -> author.Draft:
    return author.draft(WORLD, place, random.Random(3))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["edit", "react", "delete", "preview"]), min_size=1, max_size=30))
def test_each_change_has_a_greater_version_than_the_one_before(actions: list[str]) -> None:
    talk, changes = conversation()
    path = talk.post(CHAT, drafted()).path
    for action in actions:
        if talk.entry(path).message["deletedDateTime"]:
            talk.restore(path)
        match action:
            case "edit":
                talk.edit(path, author.plain("new"))
            case "react":
                talk.react(path, WORLD.people[0], "like")
            case "delete":
                talk.delete(path)
            case "preview":
                talk.preview(path, author.link_preview(random.Random(1)))
    versions = [msgspec.json.decode(change.message) for change in changes]
    moments = [parse_iso(version["lastModifiedDateTime"]) for version in versions]
    assert moments == sorted(set(moments))
    etags = [int(version["etag"]) for version in versions]
    assert etags == [round(moment.timestamp() * 1000) for moment in moments]
    assert {version["id"] for version in versions} == {talk.entry(path).message["id"]}


def test_only_an_edit_sets_the_moment_of_the_last_edit() -> None:
    talk, _ = conversation()
    path = talk.post(CHAT, drafted()).path
    assert talk.react(path, WORLD.people[0], "like").message["lastEditedDateTime"] is None
    edited = talk.edit(path, author.plain("x")).message
    assert edited["lastEditedDateTime"] == edited["lastModifiedDateTime"]


def test_a_reaction_given_twice_is_taken_back_and_both_are_remembered() -> None:
    talk, changes = conversation()
    path = talk.post(CHAT, drafted()).path
    talk.react(path, WORLD.people[0], "like")
    message = talk.react(path, WORLD.people[0], "like").message
    assert message["reactions"] == []
    assert [entry["actions"] for entry in message["messageHistory"]] == ["reactionAdded", "reactionRemoved"]
    assert [change.kind for change in changes] == ["created", "updated", "updated"]


def test_undoing_a_deletion_brings_everything_back() -> None:
    talk, changes = conversation()
    path = talk.post(CHAT, author.attachment("text", random.Random(1))).path
    before = dict(talk.entry(path).message)
    deleted = msgspec.json.decode(msgspec.json.encode(talk.delete(path).message))
    assert (deleted["body"]["content"], deleted["attachments"]) == ("", [])
    after = talk.restore(path).message
    assert {name for name in after if after[name] != before[name]} == {"etag", "lastModifiedDateTime"}
    assert [change.kind for change in changes] == ["created", "deleted", "updated"]


def test_ids_are_unique_in_a_chat_and_below_a_root_but_not_across_roots() -> None:
    talk, _ = conversation()
    roots = [talk.post(CHANNEL, drafted(CHANNEL)).message["id"] for _ in range(2)]
    assert len(set(roots)) == 2
    replies = [talk.post(CHANNEL, drafted(CHANNEL), root) for root in (*roots, *roots)]
    assert len({reply.path for reply in replies}) == 4
    assert len({reply.message["id"] for reply in replies}) == 2


def test_what_is_generated_has_everything_that_a_relay_may_meet() -> None:
    clock = VirtualClock(lambda: START)
    changes: list[Change] = []
    talk = Conversation(TENANT, clock, changes.append)
    generator = Generator(WORLD, talk, clock, random.Random(5))
    generator.start(1, 3000)
    for _ in range(2900):
        generator.write()
    messages = [entry.message for entry in talk]
    bodies = [message["body"]["content"] for message in messages]
    assert any(len(body.encode()) > 100_000 for body in bodies)
    assert sum(len(body.encode()) > 20_000 for body in bodies) < 150
    assert any(message["mentions"] for message in messages)
    assert all(message["body"]["contentType"] == "html" for message in messages if message["mentions"])
    assert any(message["attachments"] for message in messages)
    assert any(message["from"] is None and message["eventDetail"] for message in messages)
    assert any(message["importance"] == "urgent" for message in messages)
    assert any("🍲" in place.title for place in WORLD.places.values())
    assert any("霧" in body for body in bodies)
    assert any("المطر" in body for body in bodies)
    identities = [(entry.place.path, entry.message["id"]) for entry in talk if entry.root]
    assert len(set(identities)) < len(identities)
    assert len({entry.place.path for entry in talk}) == len(WORLD.places)


def test_a_tenant_is_populated_alike_each_time_and_unlike_others() -> None:
    assert populated(TENANT, 1) == populated(TENANT, 1)
    assert populated(TENANT, 1).places.keys().isdisjoint(populated(str(uuid.UUID(int=8)), 1).places)


@given(st.datetimes(timezones=st.just(UTC)))
def test_moments_are_written_as_graph_writes_them_and_read_back(moment: datetime) -> None:
    if moment.year >= 1000:
        assert parse_iso(iso(moment)) == moment
        assert not iso(moment).removesuffix("Z").endswith(".")
