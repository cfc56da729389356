"""What the app believes of a queue message: all of it if the app wrote it, and nothing unproven otherwise."""

from datetime import datetime, timedelta

import msgspec
import pytest

from shared.errors import Reason, Refused, Undeliverable
from shared.messages.admission import Admitted
from shared.messages.envelope import ChangeBatch, Envelope, FailedAttempt, LifecycleBatch, ReadbackPage, failed, write
from tests.builders import (
    CHAT,
    NOW,
    OTHER_TENANT,
    RESOURCE,
    TENANT,
    admission,
    change,
    changes,
    chat_path,
    client_state_secret,
    declaration,
    lifecycle,
    lifecycle_items,
    minted,
    rich,
    signed,
)

FORGED = change(clientState=minted(secret=client_state_secret("of an attacker")))


def believed(envelope: Envelope) -> Envelope:
    """Return what is believed of an envelope without a MAC."""
    return admission().read(write(envelope)).envelope


def page(resource: str = RESOURCE, tenant: str = TENANT, received: datetime = NOW, link: str = "") -> ReadbackPage:
    return ReadbackPage(received, tenant, resource, NOW - timedelta(days=1), NOW, link)


def test_an_authentic_envelope_is_believed_whole() -> None:
    proven = msgspec.structs.replace(changes(rich(), FORGED), proven=(TENANT,), attempt=3, trace="00-1-2-01")
    remembered = failed(proven, FailedAttempt(NOW, "the destination answers 503"))
    assert admission().read(signed(remembered)) == Admitted(remembered, authentic=True)
    linked = page("/anything", link="https://graph.example.org/x")
    assert admission().read(signed(linked)).envelope == linked


def test_without_a_mac_no_verdict_and_no_history_is_believed() -> None:
    claimed = msgspec.structs.replace(
        changes(rich(), tokens=["token"]), proven=(TENANT,), attempt=3, trace="00-1-2-01", replayed=NOW
    )
    claimed = failed(claimed, FailedAttempt(NOW, "forged"))  # type: ignore[assignment]
    assert believed(claimed) == changes(rich(), tokens=["token"]).__class__(NOW, claimed.items, ("token",))


@pytest.mark.parametrize("null", [None, ()])
def test_tokens_that_graph_did_not_get_stay_so(null: tuple[str, ...] | None) -> None:
    envelope = believed(changes(rich(), tokens=null))
    assert isinstance(envelope, ChangeBatch)
    assert envelope.tokens == null


def test_without_a_mac_each_item_needs_an_authentic_clientstate() -> None:
    genuine, stranger = change(), change(clientState=minted(OTHER_TENANT))
    envelope = believed(changes(genuine, FORGED, stranger, 7, lifecycle()))
    assert isinstance(envelope, ChangeBatch)
    assert [msgspec.json.decode(item) for item in envelope.items] == [genuine]
    envelope = believed(lifecycle_items(lifecycle(clientState="guess"), lifecycle()))
    assert isinstance(envelope, LifecycleBatch)
    assert len(envelope.items) == 1


@pytest.mark.parametrize("resource", [RESOURCE, RESOURCE.lower(), "users/5d/chats/getAllMessages", chat_path()])
def test_a_page_without_a_mac_begins_again_at_what_is_declared(resource: str) -> None:
    begun = msgspec.structs.replace(page(resource), declaration=declaration().id)
    assert believed(page(resource, link="https://graph.example.org/x")) == begun


@pytest.mark.parametrize(
    ("resource", "tenant"),
    [
        ("/teams/getAllMessages", TENANT),
        ("/users", TENANT),
        ("users/5d/messages", TENANT),
        ("users/5d/chats/getAllMessages/delta", TENANT),
        (RESOURCE, OTHER_TENANT),
        (chat_path(), OTHER_TENANT),
        (f"/chats/{CHAT}/members", TENANT),
        ("", TENANT),
    ],
)
def test_a_page_without_a_mac_of_what_is_not_declared_is_refused(resource: str, tenant: str) -> None:
    with pytest.raises(Refused) as refused:
        believed(page(resource, tenant))
    assert refused.value.reason is Reason.UNAUTHENTICATED


@pytest.mark.parametrize("received", [NOW - timedelta(days=10), NOW + timedelta(minutes=6)])
@pytest.mark.parametrize("kind", [ChangeBatch, LifecycleBatch, ReadbackPage])
def test_without_a_mac_no_other_time_is_believed_than_one_of_the_horizon(kind: type, received: datetime) -> None:
    """A token is judged as of the receipt: a chosen time would allow a token that expired long ago."""
    envelope = page(received=received) if kind is ReadbackPage else kind(received, changes(change()).items)
    with pytest.raises(Refused) as refused:
        believed(envelope)
    assert refused.value.reason is Reason.UNAUTHENTICATED


@pytest.mark.parametrize("text", ["", "hello", "[]", '{"kind":"change"}'])
def test_what_is_no_envelope_is_left_to_the_host(text: str) -> None:
    with pytest.raises(Undeliverable):
        admission().read(text)


def test_a_letter_without_a_mac_is_judged_before_it_is_replayed() -> None:
    claimed = msgspec.structs.replace(changes(rich(), FORGED), proven=(TENANT,))
    replayed = admission().replayed(claimed, authentic=False)
    assert isinstance(replayed, ChangeBatch)
    assert (len(replayed.items), replayed.proven, replayed.replayed) == (1, (), NOW)
    kept = admission().replayed(claimed, authentic=True)
    assert isinstance(kept, ChangeBatch)
    assert (len(kept.items), kept.proven) == (2, (TENANT,))


@pytest.mark.parametrize("envelope", [changes(FORGED), lifecycle_items(7), page("/users")])
def test_a_letter_without_anything_proven_is_not_replayed(envelope: Envelope) -> None:
    with pytest.raises(Refused) as refused:
        admission().replayed(envelope, authentic=False)
    assert refused.value.reason is Reason.UNAUTHENTICATED
