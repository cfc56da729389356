"""What the notification URL of a subscription says about it. Graph shows it with every subscription.

Graph may show the resource, the letter case of the host and the encoding of the query otherwise than they were given
(docs/graph.md, "Subscriptions"). Our own query parameters come back whole: by them a subscription is recognised. The
URL of an event hub has no room for any.
"""

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from shared.configuration.values import event_hub

MINTED_BY = "clientStateId"
"""Names the secret that minted the clientState, by its fingerprint."""

SERVES = "declarationId"
"""Names the declaration that the subscription serves, by its id."""

ID_TYPE = "idType"
"""Says which ids a subscription to Outlook gives (/graph/outlook-immutable-id)."""

_MARKS = (MINTED_BY, SERVES, ID_TYPE)

Endpoint = tuple[str, ...]
"""A URL without our marks, in one spelling."""


@dataclass(frozen=True)
class MarkedUrl:
    """A notification URL, read. A mark that is not there is None."""

    endpoint: Endpoint
    minted_by: str | None = None
    serves: str | None = None
    id_type: str | None = None


@lru_cache(maxsize=32_768)  # called several times for each subscription in each run
def read_url(url: str) -> MarkedUrl:
    """Return what a notification URL says; any text is one."""
    if event_hub(url):
        return MarkedUrl((url.lower(),))
    try:
        parts = urlsplit(url)
    except ValueError:
        return MarkedUrl((url,))
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    given = dict(pair for pair in pairs if pair[0] in _MARKS)
    rest = urlencode([pair for pair in pairs if pair[0] not in _MARKS])
    endpoint = (parts.scheme.lower(), parts.netloc.lower(), unquote(parts.path), rest)
    return MarkedUrl(endpoint, given.get(MINTED_BY), given.get(SERVES), given.get(ID_TYPE))


def marked(url: str, *, minted_by: str, serves: str, id_type: str | None) -> str:
    """Return the URL with marks; that of an event hub as it is."""
    if event_hub(url):
        return url
    marks = urlencode({
        name: value for name, value in ((MINTED_BY, minted_by), (SERVES, serves), (ID_TYPE, id_type)) if value
    })  # fmt: skip
    return f"{url}{'&' if urlsplit(url).query else '?'}{marks}"
