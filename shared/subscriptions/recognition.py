"""Tells the app's subscriptions from foreign ones, and which declaration each one serves.

One app registration may have several deployments, and be used by other products. A subscription that neither is at the
app's endpoint nor is stored is foreign, and never changed. The mark of the secret alone proves nothing: two deployments
may share the secret.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from shared.configuration.declaration import Declaration, declaration_id
from shared.subscriptions.known import KnownSubscription
from shared.subscriptions.marks import read_url
from shared.subscriptions.subscription import DesiredState, Subscription

NOTHING_KNOWN: Mapping[str, KnownSubscription] = {}


@dataclass(frozen=True)
class ClassifiedSubscriptions:
    """The subscriptions of a tenant: the app's own by the id of the declaration that each serves, and foreign ones."""

    own: Mapping[str, Sequence[Subscription]] = field(default_factory=dict)
    foreign: Sequence[Subscription] = ()


def classify(
    subscriptions: Iterable[Subscription], desired: DesiredState, known: Mapping[str, KnownSubscription], tenant_id: str
) -> ClassifiedSubscriptions:
    """Separate the app's subscriptions from foreign ones. known: the stored subscriptions by id, lower case."""
    own: dict[str, list[Subscription]] = defaultdict(list)
    foreign: list[Subscription] = []
    for subscription in subscriptions:
        declaration = served_declaration(subscription, desired, known, tenant_id)
        if declaration is None:
            foreign.append(subscription)
        else:
            own[declaration].append(subscription)
    return ClassifiedSubscriptions(own, foreign)


def served_declaration(
    subscription: Subscription, desired: DesiredState, known: Mapping[str, KnownSubscription], tenant_id: str
) -> str | None:
    """Return the id of the declaration that a subscription serves or served; None if it is foreign."""
    url, before = read_url(subscription.notification_url), known.get(subscription.id.lower())
    if url.endpoint != desired.endpoint and before is None:
        return None
    if url.serves is not None:
        return url.serves
    return before.declaration if before is not None else declaration_id(tenant_id, subscription.resource)


def only_marked(
    subscriptions: Iterable[Subscription], desired: DesiredState, known: Mapping[str, KnownSubscription]
) -> list[Subscription]:
    """Return foreign subscriptions with a mark of the app's secrets: of a deployment with the same secret, or of this
    one, but no longer stored.
    """
    return [
        subscription
        for subscription in subscriptions
        if (url := read_url(subscription.notification_url)).minted_by in desired.fingerprints
        and url.endpoint != desired.endpoint
        and subscription.id.lower() not in known
    ]


def completed(subscription: Subscription, known: Mapping[str, KnownSubscription]) -> Subscription:
    """Return the subscription with the stored key id if Graph shows none."""
    before = known.get(subscription.id.lower())
    if subscription.encryption_certificate_id or before is None or not before.key:
        return subscription
    return msgspec.structs.replace(subscription, encryption_certificate_id=before.key)


def expected_subscription(
    subscription_id: str, known: KnownSubscription, declaration: Declaration | None, desired: DesiredState
) -> Subscription:
    """Return a stored subscription that Graph does not show, with the properties that it should have.

    declaration: None if it is no longer declared.
    """
    return Subscription(
        id=subscription_id,
        resource=declaration.resource if declaration else "",
        change_type=",".join(declaration.change_types) if declaration else "",
        notification_url=desired.url_for(declaration) if declaration else "",
        expiration_date_time=known.expires,
        include_resource_data=declaration.include_resource_data if declaration else None,
        encryption_certificate_id=known.key or None,
    )


def is_of(subscription: Subscription, declaration: Declaration) -> bool:
    """Return whether a subscription is to the declared resource: by its mark, since Graph may change the resource's
    spelling.
    """
    serves = read_url(subscription.notification_url).serves
    return (serves or declaration_id(declaration.tenant_id, subscription.resource)) == declaration.id
