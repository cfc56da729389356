"""An attacker with write access to the queues, without the app's secrets, gains nothing."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import requests

from graph_simulator.authority import Authority
from shared.errors import Reason, Refused, Undeliverable
from shared.messages.envelope import DeadLetter, Envelope, ReadbackPage, write
from shared.storage.queues import MESSAGE_LIMIT, Queue
from tests.builders import (
    NOW,
    TENANT,
    change,
    changes,
    chat_path,
    client_state_secret,
    lifecycle,
    lifecycle_items,
    minted,
    rich,
    signed,
)
from tests.security.attacked import AttackedRelay, attacked

CHATS = "/chats/getAllMessages"
GUESSED = minted(secret=client_state_secret("of an attacker"))


@pytest.fixture
def app(tmp_path: Path, authority: Authority, session: requests.Session) -> Iterator[AttackedRelay]:
    declared = [{"resource": CHATS, "changeTypes": ["created", "updated", "deleted"]}]
    with attacked(tmp_path, authority, session, declared) as running:
        yield running


def page(resource: str, link: str = "") -> ReadbackPage:
    return ReadbackPage(NOW, TENANT, resource, NOW - timedelta(days=1), NOW, link)


FORGED: dict[str, Envelope] = {
    "an item that is said to be proven": msgspec.structs.replace(changes(rich()), proven=(TENANT,)),
    "a bare item": changes(change(clientState=GUESSED)),
    "an item of a mailbox": changes(change("users/5d/messages/AA", clientState=None)),
    "a lifecycle item": lifecycle_items(lifecycle(clientState=GUESSED, lifecycleEvent="missed")),
    "a page of all users": page("/users"),
    "a page of a mailbox": page("users/5d/mailFolders/inbox/messages"),
    "one message of a team": page("teams/5d/channels/19:a/messages/1"),
    "an old item": msgspec.structs.replace(changes(change()), received=NOW - timedelta(days=30)),
}


@pytest.mark.parametrize("forgery", FORGED)
def test_a_forged_envelope_has_nothing_delivered_and_nothing_read(app: AttackedRelay, forgery: str) -> None:
    app.offer(write(FORGED[forgery]))
    app.drain()
    assert (app.events, app.asked(), app.dead(), app.waiting()) == ([], [], [], 0)


@pytest.mark.parametrize("forgery", [name for name in FORGED if not name.startswith(("an item that", "an old"))])
def test_the_same_envelope_from_this_app_has_an_effect(app: AttackedRelay, forgery: str) -> None:
    app.offer(signed(FORGED[forgery]))
    assert app.events or app.asked() or app.dead() or app.waiting() or app.relay.checkpoints._gaps.all()


def test_a_link_is_not_followed_for_a_page_without_a_mac(app: AttackedRelay) -> None:
    app.resources["users"] = {"value": []}
    app.offer(write(page(CHATS, link=f"{app.graph.url}/v1.0/users/5d/messages")))
    assert app.asked() == ["GET users?$select=id,assignedPlans&$top=100"]


def test_what_an_earlier_version_queued_is_delivered(app: AttackedRelay) -> None:
    app.offer(write(changes(change(chat_path("1")))))
    app.offer(write(changes(change(chat_path("2")), attempt=3)))
    assert [event["subject"].rpartition("/")[2] for event in app.events] == ["1", "2"]


def test_what_must_wait_is_queued_with_a_mac(app: AttackedRelay) -> None:
    app.resources["users"] = None
    app.relay.graph._not_before[TENANT, "users"] = NOW + timedelta(minutes=1)
    app.offer(write(page(CHATS)))
    (text,) = app.account.queues.texts()
    assert app.relay.admission.is_authentic(text)


def test_a_genuine_message_that_is_altered_is_not_believed(app: AttackedRelay) -> None:
    proven = msgspec.structs.replace(changes(change(clientState=GUESSED)), proven=(TENANT,))
    app.offer(signed(proven).replace("chats(", "chatz("))
    assert app.events == []


@pytest.mark.parametrize("name", ["../host-secrets/x", "", "..", f"{uuid.uuid4()}/../x", "%2e%2e/x", "é", "A" * 36])
def test_a_claim_names_nothing_but_a_blob_of_its_own_container(app: AttackedRelay, name: str) -> None:
    with pytest.raises(Undeliverable):
        app.offer(f"claim:{name}")


def test_a_claim_of_a_dead_letter_is_not_taken_for_an_envelope(app: AttackedRelay) -> None:
    long = changes(change(padding="x" * MESSAGE_LIMIT))
    app.relay.queues.send(write(DeadLetter(Reason.KEY_UNKNOWN, NOW, long)), Queue.DEAD_LETTERS)
    (stored,) = app.account.queues.peek(Queue.DEAD_LETTERS)
    with pytest.raises(Undeliverable):
        app.offer(stored.text)
    assert len(app.dead()) == 1  # its blob still exists


@pytest.mark.parametrize("forgery", FORGED)
def test_a_forged_dead_letter_is_replayed_for_nobody(app: AttackedRelay, forgery: str) -> None:
    app.plant(write(DeadLetter(Reason.KEY_UNKNOWN, NOW, FORGED[forgery])), Queue.DEAD_LETTERS)
    letters = app.relay.dead_letters()
    with closing(letters.each()) as each:
        for letter in each:
            try:
                letters.replay(letter, app.relay.admission, app.relay.queues)
            except Refused:
                letters.drop(letter)
    app.drain()
    # Its clientState is valid: only its age counted against it, and an operator vouches for it.
    genuine = forgery == "an old item"
    assert (len(app.events), app.asked()) == (int(genuine), [])


def test_a_queue_message_that_is_copied_is_delivered_once(app: AttackedRelay) -> None:
    assert app.post(change()).status == 202
    (text,) = app.account.queues.texts()
    for _ in range(3):
        app.offer(text)
    app.drain()
    assert len(app.events) == 1
