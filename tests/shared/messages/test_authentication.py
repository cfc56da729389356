"""The MAC of an envelope: only this app writes one, with either of two secrets, and earlier versions still read it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messages.authentication import ENVELOPE_LIMIT, MAC_LENGTH, EnvelopeKeys, SigningSender
from shared.messages.envelope import read, write
from shared.storage.queues import MESSAGE_LIMIT
from tests.builders import NOW, change, changes, client_state_secret, signed
from tests.memory import MemoryQueues

CURRENT, RETIRING = client_state_secret(), client_state_secret("retiring")
TEXT = write(changes(change()))


def test_what_this_app_wrote_is_authentic_and_reads_as_before() -> None:
    text = EnvelopeKeys([CURRENT]).sign(TEXT)
    assert EnvelopeKeys([CURRENT]).is_authentic(text)
    assert read(text) == read(TEXT)
    assert len(text) == len(TEXT) + MAC_LENGTH
    assert json.loads(text).keys() - json.loads(TEXT).keys() == {"mac"}


def test_while_a_secret_is_changed_both_are_believed_and_the_first_one_writes() -> None:
    before, during, after = EnvelopeKeys([RETIRING]), EnvelopeKeys([CURRENT, RETIRING]), EnvelopeKeys([CURRENT])
    assert during.is_authentic(before.sign(TEXT))
    assert after.is_authentic(during.sign(TEXT))
    assert not before.is_authentic(during.sign(TEXT))
    assert not after.is_authentic(before.sign(TEXT))


@given(st.integers(0, len(signed(changes(change()))) - 1), st.characters(max_codepoint=126, min_codepoint=32))
def test_one_changed_character_is_not_authentic(place: int, character: str) -> None:
    keys = EnvelopeKeys([CURRENT])
    text = keys.sign(TEXT)
    changed = text[:place] + character + text[place + 1 :]
    assert keys.is_authentic(changed) == (changed == text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "}",
        TEXT,
        '"mac":""}',
        ',"mac":""}',
        TEXT[:-1] + ',"mac":""}',
        TEXT[:-1] + ',"mac":"é"}',
        "é",
        "claim:x",
    ],
)
def test_what_has_no_mac_is_not_authentic(text: str) -> None:
    assert not EnvelopeKeys([CURRENT]).is_authentic(text)


def test_a_mac_of_another_text_is_not_authentic() -> None:
    keys = EnvelopeKeys([CURRENT])
    other = keys.sign(write(changes(change(id="other"))))
    assert not keys.is_authentic(TEXT[:-1] + other[-MAC_LENGTH - 1 :])


def test_a_clientstate_secret_itself_does_not_authenticate() -> None:
    """The key is derived, so that one use of the secret reveals nothing of the other."""
    assert CURRENT not in EnvelopeKeys([CURRENT])._keys


def test_everything_that_is_sent_has_a_mac_and_fits_as_before() -> None:
    queues, keys = MemoryQueues(), EnvelopeKeys([CURRENT])
    sender = SigningSender(queues, keys)
    sender.send(TEXT)
    sender.send_all([TEXT, TEXT], within=NOW - NOW)
    assert len(queues.texts()) == 3
    assert all(keys.is_authentic(text) for text in queues.texts())
    assert len(keys.sign("{" + " " * (ENVELOPE_LIMIT - 2) + "}")) == MESSAGE_LIMIT
