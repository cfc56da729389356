"""Regenerate the facts of Microsoft's permission reference, with which tests compare the app's table.

    python -m tools.permission_reference --devx DEVX --docs DOCS > graph_simulator/permission_reference.json

DEVX is a clone of microsoftgraph/microsoft-graph-devx-content, DOCS one of microsoftgraph/microsoft-graph-docs-contrib,
or a directory that holds the two pages at the same places, in Markdown: as in that repository, or as
learn.microsoft.com publishes them. Kept are the operations that the app performs: those of
`shared/resources/catalog.py` and `member_sources.py`. The simulator refuses by these facts, which owe nothing to our
tables.
"""

import argparse
import json
import re
import subprocess
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from shared.resources.catalog import KINDS
from shared.resources.member_sources import MEMBER_SOURCES

PERMISSIONS = "permissions/new/permissions.json"
PAGES = {
    "subscribe": "api-reference/v1.0/api/subscription-post-subscriptions.md",
    "renew": "api-reference/v1.0/api/subscription-update.md",
}

_PAGE = "https://learn.microsoft.com/graph/"
_RECORDINGS = {"page": f"{_PAGE}teams-changenotifications-callrecording-and-calltranscript", "edition": "2025-09-18"}
_VIRTUAL_EVENTS = {"page": f"{_PAGE}changenotifications-for-virtualevent", "edition": "2024-11-07"}
_REAUTHORIZE = {"page": f"{_PAGE}api/subscription-reauthorize", "edition": "2026-05-05"}

BY_HAND: dict[str, dict[str, Any]] = {
    "teams/getallmembers": {**_REAUTHORIZE, "application": ["TeamMember.Read.All", "TeamMember.ReadWrite.All"]},
    "teams/getallchannels/getallmembers": {**_REAUTHORIZE, "application": ["ChannelMember.Read.All"]},
    "appcatalogs/teamsapps/{}/installations": {
        "page": f"{_PAGE}teams-changenotifications-appinstallation",
        "edition": "2024-11-07",
        "application": [
            "TeamsAppInstallation.Read.All",
            "TeamsAppInstallation.Read.Chat",
            "TeamsAppInstallation.Read.Group",
            "TeamsAppInstallation.Read.User",
        ],
    },
    "communications/onlinemeetings/{}/transcripts": {
        **_RECORDINGS,
        "application": ["OnlineMeetingTranscript.Read.Chat", "OnlineMeetingTranscript.Read.All"],
    },
    "communications/onlinemeetings/{}/recordings": {
        **_RECORDINGS,
        "application": ["OnlineMeetingRecording.Read.Chat", "OnlineMeetingRecording.Read.All"],
    },
    "users/{}/adhoccalls/getalltranscripts": {**_RECORDINGS, "application": ["CallTranscripts.Read.All"]},
    "communications/adhoccalls/getalltranscripts": {
        **_RECORDINGS,
        "application": ["CallTranscripts.Read.All"],
        "beta": True,
    },
    "communications/adhoccalls/{}/transcripts": {**_RECORDINGS, "application": []},
    "appcatalogs/teamsapps/{}/installedtoonlinemeetings/getalltranscripts": {
        **_RECORDINGS,
        "application": ["OnlineMeetingTranscript.Read.Chat", "OnlineMeetingTranscript.Read.All"],
        "beta": True,
    },
    "communications/adhoccalls/getallrecordings": {**_RECORDINGS, "application": ["CallRecordings.Read.All"]},
    "communications/adhoccalls/{}/recordings": {**_RECORDINGS, "application": ["CallRecordings.Read.All"]},
    "users/{}/adhoccalls/getallrecordings": {**_RECORDINGS, "application": ["CallRecordings.Read.All"]},
    "appcatalogs/teamsapps/{}/installedtoonlinemeetings/getallrecordings": {
        **_RECORDINGS,
        "application": ["OnlineMeetingRecording.Read.Chat", "OnlineMeetingRecording.Read.All"],
        "beta": True,
    },
    "communications/onlinemeetings/{}/meetingcallevents": {
        "page": f"{_PAGE}changenotifications-for-onlinemeeting",
        "edition": "2024-06-30",
        "application": ["OnlineMeetings.Read.All", "OnlineMeetings.ReadWrite.All"],
        "beta": True,
    },
    "virtualevent": {**_VIRTUAL_EVENTS, "application": ["VirtualEvent.Read.All"]},
}
"""Permissions for subscribing where the table on the page on creation has no row, or a shorter one than the page of the
resource: taken from prose, so maintained by hand. By path, or by kind."""

NAMED_LIKE_THEIR_KIND = {"approvalitem": "ApprovalSolution", "healthmonitoringalert": "HealthMonitoringAlert"}
"""Kinds without a row on any page: the application permissions of the same name apply."""


SIMULATED = (
    "applications/{}",
    "chats/{}/members",
    "groups",
    "teams/{}/channels/{}/members",
    "teams/{}/channels/{}/messages/{}/replies",
    "teams/{}/members",
    "users/{}/chats",
)
"""Further calls that the simulator answers."""


def main() -> None:
    """Print the facts as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tools.permission_reference", description=__doc__)
    parser.add_argument("--devx", type=Path, required=True)
    parser.add_argument("--docs", type=Path, required=True)
    arguments = parser.parse_args()
    permissions = json.loads((arguments.devx / PERMISSIONS).read_text(encoding="utf-8"))["permissions"]
    facts: dict[str, Any] = {"sources": {PERMISSIONS: edition(arguments.devx)}}
    tables = {}
    for name, page in PAGES.items():
        text = (arguments.docs / page).read_text(encoding="utf-8")
        facts["sources"][page] = edition_of_page(text) or edition(arguments.docs)
        tables[name] = dict(sorted(rows(text)))
    facts["operations"] = {f"GET {path}": reads(permissions, path) for path in operations()}
    facts |= tables
    dated = facts["sources"][PERMISSIONS].split()[-1]
    facts["elsewhere"] = BY_HAND | {
        kind: {"page": f"{_PAGE}permissions-reference", "edition": dated, "application": offered(permissions, name)}
        for kind, name in NAMED_LIKE_THEIR_KIND.items()
    }
    named = mentioned(facts["operations"], tables, facts["elsewhere"])
    facts["application"] = sorted(application(permissions) & named)
    print(json.dumps(facts, indent=1))


def operations() -> list[str]:
    """Return the paths of reads, `{}` for an id, lower case, sorted."""
    used = (operation for kind in KINDS for operation in (*kind.read, *kind.sweep, *kind.specific_sweep))
    listing = (operation for source in MEMBER_SOURCES for operation in source.operations)
    paths = {operation.path.lower() for operation in chain(used, listing)}
    return sorted(paths | {path.lower() for path in SIMULATED})


def reads(permissions: dict[str, Any], path: str) -> dict[str, list[str]]:
    """Return the permissions with which an application may read a path, and which of them are marked as least.

    A mark for several methods applies to the most demanding one: it counts only if none is marked for GET alone.
    """
    wanted = "/" + path.replace("{}", "{id}")
    found: set[str] = set()
    least: dict[bool, set[str]] = {True: set(), False: set()}
    for name, permission in permissions.items():
        for paths in permission["pathSets"]:
            if "Application" not in paths["schemeKeys"] or "GET" not in paths["methods"]:
                continue
            for mark in (mark for listed, mark in paths["paths"].items() if listed.lower() == wanted):
                found.add(name)
                marked = re.search(r"least=([^;]*)", mark)
                if marked and "Application" in marked[1].split(","):
                    least[paths["methods"] == ["GET"]].add(name)
    return {"accepted": sorted(found), "least": sorted(least[True] or least[False])}


def rows(page: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the rows of a page's table on subscriptions: the path or resource type, and the application permissions."""
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) != 4 or "](" not in cells[0]:
            continue
        names = re.findall(r"[A-Z][A-Za-z-]+(?:\.[A-Za-z-]+)+", cells[3].replace("\\", ""))
        kind, place = target(cells[0])
        path = re.search(r"/?([\w{}-]+(?:/[\w{}-]+)+)|/(\w+)", place)
        key = re.sub(r"\{[^}]*\}", "{}", path[1] or path[2]).lower() if path else kind
        if "personal" not in place:  # a personal OneDrive, which no application can watch
            yield key, names


def target(cell: str) -> tuple[str, str]:
    """Split the first cell of a row into the resource type that it links to, lower case, and what follows the link."""
    link, _, rest = cell.partition("](")[2].partition(")")
    name = link.rpartition("/")[2].removesuffix(".md").partition("?")[0]
    return name.rpartition("-")[2].lower(), rest.replace("\\", "")


def offered(permissions: dict[str, Any], resource: str) -> list[str]:
    """Return the application permissions for a resource, reading before writing."""
    return sorted(name for name in application(permissions) if name.partition(".")[0] == resource)


def application(permissions: dict[str, Any]) -> set[str]:
    """Return the names of all permissions that applications can be granted."""
    return {name for name, permission in permissions.items() if "Application" in permission["schemes"]}


def mentioned(
    reading: dict[str, Any], tables: dict[str, dict[str, list[str]]], elsewhere: dict[str, dict[str, Any]]
) -> set[str]:
    """Return the names of all permissions in the facts."""
    names = {name for operation in reading.values() for name in operation["accepted"]}
    names |= {name for table in tables.values() for listed in table.values() for name in listed}
    return names | {name for fact in elsewhere.values() for name in fact["application"]}


def edition(clone: Path) -> str:
    """Return commit and date of a clone."""
    command = ["git", "-C", str(clone), "log", "-1", "--format=%H %cs"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def edition_of_page(text: str) -> str | None:
    """Return the date that a page states for itself, if it does."""
    stated = re.search(r"(?:ms\.date:|Last-Modified:) *([\d/-]+)", text)
    return stated[1] if stated else None


if __name__ == "__main__":
    main()
