"""Authorization behind a subscription: challenges, pauses, removal (docs/graph.md, "Lifecycle notifications")."""

from datetime import datetime, timedelta

from graph_simulator.subscription import Subscription

TOKEN_LIFE = timedelta(hours=1)
CHALLENGED_BEFORE = timedelta(minutes=30)
CHALLENGED_EVERY = timedelta(minutes=15)
GRACE = timedelta(minutes=15)
REMOVED_WITHOUT_CONSENT_AFTER = timedelta(minutes=30)

CHALLENGE = "reauthorizationRequired"
REMOVED = "subscriptionRemoved"
EVENTS = (CHALLENGE, REMOVED, "missed")


def challenge_is_due(subscription: Subscription, now: datetime) -> bool:
    """Whether to send `reauthorizationRequired`: token or subscription expires soon, and the last one is old."""
    if subscription.lifecycle_url is None or is_paused(subscription, now):
        return False
    lapses = min(subscription.authorized + TOKEN_LIFE, subscription.expires)
    last = subscription.challenged
    return now >= lapses - CHALLENGED_BEFORE and (last is None or now - last >= CHALLENGED_EVERY)


def challenge(subscription: Subscription, now: datetime) -> None:
    """Record that a challenge is sent."""
    subscription.challenged = now
    subscription.first_challenged = subscription.first_challenged or now


def is_paused(subscription: Subscription, now: datetime) -> bool:
    """Whether delivery is paused: challenged, not reauthorized, and the token has expired. Changes are lost."""
    return subscription.first_challenged is not None and now >= max(
        subscription.authorized + TOKEN_LIFE, subscription.first_challenged + GRACE
    )
