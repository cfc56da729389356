"""A subscription as Graph lists it, what can be done about one, and what every subscription of ours carries."""

from collections.abc import Callable, Container
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Annotated

import msgspec

from shared.configuration.declaration import Declaration
from shared.errors import RelayError
from shared.graph import client_state
from shared.keys.key import EncryptionKey
from shared.resources.identity import kinds_in
from shared.subscriptions.marks import Endpoint, marked, read_url

_IMMUTABLE_IDS = frozenset({"Message", "Event", "Contact"})


class Subscription(msgspec.Struct, frozen=True, rename="camel"):
    """A subscription as Graph lists it: without its clientState and certificate.

    What is null or "" is unknown, and no difference from what was given (docs/graph.md, "Subscriptions").
    The id, a GUID, stands in paths and is a key in a table: no text is read as one that cannot.
    """

    id: Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Za-z_-]{1,128}\Z")]
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
    """One thing to do. `declaration` is None for a removal, `subscription` for a creation.

    instead: the id of the subscription that serves in place of one that is removed; it has to live.
    """

    action: Action
    tenant_id: str
    declaration: Declaration | None
    subscription: Subscription | None
    explanation: str
    instead: str | None = None

    @property
    def opens_a_gap(self) -> bool:
        """Whether changes may be missed before it, or by it."""
        return self.action in (Action.CREATE, Action.REPLACE)


def _never(_: str) -> bool:
    return False


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
    silent: Container[str] = ()
    """The ids, lower case, of those that Graph shows and that bring nothing any more."""
    pause: timedelta = timedelta(0)
    """The longest time between two runs of the timer: what would not live until the next but one is renewed."""
    former_secrets: tuple[bytes, ...] = ()
    """Secrets of before that still prove an item."""
    take_over: bool = False
    """Whether a subscription that is not ours is replaced if Graph refuses ours for its sake."""
    insists: bool = False
    """Whether creations that Graph has refused a while ago are tried now, and not later each time."""
    may_belong: Callable[[str], bool] = _never
    """Whether a subscription to a resource may belong to a declaration that is not known yet: it is not removed."""

    def url_for(self, declaration: Declaration, minted_by: str | None = None) -> str:
        """Return the notification URL of the subscription of a declaration.

        minted_by: the fingerprint of the secret that minted its clientState; None: the current one.
        """
        return marked(
            self.notification_url,
            minted_by=minted_by or self.fingerprint,
            serves=declaration.id,
            id_type=id_type_of(declaration.resource),
        )

    @cached_property
    def endpoint(self) -> Endpoint:
        """NOTIFICATION_URL, in one spelling."""
        return read_url(self.notification_url).endpoint

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the current secret."""
        return client_state.fingerprint(self.client_state_secret)

    @cached_property
    def fingerprints(self) -> frozenset[str]:
        """The fingerprints of all our secrets."""
        return frozenset(map(client_state.fingerprint, (self.client_state_secret, *self.former_secrets)))


def id_type_of(resource: str) -> str | None:
    """Return the ids that a subscription to a resource is to give, as its URL says; None: the only ones there are."""
    return "immutable" if kinds_in(resource) & _IMMUTABLE_IDS else None


@dataclass(frozen=True)
class Refusal:
    """A creation that has failed: when it did last, how many times, and until when it is not asked for again."""

    last: datetime
    times: int
    until: datetime


@dataclass(frozen=True)
class Outcome:
    """What became of a step: `subscription` is Graph's answer, `error` what went wrong.

    attempted: whether Graph was asked at all in this run.
    """

    step: Step
    subscription: Subscription | None = None
    error: RelayError | None = None
    attempted: bool = True
