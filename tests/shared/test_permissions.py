"""The least permission that watching a resource takes: docs/graph.md, "Permissions", written again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.permissions import permission

TABLE = {
    "/teams/getAllMessages": "ChannelMessage.Read.All",
    "/teams/1/channels/2/messages": "ChannelMessage.Read.All",
    "teams('1')/channels('2')/messages": "ChannelMessage.Read.All",
    "/chats/getAllMessages": "Chat.Read.All",
    "/chats/1/messages?$search=x": "Chat.Read.All",
    "/users/1/chats/getAllMessages": "Chat.Read.All",
    "/appCatalogs/teamsApps/1/installedToChats/getAllMessages": "Chat.Read.WhereInstalled",
    "/chats": "Chat.ReadBasic.All",
    "/chats/1": "Chat.ReadBasic.All",
    "/users/1/chats": "Chat.ReadBasic.All",
    "/teams": "Team.ReadBasic.All",
    "/teams/1": "Team.ReadBasic.All",
    "/teams/getAllChannels": "Channel.ReadBasic.All",
    "/teams/1/channels": "Channel.ReadBasic.All",
    "/teams/1/members": "TeamMember.Read.All",
    "/teams/1/channels/getAllMembers": "ChannelMember.Read.All",
    "communications/onlineMeetings/getAllTranscripts": "OnlineMeetingTranscript.Read.All",
    "communications/onlineMeetings/getAllRecordings": "OnlineMeetingRecording.Read.All",
    "/communications/callRecords": "CallRecords.Read.All",
    "/users/1/messages": "Mail.Read",
    "/users/1/mailFolders('inbox')/messages": "Mail.Read",
    "/users/1/events": "Calendars.Read",
    "/users/1/contacts": "Contacts.Read",
    "/users/1/todo/lists/2/tasks": "Tasks.ReadWrite.All",
    "/drives/1/root": "Files.Read.All",
    "/users/1/drive/root": "Files.Read.All",
    "/sites/1/lists/2": "Sites.Read.All",
    "/users": "User.Read.All",
    "/groups/1": "Group.Read.All",
}


@pytest.mark.parametrize(("resource", "name"), TABLE.items())
def test_the_permission_is_the_documented_one(resource: str, name: str) -> None:
    assert permission(resource) == name


@pytest.mark.parametrize("resource", ["/chats/getAllMembers", "/chats/1/members"])
def test_members_of_chats_take_one_of_two(resource: str) -> None:
    assert permission(resource) in ("ChatMember.Read.All", "Chat.ReadBasic.All")


@given(st.text())
def test_any_resource_has_a_permission_or_a_hint(resource: str) -> None:
    assert permission(resource)
