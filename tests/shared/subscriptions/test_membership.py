"""Declarations that fan out over lists: who joins is declared, who leaves only once Graph has confirmed it."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from shared.errors import RetryLater
from shared.readback.delta import OVERLAP
from shared.subscriptions.members import TABLE
from shared.subscriptions.wait_budget import WaitBudget
from tests.builders import TENANT, client_state_secret, declaration
from tests.servers import ScriptedResponse, in_json
from tests.shared.subscriptions.member_lists import GROUP, URL, MemberLists, person

INBOX = "/users/{id}/messages"
OF_GROUP = {"resource": INBOX, "forEach": f"/groups/{GROUP}/members"}
OF_SALES = {"resource": INBOX, "forEach": "/users?$filter=department eq 'Sales'"}
CHANNELS = {"resource": "/teams/{parent}/channels/{id}/messages", "forEach": ["/teams", "/teams/{id}/channels"]}
FORBIDDEN = in_json({"error": {"code": "Authorization_RequestDenied", "message": "no"}}, 403)


def inboxes(*numbers: int) -> list[str]:
    return [INBOX.replace("{id}", person(number)) for number in numbers]


@pytest.fixture
def group(tmp_path: Path) -> MemberLists:
    """A group of six, listed once."""
    lists = MemberLists.with_templates(tmp_path, OF_GROUP)
    lists.group(1, 2, 3, 4, 5, 6)
    assert lists.refresh() == inboxes(1, 2, 3, 4, 5, 6)
    lists.asked()
    return lists


def test_members_that_are_no_users_are_left_out(tmp_path: Path) -> None:
    lists = MemberLists.with_templates(tmp_path, OF_GROUP)
    lists.group(1)
    path = f"groups/{GROUP}/members"
    held = lists.lists[path]
    assert isinstance(held, list)
    held += [{"@odata.type": "#microsoft.graph.group", "id": person(2)}, {"@odata.type": "#microsoft.graph.device"}]
    assert lists.refresh() == inboxes(1)


def test_who_joins_is_known_by_one_delta_query(group: MemberLists) -> None:
    group.changes = [(person(7), False)]
    assert group.refresh(minutes=5) == inboxes(1, 2, 3, 4, 5, 6, 7)
    assert group.asked() == ["groups/delta?$deltatoken=next"]


@pytest.mark.parametrize(("changes", "joined"), [([False, True], False), ([True, False], True)])
def test_of_several_changes_of_one_the_last_counts(group: MemberLists, changes: list[bool], joined: bool) -> None:
    group.changes = [(person(7), left) for left in changes]
    group.lists[f"groups/{GROUP}/members"] = ScriptedResponse(503)
    assert len(group.refresh(minutes=5)) == (7 if joined else 6)


def test_who_leaves_is_believed_after_two_looks(group: MemberLists) -> None:
    group.changes = [(person(6), True)]
    group.group(1, 2, 3, 4, 5)
    assert group.refresh(minutes=5) == inboxes(1, 2, 3, 4, 5, 6)
    assert group.refresh(minutes=5) == inboxes(1, 2, 3, 4, 5, 6)
    assert group.refresh(minutes=5) == inboxes(1, 2, 3, 4, 5)


def test_who_is_there_again_never_left(group: MemberLists) -> None:
    group.changes = [(person(6), True)]
    group.group(1, 2, 3, 4, 5)
    group.refresh(minutes=5)
    group.group(1, 2, 3, 4, 5, 6)
    assert group.refresh(minutes=10) == inboxes(1, 2, 3, 4, 5, 6)
    group.group(1, 2, 3, 4, 5)
    assert group.refresh(minutes=15) == inboxes(1, 2, 3, 4, 5, 6)


def test_a_removal_that_the_list_contradicts_is_not_believed(group: MemberLists) -> None:
    group.changes = [(person(6), True)]
    for _ in range(5):
        assert group.refresh(minutes=15) == inboxes(1, 2, 3, 4, 5, 6)


def test_links_that_lead_in_a_circle_do_not_starve_other_lists(tmp_path: Path) -> None:
    lists = MemberLists.with_templates(tmp_path, OF_SALES, OF_GROUP)
    link = f"{URL}/v1.0/users?again"
    lists.lists["users"] = in_json({"value": [{"id": person(1)}], "@odata.nextLink": link})
    lists.graph.takes = 18  # seconds of the one minute that all lists have
    lists.group(2)
    assert lists.refresh() == []  # its time is over before the group's turn
    assert lists.refresh(minutes=5) == inboxes(2)
    problems = [lists.app.membership.state(template).problem for template in lists.app.declarations.templates]
    assert [("form a loop" in problem) for problem in problems] == [True, False]


@pytest.mark.parametrize("left", [[], [1, 2]])
def test_most_of_a_list_do_not_leave_at_once(
    group: MemberLists, left: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    group.changes = [(person(6), True)]
    group.group(*left)
    for _ in range(20):
        assert group.refresh(minutes=60) == inboxes(1, 2, 3, 4, 5, 6)
    assert f"no longer lists {6 - len(left)} of 6 members of /groups/{GROUP}/members" in caplog.text
    group.refresh(minutes=5 * 60)
    assert group.refresh(minutes=10) == inboxes(*left)


@pytest.mark.parametrize("misread", [[], [6], [4, 5]])
def test_a_misread_list_does_not_count_against_who_leaves_later(group: MemberLists, misread: list[int]) -> None:
    group.changes = [(person(6), True)]
    group.group(*misread)
    for _ in range(6):
        group.refresh(minutes=10)
    group.group(1, 2, 3)
    assert group.refresh(minutes=10) == inboxes(1, 2, 3, 4, 5, 6)
    assert group.refresh(minutes=10) == inboxes(1, 2, 3)


def test_a_tenth_of_a_list_does_not_leave_at_once(group: MemberLists) -> None:
    group.changes = [(person(number), False) for number in range(1, 41)]
    group.refresh(minutes=5)
    group.changes = [(person(40), True)]
    group.group(*range(1, 36))
    for _ in range(24):
        assert len(group.refresh(minutes=60)) == 40
    group.refresh(minutes=60)
    assert group.refresh(minutes=10) == inboxes(*range(1, 36))


@pytest.mark.parametrize(
    "answer", [FORBIDDEN, ScriptedResponse(404), ScriptedResponse(503), ScriptedResponse(200, b"<html>")]
)
def test_an_unreadable_list_changes_nothing(
    group: MemberLists, answer: ScriptedResponse, caplog: pytest.LogCaptureFixture
) -> None:
    group.changes = [(person(6), True)]
    group.lists[f"groups/{GROUP}/members"] = answer
    for _ in range(3):
        assert group.refresh(minutes=60) == inboxes(1, 2, 3, 4, 5, 6)
    assert f"The list /groups/{GROUP}/members in tenant {TENANT}" in caplog.text
    assert group.app.membership.state(group.template()).problem


def test_a_link_that_graph_forgot_costs_a_list(group: MemberLists) -> None:
    group.changes = None
    group.group(1, 2, 3, 4, 5, 6, 7)
    assert group.refresh(minutes=5) == inboxes(1, 2, 3, 4, 5, 6, 7)
    assert [path.partition("?")[0] for path in group.asked()] == [
        "groups/delta",
        "groups/delta",
        f"groups/{GROUP}/members",
    ]


def test_a_list_without_delta_query_is_read_again_in_time(tmp_path: Path) -> None:
    lists = MemberLists.with_templates(tmp_path, OF_SALES)
    lists.put("users", [person(1)], type_="")
    assert lists.refresh() == inboxes(1)
    assert lists.asked() == ["users?$filter=department%20eq%20'Sales'&$select=id&$top=999"]
    lists.put("users", [person(1), person(2)], type_="")
    lists.refresh(minutes=5)
    assert lists.asked() == []
    assert lists.refresh(minutes=10) == inboxes(1, 2)


def test_a_list_of_each_member_of_a_list(tmp_path: Path) -> None:
    lists = MemberLists.with_templates(tmp_path, CHANNELS)
    lists.put("teams", ["t1", "t2"])
    lists.put("teams/t1/channels", ["19:a@thread.tacv2"])
    lists.put("teams/t2/channels", ["19:b@thread.tacv2"])
    a, b = (f"/teams/{team}/channels/19:{name}@thread.tacv2/messages" for team, name in (("t1", "a"), ("t2", "b")))
    assert lists.refresh() == [a, b]
    lists.lists["teams/t2/channels"] = FORBIDDEN
    lists.put("teams/t1/channels", ["19:a@thread.tacv2", "19:c@thread.tacv2"])
    assert lists.refresh(minutes=60) == [a, a.replace("19:a", "19:c"), b]
    lists.put("teams", ["t1"])
    lists.refresh(minutes=15)
    assert lists.refresh(minutes=15) == [a, a.replace("19:a", "19:c")]


def test_another_instance_knows_a_member_without_asking_graph(group: MemberLists) -> None:
    other = group.instance()
    group.asked()
    name = group.template().member(person(3)).id
    found = other.declarations.get(name, TENANT)
    assert found is not None
    assert found.resource == inboxes(3)[0]
    assert other.declarations.get(declaration("/users/nobody/messages").id, TENANT) is None
    assert group.asked() == []


def test_an_instance_that_is_behind_knows_who_joined_a_moment_ago(group: MemberLists) -> None:
    behind = group.instance()
    assert len(behind.declarations) == 6
    group.changes = [(person(7), False)]
    group.refresh()
    assert behind.declarations.get(group.template().member(person(7)).id, TENANT) is not None
    behind.declarations.read_again()
    assert len(behind.declarations) == 7


def test_who_left_stays_known_until_no_item_can_wait_any_more(group: MemberLists) -> None:
    group.changes = [(person(6), True)]
    group.group(1, 2, 3, 4, 5)
    group.refresh(minutes=5)
    group.refresh(minutes=10)
    name = group.template().member(person(6)).id
    assert name not in group.app.declarations
    assert group.instance().declarations.get(name, TENANT) is not None
    group.clock.advance(days=10)
    group.refresh()
    assert group.instance().declarations.get(name, TENANT) is None


def test_who_comes_back_is_declared_again(group: MemberLists) -> None:
    group.changes = [(person(6), True)]
    group.group(1, 2, 3, 4, 5)
    group.refresh(minutes=5)
    assert len(group.refresh(minutes=10)) == 5
    group.changes = [(person(6), False)]
    assert group.refresh(minutes=5) == inboxes(1, 2, 3, 4, 5, 6)


def test_a_member_written_into_the_table_by_an_attacker_is_ignored(group: MemberLists) -> None:
    tables, template = group.account.tables, group.template()
    (row, *_) = tables.partition(TABLE, template.id)
    victim = template.member(person(99))
    tables.put(TABLE, template.id, victim.id, {**row, "member": person(99)})
    assert group.instance().declarations.get(victim.id, TENANT) is None
    assert len(group.instance().declarations) == 6


def test_members_outlive_a_change_of_the_secret(group: MemberLists) -> None:
    secrets = (client_state_secret("next"), client_state_secret())
    both = ",".join(base64.b64encode(secret).decode() for secret in secrets)
    group.app = group.instance(CLIENT_STATE_SECRET=both)
    assert len(group.refresh()) == 6
    alone = group.instance(CLIENT_STATE_SECRET=both.partition(",")[0])
    assert len(alone.declarations) == 6


def test_members_of_a_list_that_is_declared_no_more_are_forgotten(group: MemberLists) -> None:
    template = group.template()
    group.app = group.instance(SUBSCRIPTIONS=json.dumps([{"resource": "/users", "changeTypes": ["updated"]}]))
    assert group.refresh() == ["/users"]
    assert list(group.account.tables.partition(TABLE, template.id)) == []


def test_what_is_declared_by_hand_goes_before_a_member(tmp_path: Path) -> None:
    by_hand: dict[str, Any] = {"resource": inboxes(1)[0], "changeTypes": ["deleted"]}
    lists = MemberLists.with_templates(tmp_path, by_hand, OF_GROUP)
    lists.group(1, 2)
    lists.refresh()
    assert {declaration.resource: declaration.change_types for declaration in lists.app.declarations} == {
        inboxes(1)[0]: ("deleted",),
        inboxes(2)[0]: ("created",),
    }


def test_what_graph_does_not_allow_is_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lists = MemberLists.with_templates(tmp_path, {"resource": "/users/{id}", "forEach": f"/groups/{GROUP}/members"})
    lists.group(*range(103))
    assert len(lists.refresh()) == 100
    assert (
        "Graph allows 100 subscriptions for users and groups of a tenant, for one app; 100 are declared, and 3 more"
        in (caplog.text)
    )
    assert lists.app.declarations.count(lists.template()) == 100


def test_a_limit_is_named_before_it_is_hit(tmp_path: Path) -> None:
    lists = MemberLists.with_templates(tmp_path, {"resource": "/users/{id}", "forEach": f"/groups/{GROUP}/members"})
    lists.group(*range(79))
    lists.refresh()
    assert lists.app.declarations.limits() == []
    lists.changes = [(person(80), False)]
    lists.refresh()
    assert len(lists.app.declarations.limits()) == 1


def test_the_time_of_a_run_bounds_the_lists(tmp_path: Path) -> None:
    lists = MemberLists.with_templates(tmp_path, CHANNELS)
    lists.put("teams", [f"t{number}" for number in range(40)])
    for number in range(40):
        lists.put(f"teams/t{number}/channels", [f"19:{number}@thread.tacv2"])
    lists.graph.takes = 4.0
    first = len(lists.refresh())
    assert 0 < first < 40
    while (known := len(lists.refresh(minutes=5))) < 40:
        assert known > first
        first = known


def test_without_storage_nothing_is_decided(group: MemberLists) -> None:
    group.account.tables.available = False
    with pytest.raises(RetryLater):
        group.app.declarations.refresh()
    assert len(group.app.declarations) == 6  # as they were


def test_a_process_that_starts_while_storage_is_unavailable_waits(group: MemberLists) -> None:
    other = group.instance()
    group.account.tables.available = False
    with pytest.raises(RetryLater):
        list(other.declarations)


def test_a_run_subscribes_for_who_joins_and_unsubscribes_who_left(group: MemberLists) -> None:
    group.run()
    assert group.watched() == inboxes(1, 2, 3, 4, 5, 6)
    group.changes = [(person(7), False), (person(1), True)]
    group.group(2, 3, 4, 5, 6, 7)
    group.run(minutes=5)
    assert group.watched() == inboxes(1, 2, 3, 4, 5, 6, 7)
    group.run(minutes=10)
    assert group.watched() == inboxes(2, 3, 4, 5, 6, 7)


def test_nothing_is_unsubscribed_while_a_list_was_never_read(tmp_path: Path) -> None:
    """As when what was written by hand, member by member, becomes one entry with a mistake in it."""
    by_hand = [{"resource": resource, "changeTypes": ["created"]} for resource in inboxes(1, 2)]
    lists = MemberLists.with_templates(tmp_path, *by_hand, {"resource": "/groups", "changeTypes": ["updated"]})
    lists.run()
    assert len(lists.watched()) == 3
    lists.app = lists.instance(SUBSCRIPTIONS=json.dumps([{**OF_GROUP, "changeTypes": ["created"]}]))
    lists.run(minutes=5)
    assert lists.watched() == inboxes(1, 2)
    lists.group(1, 3)
    lists.run(minutes=5)
    assert lists.watched() == inboxes(1, 3)


def test_an_instance_that_is_behind_removes_nothing_of_who_joined(group: MemberLists) -> None:
    """As when a lifecycle notification has the instance look at the subscriptions of the whole tenant."""
    group.run()
    behind = group.instance()
    assert len(behind.declarations) == 6
    group.changes = [(person(7), False)]
    group.run()
    assert len(group.watched()) == 7
    behind.reconciler.tenant(TENANT, behind.desired_state(None), lambda _: None, WaitBudget.none())
    assert len(group.watched()) == 7


@pytest.mark.parametrize("asked", [True, False])
def test_a_member_is_read_back_from_when_it_joined_if_asked(tmp_path: Path, asked: bool) -> None:
    lists = MemberLists.with_templates(tmp_path, {**OF_GROUP, "readBack": asked})
    lists.group(1)
    lists.refresh()
    joined = lists.clock()
    lists.run(minutes=30)
    checkpoint = lists.app.checkpoints.all()
    pages = [text for text in lists.account.queues.texts() if '"readback"' in text or "readback" in text]
    assert len(checkpoint) == 1
    if asked:
        assert any(page.find((joined - OVERLAP).isoformat()[:16]) >= 0 for page in pages), pages
    else:
        assert pages == []
