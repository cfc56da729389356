"""A subscription as Graph lists it, the steps that change one, and the desired state of all."""

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

    A property that is null or "" is unknown, and does not differ from the given one (docs/graph.md, "Subscriptions").
    The id, a GUID, becomes part of paths and of table keys: other texts are rejected.
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
    """The kinds of steps."""

    CREATE = "create"
    RENEW = "renew"
    REKEY = "rekey"
    REPLACE = "replace"
    REMOVE = "remove"


@dataclass(frozen=True)
class Step:
    """One step. `declaration` is None for a removal, `subscription` for a creation.

    instead: the id of the successor of a removed subscription; it must exist.
    """

    action: Action
    tenant_id: str
    declaration: Declaration | None
    subscription: Subscription | None
    explanation: str
    instead: str | None = None

    @property
    def opens_a_gap(self) -> bool:
        """Whether changes may be missed before or during the step."""
        return self.action in (Action.CREATE, Action.REPLACE)


def _never(_: str) -> bool:
    return False


@dataclass(frozen=True)
class DesiredState:
    """The desired properties of every subscription."""

    notification_url: str
    client_state_secret: bytes
    key: EncryptionKey | None
    """None while the key store is unavailable: steps that need a certificate wait."""
    recreate: bool = False
    """Whether to replace subscriptions without a fault, too."""
    lagging: Container[str] = ()
    """The ids, lower case, of subscriptions that show the current key while their items name another one."""
    silent: Container[str] = ()
    """The ids, lower case, of subscriptions that exist and send nothing."""
    pause: timedelta = timedelta(0)
    """The longest time between two timer runs: a subscription that would expire before the next but one is renewed."""
    former_secrets: tuple[bytes, ...] = ()
    """Former secrets whose clientStates are still valid."""
    take_over: bool = False
    """Whether a foreign subscription is replaced if Graph refuses the app's own because of it."""
    insists: bool = False
    """Whether refused creations are retried now, without their growing delays."""
    may_belong: Callable[[str], bool] = _never
    """Whether a subscription to a resource may belong to a declaration that is not known yet: then it is not removed.
    """

    def url_for(self, declaration: Declaration, minted_by: str | None = None) -> str:
        """Return the notification URL of the subscription of a declaration.

        minted_by: the fingerprint of the secret of its clientState; None: the current one.
        """
        return marked(
            self.notification_url,
            minted_by=minted_by or self.fingerprint,
            serves=declaration.id,
            id_type=id_type_of(declaration.resource),
        )

    @cached_property
    def endpoint(self) -> Endpoint:
        """NOTIFICATION_URL, normalized."""
        return read_url(self.notification_url).endpoint

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the current secret."""
        return client_state.fingerprint(self.client_state_secret)

    @cached_property
    def fingerprints(self) -> frozenset[str]:
        """The fingerprints of all secrets."""
        return frozenset(map(client_state.fingerprint, (self.client_state_secret, *self.former_secrets)))


def id_type_of(resource: str) -> str | None:
    """Return the type of ids that the URL of a subscription states; None: the resource has only one."""
    return "immutable" if kinds_in(resource) & _IMMUTABLE_IDS else None


@dataclass(frozen=True)
class FailedCreation:
    """A failed creation: the time of the last attempt, the number of attempts, and the time of the next."""

    last: datetime
    times: int
    until: datetime


@dataclass(frozen=True)
class Outcome:
    """The outcome of a step: `subscription` is Graph's answer, `error` the failure.

    attempted: whether this run called Graph.
    """

    step: Step
    subscription: Subscription | None = None
    error: RelayError | None = None
    attempted: bool = True
