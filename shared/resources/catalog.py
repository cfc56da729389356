"""The one table of what Graph offers to applications: every kind of resource that can be subscribed to.

For each: where it lies, how long a subscription lives, and which permissions each operation of the app takes.
Whoever asks for a permission, checks one or advises one reads this table (see `shared/resources/permissions.py`).

Sources: the pages named beside each row, and for reads Microsoft's permission reference, the file
permissions/new/permissions.json of the repository microsoftgraph/microsoft-graph-devx-content, edition of 2026-08-07. A
test holds the table to both.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache

from shared.resources.path import segments, without_named_keys

RESOURCE_CONSENT_QUERY = "useResourceSpecificConsentBasedAuthorization=true"
"""Query of a resource by which some kinds are subscribed to with resource-specific consent."""

MARGIN = timedelta(minutes=1)
"""What we ask for less than the maximum, since our clock may differ from Graph's."""

UNKNOWN_MINUTES = 60
"""What every resource takes, also one that is missing here."""

SHORTEST_LIFETIME = timedelta(minutes=UNKNOWN_MINUTES) - MARGIN


@dataclass(frozen=True)
class Source:
    """A page of Microsoft's documentation, and the edition (ISO date) that was read."""

    page: str
    edition: str


_CREATE = Source("https://learn.microsoft.com/graph/api/subscription-post-subscriptions", "2026-05-05")
_REAUTHORIZE = Source("https://learn.microsoft.com/graph/api/subscription-reauthorize", "2026-05-05")
_INSTALLATIONS = Source("https://learn.microsoft.com/graph/teams-changenotifications-appinstallation", "2024-11-07")
_RECORDINGS = Source(
    "https://learn.microsoft.com/graph/teams-changenotifications-callrecording-and-calltranscript", "2025-09-18"
)
_MEETINGS = Source("https://learn.microsoft.com/graph/changenotifications-for-onlinemeeting", "2024-06-30")
_VIRTUAL_EVENTS = Source("https://learn.microsoft.com/graph/changenotifications-for-virtualevent", "2024-11-07")
_OVERVIEW = Source("https://learn.microsoft.com/graph/change-notifications-overview", "2025-03-05")
_REFERENCE = Source("https://learn.microsoft.com/graph/permissions-reference", "2026-08-07")


@dataclass(frozen=True)
class Operation:
    """A GET of the app: a path below `/v1.0/`, `{}` for an id, and what Graph accepts for it, the least first.

    `specific` are the resource-specific permissions that do as well, each for one team, chat or user.
    """

    path: str
    accepted: tuple[str, ...]
    specific: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A row: resources of one kind that take the same permissions. `{}` in a path stands for an id.

    Attributes:
        name: Graph's name of the resource type.
        minutes: the longest life of a subscription; `rich_minutes` with resource data, where that differs.
        subscribe: the application permissions that Graph accepts for a subscription, the least first; none: no
            application can subscribe, and `besides` says why.
        specific: the resource-specific permissions that do as well.
        specific_by_query: whether the resource has to say so, by `RESOURCE_CONSENT_QUERY`.
        renew: what the page on renewing names, where it contradicts the page on creating; none: no application.
        read: reads one such resource (`hydrate`); `reads` where one resource may lie in several places.
        sweep: what is read to find what was missed, first the list of a fan-out, if there is one.
        specific_sweep: the same with resource-specific consent alone.
        besides: what is needed besides a permission, as sentences.
        beta: whether only Graph's beta endpoint offers it, which this app does not use.
        not_least: why the first of `subscribe` or of an operation is not what Microsoft marks as least.
        source: the page that `subscribe` was taken from.
    """

    name: str
    paths: tuple[str, ...]
    minutes: int
    subscribe: tuple[str, ...]
    source: Source = _CREATE
    rich_minutes: int | None = None
    specific: tuple[str, ...] = ()
    specific_by_query: bool = False
    renew: tuple[str, ...] | None = None
    read: tuple[Operation, ...] = ()
    sweep: tuple[Operation, ...] = ()
    specific_sweep: tuple[Operation, ...] = ()
    besides: tuple[str, ...] = ()
    beta: bool = False
    not_least: str = ""

    def lifetime(self, *, rich: bool) -> timedelta:
        """Return how long Graph lets a subscription live."""
        return timedelta(minutes=self.rich_minutes if rich and self.rich_minutes else self.minutes)


# --- What is needed besides a permission.

TEAMS_LICENCE = "Graph notifies of users who have a licence for Microsoft Teams."
TEAMS_APP = "Your Teams app has to be installed in each of the chats."
TEAMS_APP_IN_MEETING = "Your Teams app has to be installed in each of the meetings."
COPILOT_LICENCE = (
    "The tenant, or the user in the path, needs a Copilot licence with the service plan Microsoft 365 Copilot Chat."
)
ACCESS_POLICY = (
    "To read it back (hydrate), a Teams administrator allows the app an application access policy for the organizers: "
    "New-CsApplicationAccessPolicy and Grant-CsApplicationAccessPolicy in the Teams PowerShell module. It takes up to "
    "30 minutes."
)
TRANSCRIPT_ACCESS = (
    "To read it back (hydrate), Microsoft Graph access is on in the Teams admin center under Meetings, Meeting "
    "settings, Transcript API access."
)
EMBEDDED = (
    "For a container of SharePoint Embedded: FileStorageContainer.Selected in place of the permission, and a "
    "permission of its container type."
)
ONE_TEAM = "Microsoft marks the resource-specific permission as least, which is for one team or chat alone."

# --- What Graph accepts for the reads of the app.

_GROUPS = ("Group.Read.All", "Group.ReadWrite.All")
_DIRECTORY = ("Directory.Read.All", "Directory.ReadWrite.All")

LIST_TEAMS = Operation("teams", ("Team.ReadBasic.All", "TeamSettings.Read.All", "TeamSettings.ReadWrite.All"))
LIST_USERS = Operation(
    "users",
    (
        "User.ReadBasic.All",
        "User.Read.All",
        "User.ReadWrite.All",
        *_DIRECTORY,
        "User.ReadWrite.CrossCloud",
        "AgentIdUser.ReadWrite.All",
        "AgentIdUser.ReadWrite.IdentityParentedBy",
        *(
            f"DeviceManagement{area}.{right}.All"
            for area in ("Apps", "Configuration", "ManagedDevices", "ServiceConfig")
            for right in ("Read", "ReadWrite")
        ),
    ),
)
RESOLVE_USER = replace(LIST_USERS, path="users/{}")
_MESSAGES_OF_TEAM = Operation("teams/{}/channels/getAllMessages", ("ChannelMessage.Read.All",))
_CHANNEL = ("ChannelMessage.Read.All", *_GROUPS)
_CHANNEL_DELTA = Operation("teams/{}/channels/{}/messages/delta", _CHANNEL, ("ChannelMessage.Read.Group",))
_CHANNEL_MESSAGE = (
    Operation("teams/{}/channels/{}/messages/{}", _CHANNEL, ("ChannelMessage.Read.Group",)),
    Operation("teams/{}/channels/{}/messages/{}/replies/{}", _CHANNEL, ("ChannelMessage.Read.Group",)),
)
_MESSAGES_OF_USER = Operation("users/{}/chats/getAllMessages", ("Chat.Read.All", "Chat.ReadWrite.All"))
_MESSAGES_OF_CHAT = Operation("chats/{}/messages", ("Chat.Read.All", "Chat.ReadWrite.All"), ("ChatMessage.Read.Chat",))
_CHAT_MESSAGE = (Operation("chats/{}/messages/{}", ("Chat.Read.All", *_GROUPS), ("ChatMessage.Read.Chat",)),)
_CHAT_SPECIFIC = ("ChatSettings.Read.Chat", "ChatSettings.ReadWrite.Chat", "Chat.Manage.Chat")
_CHAT = (Operation("chats/{}", ("Chat.ReadBasic.All", "Chat.Read.All"), _CHAT_SPECIFIC),)
_MEMBERS_OF_CHAT = (
    "ChatMember.Read.All",
    "ChatMember.ReadWrite.All",
    "Chat.ReadBasic.All",
    "Chat.Read.All",
    "Chat.ReadWrite.All",
)
_CHAT_MEMBER = (
    Operation(
        "chats/{}/members/{}", _MEMBERS_OF_CHAT, ("ChatMember.Read.Chat", "Chat.Manage.Chat", "TeamMember.Read.Group")
    ),
)
_TEAM_MEMBER = (
    Operation("teams/{}/members/{}", ("TeamMember.Read.All", "TeamMember.ReadWrite.All"), ("TeamMember.Read.Group",)),
)
_CHANNEL_MEMBER = (
    Operation(
        "teams/{}/channels/{}/members/{}",
        ("ChannelMember.Read.All", "ChannelMember.ReadWrite.All"),
        ("ChannelMember.Read.Group", "ChannelMember.ReadWrite.Group"),
    ),
)
_TEAM = (
    Operation(
        "teams/{}",
        ("Team.ReadBasic.All", "TeamSettings.Read.All", "TeamSettings.ReadWrite.All", *_GROUPS, *_DIRECTORY),
        ("TeamSettings.Read.Group", "TeamSettings.ReadWrite.Group"),
    ),
)
_CHANNEL_ITSELF = (
    Operation(
        "teams/{}/channels/{}",
        ("Channel.ReadBasic.All", "ChannelSettings.Read.All", "ChannelSettings.ReadWrite.All", *_GROUPS, *_DIRECTORY),
        ("ChannelSettings.Read.Group", "ChannelSettings.ReadWrite.Group"),
    ),
)
_FILES = ("Files.Read.All", "Files.ReadWrite.All", "Sites.Read.All", "Sites.ReadWrite.All")
_SHIFT = ("Schedule.Read.All", "Schedule.ReadWrite.All")
_MAIL_READ = ("Mail.Read", "Mail.ReadBasic.All")
_CALENDAR_READ = ("Calendars.ReadBasic", "Calendars.Read")
_CONTACTS = ("Contacts.Read", "Contacts.ReadWrite")


def _per_path(kind: Kind, reads: dict[str, str], accepted: tuple[str, ...]) -> tuple[Kind, ...]:
    """One row for each path, since each is read at a place of its own: path → the path of one resource there."""
    return tuple(
        replace(kind, paths=(path,), read=(Operation(operation_path, accepted),))
        for path, operation_path in reads.items()
    )


KINDS: tuple[Kind, ...] = (
    # Teams messages
    Kind(
        name="chatMessage",
        paths=("teams/getAllMessages",),
        minutes=4_320,
        subscribe=("ChannelMessage.Read.All",),
        read=_CHANNEL_MESSAGE,
        sweep=(LIST_TEAMS, _MESSAGES_OF_TEAM),
        besides=(TEAMS_LICENCE,),
        not_least=ONE_TEAM,
    ),
    Kind(
        name="chatMessage",
        paths=("teams/{}/channels/{}/messages",),
        minutes=4_320,
        subscribe=("ChannelMessage.Read.All",),
        specific=("ChannelMessage.Read.Group",),
        read=_CHANNEL_MESSAGE,
        sweep=(_MESSAGES_OF_TEAM,),
        specific_sweep=(_CHANNEL_DELTA,),
        not_least=ONE_TEAM,
    ),
    Kind(
        name="chatMessage",
        paths=("chats/getAllMessages",),
        minutes=4_320,
        subscribe=("Chat.Read.All",),
        read=_CHAT_MESSAGE,
        sweep=(LIST_USERS, _MESSAGES_OF_USER),
        besides=(TEAMS_LICENCE,),
        not_least=ONE_TEAM,
    ),
    Kind(
        name="chatMessage",
        paths=("chats/{}/messages",),
        minutes=4_320,
        subscribe=("Chat.Read.All",),
        read=_CHAT_MESSAGE,
        sweep=(_MESSAGES_OF_CHAT,),
        not_least=ONE_TEAM,
    ),
    Kind(
        name="chatMessage",
        paths=("users/{}/chats/getAllMessages",),
        minutes=4_320,
        subscribe=("Chat.Read.All", "Chat.ReadWrite.All"),
        read=_CHAT_MESSAGE,
        sweep=(_MESSAGES_OF_USER,),
        besides=(TEAMS_LICENCE,),
        not_least=ONE_TEAM,
    ),
    Kind(
        name="chatMessage",
        paths=("appCatalogs/teamsApps/{}/installedToChats/getAllMessages",),
        minutes=4_320,
        subscribe=("Chat.Read.WhereInstalled", "Chat.ReadWrite.WhereInstalled"),
        read=_CHAT_MESSAGE,
        besides=(TEAMS_APP,),
        not_least=ONE_TEAM,
    ),
    # Chats, teams, channels, their members and apps
    Kind(
        name="chat",
        paths=("chats", "users/{}/chats"),
        minutes=4_320,
        subscribe=("Chat.ReadBasic.All", "Chat.Read.All", "Chat.ReadWrite.All"),
        read=_CHAT,
    ),
    Kind(
        name="chat",
        paths=("chats/{}",),
        minutes=4_320,
        subscribe=("Chat.ReadBasic.All", "Chat.Read.All", "Chat.ReadWrite.All"),
        specific=_CHAT_SPECIFIC,
        read=_CHAT,
    ),
    Kind(
        name="chat",
        paths=("appCatalogs/teamsApps/{}/installedToChats",),
        minutes=4_320,
        subscribe=("Chat.ReadBasic.WhereInstalled", "Chat.Read.WhereInstalled", "Chat.ReadWrite.WhereInstalled"),
        read=_CHAT,
        besides=(TEAMS_APP,),
    ),
    Kind(
        name="channel",
        paths=("teams/getAllChannels", "teams/{}/channels"),
        minutes=4_320,
        subscribe=("Channel.ReadBasic.All", "ChannelSettings.Read.All"),
        read=_CHANNEL_ITSELF,
        not_least=ONE_TEAM,
    ),
    Kind(
        name="team",
        paths=("teams", "teams/{}"),
        minutes=4_320,
        subscribe=("Team.ReadBasic.All", "TeamSettings.Read.All"),
        read=_TEAM,
        not_least=ONE_TEAM,
    ),
    Kind(
        name="conversationMember",
        paths=("chats/getAllMembers",),
        minutes=4_320,
        subscribe=_MEMBERS_OF_CHAT,
        read=_CHAT_MEMBER,
    ),
    Kind(
        name="conversationMember",
        paths=("chats/{}/members",),
        minutes=4_320,
        subscribe=_MEMBERS_OF_CHAT,
        specific=("ChatMember.Read.Chat", "Chat.Manage.Chat"),
        read=_CHAT_MEMBER,
    ),
    Kind(
        name="conversationMember",
        paths=("appCatalogs/teamsApps/{}/installedToChats/getAllMembers",),
        minutes=4_320,
        subscribe=(
            "ChatMember.Read.WhereInstalled",
            "ChatMember.ReadWrite.WhereInstalled",
            "Chat.ReadBasic.WhereInstalled",
            "Chat.Read.WhereInstalled",
            "Chat.ReadWrite.WhereInstalled",
        ),
        read=_CHAT_MEMBER,
        besides=(TEAMS_APP,),
    ),
    Kind(
        name="conversationMember",
        paths=("teams/{}/members",),
        minutes=4_320,
        subscribe=("TeamMember.Read.All",),
        read=_TEAM_MEMBER,
        not_least=ONE_TEAM,
    ),
    Kind(
        name="conversationMember",
        paths=("teams/getAllMembers",),
        minutes=4_320,
        subscribe=("TeamMember.Read.All", "TeamMember.ReadWrite.All"),
        read=_TEAM_MEMBER,
        not_least=ONE_TEAM,
        source=_REAUTHORIZE,
    ),
    Kind(
        name="conversationMember",
        paths=("teams/{}/channels/getAllMembers",),
        minutes=4_320,
        subscribe=("ChannelMember.Read.All",),
        read=_CHANNEL_MEMBER,
        not_least=ONE_TEAM,
    ),
    Kind(
        name="conversationMember",
        paths=("teams/getAllChannels/getAllMembers",),
        minutes=4_320,
        subscribe=("ChannelMember.Read.All",),
        read=_CHANNEL_MEMBER,
        not_least=ONE_TEAM,
        source=_REAUTHORIZE,
    ),
    Kind(
        name="teamsAppInstallation",
        paths=("appCatalogs/teamsApps/{}/installations",),
        minutes=4_320,
        subscribe=("TeamsAppInstallation.Read.All",),
        specific=tuple(f"TeamsAppInstallation.Read.{place}" for place in ("Chat", "Group", "User")),
        specific_by_query=True,
        source=_INSTALLATIONS,
    ),
    # Meetings and calls
    Kind(
        name="callTranscript",
        paths=("communications/onlineMeetings/getAllTranscripts", "users/{}/onlineMeetings/getAllTranscripts"),
        minutes=4_320,
        subscribe=("OnlineMeetingTranscript.Read.All",),
        read=(
            Operation(
                "users/{}/onlineMeetings/{}/transcripts/{}",
                ("OnlineMeetingTranscript.Read.All",),
                ("OnlineMeetingTranscript.Read.Chat",),
            ),
        ),
        besides=(ACCESS_POLICY, TRANSCRIPT_ACCESS),
    ),
    Kind(
        name="callTranscript",
        paths=("communications/onlineMeetings/{}/transcripts",),
        minutes=4_320,
        subscribe=("OnlineMeetingTranscript.Read.All",),
        specific=("OnlineMeetingTranscript.Read.Chat",),
        specific_by_query=True,
        read=(
            Operation(
                "users/{}/onlineMeetings/{}/transcripts/{}",
                ("OnlineMeetingTranscript.Read.All",),
                ("OnlineMeetingTranscript.Read.Chat",),
            ),
        ),
        besides=(ACCESS_POLICY, TRANSCRIPT_ACCESS),
        source=_RECORDINGS,
    ),
    Kind(
        name="callTranscript",
        paths=("users/{}/adhocCalls/getAllTranscripts",),
        minutes=4_320,
        subscribe=("CallTranscripts.Read.All",),
        read=(Operation("users/{}/adhocCalls/{}/transcripts/{}", ("CallTranscripts.Read.All",)),),
        besides=(TRANSCRIPT_ACCESS,),
        source=_RECORDINGS,
    ),
    Kind(
        name="callTranscript",
        paths=("communications/adhocCalls/getAllTranscripts",),
        minutes=4_320,
        subscribe=("CallTranscripts.Read.All",),
        read=(Operation("users/{}/adhocCalls/{}/transcripts/{}", ("CallTranscripts.Read.All",)),),
        besides=(TRANSCRIPT_ACCESS,),
        beta=True,
        source=_RECORDINGS,
    ),
    Kind(
        name="callTranscript",
        paths=("communications/adhocCalls/{}/transcripts",),
        minutes=4_320,
        subscribe=(),
        besides=("Graph lets only a signed-in user subscribe to the transcripts of one ad hoc call.",),
        source=_RECORDINGS,
    ),
    Kind(
        name="callTranscript",
        paths=("appCatalogs/teamsApps/{}/installedToOnlineMeetings/getAllTranscripts",),
        minutes=4_320,
        subscribe=("OnlineMeetingTranscript.Read.All",),
        specific=("OnlineMeetingTranscript.Read.Chat",),
        specific_by_query=True,
        besides=(TEAMS_APP_IN_MEETING,),
        beta=True,
        source=_RECORDINGS,
    ),
    Kind(
        name="callRecording",
        paths=("communications/onlineMeetings/getAllRecordings", "users/{}/onlineMeetings/getAllRecordings"),
        minutes=4_320,
        subscribe=("OnlineMeetingRecording.Read.All",),
        read=(
            Operation(
                "users/{}/onlineMeetings/{}/recordings/{}",
                ("OnlineMeetingRecording.Read.All",),
                ("OnlineMeetingRecording.Read.Chat",),
            ),
        ),
        besides=(ACCESS_POLICY,),
    ),
    Kind(
        name="callRecording",
        paths=("communications/onlineMeetings/{}/recordings",),
        minutes=4_320,
        subscribe=("OnlineMeetingRecording.Read.All",),
        specific=("OnlineMeetingRecording.Read.Chat",),
        specific_by_query=True,
        read=(
            Operation(
                "users/{}/onlineMeetings/{}/recordings/{}",
                ("OnlineMeetingRecording.Read.All",),
                ("OnlineMeetingRecording.Read.Chat",),
            ),
        ),
        besides=(ACCESS_POLICY,),
        source=_RECORDINGS,
    ),
    Kind(
        name="callRecording",
        paths=(
            "communications/adhocCalls/getAllRecordings",
            "communications/adhocCalls/{}/recordings",
            "users/{}/adhocCalls/getAllRecordings",
        ),
        minutes=4_320,
        subscribe=("CallRecordings.Read.All",),
        read=(Operation("users/{}/adhocCalls/{}/recordings/{}", ("CallRecordings.Read.All",)),),
        source=_RECORDINGS,
    ),
    Kind(
        name="callRecording",
        paths=("appCatalogs/teamsApps/{}/installedToOnlineMeetings/getAllRecordings",),
        minutes=4_320,
        subscribe=("OnlineMeetingRecording.Read.All",),
        specific=("OnlineMeetingRecording.Read.Chat",),
        specific_by_query=True,
        besides=(TEAMS_APP_IN_MEETING,),
        beta=True,
        source=_RECORDINGS,
    ),
    Kind(
        name="callRecord",
        paths=("communications/callRecords",),
        minutes=4_230,
        subscribe=("CallRecords.Read.All",),
        read=(Operation("communications/callRecords/{}", ("CallRecords.Read.All",)),),
    ),
    Kind(
        name="onlineMeeting",
        paths=("communications/onlineMeetings/{}/meetingCallEvents",),
        minutes=4_230,
        subscribe=("OnlineMeetings.Read.All", "OnlineMeetings.ReadWrite.All"),
        beta=True,
        source=_MEETINGS,
    ),
    Kind(
        name="presence",
        paths=("communications/presences", "communications/presences/{}"),
        minutes=60,
        subscribe=(),
        besides=("Graph lets only a signed-in user subscribe to presence.",),
    ),
    *_per_path(
        Kind(
            name="virtualEvent",
            paths=(),
            minutes=1_440,
            subscribe=("VirtualEvent.Read.All",),
            besides=(ACCESS_POLICY,),
            source=_VIRTUAL_EVENTS,
        ),
        {"solutions/virtualEvents/webinars/{}/sessions": "solutions/virtualEvents/webinars/{}/sessions/{}"},
        ("VirtualEvent.Read.All",),
    ),
    Kind(
        name="virtualEvent",
        paths=(
            "solutions/virtualEvents/events",
            "solutions/virtualEvents/events/getEventsFromOrganizers",
            "solutions/virtualEvents/webinars/{}",
            "solutions/virtualEvents/webinars/{}/getAttendanceReports",
            "solutions/virtualEvents/webinars/{}/registrations",
            "solutions/virtualEvents/townhalls/{}",
            "solutions/virtualEvents/townhalls/{}/getAttendanceReports",
            "solutions/virtualEvents/townhalls/{}/sessions",
        ),
        minutes=1_440,
        subscribe=("VirtualEvent.Read.All",),
        besides=(ACCESS_POLICY,),
        source=_VIRTUAL_EVENTS,
    ),
    # Shifts and approvals
    *_per_path(
        Kind(name="shift", paths=(), minutes=360, subscribe=_SHIFT),
        {
            f"teams/{{}}/schedule/{name}": f"teams/{{}}/schedule/{name}/{{}}"
            for name in ("shifts", "offerShiftRequests", "openShiftChangeRequests", "timeOffRequests")
        },
        _SHIFT,
    ),
    Kind(name="shift", paths=("teams/{}/schedule/swapShiftsChangeRequests",), minutes=360, subscribe=_SHIFT),
    Kind(
        name="approvalItem",
        paths=("solutions/approval/approvalItems",),
        minutes=43_200,
        subscribe=("ApprovalSolution.Read.All", "ApprovalSolution.ReadWrite.All"),
        source=_REFERENCE,
    ),
    # Copilot
    Kind(
        name="aiInteraction",
        paths=("copilot/interactionHistory/getAllEnterpriseInteractions",),
        minutes=4_320,
        subscribe=("AiEnterpriseInteraction.Read.All",),
        besides=(COPILOT_LICENCE,),
    ),
    Kind(
        name="aiInteraction",
        paths=("copilot/users/{}/interactionHistory/getAllEnterpriseInteractions",),
        minutes=4_320,
        subscribe=("AiEnterpriseInteraction.Read.All",),
        specific=("AiEnterpriseInteraction.Read.User",),
        besides=(COPILOT_LICENCE,),
    ),
    # Outlook
    Kind(
        name="message",
        paths=("users/{}/messages",),
        minutes=10_080,
        rich_minutes=1_440,
        subscribe=("Mail.Read",),
        read=(Operation("users/{}/messages/{}", _MAIL_READ),),
        sweep=(Operation("users/{}/messages", ("Mail.ReadBasic.All", "Mail.Read", "Mail.ReadWrite")),),
    ),
    Kind(
        name="message",
        paths=("users/{}/mailFolders/{}/messages",),
        minutes=10_080,
        rich_minutes=1_440,
        subscribe=("Mail.Read",),
        read=(
            Operation("users/{}/messages/{}", _MAIL_READ),
            Operation("users/{}/mailFolders/{}/messages/{}", _MAIL_READ),
        ),
        sweep=(
            Operation("users/{}/mailFolders/{}/messages/delta", ("Mail.ReadBasic.All", "Mail.Read", "Mail.ReadWrite")),
        ),
    ),
    Kind(
        name="event",
        paths=("users/{}/events", "users/{}/calendar/events", "users/{}/calendars/{}/events"),
        minutes=10_080,
        rich_minutes=1_440,
        subscribe=("Calendars.Read",),
        read=(Operation("users/{}/events/{}", _CALENDAR_READ),),
        sweep=(
            Operation("users/{}/events", (*_CALENDAR_READ, "Calendars.ReadWrite")),
            *(
                Operation(f"users/{{}}/{view}/delta", ("Calendars.Read", "Calendars.ReadBasic", "Calendars.ReadWrite"))
                for view in ("calendarView", "calendars/{}/calendarView")
            ),
        ),
    ),
    Kind(
        name="contact",
        paths=("users/{}/contacts",),
        minutes=10_080,
        rich_minutes=1_440,
        subscribe=("Contacts.Read",),
        read=(Operation("users/{}/contacts/{}", _CONTACTS),),
        sweep=(Operation("users/{}/contacts", _CONTACTS),),
    ),
    Kind(
        name="contact",
        paths=("users/{}/contactFolders/{}/contacts",),
        minutes=10_080,
        rich_minutes=1_440,
        subscribe=("Contacts.Read",),
        read=(Operation("users/{}/contactFolders/{}/contacts/{}", _CONTACTS),),
        sweep=(Operation("users/{}/contactFolders/{}/contacts/delta", _CONTACTS),),
    ),
    Kind(
        name="todoTask",
        paths=("users/{}/todo/lists/{}/tasks",),
        minutes=4_230,
        subscribe=("Tasks.ReadWrite.All",),
        read=(Operation("users/{}/todo/lists/{}/tasks/{}", ("Tasks.Read.All", "Tasks.ReadWrite.All")),),
        sweep=(Operation("users/{}/todo/lists/{}/tasks/delta", ("Tasks.Read.All", "Tasks.ReadWrite.All")),),
        renew=(),
    ),
    # Files and lists
    Kind(
        name="driveItem",
        paths=(
            "drives/{}/root",
            "users/{}/drive/root",
            "groups/{}/drive/root",
            "sites/{}/drive/root",
            "sites/{}/drives/{}/root",
        ),
        minutes=42_300,
        subscribe=("Files.Read.All",),
        renew=("Files.ReadWrite.All",),
        read=(Operation("drives/{}/items/{}", (*_FILES, *_GROUPS)),),
        sweep=(Operation("drives/{}/root/delta", _FILES),),
        besides=(EMBEDDED,),
    ),
    Kind(
        name="list",
        paths=("sites/{}/lists/{}",),
        minutes=42_300,
        subscribe=("Sites.Read.All",),
        renew=("Sites.ReadWrite.All",),
        read=(Operation("sites/{}/lists/{}/items/{}", ("Sites.Read.All", "Sites.ReadWrite.All", "Sites.Manage.All")),),
        sweep=(Operation("sites/{}/lists/{}/items/delta", ("Sites.Read.All", "Sites.ReadWrite.All")),),
    ),
    # The directory
    Kind(
        name="user",
        paths=("users",),
        minutes=41_760,
        subscribe=("User.Read.All",),
        read=(Operation("users/{}", LIST_USERS.accepted),),
        sweep=(
            Operation(
                "users/delta",
                (
                    "User.Read.All",
                    "User.ReadWrite.All",
                    *_DIRECTORY,
                    "AgentIdUser.ReadWrite.All",
                    "AgentIdUser.ReadWrite.IdentityParentedBy",
                ),
            ),
        ),
    ),
    Kind(
        name="user",
        paths=("users/{}",),
        minutes=41_760,
        subscribe=("User.Read.All",),
        read=(Operation("users/{}", LIST_USERS.accepted),),
    ),
    Kind(
        name="group",
        paths=("groups",),
        minutes=41_760,
        subscribe=("Group.Read.All",),
        sweep=(
            Operation(
                "groups/delta",
                (
                    "Group.ReadBasic.All",
                    "GroupMember.Read.All",
                    *_GROUPS,
                    *_DIRECTORY,
                    "Group-NestingSupport.ReadWrite.All",
                ),
            ),
        ),
        read=(
            Operation(
                "groups/{}",
                (
                    "GroupMember.Read.All",
                    "Group.ReadBasic.All",
                    *_GROUPS,
                    *_DIRECTORY,
                    "Group.ManageProtection.All",
                    "Group-NestingSupport.ReadWrite.All",
                    "Group-PreferredDataLocation.ReadWrite.All",
                    "Group-XTenantIdentitySync.Read.All",
                ),
            ),
        ),
        not_least="Microsoft marks a writing permission as least; subscribing takes Group.Read.All anyway.",
    ),
    Kind(
        name="group",
        paths=("groups/{}", "groups/{}/members", "groups/{}/owners"),
        minutes=41_760,
        subscribe=("Group.Read.All",),
    ),
    Kind(
        name="conversation",
        paths=("groups/{}/conversations",),
        minutes=4_230,
        subscribe=(),
        besides=("Graph lets only a signed-in user subscribe to the conversations of a group.",),
    ),
    # Printing and alerts
    Kind(
        name="printer",
        paths=("print/printers/{}/jobs",),
        minutes=4_230,
        subscribe=("Printer.Read.All", "Printer.ReadWrite.All"),
        read=(
            Operation(
                "print/printers/{}/jobs/{}",
                tuple(f"PrintJob.{right}.All" for right in ("ReadBasic", "Read", "ReadWriteBasic", "ReadWrite")),
            ),
        ),
    ),
    Kind(
        name="printTaskDefinition",
        paths=("print/taskDefinitions/{}/tasks", "print/printtaskdefinition/{}/tasks"),
        minutes=4_230,
        subscribe=("PrintTaskDefinition.ReadWrite.All",),
        read=(Operation("print/taskDefinitions/{}/tasks/{}", ("PrintTaskDefinition.ReadWrite.All",)),),
    ),
    Kind(
        name="alert",
        paths=("security/alerts", "security/alerts/{}"),
        minutes=43_200,
        subscribe=("SecurityEvents.ReadWrite.All",),
        read=(Operation("security/alerts/{}", ("SecurityEvents.Read.All", "SecurityEvents.ReadWrite.All")),),
    ),
    Kind(
        name="healthMonitoringAlert",
        paths=("reports/healthMonitoring/alerts",),
        minutes=42_300,
        subscribe=("HealthMonitoringAlert.Read.All", "HealthMonitoringAlert.ReadWrite.All"),
        read=(
            Operation(
                "reports/healthMonitoring/alerts/{}",
                ("HealthMonitoringAlert.Read.All", "HealthMonitoringAlert.ReadWrite.All"),
            ),
        ),
        source=_REFERENCE,
    ),
)  # fmt: skip

RICH = frozenset(
    {
        "chatMessage", "chat", "channel", "team", "conversationMember", "teamsAppInstallation", "callTranscript",
        "callRecording", "onlineMeeting", "presence", "message", "event", "contact", "aiInteraction",
    }
)  # fmt: skip
"""Kinds whose notifications can carry the resource (/graph/change-notifications-with-resource-data)."""

_TEAMS_LATENCY = "< 10 s, at most 60 min"
LATENCY = {
    "chatMessage": "< 10 s, at most 1 min",
    **dict.fromkeys(
        ("chat", "channel", "team", "conversationMember", "teamsAppInstallation", "callTranscript", "callRecording"),
        _TEAMS_LATENCY,
    ),
    "aiInteraction": _TEAMS_LATENCY,
    "approvalItem": "< 10 s, at most 40 s",
    "message": "< 1 min, at most 3 min",
    "contact": "< 1 min, at most 3 min",
    "driveItem": "< 1 min, at most 6 h",
    "list": "< 1 min, at most 6 h",
    "shift": "< 1 min, at most 60 min",
    "printer": "< 1 min, at most 5 min",
    "printTaskDefinition": "< 1 min, at most 5 min",
    "todoTask": "< 2 min, at most 15 min",
    "alert": "< 3 min, at most 5 min",
    "callRecord": "< 30 min, at most 150 min",
}
"""How long a notification takes, on average and at most (/graph/api/resources/subscription, "Latency")."""

LONGEST_LIFETIME = timedelta(minutes=max(kind.minutes for kind in KINDS))
"""After which nothing that was subscribed to is left, if nobody has renewed it."""


@lru_cache(maxsize=32_768)  # called for each declaration in each run
def find(resource: str) -> Kind | None:
    """Return the kind of a resource, in whichever of Graph's spellings it comes; None if it has no row."""
    wanted = template_segments(resource)
    return next((kind for kind, templates in _TEMPLATES for template in templates if _fits(template, wanted)), None)


def read_by(path: str) -> tuple[Kind, Operation] | None:
    """Return the GET that reads a path, and the first kind that is read so; None if no row reads it."""
    wanted = template_segments(path)
    return next(((kind, operation) for kind, operation, template in _READS if _fits(template, wanted)), None)


def longest_lifetime(resource: str, *, rich: bool) -> timedelta:
    """Return what to ask for: the maximum less a margin. A lifecycle URL is taken to be there; it always is."""
    kind = find(resource)
    return (kind.lifetime(rich=rich) if kind else timedelta(minutes=UNKNOWN_MINUTES)) - MARGIN


def template_segments(resource: str) -> tuple[str, ...]:
    """Return the segments of a path, lower case, function parameters dropped.

    `meetings(joinWebUrl='u')/x` has a key there, as `meetings('u')/x`; `getAll…(organizer='u')` is a function.
    """
    parts: list[str] = []
    for part in segments(without_named_keys(resource.partition("?")[0])):
        name, bracket, _ = part.partition("(")
        parts.append(name if bracket and name.lower().startswith("get") else part)
    return tuple(part.lower() for part in parts)


def _fits(template: tuple[str, ...], given: tuple[str, ...]) -> bool:
    """A word that stands for many places is no id: `chats/getAllMembers` is not one chat."""
    return len(template) == len(given) and all(
        word == part or (word == "{}" and not part.startswith("getall"))
        for word, part in zip(template, given, strict=True)
    )


_TEMPLATES = tuple((kind, tuple(tuple(path.lower().split("/")) for path in kind.paths)) for kind in KINDS)
_READS = tuple(
    (kind, operation, tuple(operation.path.lower().split("/")))
    for kind in KINDS
    for operation in (*kind.read, *kind.sweep, *kind.specific_sweep)
)
