"""Which resources can be subscribed to, for how long, and how often: Graph's table (docs/graph.md, "Subscriptions")."""

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from graph_simulator.refusal import bad_request

HOUR = 60
ORGANISATION_POT = 10_000


@dataclass(frozen=True)
class Kind:
    """One row of Graph's table: `{}` in a path is a placeholder for an id; lifetimes are minutes."""

    name: str
    paths: tuple[str, ...]
    change_types: frozenset[str]
    longest: int
    longest_rich: int | None = None
    """None: as `longest`."""
    longest_without_lifecycle: int | None = None
    """None: as `longest`."""
    rich: bool = False
    rich_only: bool = False
    select: str = "allowed"
    """"allowed", "refused", or "required" with resource data."""
    lifecycle_events: frozenset[str] = frozenset({"reauthorizationRequired"})
    teams_pot: bool = False
    """Counts towards the 10,000 subscriptions that all Teams resources of an organisation share."""
    quotas: dict[str, int] = field(default_factory=dict)
    """Path → how many subscriptions one app may hold on the same path."""
    duplicates: bool = False

    def minutes(self, rich: bool, has_lifecycle_url: bool) -> int:
        """Return the longest lifetime."""
        if self.longest_without_lifecycle and not has_lifecycle_url:
            return self.longest_without_lifecycle
        return (self.longest_rich or self.longest) if rich else self.longest


@dataclass(frozen=True)
class WatchedResource:
    """A subscription's `resource`, parsed: `segments` without the ids' quotes, `query` as given."""

    kind: Kind
    template: str
    segments: tuple[str, ...]
    query: str

    @property
    def identity(self) -> str:
        """What two duplicate subscriptions have in common."""
        return "/".join(self.segments).casefold() + "?" + self.query.casefold()


def _changes(letters: str) -> frozenset[str]:
    return frozenset({"c": "created", "u": "updated", "d": "deleted"}[letter] for letter in letters)


_REMOVABLE = frozenset({"reauthorizationRequired", "subscriptionRemoved"})
_OUTLOOK = frozenset({*_REMOVABLE, "missed"})
_MEMBERS = ("teams/{}/members", "chats/{}/members", "teams/{}/channels/getAllMembers", "chats/getAllMembers",
            "teams/getAllMembers", "teams/getAllChannels/getAllMembers",
            "appCatalogs/teamsApps/{}/installedToChats/getAllMembers")  # fmt: skip
_SHIFTS = ("shifts", "openShiftChangeRequests", "offerShiftRequests", "swapShiftsChangeRequests", "timeOffRequests")

KINDS = (
    Kind(
        "chatMessage",
        ("teams/getAllMessages", "chats/getAllMessages", "teams/{}/channels/{}/messages", "chats/{}/messages",
         "users/{}/chats/getAllMessages", "appCatalogs/teamsApps/{}/installedToChats/getAllMessages"),
        _changes("cud"), 4320, longest_without_lifecycle=HOUR, rich=True, select="refused",
        lifecycle_events=_REMOVABLE, teams_pot=True,
        quotas={"teams/getAllMessages": 1, "chats/getAllMessages": 1, "teams/{}/channels/{}/messages": 1,
                "chats/{}/messages": 1, "users/{}/chats/getAllMessages": 10},
    ),
    Kind(
        "chat", ("chats", "chats/{}", "users/{}/chats", "appCatalogs/teamsApps/{}/installedToChats"),
        _changes("cu"), 4320, longest_without_lifecycle=HOUR, rich=True, teams_pot=True,
        quotas={"chats/{}": 1, "users/{}/chats": 10},
    ),
    Kind("channel", ("teams/getAllChannels", "teams/{}/channels"), _changes("cud"), 4320,
         longest_without_lifecycle=HOUR, rich=True, teams_pot=True, quotas={"teams/{}/channels": 1}),
    Kind("team", ("teams", "teams/{}"), _changes("cud"), 4320,
         longest_without_lifecycle=HOUR, rich=True, teams_pot=True, quotas={"teams/{}": 1}),
    Kind("conversationMember", _MEMBERS, _changes("cud"), 4320, longest_without_lifecycle=HOUR, rich=True,
         select="refused", teams_pot=True, quotas={"teams/{}/members": 1, "chats/{}/members": 1}),
    Kind("teamsAppInstallation", ("appCatalogs/teamsApps/{}/installations",), _changes("cud"), 4320,
         longest_without_lifecycle=HOUR, rich=True, teams_pot=True),
    Kind("callTranscript", ("communications/onlineMeetings/getAllTranscripts",
                            "communications/onlineMeetings/{}/transcripts",
                            "users/{}/onlineMeetings/getAllTranscripts",
                            "communications/adhocCalls/getAllTranscripts",
                            "communications/adhocCalls/{}/transcripts",
                            "users/{}/adhocCalls/getAllTranscripts",
                            "appCatalogs/teamsApps/{}/installedToOnlineMeetings/getAllTranscripts"),
         _changes("c"), 4320, longest_without_lifecycle=HOUR, rich=True, teams_pot=True),
    Kind("callRecording", ("communications/onlineMeetings/getAllRecordings",
                           "communications/onlineMeetings/{}/recordings",
                           "users/{}/onlineMeetings/getAllRecordings",
                           "communications/adhocCalls/getAllRecordings",
                           "communications/adhocCalls/{}/recordings",
                           "users/{}/adhocCalls/getAllRecordings",
                           "appCatalogs/teamsApps/{}/installedToOnlineMeetings/getAllRecordings"),
         _changes("c"), 4320, longest_without_lifecycle=HOUR, rich=True, teams_pot=True),
    Kind("callRecord", ("communications/callRecords",), _changes("cu"), 4230,
         quotas={"communications/callRecords": 100}),
    Kind("onlineMeeting", ("communications/onlineMeetings/{}/meetingCallEvents",), _changes("cu"), 4230, rich=True,
         select="refused"),
    Kind("virtualEvent", ("solutions/virtualEvents/events", "solutions/virtualEvents/events/getEventsFromOrganizers",
                          "solutions/virtualEvents/webinars/{}",
                          "solutions/virtualEvents/webinars/{}/getAttendanceReports",
                          "solutions/virtualEvents/webinars/{}/registrations",
                          "solutions/virtualEvents/webinars/{}/sessions",
                          "solutions/virtualEvents/townhalls/{}",
                          "solutions/virtualEvents/townhalls/{}/getAttendanceReports",
                          "solutions/virtualEvents/townhalls/{}/sessions"), _changes("cu"), 1440),
    Kind("presence", ("communications/presences/{}", "communications/presences"), _changes("u"), 60,
         rich=True, rich_only=True, select="refused"),
    Kind("shift", tuple(f"teams/{{}}/schedule/{name}" for name in _SHIFTS), _changes("cud"), 360),
    Kind("aiInteraction", ("copilot/interactionHistory/getAllEnterpriseInteractions",
                           "copilot/users/{}/interactionHistory/getAllEnterpriseInteractions"),
         _changes("cud"), 4320, longest_without_lifecycle=HOUR, rich=True),
    Kind("outlook", ("users/{}/messages", "users/{}/mailFolders/{}/messages", "users/{}/events",
                     "users/{}/calendar/events", "users/{}/calendars/{}/events",  # reported, see docs/graph.md
                     "users/{}/contacts", "users/{}/contactFolders/{}/contacts"),
         _changes("cud"), 10_080, longest_rich=1440, rich=True, select="required", lifecycle_events=_OUTLOOK,
         quotas={"users/{}/messages": 1000, "users/{}/mailFolders/{}/messages": 1000, "users/{}/events": 1000,
                 "users/{}/contacts": 1000}),
    Kind("driveItem", ("drives/{}/root", "users/{}/drive/root", "groups/{}/drive/root", "sites/{}/drive/root",
                       "sites/{}/drives/{}/root"), _changes("u"), 42_300),
    Kind("list", ("sites/{}/lists/{}",), _changes("u"), 42_300, duplicates=True),
    Kind("directory", ("users", "users/{}", "groups", "groups/{}", "groups/{}/members", "groups/{}/owners"),
         _changes("ud"), 41_760, quotas={"users": 100, "groups": 100}),
    Kind("conversation", ("groups/{}/conversations",), _changes("cud"), 4230),
    Kind("todoTask", ("users/{}/todo/lists/{}/tasks",), _changes("cud"), 4230),
    Kind("printTaskDefinition", ("print/taskDefinitions/{}/tasks", "print/printtaskdefinition/{}/tasks"),
         _changes("cud"), 4230),
    Kind("approvalItem", ("solutions/approval/approvalItems",), _changes("cud"), 43_200,
         quotas={"solutions/approval/approvalItems": 1}),
    Kind("healthMonitoringAlert", ("reports/healthMonitoring/alerts",), _changes("cud"), 42_300),
    Kind("printer", ("print/printers/{}/jobs",), _changes("cud"), 4230),
    Kind("alert", ("security/alerts", "security/alerts/{}"), _changes("cud"), 43_200),
)  # fmt: skip

_FUNCTION = re.compile(r"^(?:microsoft\.graph\.)?(\w+)\(\)$", re.IGNORECASE)
_QUOTED = re.compile(r"\((?:joinWebUrl=)?'([^']*)'\)", re.IGNORECASE)


def path_segments(path: str) -> tuple[str, ...]:
    """Split a path into segments: `teams('x')/channels` and `/teams/x/channels` are the same.

    So are a function with and without empty parentheses, `delta()` and `delta`, and with OData's namespace,
    `microsoft.graph.delta()`: Microsoft's own clients write them.
    """
    keyed = _QUOTED.sub(lambda found: f"/{quote(unquote(found[1]), safe='')}", path)
    segments = (unquote(segment) for segment in keyed.split("/") if segment)
    return tuple(_FUNCTION.sub(r"\1", segment) for segment in segments)


def parse_resource(resource: str) -> WatchedResource:
    """Parse a subscription's `resource`.

    Raises:
        Refusal: 400, Graph knows no such resource.
    """
    path, _, query = resource.partition("?")
    segments = path_segments(path)
    for kind in KINDS:
        for template in kind.paths:
            if _matches(template.split("/"), segments):
                return WatchedResource(kind, template, segments, query)
    raise bad_request(f"Unsupported resource: '{resource}'.")


def _matches(template: list[str], segments: tuple[str, ...]) -> bool:
    """Compare without case. A template's word never matches an id; a function may have
    parameters, as in `getAllTranscripts(meetingOrganizerUserId='…')`.
    """
    return len(template) == len(segments) and all(
        (wanted == "{}" and not given.lower().startswith("getall")) or wanted.lower() == given.partition("(")[0].lower()
        for wanted, given in zip(template, segments, strict=True)
    )
