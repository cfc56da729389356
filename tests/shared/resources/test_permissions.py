"""The needs of declarations, the least set of permissions that covers them, and the advice after a 403."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.resources.catalog import KINDS
from shared.resources.permissions import (
    Purpose,
    Unsupported,
    least,
    missing,
    near,
    needs,
    needs_of_all,
    refused_consent,
    remedy,
    remedy_of_reading,
    superfluous,
)


@dataclass(frozen=True)
class Declared:
    resource: str
    hydrate: bool = False
    consent: str = "tenant"
    sources: tuple[str, ...] = ()


LEAST = {
    "/teams/getAllMessages": ["ChannelMessage.Read.All", "Team.ReadBasic.All"],
    "/teams/getAllMessages?model=A": ["ChannelMessage.Read.All", "Team.ReadBasic.All"],
    "/teams/1/channels/2/messages": ["ChannelMessage.Read.All"],
    "teams('1')/channels('2')/messages": ["ChannelMessage.Read.All"],
    "/chats/getAllMessages": ["Chat.Read.All", "User.ReadBasic.All"],
    "/chats/getAllMessages/?model=B": ["Chat.Read.All", "User.ReadBasic.All"],
    "/chats/1/messages?$search=x": ["Chat.Read.All"],
    "/users/1/chats/getAllMessages": ["Chat.Read.All"],
    "/appCatalogs/teamsApps/1/installedToChats/getAllMessages": ["Chat.Read.WhereInstalled"],
    "/appCatalogs/teamsApps/1/installedToChats": ["Chat.ReadBasic.WhereInstalled"],
    "/appCatalogs/teamsApps/1/installedToChats/getAllMembers": ["ChatMember.Read.WhereInstalled"],
    "/appCatalogs/teamsApps/1/installations": ["TeamsAppInstallation.Read.All"],
    "/chats": ["Chat.ReadBasic.All"],
    "/chats/1": ["Chat.ReadBasic.All"],
    "/chats/getAllMembers": ["ChatMember.Read.All"],
    "/teams": ["Team.ReadBasic.All"],
    "/teams/getAllChannels": ["Channel.ReadBasic.All"],
    "/teams/1/members": ["TeamMember.Read.All"],
    "/teams/1/channels/getAllMembers": ["ChannelMember.Read.All"],
    "/teams/getAllChannels/getAllMembers": ["ChannelMember.Read.All"],
    "communications/onlineMeetings/getAllTranscripts": ["OnlineMeetingTranscript.Read.All"],
    "users/1/adhocCalls/getAllTranscripts": ["CallTranscripts.Read.All"],
    "communications/adhocCalls/getAllRecordings": ["CallRecordings.Read.All"],
    "/users/1/messages": ["Mail.Read"],
    "/users/1/events": ["Calendars.Read"],
    "/users/1/contacts": ["Contacts.Read"],
    "/users/1/todo/lists/2/tasks": ["Tasks.ReadWrite.All"],
    "/sites/1/drive/root": ["Files.Read.All"],
    "/sites/1/drives/2/root": ["Files.Read.All"],
    "/sites/1/lists/2": ["Sites.Read.All"],
    "/users": ["User.Read.All"],
    "/groups": ["Group.Read.All"],
    "/print/printers/1/jobs": ["Printer.Read.All"],
    "/security/alerts?$filter=status eq 'new'": ["SecurityEvents.ReadWrite.All"],
    "/solutions/approval/approvalItems": ["ApprovalSolution.Read.All"],
    "copilot/interactionHistory/getAllEnterpriseInteractions": ["AiEnterpriseInteraction.Read.All"],
}


@pytest.mark.parametrize(("resource", "names"), LEAST.items())
def test_the_least_set_is_that_of_microsofts_pages(resource: str, names: list[str]) -> None:
    assert least(needs(resource)) == names


def test_hydrate_adds_what_reading_takes() -> None:
    assert least(needs("/print/printers/1/jobs", hydrate=True)) == ["PrintJob.ReadBasic.All", "Printer.Read.All"]
    installed = "/appCatalogs/teamsApps/1/installedToChats/getAllMessages"
    assert least(needs(installed, hydrate=True)) == ["Chat.Read.All", "Chat.Read.WhereInstalled"]


def test_a_permission_that_one_need_takes_anyway_serves_the_others() -> None:
    wanted, complaints = needs_of_all(
        [Declared("/chats"), Declared("/chats/getAllMembers"), Declared("/chats/1/messages")]
    )
    assert (least(wanted), complaints) == (["Chat.Read.All"], [])


@pytest.mark.parametrize(
    ("resource", "says"),
    [
        ("/communications/presences/1", "signed-in user"),
        ("/groups/1/conversations", "signed-in user"),
        ("/communications/adhocCalls/1/transcripts", "signed-in user"),
        ("/me/messages", "users/{id}/messages"),
        ("/chat/19:a@thread.v2/messages", "chats/{id}/messages"),
        ("/teams/1/channel/2/messages", "teams/{id}/channels/{id}/messages"),
        ("/user", "users"),
        ("/unheard/of", "catalog.py"),
    ],
)
def test_what_no_application_can_watch_is_refused_by_name_before_anything_is_deployed(resource: str, says: str) -> None:
    with pytest.raises(Unsupported) as refused:
        needs(resource)
    assert str(refused.value).startswith(f"{resource}: ")
    assert says in str(refused.value)


def test_impossible_declarations_do_not_hide_the_others() -> None:
    wanted, complaints = needs_of_all([Declared("/communications/presences/1"), Declared("/users"), Declared("/x")])
    assert (least(wanted), len(complaints)) == (["User.Read.All"], 2)


@given(st.text())
def test_any_text_has_needs_or_a_reason(resource: str) -> None:
    wanted, complaints = needs_of_all([Declared(resource)])
    assert bool(wanted) is not bool(complaints)
    assert len(near(resource)) <= 3


SPECIFIC = [
    "/teams/1/channels/2/messages",
    "/chats/1",
    "/chats/1/members",
    "copilot/users/1/interactionHistory/getAllEnterpriseInteractions",
    "communications/onlineMeetings/1/transcripts?useResourceSpecificConsentBasedAuthorization=true",
    "/appCatalogs/teamsApps/1/installations?useResourceSpecificConsentBasedAuthorization=true",
]


@pytest.mark.parametrize("resource", SPECIFIC)
def test_with_consent_for_the_resource_nothing_is_needed_for_the_tenant(resource: str) -> None:
    wanted = needs(resource, hydrate=True, consent="resource")
    assert all(need.specific for need in wanted)
    assert least(wanted) == missing(wanted, ()) == []
    assert superfluous(wanted, {"ChannelMessage.Read.All"}) == ["ChannelMessage.Read.All"]


def test_with_resource_specific_consent_a_channel_is_read_back_by_its_own_path() -> None:
    paths = [need.path for need in needs("/teams/1/channels/2/messages", consent="resource")]
    assert paths == ["subscriptions", "teams/{}/channels/{}/messages/delta"]


@pytest.mark.parametrize("resource", ["/chats/getAllMessages", "/chats/1/messages", "/users", "/users/1/messages"])
def test_a_declaration_cannot_rely_on_a_consent_that_graph_does_not_have(resource: str) -> None:
    assert "no resource-specific consent" in refused_consent(resource)
    with pytest.raises(Unsupported):
        needs(resource, consent="resource")


def test_a_declaration_without_a_required_query_is_reported() -> None:
    assert "useResourceSpecificConsentBasedAuthorization" in refused_consent(
        "communications/onlineMeetings/1/transcripts"
    )


def test_only_what_the_table_accepts_counts_as_granted() -> None:
    messages = needs("/chats/1/messages")
    assert missing(messages, {"Chat.ReadBasic.All", "Chat.ReadWrite.All"}) == ["Chat.Read.All"]  # for subscribing
    chats = needs("/chats")
    assert missing(chats, {"Chat.ReadWrite.All"}) == []
    assert missing(needs("/users/1/messages"), {"Mail.ReadWrite"}) == ["Mail.Read"]


def test_what_is_granted_and_not_needed_is_named() -> None:
    wanted = needs("/chats/getAllMessages")
    granted = {"Chat.Read.All", "User.ReadBasic.All", "User.Read.All", "Mail.Read", "Application.Read.All"}
    assert superfluous(wanted, granted) == ["Mail.Read", "User.Read.All"]
    assert superfluous(needs("/chats"), {"Chat.ReadWrite.All"}) == []  # wider than the least, and in use


def test_a_403_names_the_permission_that_is_missing_and_no_other() -> None:
    resource = "/chats/getAllMessages"
    assert "Chat.Read.All" in remedy(resource, [Purpose.SUBSCRIBE], {"User.ReadBasic.All"})
    remedy_text = remedy(resource, [Purpose.LIST, Purpose.SWEEP], {"Chat.Read.All"})
    assert "Grant the application permission User.ReadBasic.All," in remedy_text
    assert "Chat.Read.All" not in remedy_text


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.subscribe], ids=lambda kind: kind.paths[0])
@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_403_never_advises_a_permission_that_the_token_has(kind: object, purpose: Purpose) -> None:
    resource = kind.paths[0].replace("{}", "1")  # type: ignore[attr-defined]
    wanted = [need for need in needs(resource, hydrate=True) if need.purpose is purpose]
    remedy_text = remedy(resource, [purpose], least(wanted))
    assert "Grant " not in remedy_text


def test_a_403_despite_the_permission_names_the_policy_the_licence_or_the_app() -> None:
    transcripts = remedy(
        "communications/onlineMeetings/getAllTranscripts", [Purpose.READ], {"OnlineMeetingTranscript.Read.All"}
    )
    assert "application access policy" in transcripts
    assert "Transcript API access" in transcripts
    copilot = remedy(
        "copilot/interactionHistory/getAllEnterpriseInteractions",
        [Purpose.SUBSCRIBE],
        {"AiEnterpriseInteraction.Read.All"},
    )
    assert "Copilot licence" in copilot
    installed = remedy(
        "appCatalogs/teamsApps/1/installedToChats", [Purpose.SUBSCRIBE], {"Chat.ReadBasic.WhereInstalled"}
    )
    assert "installed in each of the chats" in installed


def test_a_403_on_renewing_names_what_the_page_on_renewing_wants() -> None:
    assert "Files.ReadWrite.All" in remedy("/drives/1/root", [Purpose.SUBSCRIBE], {"Files.Read.All"})


def test_a_token_without_roles_is_not_reported_as_lacking_one() -> None:
    remedy_text = remedy("/users/1/messages", [Purpose.SUBSCRIBE], None)
    assert remedy_text.startswith("See that the tenant has granted Mail.Read")


def test_with_consent_for_the_resource_a_403_names_the_app_to_install() -> None:
    remedy_text = remedy("/teams/1/channels/2/messages", [Purpose.SUBSCRIBE], set(), "resource")
    assert "ChannelMessage.Read.Group" in remedy_text
    assert "ChannelMessage.Read.All" not in remedy_text


@pytest.mark.parametrize(
    ("path", "granted", "says"),
    [
        ("teams/getAllMessages", {"ChannelMessage.Read.All"}, "Grant the application permission Team.ReadBasic.All,"),
        ("teams/1/channels/getAllMessages", {"Team.ReadBasic.All"}, "permission ChannelMessage.Read.All,"),
        ("teams/1/channels/2/messages/delta", set(), "the resource-specific ChannelMessage.Read.Group."),
        ("users/1/chats/getAllMessages", {"Chat.Read.All"}, "It is not a missing permission: the token has"),
        ("users/1", {"Mail.Read"}, "permission User.ReadBasic.All,"),
        ("chats/1/messages/2", {"Chat.Read.All"}, "It is not a missing permission: the token has Chat.Read.All."),
        ("drives/1/root", {"Mail.Read"}, "permission Files.Read.All,"),
        ("teams/1/channels/getAllMessages", None, "See that the tenant has granted ChannelMessage.Read.All"),
        ("unheard/of", {"Mail.Read"}, ""),
    ],
)
def test_a_403_on_reading_back_names_what_is_missing(path: str, granted: set[str] | None, says: str) -> None:
    remedy_text = remedy_of_reading(path, granted)
    assert says in remedy_text
    assert bool(remedy_text) is bool(says)
    assert [name for name in granted or () if f"permission {name}" in remedy_text] == []
