"""A handshake with the app's own endpoint, as Graph performs it on creation of a subscription (docs/graph.md,
"Handshake").
"""

import secrets
import time

import requests

from shared.configuration.values import event_hub
from shared.http_client import Response, exchange

_TIME_LIMIT = 10
_DOUBTFUL_SECONDS = 2.5


def probe(notification_url: str, session: requests.Session) -> str | None:
    """Return None if the endpoint echoes a validation token as Graph requires, else a description of the fault.

    Behind an allow-list, Graph may reach the endpoint although the app does not: a complaint is a hint, not a verdict.
    An event hub needs no handshake: returns None.
    """
    if event_hub(notification_url):
        return None
    token = f"Validation: Graph Relay asks itself, {secrets.token_hex(8)} +%&é"
    began = time.monotonic()
    try:
        answer = exchange(
            session,
            "POST",
            notification_url,
            params={"validationToken": token},
            headers={"Content-Type": "text/plain; charset=utf-8"},
            timeout=_TIME_LIMIT,
            limit=4096,
        )
    except requests.exceptions.SSLError:
        return "TLS fails: the certificate is not trusted, its chain is incomplete, or it is for another name"
    except requests.Timeout:
        return f"no answer within {_TIME_LIMIT} s: a cold start, or nothing behind the address"
    except requests.RequestException as error:
        return f"unreachable ({type(error).__name__}): check NOTIFICATION_URL and the proxy or firewall in front of it"
    return _complaint(answer, echoed=answer.body == token.encode(), seconds=time.monotonic() - began)


def _complaint(answer: Response, *, echoed: bool, seconds: float) -> str | None:
    if answer.status != 200:
        return f"it answers {answer.status} instead of 200: a login, a firewall or a wrong path in front of it"
    if not echoed or not answer.headers.get("Content-Type", "").lower().startswith("text/plain"):
        return "it does not echo the validation token as text/plain: another service answers there"
    if seconds > _DOUBTFUL_SECONDS:
        return f"it took over {_DOUBTFUL_SECONDS} s: Graph allows 3 s for notifications"
    return None
