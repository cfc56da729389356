"""Delta queries: the changes since the last query, with a scripted Graph and destination."""

from urllib.parse import quote

import msgspec
import pytest

from shared.delivery.event import event_read_back
from shared.errors import RetryLater
from shared.messages.envelope import ReadbackPage
from tests.builders import NOW, TENANT
from tests.process_queue.readback_harness import DONE, ReadbackHarness, asked_for
from tests.servers import ScriptedResponse, in_json

ENTRY = {"id": "a/b=", "lastModifiedDateTime": "2023-11-14T22:14:20Z", "name": "x"}


class TestARejectedEntry:
    """An entry of a delta query that the destination rejected, replayed when it would accept it."""

    @pytest.fixture(params=["groups", "users", "drives/b!x/root"])
    def resource(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def replayed(self, harness: ReadbackHarness, resource: str) -> ReadbackPage:
        link = f"{harness.graph.url}/v1.0/delta-1"
        harness.pages[f"/v1.0/{quote(resource)}/delta"] = {"value": [], "@odata.deltaLink": link}
        harness.read(asked_for(resource, since=NOW))
        harness.pages["/v1.0/delta-1"] = {"value": [ENTRY, {**ENTRY, "id": "accepted"}]}
        harness.rejects = {str(ENTRY["id"])}
        harness.read(asked_for(resource))
        harness.rejects = set()
        harness.delivered.clear()
        return harness.replay()

    @pytest.fixture
    def path(self, resource: str) -> str:
        """Graph's path of that entry."""
        return f"/v1.0/{quote(resource).replace('/root', '/items')}/a%2Fb%3D"

    def test_is_read_by_itself(
        self, harness: ReadbackHarness, replayed: ReadbackPage, resource: str, path: str
    ) -> None:
        harness.pages[path] = ENTRY
        harness.read(replayed)
        (event,) = harness.delivered
        entry = event_read_back(msgspec.json.encode(ENTRY), resource, TENANT, NOW)
        assert (event["id"], event["subject"]) == (entry.id, f"{resource.replace('/root', '/items')}/a/b=")

    def test_is_a_deletion_if_it_is_gone_by_now(
        self, harness: ReadbackHarness, replayed: ReadbackPage, resource: str, path: str
    ) -> None:
        harness.pages[path] = in_json({"error": {"code": "NotFound", "message": "gone"}}, 404)
        harness.clock.advance(minutes=5)
        harness.read(replayed)
        (event,) = harness.delivered
        assert event["type"].endswith("Deleted")
        assert (event["subject"], event["data"]["id"]) == (f"{resource.replace('/root', '/items')}/a/b=", "a/b=")

    def test_is_kept_while_graph_does_not_give_it(
        self, harness: ReadbackHarness, replayed: ReadbackPage, path: str
    ) -> None:
        harness.pages[path] = in_json({"error": {"code": "Forbidden", "message": "no"}}, 403)
        with pytest.raises(RetryLater, match="403 Forbidden"):
            harness.read(replayed)


class TestDelta:
    """Resources other than messages: the changes since the last query."""

    @pytest.fixture
    def begun(self, harness: ReadbackHarness) -> ReadbackHarness:
        """A first query, over an empty range, stored its delta link."""
        harness.pages["/v1.0/users/delta"] = {
            "value": [{"id": "u1", "displayName": "Ada"}],
            "@odata.deltaLink": f"{harness.graph.url}/v1.0/users/delta-1",
        }
        harness.read(asked_for("/users", since=NOW))
        return harness

    def test_the_first_query_delivers_nothing(self, begun: ReadbackHarness) -> None:
        assert begun.delivered == []

    def test_later_ones_deliver_what_changed_and_what_is_gone(self, begun: ReadbackHarness) -> None:
        begun.pages["/v1.0/users/delta-1"] = {
            "value": [{"id": "u2", "displayName": "Lin"}, {"id": "u3", "@removed": {"reason": "deleted"}}],
            "@odata.deltaLink": f"{begun.graph.url}/v1.0/users/delta-2",
        }
        begun.read(asked_for("/users"))
        assert [(event["type"], event["subject"]) for event in begun.delivered] == [
            ("Microsoft.Graph.UserUpdated", "users/u2"),
            ("Microsoft.Graph.UserDeleted", "users/u3"),
        ]
        begun.pages["/v1.0/users/delta-2"] = {"value": []}
        begun.read(asked_for("/users"))
        assert begun.graph.paths()[-1] == "/v1.0/users/delta-2"

    def test_each_state_of_a_resource_without_a_modification_time_is_delivered(self, begun: ReadbackHarness) -> None:
        for number, name in enumerate("ABA"):
            begun.clock.advance(hours=1)
            begun.pages[f"/v1.0/users/delta-{number + 1}"] = {
                "value": [{"id": "u2", "createdDateTime": "2023-11-14T22:13:20Z", "displayName": name}],
                "@odata.deltaLink": f"{begun.graph.url}/v1.0/users/delta-{number + 2}",
            }
            begun.read(asked_for("/users"))
        assert [event["data"]["displayName"] for event in begun.delivered] == ["A", "B", "A"]
        versions = [event["version"] for event in begun.delivered]
        assert versions == sorted(set(versions))

    def test_the_link_is_not_moved_on_before_all_is_delivered(self, begun: ReadbackHarness) -> None:
        begun.pages["/v1.0/users/delta-1"] = {
            "value": [{"id": "u2"}],
            "@odata.deltaLink": f"{begun.graph.url}/v1.0/users/delta-2",
        }
        begun.destination_answers = ScriptedResponse(503)
        with pytest.raises(RetryLater):
            begun.read(asked_for("/users"))
        begun.destination_answers = DONE
        begun.read(asked_for("/users"))
        assert [event["subject"] for event in begun.delivered] == ["users/u2"]

    def test_a_first_query_that_comes_late_passes_nothing_over(self, begun: ReadbackHarness) -> None:
        """It was queued when the resource was declared; consent came later, and a gap was read in between."""
        begun.pages["/v1.0/users/delta-1"] = {
            "value": [{"id": "u2"}],
            "@odata.deltaLink": f"{begun.graph.url}/v1.0/users/delta-2",
        }
        begun.read(asked_for("/users", since=NOW))
        begun.read(asked_for("/users"))
        assert [event["subject"] for event in begun.delivered] == ["users/u2"]

    @pytest.mark.parametrize(("status", "code"), [(410, "resyncRequired"), (400, "badRequest")])
    def test_a_link_too_old_starts_over(self, begun: ReadbackHarness, status: int, code: str) -> None:
        begun.pages["/v1.0/users/delta-1"] = in_json({"error": {"code": code, "message": "old"}}, status)
        begun.read(asked_for("/users"))
        assert [event["subject"] for event in begun.delivered] == ["users/u1"]

    def test_a_query_that_is_refused_from_the_start_is_kept_for_later(self, harness: ReadbackHarness) -> None:
        harness.pages["/v1.0/users/delta"] = in_json({"error": {"code": "badRequest", "message": "no"}}, 400)
        with pytest.raises(RetryLater, match="400 badRequest"):
            harness.read(asked_for("/users"))
