"""Query parameters in the notification URL, by which the app recognises its subscriptions.

Graph shows the URL with every subscription, and may change the spelling of the resource, the letter case of the host
and the encoding of the query (docs/graph.md, "Subscriptions"). The values of the parameters stay intact. The URL of an
event hub can't carry parameters.
"""

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from shared.configuration.values import event_hub

MINTED_BY = "clientStateId"
"""Identifies the secret of the clientState, by its fingerprint."""

SERVES = "declarationId"
"""Identifies the declaration that the subscription serves, by its id."""

ID_TYPE = "idType"
"""States which ids a subscription to Outlook delivers (/graph/outlook-immutable-id)."""

_MARKS = (MINTED_BY, SERVES, ID_TYPE)

Endpoint = tuple[str, ...]
"""A URL without the app's parameters, normalized."""


@dataclass(frozen=True)
class MarkedUrl:
    """A parsed notification URL. An absent parameter is None."""

    endpoint: Endpoint
    minted_by: str | None = None
    serves: str | None = None
    id_type: str | None = None


@lru_cache(maxsize=32_768)  # called several times per subscription and run
def read_url(url: str) -> MarkedUrl:
    """Parse a notification URL; accepts any text."""
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
    """Return the URL with the parameters; that of an event hub unchanged."""
    if event_hub(url):
        return url
    marks = urlencode({
        name: value for name, value in ((MINTED_BY, minted_by), (SERVES, serves), (ID_TYPE, id_type)) if value
    })  # fmt: skip
    return f"{url}{'&' if urlsplit(url).query else '?'}{marks}"
