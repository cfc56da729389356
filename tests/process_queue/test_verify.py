"""An unproven item is refused; a proven item is decrypted."""

from datetime import datetime
from typing import Any

import msgspec
import pytest

from shared.delivery.event import Event
from shared.errors import Reason, Refused, RelayError, Undeliverable
from shared.graph.validation_token import SigningKey
from tests.builders import (
    OTHER_TENANT,
    TENANT,
    change,
    changes,
    declaration,
    encrypted,
    encryption_key,
    message,
    minted,
    raw,
    rich,
    rsa_key,
)
from tests.process_queue.verification import MINT, TOKEN, AuthorityKeys, verifier
from tests.token_cases import REFUSED, Mint, TokenCase

OTHERS = Mint(rsa_key("authority"), tenant=OTHER_TENANT).token()


def verdict(item: dict[str, Any], *tokens: str) -> type[RelayError] | Reason | None:
    """None for an event; the reason of a refusal."""
    return verdicts([item], *tokens)[0]


def verdicts(items: list[dict[str, Any]], *tokens: str, null: bool = False) -> list[Reason | None]:
    envelope = changes(*items, tokens=None if null else tokens)
    batch = verifier().batch(envelope)
    found: list[Reason | None] = []
    for item in envelope.items:
        try:
            batch.event(item)
            found.append(None)
        except RelayError as error:
            found.append(error.reason)
    return found


def test_an_item_with_a_good_token_becomes_an_event_with_its_content() -> None:
    envelope = changes(rich(message("17")), tokens=[TOKEN])
    event = verifier().batch(envelope).event(envelope.items[0])
    assert isinstance(event, Event)
    assert event.subject.endswith("/messages/17")
    assert "Grüße 🎈".encode() in bytes(event.data)
    assert event.id.startswith(TENANT)


def test_each_item_is_refused_with_an_exception_of_its_own() -> None:
    """Raising one exception again keeps the frames of every caller, and what they have decrypted, in memory."""
    envelope = changes(rich(), rich())
    first, second = (verdict for _, verdict in verifier().batch(envelope).verdicts(envelope.items))
    assert isinstance(first, Refused)
    assert isinstance(second, Refused)
    assert first is not second


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_an_encrypted_item_is_not_opened_on_a_bad_token(case: TokenCase) -> None:
    reason = verdict(rich(), case.token(MINT))
    unsorted = case.reason is Reason.TOKEN_MALFORMED  # a token without a tenant proves none
    assert reason is case.reason or (unsorted and reason is Reason.TOKEN_MISSING)


def test_an_encrypted_item_without_a_token_is_refused() -> None:
    assert verdict(rich()) is Reason.TOKEN_MISSING


def test_null_tokens_have_a_reason_of_their_own() -> None:
    assert verdicts([rich()], null=True) == [Reason.TOKENS_NULL]


def test_a_good_token_of_one_tenant_proves_nothing_for_another() -> None:
    assert verdict(rich(), OTHERS) is Reason.TOKEN_MISSING
    assert verdict(rich(tenantId=OTHER_TENANT), TOKEN) is Reason.TOKEN_MISSING


def test_tokens_are_per_tenant_and_the_home_tenant_is_the_default() -> None:
    items = [rich(), rich(tenantId=OTHER_TENANT), rich(tenantId=TENANT.upper()), rich(tenantId=None)]
    assert verdicts(items, TOKEN, OTHERS) == [None] * 4
    assert verdicts(items, OTHERS) == [Reason.TOKEN_MISSING, None, Reason.TOKEN_MISSING, Reason.TOKEN_MISSING]


def test_one_good_token_proves_although_a_bad_one_stands_beside_it() -> None:
    assert verdict(rich(), MINT.token(azp="x"), TOKEN, MINT.headed(kid="away")) is None


def test_items_wait_while_one_of_their_tokens_cannot_be_checked() -> None:
    assert verdict(rich(), MINT.token(azp="x"), MINT.headed(kid="away"), MINT.token(aud="x")) is Reason.SIGNING_KEYS


def test_a_token_proves_nothing_about_an_item_that_it_did_not_come_with() -> None:
    envelope = changes(rich(), tokens=[])
    with pytest.raises(Refused):
        verifier().batch(envelope).event(raw(rich(validationTokens=[TOKEN])))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            encrypted(message(), encryptionCertificateId="unknown", encryptionCertificateThumbprint=""),
            Reason.KEY_UNKNOWN,
        ),
        (
            encrypted(message(), encryptionCertificateId="../enc-1", encryptionCertificateThumbprint="x"),
            Reason.KEY_UNKNOWN,
        ),
        (
            encrypted(message(), encryptionCertificateId="https://example.org/", encryptionCertificateThumbprint=""),
            Reason.KEY_UNKNOWN,
        ),
        (encrypted(message(), encryptionCertificateId="away"), Reason.KEY_STORE),
        (encrypted(message(), encryptionCertificateId="old name"), None),
        (encrypted(message(), encryptionCertificateThumbprint="00"), None),
        (encrypted(message(), dataSignature=encrypted(b"x")["dataSignature"]), Reason.CONTENT_UNREADABLE),
        (encrypted(message(), data=encrypted(b"x")["data"]), Reason.CONTENT_UNREADABLE),
        (encrypted(message(), dataKey=encrypted(b"x")["dataKey"]), Reason.CONTENT_UNREADABLE),
        (encrypted(message(), data=""), Reason.CONTENT_UNREADABLE),
        (encrypted(message(), encryption_key("another"), encryptionCertificateId="enc-1"), Reason.CONTENT_UNREADABLE),
        (encrypted(b"not JSON"), Reason.CONTENT_NOT_JSON),
        (encrypted(b"x" * (20 << 20)), Reason.CONTENT_NOT_JSON),
        (encrypted(b"[" * 100_000), Reason.CONTENT_NOT_JSON),
        ({}, Reason.CONTENT_UNREADABLE),
        ("text", Reason.CONTENT_UNREADABLE),
        (encrypted(message(), data=None), Reason.CONTENT_UNREADABLE),
        (encrypted(message(), dataKey=7), Reason.CONTENT_UNREADABLE),
        (encrypted(message(), encryptionCertificateId=None), None),
        (encrypted(message(), encryptionCertificateThumbprint=None), None),
    ],
)
def test_content_opens_or_ends_in_its_reason_and_neighbours_are_read(content: object, reason: Reason | None) -> None:
    items = [rich(), rich(encryptedContent=content), rich()]
    assert verdicts(items, TOKEN) == [None, reason, None]


def test_an_item_without_content_needs_no_token() -> None:
    assert verdict(change()) is None
    assert verdict(change(encryptedContent=None)) is None


def test_content_of_another_item_is_the_content_of_another_message() -> None:
    """Only Graph can swap whole contents: its clientState and token prove the collection."""
    first, second = rich(message("1")), rich(message("2"))
    first["encryptedContent"], second["encryptedContent"] = second["encryptedContent"], first["encryptedContent"]
    envelope = changes(first, second, tokens=[TOKEN])
    batch = verifier().batch(envelope)
    events = [batch.event(item) for item in envelope.items]
    assert [event.subject[-1] for event in events if isinstance(event, Event)] == ["2", "1"]


def test_tokens_are_checked_once_for_all_items_of_a_tenant() -> None:
    keys = AuthorityKeys()
    envelope = changes(*(rich() for _ in range(10)), tokens=[TOKEN])
    batch = verifier(keys).batch(envelope)
    for item in envelope.items:
        batch.event(item)
    assert keys.asked == ["authority-1"]


def test_what_an_earlier_attempt_proved_stays_proven_when_keys_have_rotated() -> None:
    earlier = changes(rich(), tokens=[TOKEN])
    batch = verifier().batch(earlier)
    batch.event(earlier.items[0])
    assert batch.verified_tenants == (TENANT,)

    class Rotated(AuthorityKeys):
        def find(self, kid: str, version: str, received: datetime) -> SigningKey:
            raise Refused(Reason.TOKEN_KEY)

    later = msgspec.structs.replace(earlier, proven=batch.verified_tenants)
    verifier(Rotated()).batch(later).event(later.items[0])


def test_a_client_state_is_good_only_for_its_own_declaration() -> None:
    teams = declaration("/teams/getAllMessages")
    item = rich(clientState=minted(resource=teams.resource))
    envelope = changes(item, tokens=[TOKEN])
    with pytest.raises(Refused) as refused:
        verifier(declarations=[declaration(), teams]).batch(envelope).event(envelope.items[0])
    assert refused.value.reason is Reason.CLIENT_STATE


def test_a_client_state_is_good_only_for_what_the_content_says_it_is() -> None:
    """The path names a declared chat; the content is a message of a channel."""
    channel = message(chatId=None, channelIdentity={"teamId": OTHER_TENANT, "channelId": "19:b@thread.tacv2"})
    assert verdict(rich(channel), TOKEN) is Reason.CLIENT_STATE


def test_no_reason_holds_what_was_sent() -> None:
    envelope = changes(
        rich(encryptedContent=encrypted(message(), data="s3cret")), rich(tenantId=OTHER_TENANT), tokens=[TOKEN]
    )
    batch = verifier().batch(envelope)
    for item in envelope.items:
        with pytest.raises(RelayError) as error:
            batch.event(item)
        for hidden in ("s3cret", "Ada Marsh", TOKEN[-40:], "19:"):
            assert hidden not in str(error.value)


def test_undecryptable_content_does_not_end_a_silence() -> None:
    broken = rich(encryptedContent=encrypted(message(), dataSignature=encrypted(b"x")["dataSignature"]))
    envelope = changes(broken, rich(), tokens=[TOKEN])
    batch = verifier().batch(envelope)
    with pytest.raises(Undeliverable):
        batch.event(envelope.items[0])
    assert batch.seen == {}
    batch.event(envelope.items[1])
    assert len(batch.seen) == 1
