"""`find`, against noted paths."""

import random
from datetime import UTC, datetime, timedelta

from shared.configuration.settings import StorageSettings
from shared.errors import Reason, RetryLater
from shared.messages.envelope import FailedAttempt, failed
from shared.paths import Paths
from shared.storage.clients import StorageClients
from tests.accounts import tables
from tests.builders import NOW, TENANT, changes, message, rich
from tests.ops.conftest import Operator
from tests.ops.letters import give_up

WRITTEN = message("1700000000123")


def note(settings: StorageSettings) -> None:
    paths = Paths(tables(settings), lambda: NOW + timedelta(seconds=7), random.random, TENANT)
    envelope = failed(changes(rich(WRITTEN)), FailedAttempt(NOW, "destination: it answers 503", NOW))
    paths.dead_lettered(envelope, Reason.DESTINATION_REJECTED)
    paths.retried(envelope, RetryLater(Reason.DESTINATION, "the destination answers 503"), datetime.now(UTC))


def test_a_dead_letter_is_found_by_its_messages_id(operator: Operator, storage_settings: StorageSettings) -> None:
    note(storage_settings)
    shown = operator("find", WRITTEN["id"])
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.startswith("dead-lettered: destination_rejected, 7 s after it was received")
    assert "it answers 503" in shown.stdout
    assert "dead-letters replay" in shown.stdout
    [path] = operator.json("find", WRITTEN["id"])["paths"]
    assert path["path"]["reason"] == "destination_rejected"
    assert path["steps"][0]["step"] == "received"


def test_a_dead_letter_is_found_by_its_own_id_and_by_its_content(operator: Operator, storage: StorageClients) -> None:
    give_up(storage, changes(rich(WRITTEN)))
    [letter] = operator.json("dead-letters", "list")["letters"]
    for text in (letter["id"], letter["id"][:8], WRITTEN["id"]):
        [path] = operator.json("find", text)["paths"]
        assert (path["path"]["reason"], path["dead_letter"]) == ("key_unknown", letter["id"])
    assert f"dead letter {letter['id']}" in operator("find", letter["id"]).stdout
    assert len(operator.json("dead-letters", "list")["letters"]) == 1


def test_a_rejected_event_is_found_by_its_id(operator: Operator, storage_settings: StorageSettings) -> None:
    paths = Paths(tables(storage_settings), lambda: NOW, random.random, TENANT)
    rejected = FailedAttempt(NOW, "the destination answers 422 to event t/chats/1@2", event="t/chats/1@2")
    paths.dead_lettered(failed(changes(rich(WRITTEN)), rejected), Reason.DESTINATION_REJECTED)
    [path] = operator.json("find", "t/chats/1@2")["paths"]
    assert path["path"]["reason"] == "destination_rejected"


def test_an_empty_id_is_wrong_usage(operator: Operator) -> None:
    assert operator("find", " / ").exit_code == 2


def test_an_unknown_id_is_reported(operator: Operator) -> None:
    shown = operator("find", "19:nothing")
    assert shown.exit_code == 1
    assert "Nothing is recorded of 19:nothing" in shown.stdout


def test_the_version_is_printed(operator: Operator) -> None:
    assert operator("--version").stdout.startswith("Graph Relay 0.")
