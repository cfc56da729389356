"""How long Graph lets a subscription to a resource live (docs/graph.md, "Lifetimes").

The one place for these figures. An unknown resource gets an hour, which every resource takes.
"""

import re
from datetime import timedelta

MARGIN = timedelta(minutes=1)
"""What we ask for less than the maximum, since our clock may differ from Graph's."""

UNKNOWN = 60

SHORTEST_LIFETIME = timedelta(minutes=UNKNOWN) - MARGIN
"""What every resource takes."""

# Patterns over the path in lower case, without a leading slash or a query; the first that fits counts.
_MINUTES = (
    (r"communications/presences", 60),
    (r"communications/callrecords", 4_230),
    (r".*(alltranscripts|allrecordings|/transcripts|/recordings)$", 4_320),
    (r"communications/onlinemeetings", 4_230),
    (r"teams/[^/]+/schedule", 360),
    (r"copilot/", 4_320),
    (r"(teams|chats|users/[^/]+/chats|appcatalogs)(/|$)", 4_320),
    (r"(solutions/)?approval", 43_200),
    (r"(users/[^/]+|me)/(messages|mailfolders|events|calendar|calendars|contacts|contactfolders)", 10_080),
    (r"(drives|(users|groups|sites)/[^/]+/drive|me/drive|sites/[^/]+/lists)", 42_300),
    (r"groups/[^/]+/conversations", 4_230),
    (r"(users/[^/]+|me)/todo", 4_230),
    (r"print/", 4_230),
    (r"security/alerts", 43_200),
    (r"reports/healthmonitoring", 42_300),
    (r"(users|groups)(/|$)", 41_760),
)
LONGEST_LIFETIME = timedelta(minutes=max(minutes for _, minutes in _MINUTES))
"""After which nothing that was subscribed to is left, if nobody has renewed it."""

_OUTLOOK = 10_080
_OUTLOOK_RICH = 1_440


def longest_lifetime(resource: str, *, rich: bool) -> timedelta:
    """Return what to ask for: the maximum less a margin. A lifecycle URL is taken to be there; it always is."""
    path = re.sub(r"\('([^']*)'\)", r"/\1", resource.partition("?")[0]).strip("/").lower()
    minutes = next((minutes for pattern, minutes in _MINUTES if re.match(pattern, path)), UNKNOWN)
    if rich and minutes == _OUTLOOK:
        minutes = _OUTLOOK_RICH
    return timedelta(minutes=minutes) - MARGIN
