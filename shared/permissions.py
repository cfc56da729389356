"""The least application permission that watching a resource takes (docs/graph.md, "Permissions")."""

import re

# Patterns over the path in lower case, without a leading slash or a query; the first that fits counts.
_PERMISSIONS = (
    (r"teams/getallmessages|teams/[^/]+/channels/[^/]+/messages", "ChannelMessage.Read.All"),
    (r"(users/[^/]+/)?chats/getallmessages|chats/[^/]+/messages", "Chat.Read.All"),
    (r"appcatalogs/.*/installedtochats/getallmessages", "Chat.Read.WhereInstalled"),
    (r"chats/getallmembers|chats/[^/]+/members", "ChatMember.Read.All"),
    (r"(users/[^/]+/)?chats|appcatalogs/", "Chat.ReadBasic.All"),
    (r"teams/getallmembers|teams/[^/]+/members", "TeamMember.Read.All"),
    (r"teams/[^/]+/channels/getallmembers", "ChannelMember.Read.All"),
    (r"teams/getallchannels|teams/[^/]+/channels", "Channel.ReadBasic.All"),
    (r"teams(/[^/]+)?$", "Team.ReadBasic.All"),
    (r".*transcripts", "OnlineMeetingTranscript.Read.All"),
    (r".*recordings", "OnlineMeetingRecording.Read.All"),
    (r"communications/callrecords", "CallRecords.Read.All"),
    (r"users/[^/]+/(messages|mailfolders)", "Mail.Read"),
    (r"users/[^/]+/(events|calendar)", "Calendars.Read"),
    (r"users/[^/]+/contact", "Contacts.Read"),
    (r"users/[^/]+/todo", "Tasks.ReadWrite.All"),
    (r"(drives|(users|groups)/[^/]+/drive)", "Files.Read.All"),
    (r"sites", "Sites.Read.All"),
    (r"users", "User.Read.All"),
    (r"groups", "Group.Read.All"),
)


def permission(resource: str) -> str:
    """Return the permission's name, or a hint where it is not known."""
    path = re.sub(r"\('([^']*)'\)", r"/\1", resource.partition("?")[0]).strip("/").lower()
    known = (name for pattern, name in _PERMISSIONS if re.match(pattern, path))
    return next(known, f"that Graph's documentation names for subscriptions to {path}")
