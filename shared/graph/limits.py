"""Groups of requests under one limit of Graph: a 429 of one group says nothing about others (docs/graph.md,
"Limits").
"""

import re
from urllib.parse import urlsplit

from shared.resources.path import segments

_MAILBOX = "messages|mailfolders|events|calendar|calendars|calendarview|contacts|contactfolders"

_LIMITS = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("subscriptions", r"subscriptions$"),
        ("a subscription", r"subscriptions/"),
        ("exports", r"(?:teams|users)/[^/]+/(?:channels|chats)/getall"),
        ("channel {0}", r"(teams/[^/]+/channels/[^/]+)/messages"),
        ("chat {0}", r"chats/([^/]+)"),
        ("mailbox {0}", rf"users/([^/]+)/(?:{_MAILBOX})(?:/|$)"),
        ("{1} of {0}", r"((?:users|teams|groups)/[^/]+)/([^/]+)"),
        ("{0}", r"((?:drives|sites)/[^/]+)"),
        ("{0}", r"([^/]*)"),
    )
)


def limited_with(method: str, url: str) -> str:
    """Return the name of a request's group: a kind of call, or a chat, a channel, a mailbox, a drive."""
    path = "/".join(part.lower() for part in segments(urlsplit(url).path)).partition("v1.0/")[2]
    name, found = next((name, found) for name, pattern in _LIMITS if (found := pattern.match(path)))
    return f"{name.format(*found.groups())}{'' if method == 'GET' else ', written'}"
