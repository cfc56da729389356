import re
from datetime import UTC, datetime, timedelta

import pytest

from ops.backfill import READABLE
from shared.messages.envelope import ReadbackPage
from shared.readback.pages import can_read
from shared.storage.clients import StorageClients
from tests import builders
from tests.ops.conftest import Operator
from tests.ops.letters import queued

SINCE, UNTIL = "2026-11-20T10:00+01:00", "2026-11-21"


def test_a_backfill_is_queued_for_the_app_to_do(operator: Operator, storage: StorageClients) -> None:
    report = operator.json("backfill", "--resource", "/chats/a/messages", "--since", SINCE, "--until", UNTIL)
    (asked,) = queued(storage)
    assert isinstance(asked, ReadbackPage)
    assert (asked.tenant_id, asked.resource, asked.link) == (builders.TENANT, "/chats/a/messages", "")
    assert asked.since == datetime(2026, 11, 20, 9, tzinfo=UTC)
    assert asked.until == datetime(2026, 11, 21, tzinfo=UTC)
    assert datetime.fromisoformat(report["since"]) == asked.since


def test_without_an_end_the_range_ends_now(operator: Operator, storage: StorageClients) -> None:
    operator.json(
        "backfill", "--resource", "/teams/getAllMessages", "--since", "36h", "--tenant", builders.OTHER_TENANT
    )
    (asked,) = queued(storage)
    assert isinstance(asked, ReadbackPage)
    assert asked.tenant_id == builders.OTHER_TENANT
    assert asked.until - asked.since == pytest.approx(timedelta(hours=36), abs=timedelta(minutes=2))
    assert datetime.now(UTC) - asked.until < timedelta(minutes=2)


@pytest.mark.parametrize("named", re.findall("/[A-Za-z/]+", READABLE))
def test_what_is_named_as_readable_is(named: str) -> None:
    assert can_read(named)


def test_a_delta_query_has_no_range(operator: Operator, storage: StorageClients) -> None:
    result = operator("backfill", "--resource", "/users", "--since", "1h")
    assert "changed since it was last compared" in " ".join(result.stdout.split())
    assert len(queued(storage)) == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--resource", "/communications/callRecords", "--since", "1h"), "--resource"),
        (("--resource", "/chats/a/messages", "--since", "yesterday"), "--since"),
        (("--resource", "/chats/a/messages", "--since", "1h", "--until", "2h"), "--since"),
        (("--resource", "/chats/a/messages", "--since", "1h", "--tenant", "contoso"), "--tenant"),
        (("--resource", "/chats/a/messages", "--since", "999999w"), "--since"),
        (("--resource", "/chats/a/messages"), "--since"),
    ],
)
def test_a_resource_that_cannot_be_read_back_is_wrong_usage_and_enqueues_nothing(
    operator: Operator, storage: StorageClients, arguments: tuple[str, ...], complaint: str
) -> None:
    result = operator("backfill", *arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert queued(storage) == []
