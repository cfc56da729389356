"""The advice to operators for each failure to maintain a subscription."""

from collections.abc import Iterable

from shared.configuration.declaration import Declaration
from shared.errors import Reason, RelayError, RetryLater
from shared.graph.client import GraphRequestError
from shared.resources.permissions import Purpose, missing, needs_of_all, remedy
from shared.subscriptions.client import SubscriptionConflict, is_about_endpoint

_REFUSED = "Fix the declaration, or what the message names; Graph refuses the same request again."
_BY_STATUS = {
    404: (
        "It does not exist, or this app may not see it: correct the name in the declaration, or remove the declaration."
    ),
    409: "Another subscription of this app has the resource and change types; the next run lists it.",
}
_OCCUPIED = "Change the declaration or the other one; `python -m ops reconcile --take-over` replaces the other one."
_ENDPOINT = "Correct NOTIFICATION_URL, or the proxy in front of it. Until then, existing subscriptions stay."


def advice(error: RelayError, resource: str, consent: str = "tenant") -> str:
    """Return the advice for a failure with the subscription to a resource. consent: the field of the declaration."""
    match error:
        case RetryLater(reason=Reason.GRAPH_THROTTLED):
            return "Graph throttles the app; a later run retries."
        case RetryLater():
            return "The next run retries."
        case GraphRequestError(status=403, granted=granted):
            return remedy(resource, (Purpose.SUBSCRIBE,), granted, consent)
        case GraphRequestError():
            return _advice_on_refusal(error)
    return _REFUSED


def _advice_on_refusal(refusal: GraphRequestError) -> str:
    if isinstance(refusal, SubscriptionConflict):
        return _OCCUPIED
    if is_about_endpoint(refusal):
        return _ENDPOINT
    return _BY_STATUS.get(refusal.status, _REFUSED)


def advice_on_tenant(error: RelayError, declarations: Iterable[Declaration]) -> str:
    """Return the advice for a tenant whose subscriptions can't be listed."""
    if isinstance(error, GraphRequestError) and error.status == 403:
        wanted, _ = needs_of_all(declarations)
        needed = ", ".join(missing(wanted, error.granted or ()))
        if needed:
            return f"Its consent is missing or was withdrawn: an administrator there has to grant {needed} to this app."
        return "The token has every permission that the declarations need: see what Graph's message names."
    return "The next run retries."
