"""Checks of the endpoint, the subscriptions, the destination and the clock."""

from collections.abc import Container, Iterable, Iterator, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime

import requests

from ops.checks.result import CheckResult, attention, fine, unreachable, unseen
from ops.report import span
from ops.subscription_state import Listed, states, worst
from shared.configuration.destinations import DEFAULT, FIELDS, DestinationSettings, Mode
from shared.configuration.values import event_hub
from shared.errors import RetryLater
from shared.graph import client_state
from shared.http_client import exchange
from shared.relay import relay, utc_now
from shared.subscriptions.endpoint import probe
from shared.subscriptions.marks import read_url
from shared.subscriptions.subscription import Subscription

TOLERATED_SKEW = 30.0
"""Seconds by which clocks may differ: tokens and signatures allow five minutes, and latency adds to the difference."""

MOST_SHOWN = 20
"""Shown subscriptions, the worst first: `status` shows the others."""

_TIME_LIMIT = 10
_LONGEST_ANSWER = 1 << 20
_UNAVAILABLE = (408, 425, 429)


DESTINATION_SETTINGS = {field.name: field.setting for field in FIELDS}

_ADVICE = {
    410: (
        "it answers 410 Gone: delivery has stopped, what is queued is kept",
        "have the destination answer at this URL again, or change DESTINATION_URL",
    ),
    415: (
        "it answers 415: it does not understand requests of this form",
        "see DESTINATION_MODE and DESTINATION_HEADERS, or repair the receiver; everything is kept meanwhile",
    ),
    500: (
        "it answers 500 to a signed batch without events",
        "see the destination's own log: it must answer 2xx to []; events wait meanwhile",
    ),
}


def clock() -> Iterator[CheckResult]:
    """Compare this machine's clock with the Date of Graph's answer."""
    check = "clock"
    try:
        url = f"{relay().settings.graph_url}/v1.0/"
        answer = exchange(relay().session, "GET", url, timeout=_TIME_LIMIT, limit=_LONGEST_ANSWER)
        theirs = parsedate_to_datetime(answer.headers.get("Date", ""))
    except requests.RequestException as error:
        yield unreachable(
            check, f"Graph does not answer ({type(error).__name__})", "check the outbound connection to Graph"
        )
        return
    except ValueError:
        yield unseen(check, "Graph's answer carries no date")
        return
    skew = (utc_now() - theirs.replace(tzinfo=theirs.tzinfo or UTC)).total_seconds()
    if abs(skew) > TOLERATED_SKEW:
        summary = f"this machine's clock is {span(abs(skew))} {'ahead of' if skew > 0 else 'behind'} Graph's"
        yield attention(check, summary, "synchronize it with NTP: it is used to check tokens and signatures")
    else:
        yield fine(check, "within seconds of Graph's")


def endpoint() -> Iterator[CheckResult]:
    """Do the handshake with the endpoint as Graph does."""
    check = "endpoint"
    notification_url = relay().settings.notification_url
    complaint = probe(notification_url, relay().session)
    if event_hub(notification_url):
        yield unseen(check, "an event hub: it has no handshake", "see the subscriptions")
    elif complaint is None:
        yield fine(check, "it answers the handshake as Graph requires")
    elif complaint.startswith("it answers 403"):
        summary = "403: a firewall admits only some callers, which is correct if Graph is one of them"
        yield unseen(check, summary, "see the subscriptions: they can't be created unless Graph gets through")
    else:
        yield attention(check, complaint, "Graph must reach NOTIFICATION_URL from the internet; see docs/setup.md")


def destinations() -> Iterator[CheckResult]:
    """Check each destination, and report invalid entries of DESTINATIONS."""
    for complaint in relay().outboxes.settings.complaints:
        yield attention("DESTINATIONS", complaint, "see docs/destinations.md; events for it are kept meanwhile")
    for settings in relay().outboxes.settings:
        if not settings.invalid:
            yield _destination(settings)


def _destination(settings: DestinationSettings) -> CheckResult:
    """Send a signed request without events: the destination has nothing to store."""
    check = "destination" if settings.name == DEFAULT else f"destination {settings.name}"
    try:
        status = relay().destinations[settings.name].ping()
    except requests.exceptions.SSLError:
        summary = "TLS fails: its certificate is not trusted, its name differs, or it requires a client certificate"
        todo = "fix the destination's certificate, or set DESTINATION_CA or DESTINATION_CLIENT_CERTIFICATE"
        return attention(check, summary, todo)
    except (requests.RequestException, RetryLater) as error:
        summary = str(error) if isinstance(error, RetryLater) else f"it does not answer ({type(error).__name__})"
        return unreachable(check, summary, "events wait in the queue meanwhile")
    if settings.mode is Mode.BATCH:
        return _of_status(check, status, settings)
    if status in (401, 403):
        return _unauthorized(check, status, settings)
    if status >= 500 or status in _UNAVAILABLE:
        return unreachable(check, f"it answers {status}", _WAIT)
    return unseen(check, f"it answers {status} to OPTIONS", "python -m ops send-test shows whether it accepts an event")


_WAIT = "wait for the destination, or repair it; events wait in the queue meanwhile"


def _unauthorized(check: str, status: int, settings: DestinationSettings) -> CheckResult:
    proofs = {"secret": settings.secrets, "scope": settings.scope, "headers": settings.headers}
    given = [
        DESTINATION_SETTINGS[name] if settings.name == DEFAULT else name for name, value in proofs.items() if value
    ]
    todo = f"{' and '.join(given)} must be what it expects"
    return attention(check, f"it answers {status} to a signed request", todo)


def _of_status(check: str, status: int, settings: DestinationSettings) -> CheckResult:
    if 200 <= status < 300:
        return fine(check, "it accepts a signed batch without events")
    if status in (401, 403):
        return _unauthorized(check, status, settings)
    if status in _ADVICE:
        return attention(check, *_ADVICE[status])
    if status >= 500 or status in _UNAVAILABLE:
        return unreachable(check, f"it answers {status}", _WAIT)
    if status < 400 or status in (404, 405):
        return attention(check, f"it answers {status}", "check DESTINATION_URL; redirects are not followed")
    return unseen(check, f"it answers, but {status} to a batch without events, which shows nothing about the secret")


def subscriptions(known: Listed, failing: Container[str] = ()) -> Iterator[CheckResult]:
    """Check that each declaration has a live subscription. failing: tenants in which the app can't sign in."""
    for tenant_id, complaint in known.unavailable.items():
        if tenant_id in failing:
            yield unseen(f"subscriptions in {tenant_id}", complaint, "see the identity above")
            continue
        yield unreachable(f"subscriptions in {tenant_id}", complaint, "run this again")
    for tenant_id, complaint in known.refused.items():
        yield attention(f"subscriptions in {tenant_id}", complaint, "see the permissions above")
    found = [state for state in states(known, None, {}, utc_now()) if state.tenant in known.found]
    by_id = {subscription.id: subscription for listed in known.found.values() for subscription in listed}
    shown = worst(found, MOST_SHOWN)
    for state in shown:
        check = f"subscription to {state.resource}"
        if state.attention:
            yield attention(check, state.attention, "see the findings above, then `reconcile`")
        else:
            yield fine(check, f"it expires in {span(state.expires_in_seconds)}")
    if rest := len(found) - len(shown):
        yield fine("further subscriptions", f"{rest:,} have more time left than those above")
    yield from _made_with([by_id[state.id] for state in found if state.id in by_id])


def _made_with(subscriptions_found: Sequence[Subscription]) -> Iterator[CheckResult]:
    """Check that the clientState secret and the encryption key of each subscription are available."""
    secrets = {client_state.fingerprint(secret) for secret in relay().settings.client_state_secrets}
    marks = ((read_url(subscription.notification_url).minted_by, subscription) for subscription in subscriptions_found)
    for first, others in _of_each((mark, of) for mark, of in marks if mark not in (None, *secrets)).values():
        yield attention(
            f"clientState of {first.resource}",
            f"its subscription{others} was created with another CLIENT_STATE_SECRET: its notifications are refused",
            "set CLIENT_STATE_SECRET to that of the deployment, or run `reconcile` to replace the subscription",
        )
    try:
        known = {key.key_id for key in relay().keys.all()}
    except RetryLater:
        return  # the result about the key store reports that
    keys = ((subscription.encryption_certificate_id, subscription) for subscription in subscriptions_found)
    for key, (first, others) in _of_each((key, of) for key, of in keys if key and key not in known).items():
        yield attention(
            f"key of {first.resource}",
            f"its subscription{others} names the key {key}, which is not in the key store: content can't be decrypted",
            "check that KEY_STORE is that of the deployment, or run `rotate-keys` to give it another key",
        )


def _of_each(found: Iterable[tuple[str | None, Subscription]]) -> dict[str | None, tuple[Subscription, str]]:
    """Return the first subscription of each mark or key, and the number of the others, in words."""
    groups: dict[str | None, list[Subscription]] = {}
    for name, subscription in found:
        groups.setdefault(name, []).append(subscription)
    return {
        name: (group[0], f", like {len(group) - 1:,} more," if len(group) > 1 else "") for name, group in groups.items()
    }
