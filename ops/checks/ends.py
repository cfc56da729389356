"""The two ends: what Graph reaches, what the app delivers to; and the clock that both judge by."""

import uuid
from collections.abc import Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime

import requests
from standardwebhooks import Webhook

from ops.checks.finding import Finding, attention, fine, unreachable, unseen
from ops.report import span
from ops.subscription_state import Listed, states
from shared import clients
from shared.configuration.values import event_hub
from shared.delivery.destination import CONTENT_TYPE, authorization
from shared.errors import RetryLater
from shared.subscriptions.endpoint import probe

TOLERATED = 30.0
"""Seconds by which clocks may differ: tokens and signatures allow five minutes, and latency counts here too."""

_TIME_LIMIT = 10
_EMPTY_BATCH = "[]"
_AWAY = (408, 425, 429)


def clock() -> Iterator[Finding]:
    """Compare this machine's clock with the Date of Graph's answer."""
    check = "clock"
    try:
        url = f"{clients.settings().graph_url}/v1.0/"
        with clients.session().get(url, timeout=_TIME_LIMIT, allow_redirects=False, stream=True) as answer:
            theirs = parsedate_to_datetime(answer.headers.get("Date", ""))
    except requests.RequestException as error:
        yield unreachable(check, f"Graph does not answer ({type(error).__name__})", "check the way out to Graph")
        return
    except ValueError:
        yield unseen(check, "Graph's answer carries no date")
        return
    skew = (clients.now() - theirs.replace(tzinfo=theirs.tzinfo or UTC)).total_seconds()
    if abs(skew) > TOLERATED:
        told = f"this machine's clock is {span(abs(skew))} {'ahead of' if skew > 0 else 'behind'} Graph's"
        yield attention(check, told, "set it by NTP: tokens and signatures are judged by it")
    else:
        yield fine(check, "within seconds of Graph's")


def endpoint() -> Iterator[Finding]:
    """Shake hands with the endpoint as Graph does."""
    check = "endpoint"
    notification_url = clients.settings().notification_url
    complaint = probe(notification_url, clients.session())
    if event_hub(notification_url):
        yield unseen(check, "an event hub: Graph sends to it, and nobody asks it", "see the subscriptions")
    elif complaint is None:
        yield fine(check, "it shakes hands as Graph wants it")
    elif complaint.startswith("it answers 403"):
        told = "403: something in front lets only some callers through, rightly so if Graph is one of them"
        yield unseen(check, told, "see the subscriptions: they can't be created unless Graph gets through")
    else:
        yield attention(check, complaint, "Graph must reach NOTIFICATION_URL from the internet; see docs/setup.md")


def destination() -> Iterator[Finding]:
    """Deliver a batch without events, signed: it holds nothing that could be taken in."""
    check, settings = "destination", clients.settings()
    try:
        status = _deliver_nothing()
    except requests.exceptions.SSLError:
        yield attention(check, "TLS fails: its certificate is not trusted, or its name is another", "mend it there")
    except (requests.RequestException, RetryLater) as error:
        told = str(error) if isinstance(error, RetryLater) else f"it does not answer ({type(error).__name__})"
        yield unreachable(check, told, "events wait in the queue meanwhile")
    else:
        yield _of_status(check, status, scoped=settings.destination_scope is not None)


def _of_status(check: str, status: int, *, scoped: bool) -> Finding:
    if 200 <= status < 300:
        return fine(check, "it takes a signed batch without events")
    if status in (401, 403):
        secrets = "DESTINATION_SECRET and DESTINATION_SCOPE" if scoped else "DESTINATION_SECRET"
        return attention(check, f"it answers {status} to a signed batch", f"{secrets} must be what it expects")
    if status >= 500 or status in _AWAY:
        return unreachable(check, f"it answers {status}", "events wait in the queue meanwhile")
    if status < 400 or status in (404, 405, 410):
        return attention(check, f"it answers {status}", "check DESTINATION_URL; redirects are not followed")
    return unseen(check, f"it answers, but {status} to a batch without events, which tells nothing of the secret")


def _deliver_nothing() -> int:
    settings, now = clients.settings(), clients.now()
    message_id = f"msg_{uuid.uuid4().hex}"
    signed = (Webhook(secret).sign(message_id, now, _EMPTY_BATCH) for secret in settings.destination_secrets)
    headers = {
        "Content-Type": CONTENT_TYPE,
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signed),
    }
    if settings.destination_scope:
        token = authorization(clients.identity(), settings.tenant_id, settings.destination_scope)
        headers["Authorization"] = f"Bearer {token()}"
    with clients.session().post(
        settings.destination_url,
        data=_EMPTY_BATCH,
        headers=headers,
        timeout=_TIME_LIMIT,
        allow_redirects=False,
        stream=True,
    ) as answer:
        return answer.status_code


def subscriptions(known: Listed) -> Iterator[Finding]:
    """Tell of each declaration whether its subscription lives."""
    for tenant_id, complaint in known.away.items():
        yield unreachable(f"subscriptions in {tenant_id}", complaint, "run this again")
    for tenant_id, complaint in known.refused.items():
        yield attention(f"subscriptions in {tenant_id}", complaint, "see the permissions above")
    for state in states(known, None, {}, clients.now()):
        if state.tenant not in known.found:
            continue
        check = f"subscription to {state.resource}"
        if state.attention:
            yield attention(check, state.attention, "see the findings above, then `reconcile`")
        else:
            yield fine(check, f"it lives for another {span(state.expires_in_seconds)}")
