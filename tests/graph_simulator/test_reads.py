"""Reads of messages, over HTTPS and page by page."""

import uuid
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from graph_simulator.server import GraphServer
from tests.graph_simulator.client import GraphClient, generated
from tests.waiting import eventually

CHAT = "19:read@thread.v2"
TEAM, CHANNEL = "0b8f5a1e-5b56-4bb0-bb5c-5c0a4f2f4b77", "19:read@thread.tacv2"
CHANNEL_PATH = f"teams/{TEAM}/channels/{quote(CHANNEL)}"
CHAT_PATH = f"chats/{quote(CHAT)}"

Message = dict[str, Any]


def written(graph: GraphServer, **order: Any) -> list[Message]:
    return [made["resource"] for made in graph.post("messages", **order)["messages"]]


def rounds(
    app: GraphClient, path: str, params: dict[str, str] | None = None
) -> tuple[list[Message], str | None, list[int]]:
    """Follow a read to its end; return its items, its delta link and the sizes of its pages. Waits out the limits."""
    items: list[Message] = []
    sizes: list[int] = []
    while True:
        response = app.call("GET", path, params=params)
        if response.status_code == 429:
            app.graph.post("clock", advance_seconds=2)
            continue
        assert response.status_code == 200, response.text
        page = response.json()
        assert page["@odata.count"] == len(page["value"])
        items += page["value"]
        sizes.append(len(page["value"]))
        if "@odata.nextLink" not in page:
            return items, page.get("@odata.deltaLink"), sizes
        path, params = page["@odata.nextLink"], None


def licensed(app: GraphClient) -> list[Message]:
    """Return the users with Teams: Graph refuses to read the chats of others."""
    return [user for user in rounds(app, "users")[0] if user["assignedPlans"]]


def ids(messages: list[Message]) -> list[str]:
    return [message["id"] for message in messages]


def test_one_message_and_one_reply_are_read_by_their_own_path(graph: GraphServer, app: GraphClient) -> None:
    [chat] = written(graph, chat=CHAT)
    [root] = written(graph, team=TEAM, channel=CHANNEL)
    [reply] = written(graph, team=TEAM, channel=CHANNEL, root=root["id"])
    for path, message in (
        (f"{CHAT_PATH}/messages/{chat['id']}", chat),
        (f"{CHANNEL_PATH}/messages/{root['id']}", root),
        (f"{CHANNEL_PATH}/messages/{root['id']}/replies/{reply['id']}", reply),
        (f"chats('{quote(CHAT)}')/messages('{chat['id']}')", chat),
    ):
        assert app.call("GET", path).json() == message
        graph.post("clock", advance_seconds=1)
    assert reply["replyToId"] == root["id"]
    assert app.call("GET", f"{CHAT_PATH}/messages/1").status_code == 404


def test_one_read_a_second_is_the_limit_of_a_chat(graph: GraphServer, app: GraphClient) -> None:
    [message] = written(graph, chat=CHAT)
    path = f"{CHAT_PATH}/messages/{message['id']}"
    assert [app.call("GET", path).status_code for _ in range(2)] == [200, 429]
    graph.post("clock", advance_seconds=1)
    assert app.call("GET", path).status_code == 200


def test_a_chat_is_read_newest_first_in_pages_some_of_them_empty(graph: GraphServer, app: GraphClient) -> None:
    messages = written(graph, chat=CHAT, count=120)
    read, _, sizes = rounds(app, f"{CHAT_PATH}/messages", {"$top": "2"})
    assert ids(read) == ids(messages)[::-1]
    assert max(sizes) == 2
    assert 0 in sizes[:-1]


def test_bounds_are_exclusive(graph: GraphServer, app: GraphClient) -> None:
    messages = written(graph, chat=CHAT, count=5)
    first, last = messages[1]["lastModifiedDateTime"], messages[3]["lastModifiedDateTime"]
    params = {
        "$orderby": "lastModifiedDateTime desc",
        "$filter": f"lastModifiedDateTime gt {first} and lastModifiedDateTime lt {last}",
    }
    read, _, _ = rounds(app, f"{CHAT_PATH}/messages", params)
    assert ids(read) == [messages[2]["id"]]


def test_a_filter_without_its_order_is_silently_ignored_in_a_chat(graph: GraphServer, app: GraphClient) -> None:
    written(graph, chat=CHAT, count=5)
    read, _, _ = rounds(app, f"{CHAT_PATH}/messages", {"$filter": "lastModifiedDateTime gt 2090-01-01T00:00:00Z"})
    assert len(read) == 5


@pytest.mark.parametrize(
    ("path", "params"),
    [
        (f"{CHAT_PATH}/messages", {"$top": "51"}),
        (f"{CHAT_PATH}/messages", {"$orderby": "lastModifiedDateTime asc"}),
        (f"{CHAT_PATH}/messages", {"$select": "id"}),
        (f"{CHAT_PATH}/messages", {"$filter": "body eq 'x'"}),
        (f"{CHAT_PATH}/messages", {"$skiptoken": "made-up"}),
        (f"teams/{TEAM}/channels/getAllMessages", {"$orderby": "lastModifiedDateTime desc"}),
        (f"teams/{TEAM}/channels/getAllMessages", {"$filter": "lastModifiedDateTime ge 2031-01-01T00:00:00Z"}),
        (f"teams/{TEAM}/channels/getAllMessages", {"$filter": "lastModifiedDateTime gt yesterday"}),
        (f"{CHANNEL_PATH}/messages/delta", {"$filter": "lastModifiedDateTime lt 2031-01-01T00:00:00Z"}),
        ("groups", {"$filter": "displayName eq 'x'"}),
        ("nothing/of/the/kind", {}),
    ],
)
def test_unsupported_queries_are_refused(
    graph: GraphServer, app: GraphClient, path: str, params: dict[str, str]
) -> None:
    written(graph, chat=CHAT), written(graph, team=TEAM, channel=CHANNEL)
    response = app.call("GET", path, params=params)
    assert response.status_code == 400, response.text


def test_all_messages_of_a_team_include_replies_and_both_bounds_hold(graph: GraphServer, app: GraphClient) -> None:
    roots = written(graph, team=TEAM, channel=CHANNEL, count=10)
    replies = written(graph, team=TEAM, channel=CHANNEL, root=roots[0]["id"], count=10)
    path = f"teams/{TEAM}/channels/getAllMessages"
    read, _, sizes = rounds(app, path, {"$top": "3"})
    assert sorted(ids(read)) == sorted(ids(roots + replies))
    assert len(sizes) >= 7
    after = datetime.fromisoformat(replies[4]["lastModifiedDateTime"])
    read, _, _ = rounds(app, path, {"$filter": f"lastModifiedDateTime gt {after.isoformat().replace('+00:00', 'Z')}"})
    assert sorted(ids(read)) == sorted(message["id"] for message in roots + replies if int(message["etag"]) >
                                       round(after.timestamp() * 1000))  # fmt: skip


def test_links_name_the_resource_in_their_own_way(graph: GraphServer, app: GraphClient) -> None:
    written(graph, team=TEAM, channel=CHANNEL, count=10)
    page = app.call("GET", f"teams/{TEAM}/channels/getAllMessages", params={"$top": "1"}).json()
    assert page["@odata.nextLink"].startswith(f"{graph.url}/v1.0/teams('{TEAM}')/channels/getallMessages?$skiptoken=")


def test_a_chat_message_shows_up_once_for_each_participant(graph: GraphServer, app: GraphClient) -> None:
    [message] = written(graph, text="for all of us")
    path = f"chats/{quote(message['chatId'])}/members"
    members = {member["userId"] for member in rounds(app, path)[0]}
    users = {user["id"] for user in licensed(app)}
    assert 1 < len(members) < len(users)
    found = {user for user in users if ids(rounds(app, f"users/{user}/chats/getAllMessages")[0]) == [message["id"]]}
    assert found == members


def test_an_export_can_be_narrowed_to_a_sender(graph: GraphServer, app: GraphClient) -> None:
    [message] = written(graph, text="mine")
    sender = message["from"]["user"]["id"]
    member = rounds(app, f"chats/{quote(message['chatId'])}/members")[0][0]["userId"]
    for other in (sender, str(uuid.uuid4())):
        bounds = "lastModifiedDateTime gt 2000-01-01T00:00:00Z and lastModifiedDateTime lt 2090-01-01T00:00:00Z"
        params = {"$filter": f"{bounds} and (from/user/id eq '{other}' or from/user/id eq 'x')"}
        read, _, _ = rounds(app, f"users/{member}/chats/getAllMessages", params)
        assert ids(read) == ([message["id"]] if other == sender else [])


def test_a_soft_deleted_message_reads_as_one_with_an_empty_body(graph: GraphServer, app: GraphClient) -> None:
    [made] = graph.post("messages", chat=CHAT, text="soon gone")["messages"]
    graph.post("messages", delete=made["path"])
    read = app.call("GET", f"{CHAT_PATH}/messages/{made['resource']['id']}").json()
    assert read["body"]["content"] == ""
    assert read["deletedDateTime"] == read["lastModifiedDateTime"]
    [truth] = graph.messages()
    assert truth["deleted"]
    graph.post("messages", restore=made["path"])
    graph.post("clock", advance_seconds=1)
    read = app.call("GET", f"{CHAT_PATH}/messages/{made['resource']['id']}").json()
    assert (read["body"]["content"], read["deletedDateTime"]) == ("soon gone", None)


def test_a_channels_delta_has_roots_and_replies_only_on_request(graph: GraphServer, app: GraphClient) -> None:
    roots = written(graph, team=TEAM, channel=CHANNEL, count=30)
    path = f"{CHANNEL_PATH}/messages/delta"
    plain, plain_link, _ = rounds(app, path)
    full, full_link, _ = rounds(app, path, {"$expand": "replies", "$top": "7"})
    assert sorted(ids(plain)) == sorted(ids(full)) == sorted(ids(roots))
    assert plain_link
    assert full_link
    [reply] = written(graph, team=TEAM, channel=CHANNEL, root=roots[3]["id"])
    graph.post("clock", advance_seconds=1)
    assert rounds(app, plain_link)[0] == []
    [chain] = rounds(app, full_link)[0]
    assert (chain["id"], ids(chain["replies"])) == (roots[3]["id"], [reply["id"]])


def test_replies_beyond_a_thousand_have_a_link_of_their_own(graph: GraphServer, app: GraphClient) -> None:
    [root] = written(graph, team=TEAM, channel=CHANNEL)
    replies = written(graph, team=TEAM, channel=CHANNEL, root=root["id"], count=1010, text="again")
    graph.post("clock", advance_seconds=1)
    [chain] = rounds(app, f"{CHANNEL_PATH}/messages/delta", {"$expand": "replies"})[0]
    assert len(chain["replies"]) == 1000
    rest, _, _ = rounds(app, chain["replies@odata.nextLink"])
    assert sorted(ids(chain["replies"] + rest)) == sorted(ids(replies))


def test_a_users_delta_goes_on_from_where_it_ended(graph: GraphServer, app: GraphClient) -> None:
    users = [user["id"] for user in rounds(app, "users")[0]]
    messages = written(graph, chat=CHAT, count=10)  # every user is a member of a new chat
    first, link, _ = rounds(app, f"users/{users[0]}/chats/getAllMessages/delta", {"$top": "4"})
    assert link
    assert sorted(ids(first)) == sorted(ids(messages))
    [path] = {line["path"] for line in graph.messages() if line["resource"]["id"] == messages[2]["id"]}
    graph.post("messages", react=path)
    graph.post("clock", advance_seconds=1)
    changed, link, _ = rounds(app, link)
    assert ids(changed) == [messages[2]["id"]]
    assert link
    assert rounds(app, link)[0] == []


def test_an_outdated_delta_link_answers_410(graph: GraphServer, app: GraphClient) -> None:
    user = rounds(app, "users")[0][0]["id"]
    _, link, _ = rounds(app, f"users/{user}/chats/getAllMessages/delta")
    assert link
    graph.post("clock", advance_seconds=timedelta(days=7, seconds=1).total_seconds())
    app.tokens.clear()
    assert app.call("GET", link).status_code == 410


def test_a_change_can_be_late_for_lists_and_is_not_for_itself(graph: GraphServer, app: GraphClient) -> None:
    graph.post("faults", late_seconds=60)
    [message] = written(graph, chat=CHAT)
    assert app.call("GET", f"{CHAT_PATH}/messages/{message['id']}").status_code == 200
    assert rounds(app, f"{CHAT_PATH}/messages")[0] == []
    graph.post("clock", advance_seconds=61)
    assert ids(rounds(app, f"{CHAT_PATH}/messages")[0]) == [message["id"]]


def test_a_tenant_can_be_walked_from_its_groups_and_users_to_its_places(graph: GraphServer, app: GraphClient) -> None:
    teams, _, _ = rounds(app, "groups", {"$filter": "resourceProvisioningOptions/Any(x:x eq 'Team')", "$top": "1"})
    assert sorted(ids(teams)) == sorted(ids(rounds(app, "teams")[0]))
    assert len(rounds(app, "groups")[0]) == len(teams) + 1
    for team in teams:
        channels, _, _ = rounds(app, f"teams/{team['id']}/channels")
        assert channels
        assert len(rounds(app, f"teams/{team['id']}/members")[0]) == 9
        assert len(rounds(app, f"teams/{team['id']}/channels/{quote(channels[0]['id'])}/members")[0]) == 9
    users, _, _ = rounds(app, "users", {"$select": "id,displayName"})
    assert all(user.keys() == {"id", "displayName"} for user in users)
    assert any(rounds(app, f"users/{user['id']}/chats")[0] for user in users)


def test_another_tenants_messages_are_not_to_be_seen(graph: GraphServer, app: GraphClient) -> None:
    other = str(uuid.uuid4())
    [message] = written(graph, tenant=other, chat=CHAT)
    path = f"{CHAT_PATH}/messages/{message['id']}"
    assert app.call("GET", path, tenant=other).status_code == 200
    assert app.call("GET", path).status_code == 404


def test_a_link_gives_the_same_page_twice(graph: GraphServer, app: GraphClient) -> None:
    written(graph, team=TEAM, channel=CHANNEL, count=10)
    link = app.call("GET", f"teams/{TEAM}/channels/getAllMessages", params={"$top": "2"}).json()["@odata.nextLink"]
    again = [message for _ in range(2) for message in rounds(app, link)[0]]
    assert again[: len(again) // 2] == again[len(again) // 2 :]


def test_what_was_generated_can_be_read_back_in_its_last_state(graph: GraphServer, app: GraphClient) -> None:
    graph.post("generate", rate=200, messages=100)
    eventually(lambda: generated(graph))
    graph.post("clock", advance_seconds=1)
    found: dict[tuple[Any, ...], Message] = {}
    for user in licensed(app):
        for message in rounds(app, f"users/{user['id']}/chats/getAllMessages")[0]:
            found[message["chatId"], message["id"]] = message
    for team in rounds(app, "teams")[0]:
        for message in rounds(app, f"teams/{team['id']}/channels/getAllMessages")[0]:
            found[message["channelIdentity"]["channelId"], message["replyToId"], message["id"]] = message
    truth = [line["resource"] for line in graph.messages()]
    assert sorted(map(str, found.values())) == sorted(map(str, truth))
