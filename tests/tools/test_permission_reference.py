"""The script that extracts Microsoft's permission reference reads both forms of Microsoft's pages."""

from typing import Any

import pytest

from tools.permission_reference import edition_of_page, offered, reads, rows

HEAD = "| Supported resource | Delegated | Personal | Application |\n|:-----|:-----|:-----|:-----|\n"
AS_IN_THE_REPOSITORY = (
    "---\nms.date: 05/05/2026\n---\n"
    + HEAD
    + "|[callRecord](../resources/callrecords-callrecord.md) (/communications/callRecords) | Not supported |"
    " Not supported | CallRecords.Read.All |\n"
    "|[chat](../resources/chat.md) <br />/chats/{id} <br /> One chat. | Chat.Read | Not supported. |"
    " ChatSettings.Read.Chat*, Chat.Read.All |\n"
    "|[driveItem](../resources/driveitem.md) (user's personal OneDrive) | Not supported | Files.Read |"
    " Not supported |\n"
    "|[driveItem](../resources/driveitem.md) (OneDrive for Business) | Files.Read.All | Not supported |"
    " Files.Read.All |\n"
    "|[presence](../resources/presence.md) | Presence.Read.All | Not supported | Not supported |\n"
)
AS_PUBLISHED = (
    "<!-- Sitemap-Last-Modified: 2026-05-05 -->\n"
    + HEAD
    + "| [callRecord](https://learn.microsoft.com/en-us/graph/api/resources/callrecords-callrecord?view=graph-rest-1.0)"
    " \\(/communications/callRecords\\) | Not supported | Not supported | CallRecords.Read.All |\n"
    "| [chat](https://learn.microsoft.com/en-us/graph/api/resources/chat?view=graph-rest-1.0)  <br>`/chats/{id}`  <br>"
    "One chat. | Chat.Read | Not supported. | ChatSettings.Read.Chat\\*, Chat.Read.All |\n"
    "| [driveItem](https://learn.microsoft.com/en-us/graph/api/resources/driveitem?view=graph-rest-1.0)"
    " \\(user's personal OneDrive\\) | Not supported | Files.Read | Not supported |\n"
    "| [driveItem](https://learn.microsoft.com/en-us/graph/api/resources/driveitem?view=graph-rest-1.0)"
    " \\(OneDrive for Business\\) | Files.Read.All | Not supported | Files.Read.All |\n"
    "| [presence](https://learn.microsoft.com/en-us/graph/api/resources/presence?view=graph-rest-1.0) |"
    " Presence.Read.All | Not supported | Not supported |\n"
)


@pytest.mark.parametrize(("page", "edition"), [(AS_IN_THE_REPOSITORY, "05/05/2026"), (AS_PUBLISHED, "2026-05-05")])
def test_a_page_is_read_in_either_form(page: str, edition: str) -> None:
    assert dict(rows(page)) == {
        "communications/callrecords": ["CallRecords.Read.All"],
        "chats/{}": ["ChatSettings.Read.Chat", "Chat.Read.All"],
        "driveitem": ["Files.Read.All"],
        "presence": [],
    }
    assert edition_of_page(page) == edition


def test_of_a_permission_what_applications_may_read_with_it_counts() -> None:
    paths = {"/chats/{id}": "least=Application", "/chats/{id}/messages": ""}
    permissions = {
        "Chat.Read.All": {"pathSets": [{"schemeKeys": ["Application"], "methods": ["GET"], "paths": paths}]},
        "Chat.Read": {"pathSets": [{"schemeKeys": ["DelegatedWork"], "methods": ["GET"], "paths": paths}]},
        "Chat.Create": {"pathSets": [{"schemeKeys": ["Application"], "methods": ["POST"], "paths": paths}]},
    }
    assert reads(permissions, "chats/{}") == {"accepted": ["Chat.Read.All"], "least": ["Chat.Read.All"]}
    assert reads(permissions, "chats/{}/messages") == {"accepted": ["Chat.Read.All"], "least": []}


def test_a_mark_of_reading_and_writing_together_is_not_of_reading() -> None:
    def permission(*methods: str) -> dict[str, object]:
        sets = {"schemeKeys": ["Application"], "methods": list(methods), "paths": {"/chats": "least=Application"}}
        return {"schemes": {"Application": {}}, "pathSets": [sets]}

    permissions = {"Chat.Read.All": permission("GET"), "Chat.ReadWrite.All": permission("GET", "POST")}
    names = ["Chat.Read.All", "Chat.ReadWrite.All"]
    assert reads(permissions, "chats") == {"accepted": names, "least": names[:1]}
    del permissions["Chat.Read.All"]
    assert reads(permissions, "chats") == {"accepted": names[1:], "least": names[1:]}


def test_permissions_are_found_by_what_they_are_named_after() -> None:
    permissions: dict[str, Any] = {
        "ApprovalSolution.ReadWrite.All": {"schemes": {"Application": {}}},
        "ApprovalSolution.Read.All": {"schemes": {"Application": {}}},
        "ApprovalSolution.Read": {"schemes": {"DelegatedWork": {}}},
        "ApprovalSolutionResponse.ReadWrite": {"schemes": {"Application": {}}},
    }
    assert offered(permissions, "ApprovalSolution") == ["ApprovalSolution.Read.All", "ApprovalSolution.ReadWrite.All"]
