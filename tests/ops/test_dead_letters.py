import json
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import ContainerClient

from shared.configuration.settings import StorageSettings
from shared.errors import Reason, RetryLater, Undeliverable
from shared.messages.dead_letters import DeadLetters
from shared.messages.envelope import ChangeBatch, DeadLetter, ReadbackPage, write
from shared.storage.account import BACKGROUND_LIMITS
from shared.storage.clients import StorageClients
from shared.storage.queues import AzureQueues, Queue, QueuedMessage
from tests import builders
from tests.accounts import claims
from tests.ops.conftest import Operator
from tests.ops.letters import give_up, large, poison, queued

TEXT = "for nobody else"


def letters(storage_operator: Operator, *arguments: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = storage_operator.json("dead-letters", "list", *arguments)["letters"]
    return found


def look_through(storage: StorageClients) -> DeadLetters:
    return DeadLetters(storage.queues, storage.claims)


def numbered(number: int) -> ChangeBatch:
    return builders.changes(builders.change(builders.chat_path(str(number))))


def resources(found: list[dict[str, str]]) -> set[str]:
    return {letter["resource"] for letter in found}


def blobs(settings: StorageSettings) -> int:
    claims = ContainerClient.from_connection_string(settings.connection_string, f"{settings.queue}-claims")
    return len(list(claims.list_blob_names()))


def test_an_empty_queue_lists_no_dead_letters(storage_operator: Operator) -> None:
    assert letters(storage_operator) == []
    assert "There are none." in storage_operator("dead-letters", "list").stdout


def test_every_letter_is_listed_once_and_left_where_it_is(storage_operator: Operator, storage: StorageClients) -> None:
    for number in range(40):
        give_up(storage, numbered(number))
    wanted = {builders.chat_path(str(number)) for number in range(40)}
    for _ in range(2):
        found = letters(storage_operator)
        assert len(found) == 40
        assert resources(found) == wanted


def test_dead_letters_are_selected_by_reason_age_and_prefix_of_their_id(
    storage_operator: Operator, storage: StorageClients
) -> None:
    give_up(storage, numbered(1), Reason.KEY_UNKNOWN, timedelta(days=3))
    give_up(storage, numbered(2), Reason.DESTINATION_REJECTED)
    old, new = letters(storage_operator)
    assert (old["resource"], new["resource"]) == (builders.chat_path("1"), builders.chat_path("2"))
    for arguments in (("--reason", "key_unknown"), ("--older-than", "2d"), (old["id"][:12],)):
        assert resources(letters(storage_operator, *arguments)) == {old["resource"]}
    assert resources(letters(storage_operator, "--younger-than", "2d")) == resources([new])
    assert letters(storage_operator, "--older-than", "2d", "--reason", "destination_rejected") == []


def test_the_hosts_poison_queue_is_listed_and_replayed_with_the_others(
    storage_operator: Operator, storage: StorageClients, storage_settings: StorageSettings
) -> None:
    poison(storage_settings, write(numbered(1)))
    assert [letter["reason"] for letter in letters(storage_operator)] == ["poison"]
    assert storage_operator.json("dead-letters", "replay", "--reason", "poison")["done"] == {"poison": 1}
    assert [envelope.attempt for envelope in queued(storage)] == [0]
    assert letters(storage_operator) == []


def test_a_replayed_dead_letter_starts_with_no_attempts_and_a_new_horizon(
    storage_operator: Operator, storage: StorageClients
) -> None:
    envelope = builders.changes(builders.rich(), tokens=["a.b.c"], attempt=17)
    give_up(storage, envelope)
    began = datetime.now(UTC)
    assert storage_operator.json("dead-letters", "replay", "--all")["done"] == {"key_unknown": 1}
    (again,) = queued(storage)
    assert isinstance(again, ChangeBatch)
    assert (again.received, again.items, again.tokens) == (envelope.received, envelope.items, envelope.tokens)
    assert again.attempt == 0
    assert again.replayed is not None
    assert began <= again.replayed <= datetime.now(UTC)
    assert letters(storage_operator) == []


def test_only_what_was_meant_is_replayed(storage_operator: Operator, storage: StorageClients) -> None:
    give_up(storage, numbered(1), Reason.KEY_UNKNOWN)
    give_up(storage, numbered(2), Reason.CONTENT_UNREADABLE)
    storage_operator.json("dead-letters", "replay", "--reason", "key_unknown")
    assert resources(letters(storage_operator)) == {builders.chat_path("2")}
    assert len(queued(storage)) == 1


def test_a_large_dead_letter_is_replayed_with_a_blob_of_its_own(
    storage_operator: Operator, storage: StorageClients, storage_settings: StorageSettings
) -> None:
    envelope = large()
    give_up(storage, envelope)
    assert len(letters(storage_operator)) == 1
    storage_operator.json("dead-letters", "replay", "--all")
    (again,) = queued(storage)
    assert isinstance(again, ChangeBatch)
    assert isinstance(envelope, ChangeBatch)
    assert again.items == envelope.items
    assert blobs(storage_settings) == 1


def test_dropping_a_letter_removes_its_blob(
    storage_operator: Operator, storage: StorageClients, storage_settings: StorageSettings
) -> None:
    give_up(storage, large())
    assert storage_operator.json("dead-letters", "drop", "--all", "--yes")["done"] == {"key_unknown": 1}
    assert letters(storage_operator) == []
    assert blobs(storage_settings) == 0


def test_a_crash_between_enqueueing_and_deleting_leaves_the_letter(
    storage: StorageClients, storage_settings: StorageSettings
) -> None:
    class Crashing(AzureQueues):
        def delete(self, message: QueuedMessage) -> None:
            raise SystemExit

    crashing = replace(storage, queues=Crashing(storage_settings, BACKGROUND_LIMITS, claims(storage_settings)))
    give_up(crashing, large())
    letters = look_through(crashing)
    with closing(letters.each()) as each, pytest.raises(SystemExit):
        letters.replay(next(each), builders.admission(), storage.queues)
    assert len(queued(storage)) == 1
    assert storage.queues.length(Queue.DEAD_LETTERS) == 1
    (left,) = storage.queues.peek(Queue.DEAD_LETTERS)
    assert storage.claims.open(left.text).text


def test_an_interrupted_listing_releases_the_dead_letters(storage_operator: Operator, storage: StorageClients) -> None:
    for number in range(5):
        give_up(storage, numbered(number))
    with closing(look_through(storage).each()) as each:
        next(each)
        assert storage.queues.peek(Queue.DEAD_LETTERS) == []
    assert len(letters(storage_operator)) == 5


def test_a_replay_skips_items_that_are_dead_lettered_again_during_it(storage: StorageClients) -> None:
    for number in range(3):
        give_up(storage, numbered(number))
    letters, replayed = look_through(storage), 0
    with closing(letters.each()) as each:
        for letter in each:
            letters.replay(letter, builders.admission(), storage.queues)
            give_up(storage, numbered(replayed))
            replayed += 1
            assert replayed <= 3
    assert letters.count() == 3


@pytest.mark.parametrize("text", ["", "not ours", '{"kind": "change"}', '{"reason":"key_unknown"}'])
def test_a_replay_leaves_a_foreign_message_which_can_be_dropped(
    storage_operator: Operator, storage: StorageClients, text: str
) -> None:
    storage.queues.send(text, Queue.DEAD_LETTERS)
    (left,) = letters(storage_operator)
    assert (left["kind"], left["reason"]) == ("unreadable", "malformed")
    assert storage_operator.json("dead-letters", "replay", "--all", ends=1)["left"] == [left["id"]]
    assert storage_operator.json("dead-letters", "drop", left["id"], "--yes")["done"] == {"malformed": 1}
    assert letters(storage_operator) == []


def test_a_letter_whose_blob_is_gone_says_so(
    storage_operator: Operator, storage: StorageClients, storage_settings: StorageSettings
) -> None:
    give_up(storage, large())
    claims = ContainerClient.from_connection_string(
        storage_settings.connection_string, f"{storage_settings.queue}-claims"
    )
    for name in claims.list_blob_names():
        claims.delete_blob(name)
    assert [letter["reason"] for letter in letters(storage_operator)] == ["claim_gone"]
    storage_operator.json("dead-letters", "drop", "--all", "--yes")
    assert letters(storage_operator) == []


def test_show_prints_outer_fields_and_nothing_encrypted_or_secret(
    storage_operator: Operator, storage: StorageClients
) -> None:
    item = builders.rich(builders.message(body={"content": TEXT}), resourceData={"id": "1", "activity": TEXT})
    give_up(storage, builders.changes(item, tokens=["header.claims.signature"]))
    (letter,) = letters(storage_operator)
    shown = storage_operator("dead-letters", "show", letter["id"][:12])
    assert shown.exit_code == 0
    assert "docs/runbook/dead-letters.md" in shown.stdout
    (report,) = storage_operator.json("dead-letters", "show", letter["id"][:12])["letters"]
    assert report["items"][0]["resource"] == item["resource"]
    assert report["items"][0]["encryption_certificate_id"] == item["encryptedContent"]["encryptionCertificateId"]
    assert report["validation_tokens"] == 1
    sealed = item["encryptedContent"]
    secret = [TEXT, item["clientState"], "signature", *(sealed[name] for name in ("data", "dataKey", "dataSignature"))]
    for output in (shown.output, storage_operator("dead-letters", "show", "--json", letter["id"]).output):
        assert [text for text in secret if text in output] == []


def test_showing_a_page_to_be_read_hides_its_link(storage_operator: Operator, storage: StorageClients) -> None:
    page = ReadbackPage(
        builders.NOW, builders.TENANT, "/chats/a/messages", builders.NOW, builders.NOW, "https://x/?$skiptoken=s"
    )
    give_up(storage, page, Reason.GRAPH)
    (letter,) = letters(storage_operator)
    report = storage_operator.json("dead-letters", "show", letter["id"])["letters"][0]
    assert (report["kind"], report["resource"], report["is_first_page"]) == ("readback", "/chats/a/messages", False)
    assert "skiptoken" not in json.dumps(report)


def test_a_dead_letter_cannot_control_the_terminal(storage_operator: Operator, storage: StorageClients) -> None:
    named = "chats/\x1b]0;owned\x07/messages/[red]1"
    give_up(storage, ReadbackPage(builders.NOW, builders.TENANT, named, builders.NOW, builders.NOW))
    (letter,) = letters(storage_operator)
    for output in (
        storage_operator("dead-letters", "list").stdout,
        storage_operator("dead-letters", "show", letter["id"]).stdout,
    ):
        assert "\x1b" not in output
        assert "\x07" not in output
        assert "owned" in output
        assert "[red]" in output


def test_an_id_that_no_letter_has_needs_attention(storage_operator: Operator, storage: StorageClients) -> None:
    give_up(storage, numbered(1))
    for command in (("show",), ("replay",), ("drop", "--yes")):
        report = storage_operator.json("dead-letters", *command, "no-such-id", ends=1)
        assert report["missing"] == ["no-such-id"]
    assert len(letters(storage_operator)) == 1


@pytest.mark.parametrize("command", ["replay", "drop"])
def test_selecting_everything_takes_an_explicit_option(
    storage_operator: Operator, storage: StorageClients, command: str
) -> None:
    give_up(storage, numbered(1))
    assert storage_operator("dead-letters", command).exit_code == 2
    assert storage_operator("dead-letters", command, "--all", "--reason", "key_unknown").exit_code == 2
    assert len(letters(storage_operator)) == 1


def test_dead_letters_are_dropped_only_after_confirmation(storage_operator: Operator, storage: StorageClients) -> None:
    give_up(storage, numbered(1))
    assert storage_operator("dead-letters", "drop", "--all", typed="n\n").exit_code == 1
    assert len(letters(storage_operator)) == 1
    assert storage_operator("dead-letters", "drop", "--all", typed="y\n").exit_code == 0
    assert letters(storage_operator) == []


def test_dead_letters_need_no_settings_but_those_of_storage(
    storage_operator: Operator, storage: StorageClients
) -> None:
    give_up(storage, numbered(1))
    kept = ("AzureWebJobsStorage", "NOTIFICATION_QUEUE")
    bare = Operator({name: value if name in kept else "" for name, value in storage_operator.environment.items()})
    assert len(letters(bare)) == 1


def test_a_letter_with_nothing_in_it_is_not_replayed(storage: StorageClients) -> None:
    storage.queues.send("not ours", Queue.DEAD_LETTERS)
    letters = look_through(storage)
    with closing(letters.each()) as each, pytest.raises(Undeliverable):
        letters.replay(next(each), builders.admission(), storage.queues)
    assert storage.queues.length(Queue.DEAD_LETTERS) == 1


def test_a_message_that_another_has_received_since_is_left_alone(storage: StorageClients) -> None:
    storage.queues.send(write(DeadLetter(Reason.GRAPH, builders.NOW, numbered(1))), Queue.DEAD_LETTERS)
    (received,) = storage.queues.receive(Queue.DEAD_LETTERS, timedelta(minutes=1))
    storage.queues.release(received)
    (again,) = storage.queues.receive(Queue.DEAD_LETTERS, timedelta(minutes=1))
    storage.queues.release(received)
    storage.queues.delete(received)
    assert storage.queues.peek(Queue.DEAD_LETTERS) == []
    assert storage.queues.length(Queue.DEAD_LETTERS) == 1
    storage.queues.delete(again)
    assert storage.queues.length(Queue.DEAD_LETTERS) == 0


def test_without_storage_the_command_ends_with_3(storage_operator: Operator) -> None:
    away = Operator(
        {
            **storage_operator.environment,
            "AzureWebJobsStorage": _nowhere(storage_operator.environment["AzureWebJobsStorage"]),
        }
    )
    report = away.json("dead-letters", "list", ends=3)
    assert report["complaints"]
    assert "AccountKey" not in json.dumps(report)


def _nowhere(connection_string: str) -> str:
    """The same account at a port where no server listens."""
    parts = dict(part.split("=", 1) for part in connection_string.split(";"))
    return ";".join(f"{name}={'http://127.0.0.1:9/relay' if 'Endpoint' in name and 'Default' not in name else value}"
                    for name, value in parts.items())  # fmt: skip


def test_the_first_letters_are_looked_at_without_being_received(storage: StorageClients) -> None:
    give_up(storage, numbered(1))
    letters = look_through(storage)
    assert [letter.reason for letter in letters.first()] == [Reason.KEY_UNKNOWN]
    assert len(storage.queues.peek(Queue.DEAD_LETTERS)) == 1


def test_unavailable_storage_is_reported(storage_settings: StorageSettings) -> None:
    unreachable = StorageSettings(storage_settings.queue, _nowhere(storage_settings.connection_string))
    with pytest.raises(RetryLater):
        look_through(StorageClients.of(unreachable)).first()
