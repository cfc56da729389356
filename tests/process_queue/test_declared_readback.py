"""Reading back follows the declaration; no answer of Graph's makes it stop or loop."""

from datetime import timedelta
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from shared.configuration.declaration import Declaration
from shared.errors import Reason, RetryLater
from shared.messages.envelope import ReadbackPage
from shared.readback.pages import page_of
from tests.builders import CHAT, NOW, TENANT, message
from tests.process_queue.readback_harness import DAY_BEFORE, ReadbackHarness
from tests.servers import ScriptedResponse, in_json

USER = "5d5d5d5d-0a0b-4c0d-8e0f-000000000005"
MAIL = f"/users/{USER}/messages"
CHAT_MESSAGES = f"/chats/{CHAT}/messages"
DRIVE = "/drives/b1/root"
ROOT_DELTA = "/v1.0/drives/b1/root/delta"
LATEST = {"value": [], "@odata.deltaLink": "{url}/v1.0/delta-1"}
GONE = in_json({"error": {"code": "resyncRequired", "message": "old"}}, 410)


def declare(
    harness: ReadbackHarness, resource: str, types: str = "created,updated,deleted", **options: Any
) -> ReadbackPage:
    """Declare a resource; return the page that reads back its last day."""
    declaration = Declaration(resource, tuple(types.split(",")), tenant_id=TENANT, **options)
    harness.declare(declaration)
    return page_of(declaration, DAY_BEFORE, NOW, NOW)


def begun(harness: ReadbackHarness, resource: str = DRIVE, **options: Any) -> ReadbackPage:
    """The same, after its first query."""
    page = declare(harness, resource, "updated", **options)
    path = "/v1.0/users/delta" if "users" in resource else ROOT_DELTA
    harness.pages[path] = {"value": [{"id": "old"}], "@odata.deltaLink": f"{harness.graph.url}/v1.0/delta-1"}
    harness.read(page_of(harness.declarations[0], NOW, NOW, NOW))
    assert harness.delivered == []
    return page


def subjects(harness: ReadbackHarness) -> list[str]:
    return [event["subject"] for event in harness.delivered]


def query(harness: ReadbackHarness) -> dict[str, str]:
    """Return the query of Graph's last request."""
    return {name: values[0] for name, values in parse_qs(urlsplit(harness.graph.paths()[-1]).query).items()}


def item(name: str, changed: str = "2031-02-03T03:00:00Z", **more: Any) -> dict[str, Any]:
    return {"id": name, "lastModifiedDateTime": changed, "eTag": '"{12AD05BB},7"', **more}


class TestTheDeclaration:
    @pytest.mark.parametrize(
        ("reason", "types", "expected"),
        [
            ("changed", "updated", ["UserUpdated"]),
            ("changed", "updated,deleted", ["UserDeleted"]),
            ("deleted", "updated", []),
            ("deleted", "deleted", ["UserDeleted"]),
        ],
    )
    def test_a_soft_deletion_of_the_directory_is_an_update_too(
        self, harness: ReadbackHarness, reason: str, types: str, expected: list[str]
    ) -> None:
        begun(harness, "/users")
        page = declare(harness, "/users", types)
        removed = {"id": USER, "@removed": {"reason": reason}}
        harness.pages["/v1.0/delta-1"] = {"value": [removed], "@odata.deltaLink": f"{harness.graph.url}/v1.0/delta-2"}
        harness.read(page)
        assert [event["type"].removeprefix("Microsoft.Graph.") for event in harness.delivered] == expected

    def test_a_basic_one_gets_no_content_that_was_only_read_back(self, harness: ReadbackHarness) -> None:
        page = declare(harness, CHAT_MESSAGES)
        harness.pages[f"/v1.0/chats/{CHAT}/messages".replace(":", "%3A").replace("@", "%40")] = {"value": [message()]}
        harness.read(page)
        (event,) = harness.delivered
        assert event["partial"]
        assert set(event["data"]) == {"id", "@odata.id", "@odata.type"}
        harness.read(page)
        assert len(harness.delivered) == 1  # the ledger knows the event

    @pytest.mark.parametrize("options", [{"hydrate": True}, {"include_resource_data": True}])
    def test_one_that_asks_for_content_gets_it(self, harness: ReadbackHarness, options: dict[str, Any]) -> None:
        page = declare(harness, CHAT_MESSAGES, **options)
        harness.pages[f"/v1.0/chats/{CHAT}/messages".replace(":", "%3A").replace("@", "%40")] = {"value": [message()]}
        harness.read(page)
        assert [event["data"] for event in harness.delivered] == [message()]

    @pytest.mark.parametrize(
        ("types", "expected"),
        [
            ("created", ["new", "edited"]),
            ("updated", ["edited", "old"]),
            ("deleted", []),
            ("created,updated", ["new", "edited", "old"]),
        ],
    )
    def test_only_declared_change_types_are_delivered(
        self, harness: ReadbackHarness, types: str, expected: list[str]
    ) -> None:
        page = declare(harness, MAIL, types, hydrate=True)
        recently, long_ago = "2031-02-03T03:00:00Z", "2030-01-01T00:00:00Z"
        harness.pages[f"/v1.0{MAIL}"] = {
            "value": [
                {"id": "new", "createdDateTime": recently, "lastModifiedDateTime": recently},
                {"id": "edited", "createdDateTime": recently, "lastModifiedDateTime": "2031-02-03T03:00:01Z"},
                {"id": "old", "createdDateTime": long_ago, "lastModifiedDateTime": recently},
            ]
        }
        harness.read(page)
        assert [event["data"]["id"] for event in harness.delivered] == expected
        ends = {"created": "Created", "updated": "Updated"}
        assert all(
            event["type"].endswith(tuple(ends[change_type] for change_type in types.split(",")))
            for event in harness.delivered
        )

    def test_outlook_is_read_by_time_as_it_is_filtered_and_selected(self, harness: ReadbackHarness) -> None:
        page = declare(
            harness, f"{MAIL}?$filter=importance eq 'high'&$select=subject,lastModifiedDateTime", hydrate=True
        )
        harness.pages[f"/v1.0{MAIL}"] = {"value": []}
        harness.read(page)
        asked = query(harness)
        assert asked["$filter"].startswith("lastModifiedDateTime ge 2031-02-02T04:05:06.000Z and ")
        assert asked["$filter"].endswith(" and (importance eq 'high')")
        assert asked["$select"] == "subject,lastModifiedDateTime"
        assert 'IdType="ImmutableId"' in harness.graph.asked[-1].headers["prefer"]

    def test_a_folder_that_is_filtered_is_read_by_time_and_else_by_its_changes(self, harness: ReadbackHarness) -> None:
        folder = f"/users/{USER}/mailFolders/inbox/messages"
        page = declare(harness, f"{folder}?$filter=isRead eq false", hydrate=True)
        harness.pages[f"/v1.0{folder}"] = {"value": [item("AA")]}
        harness.read(page)
        assert subjects(harness) == [f"users/{USER}/messages/AA"]
        page = declare(harness, f"{folder}?$select=subject", hydrate=True)
        harness.pages[f"/v1.0{folder}/delta"] = {"value": [item("BB")]}
        harness.read(page)
        assert query(harness) == {"$select": "subject"}

    def test_what_is_read_again_by_itself_is_selected_too(self, harness: ReadbackHarness) -> None:
        page = declare(harness, f"{MAIL}?$select=subject", hydrate=True)
        harness.pages[f"/v1.0{MAIL}"] = {"value": [item("AA"), item("BB")]}
        harness.stumbles_over = {"AA"}
        harness.read(msgspec.structs.replace(page, attempt=1))
        (alone,) = harness.queued()
        harness.stumbles_over = set()
        harness.pages[f"/v1.0{MAIL}/AA"] = item("AA")
        harness.read(alone)
        assert query(harness) == {"$select": "subject"}
        assert sorted(subjects(harness)) == [f"users/{USER}/messages/{name}" for name in ("AA", "BB")]

    def test_a_calendar_is_read_by_time(self, harness: ReadbackHarness) -> None:
        page = declare(harness, f"/users/{USER}/calendars/c1/events", hydrate=True)
        harness.pages[f"/v1.0/users/{USER}/calendars/c1/events"] = {"value": [item("E1")]}
        harness.read(page)
        assert subjects(harness) == [f"users/{USER}/events/E1"]

    def test_a_resource_no_longer_declared_is_not_read(self, harness: ReadbackHarness) -> None:
        page = declare(harness, MAIL)
        harness.declare()
        harness.read(page)
        assert harness.graph.asked == []


class TestDelta:
    def test_the_delta_query_of_the_directory_starts_from_now(self, harness: ReadbackHarness) -> None:
        begun(harness, "/users")
        assert query(harness) == {"$deltatoken": "latest"}

    def test_the_entries_of_a_drive_are_delivered_although_it_asks_for_no_content(
        self, harness: ReadbackHarness
    ) -> None:
        page = begun(harness)
        harness.pages["/v1.0/delta-1"] = {"value": [item("i1"), {"id": "i2", "deleted": {}}]}
        harness.read(page)
        assert [(event["type"], event["subject"]) for event in harness.delivered] == [
            ("Microsoft.Graph.DriveItemUpdated", "drives/b1/items/i1"),
            ("Microsoft.Graph.DriveItemDeleted", "drives/b1/items/i2"),
        ]
        assert harness.delivered[0]["data"] == item("i1")

    @pytest.mark.parametrize("status", [400, 404, 410])
    def test_a_refused_page_goes_on_from_the_stored_link(self, harness: ReadbackHarness, status: int) -> None:
        page = begun(harness)
        link = f"{harness.graph.url}/v1.0/page-2"
        harness.pages["/v1.0/delta-1"] = {"value": [item("i1")], "@odata.nextLink": link}
        harness.pages["/v1.0/page-2"] = in_json({"error": {"code": "x", "message": "old"}}, status)
        harness.read_to_the_end(page)
        assert ROOT_DELTA not in [urlsplit(path).path for path in harness.graph.paths()[1:]]
        assert subjects(harness) == ["drives/b1/items/i1"]

    @pytest.mark.parametrize("status", [400, 404, 410])
    def test_after_a_true_resync_only_what_changed_since_is_delivered(
        self, harness: ReadbackHarness, status: int
    ) -> None:
        page = begun(harness)
        harness.pages["/v1.0/delta-1"] = in_json({"error": {"code": "resyncRequired", "message": "old"}}, status)
        harness.pages[ROOT_DELTA] = {
            "value": [item("i1"), item("long ago", "2030-01-01T00:00:00Z")],
            "@odata.nextLink": f"{harness.graph.url}/v1.0/page-2",
        }
        harness.pages["/v1.0/page-2"] = {
            "value": [item("i2"), item("too", "2030-01-01T00:00:00Z")],
            "@odata.deltaLink": f"{harness.graph.url}/v1.0/delta-2",
        }
        harness.read_to_the_end(page)
        assert subjects(harness) == ["drives/b1/items/i1", "drives/b1/items/i2"]

    def test_a_resync_that_a_ping_causes_goes_back_to_the_last_link(self, harness: ReadbackHarness) -> None:
        page = begun(harness)
        harness.pages["/v1.0/delta-1"] = in_json({"error": {"code": "resyncRequired", "message": "old"}}, 410)
        harness.pages[ROOT_DELTA] = {
            "value": [item("hours ago", "2031-02-03T07:00:00Z"), item("long ago", "2030-01-01T00:00:00Z")],
            "@odata.deltaLink": f"{harness.graph.url}/v1.0/delta-2",
        }
        harness.clock.advance(hours=6)
        now = harness.clock.now
        harness.read(msgspec.structs.replace(page, received=now, since=now - timedelta(minutes=15), until=now))
        assert subjects(harness) == ["drives/b1/items/hours ago"]

    def test_a_first_comparison_does_not_deliver_everything(self, harness: ReadbackHarness) -> None:
        page = declare(harness, "/users", "updated", hydrate=True)
        harness.pages["/v1.0/users/delta"] = {"value": [{"id": "everybody"}]}
        harness.read(page)
        assert (query(harness), harness.delivered) == ({"$deltatoken": "latest"}, [])

    def test_what_is_pushed_while_graph_answers_wins_over_the_answer(self, harness: ReadbackHarness) -> None:
        page = begun(harness, "/users", hydrate=True)

        def slow(_: object) -> ScriptedResponse:
            harness.clock.advance(seconds=30)
            return in_json({"value": [{"id": "u1", "displayName": "before"}]})

        harness.graph.script = slow
        harness.read(page)
        (event,) = harness.delivered
        pushed = NOW + timedelta(seconds=1)
        assert event["version"] < f"{int(pushed.timestamp()) * 10**6:018d}"


class TestNoProgress:
    def test_a_link_to_the_same_page_is_not_followed(self, harness: ReadbackHarness) -> None:
        page = declare(harness, MAIL)
        link = f"{harness.graph.url}/v1.0{MAIL}"
        harness.pages[f"/v1.0{MAIL}"] = {"value": [], "@odata.nextLink": link}
        harness.read(page)
        (again,) = harness.queued()
        with pytest.raises(RetryLater, match="leads nowhere"):
            harness.read(again)

    @pytest.mark.parametrize("length", [2, 3, 7])
    def test_a_circle_of_links_is_left_for_later(self, harness: ReadbackHarness, length: int) -> None:
        page = declare(harness, MAIL)
        links = [f"{harness.graph.url}/v1.0/page-{number}" for number in range(length)]
        for number in range(length):
            harness.pages[f"/v1.0/page-{number}"] = {"value": [], "@odata.nextLink": links[(number + 1) % length]}
        harness.pages[f"/v1.0{MAIL}"] = {"value": [], "@odata.nextLink": links[0]}
        harness.read(page)

        def go_round() -> None:
            for _ in range(4 * length):
                harness.read(harness.queued()[-1])

        with pytest.raises(RetryLater, match="leads nowhere"):
            go_round()
        assert len(harness.graph.asked) <= 4 * length

    def test_a_list_without_end_is_left_for_later(self, harness: ReadbackHarness) -> None:
        page = declare(harness, MAIL)
        harness.pages[f"/v1.0{MAIL}"] = {"value": [], "@odata.nextLink": f"{harness.graph.url}/v1.0/another"}
        with pytest.raises(RetryLater, match="leads nowhere"):
            harness.read(ReadbackPage(NOW, TENANT, MAIL, DAY_BEFORE, NOW, number=20_000, declaration=page.declaration))

    def test_a_404_on_a_page_link_begins_again(self, harness: ReadbackHarness) -> None:
        page = declare(harness, MAIL)
        harness.pages["/x"] = in_json({"error": {"code": "x", "message": "gone"}}, 404)
        harness.read(
            ReadbackPage(NOW, TENANT, MAIL, DAY_BEFORE, NOW, f"{harness.graph.url}/x", declaration=page.declaration)
        )
        (again,) = harness.queued()
        assert (again.link, again.resource) == ("", MAIL)


class TestOneAmongMany:
    CHATS = "/chats/getAllMessages"
    PLAN: ClassVar = {"service": "TeamspaceAPI", "capabilityStatus": "Enabled"}

    def test_only_users_with_teams_are_read(self, harness: ReadbackHarness) -> None:
        page = declare(harness, self.CHATS)
        harness.pages["/v1.0/users"] = {
            "value": [
                {"id": "member", "assignedPlans": [{"service": "exchange", "capabilityStatus": "Enabled"}, self.PLAN]},
                {"id": "guest", "assignedPlans": []},
                {"id": "leaver", "assignedPlans": [{**self.PLAN, "capabilityStatus": "Deleted"}]},
                {"id": "untold"},
            ]
        }
        harness.read(page)
        assert [page.resource for page in harness.queued()] == [
            f"users/{name}/chats/getAllMessages" for name in ("member", "untold")
        ]
        assert all(queued.among_many and queued.declaration == page.declaration for queued in harness.queued())

    def test_without_permission_for_plans_every_user_is_read(self, harness: ReadbackHarness) -> None:
        page = declare(harness, self.CHATS)
        harness.graph.script = lambda request: (
            in_json({"error": {"code": "Authorization_RequestDenied", "message": "no"}}, 403)
            if "assignedPlans" in request.path
            else in_json({"value": [{"id": "u1"}]})
        )
        harness.read(page)
        assert [page.resource for page in harness.queued()] == ["users/u1/chats/getAllMessages"]

    @pytest.mark.parametrize(
        ("status", "code", "skipped"),
        [
            (403, "Forbidden", True),
            (403, "Authorization_RequestDenied", False),
            (404, "MailboxNotEnabledForRESTAPI", True),
        ],
    )
    def test_a_lasting_refusal_of_one_user_is_skipped_and_of_all_is_not(
        self, harness: ReadbackHarness, status: int, code: str, skipped: bool
    ) -> None:
        page = declare(harness, self.CHATS)
        people_page = ReadbackPage(
            NOW, TENANT, "users/u1/chats/getAllMessages", DAY_BEFORE, NOW,
            declaration=page.declaration, among_many=True,
        )  # fmt: skip
        harness.pages["/v1.0/users/u1/chats/getAllMessages"] = in_json(
            {"error": {"code": code, "message": "no"}}, status
        )
        if skipped:
            harness.read(people_page)
            assert (harness.queued(), harness.dead()) == ([], [])
        else:
            with pytest.raises(RetryLater) as kept:
                harness.read(people_page)
            assert kept.value.reason is Reason.GRAPH_REFUSED


class TestNames:
    def test_a_mailbox_that_is_declared_by_name_has_the_identity_of_what_is_pushed(
        self, harness: ReadbackHarness
    ) -> None:
        page = declare(harness, "/users/ada@example.org/messages", hydrate=True)
        harness.pages["/v1.0/users/ada%40example.org"] = {"id": USER}
        harness.pages["/v1.0/users/ada%40example.org/messages"] = {"value": [item("AA")]}
        harness.read(page)
        assert subjects(harness) == [f"users/{USER}/messages/AA"]

    def test_the_drive_of_a_site_has_the_identity_of_the_drive(self, harness: ReadbackHarness) -> None:
        page = declare(harness, "/sites/h,1,2/drive/root", "updated")
        harness.pages["/v1.0/sites/h%2C1%2C2/drive"] = {"id": "b1"}
        harness.pages["/v1.0/sites/h%2C1%2C2/drive/root/delta"] = {"value": [item("i1")]}
        harness.read(page)
        assert subjects(harness) == ["drives/b1/items/i1"]

    def test_an_unresolvable_name_is_reported_with_a_remedy(self, harness: ReadbackHarness) -> None:
        page = declare(harness, "/users/nobody@example.org/messages")
        harness.graph.script = lambda _: in_json({"error": {"code": "Request_ResourceNotFound", "message": "no"}}, 404)
        with pytest.raises(RetryLater, match=r"does not resolve to an id.*by its id"):
            harness.read(page)
