"""A subscription as Graph lists it, what can be done about one, and what every subscription of ours carries."""

from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlencode, urlsplit

import msgspec

from shared.configuration.declaration import Declaration
from shared.configuration.values import event_hub
from shared.errors import RelayError
from shared.graph import client_state
from shared.keys.key import EncryptionKey
from shared.resources.identity import kinds_in

ID_TYPE = "idType"
"""Query parameter that says which ids a subscription to Outlook gives: reads do not show it."""

_IMMUTABLE = frozenset({"Message", "Event", "Contact"})

MINTED_BY = "clientStateId"
"""Query parameter of our notification URL that names the secret which minted the clientState: reads do not show it."""


class Subscription(msgspec.Struct, frozen=True, rename="camel"):
    """A subscription as Graph lists it: without its clientState and certificate."""

    id: str
    resource: str
    change_type: str
    notification_url: str
    expiration_date_time: Annotated[datetime, msgspec.Meta(tz=True)]
    lifecycle_notification_url: str | None = None
    include_resource_data: bool | None = None
    encryption_certificate_id: str | None = None


class Action(StrEnum):
    """What is done about a subscription."""

    CREATE = "create"
    RENEW = "renew"
    REKEY = "rekey"
    REPLACE = "replace"
    REMOVE = "remove"


@dataclass(frozen=True)
class Step:
    """One thing to do. `declaration` is None for a removal, `subscription` for a creation."""

    action: Action
    tenant_id: str
    declaration: Declaration | None
    subscription: Subscription | None
    explanation: str


@dataclass(frozen=True)
class DesiredState:
    """What every subscription of ours carries at present."""

    notification_url: str
    client_state_secret: bytes
    key: EncryptionKey | None
    """None while the key store is away: what needs a certificate waits, and the rest goes on."""
    recreate: bool = False
    """Whether even those without fault are to be replaced."""
    lagging: Container[str] = ()
    """The ids, lower case, of those whose items go on naming another key, although they show the present one."""
    pause: timedelta = timedelta(0)
    """The longest time between two runs of the timer: what would not live until the next but one is renewed."""

    def url_for(self, resource: str) -> str:
        """The notification URL of a subscription to a resource.

        Of Outlook it has a second mark: an older subscription keeps giving ids that a move changes
        (/graph/outlook-immutable-id).
        """
        if not kinds_in(resource) & _IMMUTABLE or event_hub(self.notification_url):
            return self.marked_url
        return f"{self.marked_url}&{urlencode({ID_TYPE: 'immutable'})}"

    @property
    def marked_url(self) -> str:
        """The notification URL with the mark of the current secret; that of an event hub has no room for one."""
        if event_hub(self.notification_url):
            return self.notification_url
        mark = urlencode({MINTED_BY: client_state.fingerprint(self.client_state_secret)})
        return f"{self.notification_url}{'&' if urlsplit(self.notification_url).query else '?'}{mark}"


@dataclass(frozen=True)
class Outcome:
    """What became of a step: `subscription` is Graph's answer, `error` what went wrong."""

    step: Step
    subscription: Subscription | None = None
    error: RelayError | None = None
