"""Which of the subscriptions that Graph shows are ours, and which declaration each one serves.

One app registration may have several deployments, and other products: what is neither at our endpoint nor known from
before is not ours, and is never touched. Our secret's mark alone proves nothing: two deployments may share the secret.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from shared.configuration.declaration import Declaration, declaration_id
from shared.subscriptions.known import Known
from shared.subscriptions.marks import read_url
from shared.subscriptions.subscription import DesiredState, Subscription

NOTHING_KNOWN: Mapping[str, Known] = {}


@dataclass(frozen=True)
class Inventory:
    """The subscriptions of a tenant: ours by the id of the declaration that each serves, and the rest."""

    ours: Mapping[str, Sequence[Subscription]] = field(default_factory=dict)
    foreign: Sequence[Subscription] = ()


def take_inventory(
    subscriptions: Iterable[Subscription], desired: DesiredState, known: Mapping[str, Known], tenant_id: str
) -> Inventory:
    """Tell our subscriptions from the rest. known: those of before, by their ids, lower case."""
    ours: dict[str, list[Subscription]] = defaultdict(list)
    foreign: list[Subscription] = []
    for subscription in subscriptions:
        declaration = served_declaration(subscription, desired, known, tenant_id)
        if declaration is None:
            foreign.append(subscription)
        else:
            ours[declaration].append(subscription)
    return Inventory(ours, foreign)


def served_declaration(
    subscription: Subscription, desired: DesiredState, known: Mapping[str, Known], tenant_id: str
) -> str | None:
    """Return the id of the declaration that a subscription serves, or served; None if it is not ours."""
    url, before = read_url(subscription.notification_url), known.get(subscription.id.lower())
    if url.endpoint != desired.endpoint and before is None:
        return None
    if url.serves is not None:
        return url.serves
    return before.declaration if before is not None else declaration_id(tenant_id, subscription.resource)


def only_marked(
    subscriptions: Iterable[Subscription], desired: DesiredState, known: Mapping[str, Known]
) -> list[Subscription]:
    """Return those with a mark of one of our secrets that are not ours: of a deployment with the same secret, or ours
    from a time of which nothing is known any more.
    """
    return [
        subscription
        for subscription in subscriptions
        if (url := read_url(subscription.notification_url)).minted_by in desired.fingerprints
        and url.endpoint != desired.endpoint
        and subscription.id.lower() not in known
    ]


def completed(subscription: Subscription, known: Mapping[str, Known]) -> Subscription:
    """Return the subscription with the key it was given, where Graph does not show one."""
    before = known.get(subscription.id.lower())
    if subscription.encryption_certificate_id or before is None or not before.key:
        return subscription
    return msgspec.structs.replace(subscription, encryption_certificate_id=before.key)


def remembered(
    subscription_id: str, known: Known, declaration: Declaration | None, desired: DesiredState
) -> Subscription:
    """Return a subscription that Graph does not show, as it must be: nothing about it is known to be wrong.

    declaration: None if it is declared no more.
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
    """Tell whether a subscription is of what is declared: by our mark, since Graph may respell the resource."""
    serves = read_url(subscription.notification_url).serves
    return (serves or declaration_id(declaration.tenant_id, subscription.resource)) == declaration.id
