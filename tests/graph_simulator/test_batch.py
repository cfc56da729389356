"""`$batch`: several calls in one request, each with its own answer; functions with and without parentheses."""

from typing import Any
from urllib.parse import quote

import pytest

from graph_simulator.server import GraphServer
from tests.graph_simulator.client import GraphClient
from tests.graph_simulator.test_reads import CHANNEL, CHANNEL_PATH, CHAT, CHAT_PATH, TEAM, written

JSON = {"Content-Type": "application/json"}

Request = dict[str, Any]


def get(number: int, url: str, **more: Any) -> Request:
    return {"id": str(number), "method": "GET", "url": url, **more}


def batch(app: GraphClient, *requests: Any) -> dict[str, Any]:
    """The responses, by their ids."""
    answer = app.call("POST", "$batch", {"requests": requests})
    assert answer.status_code == 200, answer.text
    responses = answer.json()["responses"]
    assert len(responses) == len(requests)
    return {response["id"]: response for response in responses}


def refused(app: GraphClient, *requests: Any) -> dict[str, Any]:
    """Return the error of a refused batch."""
    answer = app.call("POST", "$batch", {"requests": requests})
    assert answer.status_code == 400
    return dict(answer.json()["error"])


def test_each_call_has_its_own_answer_and_a_404_is_one_within_a_200(graph: GraphServer, app: GraphClient) -> None:
    [chat] = written(graph, chat=CHAT)
    responses = batch(
        app,
        get(1, f"/{CHAT_PATH}/messages/{chat['id']}"),
        get(2, f"{CHANNEL_PATH}/messages/1"),
        get(3, "/users?$top=1"),
        get(4, "/nothing/here"),
    )
    assert (responses["1"]["status"], responses["1"]["body"]) == (200, chat)
    assert responses["1"]["headers"]["Content-Type"] == "application/json"
    assert (responses["2"]["status"], responses["2"]["body"]["error"]["code"]) == (404, "ResourceNotFound")
    assert len(responses["3"]["body"]["value"]) == 1
    assert responses["4"]["status"] == 400


def test_twenty_calls_are_the_most(app: GraphClient) -> None:
    calls = [get(number, "/users?$top=1") for number in range(21)]
    assert {response["status"] for response in batch(app, *calls[:20]).values()} == {200}
    error = refused(app, *calls)
    assert error["code"] == "MaximumValueExceeded"
    assert error["message"] == "Number of batch request steps exceeds the maximum value of 20."


def test_each_call_is_throttled_on_its_own(graph: GraphServer, app: GraphClient) -> None:
    [chat] = written(graph, chat=CHAT)
    url = f"/{CHAT_PATH}/messages/{chat['id']}"
    responses = batch(app, get(1, url), get(2, url), get(3, "/users?$top=1"))
    assert sorted(response["status"] for response in responses.values()) == [200, 200, 429]
    assert responses["3"]["status"] == 200
    graph.post("faults", throttle=1.0, retry_after=7)
    responses = batch(app, get(1, "/users"), get(2, "/groups"))
    assert {(response["status"], response["headers"]["Retry-After"]) for response in responses.values()} == {(429, "7")}


def test_the_order_of_responses_is_not_that_of_calls(app: GraphClient) -> None:
    calls = [get(number, "/users?$top=1") for number in range(20)]
    answer = app.call("POST", "$batch", {"requests": calls})
    assert [response["id"] for response in answer.json()["responses"]] != [response["id"] for response in calls]


def test_a_call_waits_for_those_it_depends_on(app: GraphClient) -> None:
    create = {"id": "make", "method": "POST", "url": "/subscriptions", "headers": JSON, "body": app.properties()}
    responses = batch(
        app,
        create,
        get(2, "/subscriptions", dependsOn=["make"]),
        {"id": "3", "method": "POST", "url": "/subscriptions", "headers": JSON, "body": {}},
        get(4, "/subscriptions", dependsOn=["3"]),
        get(5, "/subscriptions", dependsOn=["MAKE", "4"]),
    )
    assert responses["make"]["status"] == 201
    assert [subscription["id"] for subscription in responses["2"]["body"]["value"]] == [responses["make"]["body"]["id"]]
    assert [responses[number]["status"] for number in "345"] == [400, 424, 424]
    deleted = batch(app, {"id": "1", "method": "DELETE", "url": f"/subscriptions/{responses['make']['body']['id']}"})
    assert deleted["1"]["status"] == 204
    assert "body" not in deleted["1"]


def test_headers_are_those_of_the_call(app: GraphClient) -> None:
    responses = batch(app, get(1, "/nothing", headers={"Client-Request-Id": "one"}), get(2, "/nothing"))
    named = [responses[number]["body"]["error"]["innerError"]["client-request-id"] for number in "12"]
    assert named[0] == "one" != named[1]


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([get(1, "/users"), get(1, "/groups")], "Request Id 1 has to be unique in a batch."),
        ([get(1, "/users", id="a"), get(2, "/users", id="A")], "Request Id A has to be unique in a batch."),
        ([get(1, "/users", dependsOn=["2"]), get(2, "/users")], "Invalid dependency for request Id: 1"),
        ([get(1, "/users", dependsOn=["1"])], "Invalid dependency for request Id: 1"),
        ([get(1, "/users", dependsOn=["9"])], "Invalid dependency for request Id: 1"),
        ([get(1, "https://graph.microsoft.com/v1.0/users")], "Invalid method or URL of request Id: 1"),
        ([get(1, "/users", method="BREW")], "Invalid method or URL of request Id: 1"),
        ([get(1, "/subscriptions", method="POST", body={})], "Request Id 1 has a body and no Content-Type."),
        ([{"id": "1", "url": "/users"}], "Invalid batch payload format."),
        ([get(1, "/users", id=1)], "Invalid batch payload format."),
        ([get(1, "/users", id="")], "Request Id  has to be unique in a batch."),
        (["text"], "Invalid batch payload format."),
    ],
)
def test_a_malformed_batch_is_refused(app: GraphClient, requests: list[Any], message: str) -> None:
    assert refused(app, *requests)["message"] == message


def test_a_batch_needs_a_token_and_no_batch_holds_another(app: GraphClient) -> None:
    bare = app.http.post(f"{app.graph.url}/v1.0/$batch", json={"requests": [get(1, "/users")]})
    assert bare.status_code == 401
    inner = {"id": "1", "method": "POST", "url": "/$batch", "headers": JSON, "body": {"requests": []}}
    assert batch(app, inner)["1"]["status"] == 400


def test_calls_of_a_batch_are_counted_as_calls(graph: GraphServer, app: GraphClient) -> None:
    batch(app, get(1, "/users"), get(2, "/users"))
    counts = {(call["method"], call["path"]): call["count"] for call in graph.get("calls")}
    assert (counts["POST", "/$batch"], counts["GET", "/users"]) == (1, 2)


@pytest.mark.parametrize("function", ["delta", "delta()", "Delta()", "microsoft.graph.delta()"])
def test_a_function_is_called_with_and_without_parentheses(graph: GraphServer, app: GraphClient, function: str) -> None:
    written(graph, team=TEAM, channel=CHANNEL)
    assert app.call("GET", f"{CHANNEL_PATH}/messages/{function}").status_code == 200


def test_exports_are_read_with_parentheses_and_go_on(graph: GraphServer, app: GraphClient) -> None:
    for _ in range(3):
        written(graph, team=TEAM, channel=CHANNEL)
        graph.post("clock", advance_seconds=60)
    page = app.call("GET", f"teams/{TEAM}/channels/getAllMessages()", params={"$top": "2"}).json()
    rest = app.call("GET", page["@odata.nextLink"])
    assert rest.status_code == 200
    user = app.call("GET", "users").json()["value"][0]["id"]
    for path in ("chats/getAllMessages()", "chats/getAllMessages()/delta()"):
        assert app.call("GET", f"users('{user}')/{path}").status_code == 200


@pytest.mark.parametrize(
    ("spelling", "other"),
    [
        ("/chats/getAllMessages()", "chats/getallMessages"),
        ("/teams/getAllMessages()", "/teams/microsoft.graph.getAllMessages()"),
    ],
)
def test_a_resource_is_the_same_with_and_without_parentheses(app: GraphClient, spelling: str, other: str) -> None:
    app.subscribed(resource=spelling)
    assert app.subscribe(resource=other).status_code == 409


def test_a_function_with_a_parameter_can_be_subscribed_to(app: GraphClient) -> None:
    resource = f"users/{quote('0b8f5a1e-5b56-4bb0-bb5c-5c0a4f2f4b77')}/onlineMeetings/getAllTranscripts"
    app.subscribed(resource=f"{resource}(meetingOrganizerUserId='1')", changeType="created")
    app.subscribed(resource=f"{resource}(meetingOrganizerUserId='2')", changeType="created")
