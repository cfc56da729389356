"""Messages in the host's poison queue, kept for an operator. See also tests/ops/test_dead_letters.py."""

import random
from datetime import timedelta

import pytest
from azure.storage.queue import QueueClient

from shared.configuration.settings import StorageSettings
from shared.errors import RetryLater
from shared.messages.account import Account
from shared.messages.dead_letters import DeadLetters
from shared.messages.envelope import read, together
from shared.storage.queues import Queue
from tests import accounts
from tests.builders import NOW, Clock, admission, change, changes, chat_path, signed
from tests.memory import MemoryAccount, MemoryTables
from tests.rerouted import refuses, rerouted
from tests.servers import serving

ACCOUNT = Account(MemoryTables(), Clock(), random.Random(1).randbytes)


@pytest.fixture
def dead_letters(storage_settings: StorageSettings) -> DeadLetters:
    return accounts.dead_letters(storage_settings)


def test_what_the_host_keeps_for_a_week_never_expires(
    dead_letters: DeadLetters, storage_settings: StorageSettings
) -> None:
    name = f"{storage_settings.queue}-poison"
    with QueueClient.from_connection_string(storage_settings.connection_string, name) as poison:
        poison.create_queue()
        for number in range(40):
            poison.send_message(f"kept {number}", time_to_live=-1)
            poison.send_message(f"for a week {number}")
        for _ in range(2):
            dead_letters.keep_poison(ACCOUNT)
        queued = list(poison.receive_messages(messages_per_page=32))
    expected = [f"{how} {number}" for how in ("kept", "for a week") for number in range(40)]
    assert sorted(message.content for message in queued) == sorted(expected)
    assert {message.expires_on.year for message in queued if message.expires_on} == {9999}


def test_where_the_host_has_given_up_nothing_there_is_nothing_to_keep(
    dead_letters: DeadLetters, storage_settings: StorageSettings
) -> None:
    dead_letters.keep_poison(ACCOUNT)
    assert accounts.queues(storage_settings).length(Queue.POISON) == 0


def test_an_account_that_refuses_is_unavailable(storage_settings: StorageSettings) -> None:
    with serving(refuses) as server, pytest.raises(RetryLater):
        accounts.dead_letters(rerouted(storage_settings, "Queue", server.url)).keep_poison(
            Account(MemoryTables(), Clock(), random.Random(1).randbytes)
        )


def test_a_poison_message_of_several_envelopes_is_kept_entered_and_replayed_whole() -> None:
    """The host moves a whole queue message, with all envelopes in it."""
    account = MemoryAccount()
    batches = [signed(changes(change(chat_path(str(number))))) for number in range(3)]
    account.queues.enqueue(together(batches), Queue.POISON, NOW + timedelta(days=7))
    entered = Account(account.tables, Clock(), random.Random(1).randbytes)
    letters = DeadLetters(account.queues, account.claims)
    letters.keep_poison(entered)
    assert account.queues.texts(Queue.POISON) == [together(batches)]
    [hour] = entered.hours().values()
    assert hour.outcomes["dead_lettered"] == 3
    for letter in letters.each():
        letters.replay(letter, admission(), account.queues)
    replayed = [read(text) for text in account.queues.take()]
    assert [envelope.items for envelope in replayed] == [read(text).items for text in batches]  # type: ignore[union-attr]
    assert account.queues.texts(Queue.POISON) == []
