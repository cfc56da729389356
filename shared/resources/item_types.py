"""The types of resources that notifications are about: their paths, and what a subscription to them names.

Data (docs/graph.md, "Resource strings"); `shared.resources.identity` works with it.
"""

from typing import NamedTuple


class ItemType(NamedTuple):
    """A row: resources of one type. Words are in lower case, `{name}` stands for an id.

    kind: the last part of `@odata.type`. path: the canonical one, by which Graph is asked for one of them unless `read`
    names another. spellings: its other paths, those in dead letters and queue messages of version 0.1 among them.
    declared: what a subscription to such resources can name.
    """

    kind: str
    path: str
    declared: tuple[str, ...] = ()
    spellings: tuple[str, ...] = ()
    read: str = ""


def _rows(kind: str, name: str, place: str) -> ItemType:
    """Transcripts and recordings: named below `communications`, read below the organizer of the meeting."""
    ids = ("meeting", "onlinemeetings") if place == "onlineMeetings" else ("call", "adhoccalls")
    among = f"{ids[1]}/{{{ids[0]}}}/{name}/{{id}}"
    below_app = f"appcatalogs/teamsapps/{{app}}/installedto{ids[1]}/getall{name}"
    return ItemType(
        kind,
        f"communications/{among}",
        (
            f"communications/{ids[1]}/getall{name}",
            f"communications/{ids[1]}/{{{ids[0]}}}/{name}",
            f"users/{{user}}/{ids[1]}/getall{name}",
            *((below_app,) if place == "onlineMeetings" else ()),
        ),
        (f"users/{{user}}/{among}",),
        f"users/{{user}}/{among}",
    )


_APP_CHATS = "appcatalogs/teamsapps/{app}/installedtochats"
_CHANNEL_MESSAGES = ("teams/getallmessages", "teams/{team}/channels/{channel}/messages")
_EVENTS = ("events", "calendar/events", "calendars/{calendar}/events")
_OWNERS = ("users/{user}", "groups/{group}", "sites/{site}")
_VIRTUAL = "solutions/virtualevents"

ITEM_TYPES: tuple[ItemType, ...] = (
    # Teams
    ItemType(
        "ChatMessage",
        "chats/{chat}/messages/{id}",
        (
            "chats/getallmessages",
            "chats/{chat}/messages",
            "users/{user}/chats/getallmessages",
            f"{_APP_CHATS}/getallmessages",
        ),
        ("users/{user}/chats/{chat}/messages/{id}",),
    ),
    ItemType("ChatMessage", "teams/{team}/channels/{channel}/messages/{id}", _CHANNEL_MESSAGES),
    ItemType("ChatMessage", "teams/{team}/channels/{channel}/messages/{root}/replies/{id}", _CHANNEL_MESSAGES),
    ItemType(
        "Chat",
        "chats/{chat}",
        ("chats", "chats/{chat}", "users/{user}/chats", _APP_CHATS),
        ("users/{user}/chats/{chat}",),
    ),
    ItemType("Team", "teams/{team}", ("teams", "teams/{team}")),
    ItemType("Channel", "teams/{team}/channels/{channel}", ("teams/getallchannels", "teams/{team}/channels")),
    ItemType(
        "ConversationMember",
        "chats/{chat}/members/{id}",
        ("chats/getallmembers", "chats/{chat}/members", f"{_APP_CHATS}/getallmembers"),
        ("users/{user}/chats/{chat}/members/{id}",),
    ),
    ItemType("ConversationMember", "teams/{team}/members/{id}", ("teams/getallmembers", "teams/{team}/members")),
    ItemType(
        "ConversationMember",
        "teams/{team}/channels/{channel}/members/{id}",
        ("teams/{team}/channels/getallmembers", "teams/getallchannels/getallmembers"),
    ),
    ItemType(
        "TeamsAppInstallation",
        "appcatalogs/teamsapps/{app}/installations/{id}",
        ("appcatalogs/teamsapps/{app}/installations",),
    ),
    # Meetings and calls
    _rows("CallTranscript", "transcripts", "onlineMeetings"),
    _rows("CallTranscript", "transcripts", "adhocCalls"),
    _rows("CallRecording", "recordings", "onlineMeetings"),
    _rows("CallRecording", "recordings", "adhocCalls"),
    ItemType("CallRecord", "communications/callrecords/{id}", ("communications/callrecords",)),
    ItemType(
        "OnlineMeeting",
        "communications/onlinemeetings/{meeting}",
        ("communications/onlinemeetings/{meeting}/meetingcallevents",),
    ),
    ItemType(
        "Presence",
        "communications/presences/{user}",
        ("communications/presences", "communications/presences/{user}"),
        ("users/{user}/presence",),
    ),
    # Virtual events, Shifts, approvals
    *(
        ItemType(kind, f"{_VIRTUAL}/{path}", tuple(f"{_VIRTUAL}/{spelling}" for spelling in declared))
        for kind, path, declared in (
            ("VirtualEvent", "events/{id}", ("events", "events/geteventsfromorganizers")),
            (
                "VirtualEventWebinar",
                "webinars/{webinar}",
                ("webinars/{webinar}", "events", "events/geteventsfromorganizers"),
            ),
            (
                "VirtualEventTownhall",
                "townhalls/{townhall}",
                ("townhalls/{townhall}", "events", "events/geteventsfromorganizers"),
            ),
            ("VirtualEventSession", "webinars/{webinar}/sessions/{id}", ("webinars/{webinar}/sessions",)),
            ("VirtualEventSession", "townhalls/{townhall}/sessions/{id}", ("townhalls/{townhall}/sessions",)),
            (
                "VirtualEventRegistration",
                "webinars/{webinar}/registrations/{id}",
                ("webinars/{webinar}/registrations",),
            ),
            (
                "MeetingAttendanceReport",
                "webinars/{webinar}/sessions/{session}/attendancereports/{id}",
                ("webinars/{webinar}/getattendancereports",),
            ),
            (
                "MeetingAttendanceReport",
                "townhalls/{townhall}/sessions/{session}/attendancereports/{id}",
                ("townhalls/{townhall}/getattendancereports",),
            ),
        )
    ),
    *(
        ItemType(kind, f"teams/{{team}}/schedule/{name}/{{id}}", (f"teams/{{team}}/schedule/{name}",))
        for kind, name in (
            ("Shift", "shifts"),
            ("OfferShiftRequest", "offershiftrequests"),
            ("OpenShiftChangeRequest", "openshiftchangerequests"),
            ("SwapShiftsChangeRequest", "swapshiftschangerequests"),
            ("TimeOffRequest", "timeoffrequests"),
        )
    ),
    ItemType("ApprovalItem", "solutions/approval/approvalitems/{id}", ("solutions/approval/approvalitems",)),
    # Copilot
    ItemType(
        "AiInteraction",
        "copilot/users/{user}/interactionhistory/interactions/{id}",
        (
            "copilot/interactionhistory/getallenterpriseinteractions",
            "copilot/users/{user}/interactionhistory/getallenterpriseinteractions",
        ),
    ),
    # Outlook
    ItemType(
        "Message",
        "users/{user}/messages/{id}",
        ("users/{user}/messages", "users/{user}/mailfolders/{folder}/messages"),
        ("users/{user}/mailfolders/{folder}/messages/{id}",),
    ),
    ItemType(
        "Event",
        "users/{user}/events/{id}",
        tuple(f"users/{{user}}/{place}" for place in _EVENTS),
        (
            *(f"users/{{user}}/{place}/{{id}}" for place in _EVENTS[1:]),
            "users/{user}/calendarview/{id}",
            "users/{user}/calendar/calendarview/{id}",
            "users/{user}/calendars/{calendar}/calendarview/{id}",
        ),
    ),
    ItemType(
        "Contact",
        "users/{user}/contacts/{id}",
        ("users/{user}/contacts", "users/{user}/contactfolders/{folder}/contacts"),
        ("users/{user}/contactfolders/{folder}/contacts/{id}",),
    ),
    ItemType("TodoTask", "users/{user}/todo/lists/{list}/tasks/{id}", ("users/{user}/todo/lists/{list}/tasks",)),
    # Files and lists
    ItemType(
        "DriveItem",
        "drives/{drive}/items/{id}",
        ("drives/{drive}/root", "sites/{site}/drives/{drive}/root"),
        ("sites/{site}/drives/{drive}/items/{id}", "drives/{drive}/root/{id}", "sites/{site}/drives/{drive}/root/{id}"),
    ),
    *(  # while nobody has asked Graph which drive that is
        ItemType("DriveItem", f"{owner}/drive/items/{{id}}", (f"{owner}/drive/root",), (f"{owner}/drive/root/{{id}}",))
        for owner in _OWNERS
    ),
    ItemType(
        "ListItem",
        "sites/{site}/lists/{list}/items/{id}",
        ("sites/{site}/lists/{list}",),
        ("sites/{site}/lists/{list}/{id}",),
    ),
    # The directory
    ItemType("User", "users/{user}", ("users", "users/{user}")),
    ItemType(
        "Group",
        "groups/{group}",
        ("groups", "groups/{group}", "groups/{group}/members", "groups/{group}/owners"),
    ),
    ItemType("Conversation", "groups/{group}/conversations/{id}", ("groups/{group}/conversations",)),
    # Printing and alerts
    ItemType("PrintJob", "print/printers/{printer}/jobs/{id}", ("print/printers/{printer}/jobs",)),
    ItemType(
        "PrintTask",
        "print/taskdefinitions/{definition}/tasks/{id}",
        ("print/taskdefinitions/{definition}/tasks", "print/printtaskdefinition/{definition}/tasks"),
        ("print/printtaskdefinition/{definition}/tasks/{id}",),
    ),
    ItemType("Alert", "security/alerts/{id}", ("security/alerts", "security/alerts/{id}")),
    ItemType("HealthMonitoringAlert", "reports/healthmonitoring/alerts/{id}", ("reports/healthmonitoring/alerts",)),
)  # fmt: skip
