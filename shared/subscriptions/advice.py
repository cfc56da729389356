"""What a person should do about each failure to keep a subscription."""

from collections.abc import Iterable

from shared.configuration.declaration import Declaration
from shared.errors import Reason, RelayError, RetryLater
from shared.graph.client import GraphRequestError
from shared.resources.permissions import Purpose, missing, needs_of_all, remedy


def advice(error: RelayError, resource: str, consent: str = "tenant") -> str:
    """Return what a person should do about what failed for the subscription to a resource.

    consent: the declaration's.
    """
    match error:
        case RetryLater(reason=Reason.GRAPH_THROTTLED):
            return "Graph limits our calls; a later run retries."
        case RetryLater():
            return "The next run retries."
        case GraphRequestError(status=403, granted=granted):
            return remedy(resource, (Purpose.SUBSCRIBE,), granted, consent)
        case GraphRequestError(status=409):
            return "Another subscription of this app has the resource and change types; the next run lists it."
        case GraphRequestError(status=404):
            return "It does not exist, or this app may not see it: correct the name in the declaration, or take it out."
    return "Fix the declaration, or what the message names; Graph refuses the same request again."


def advice_on_tenant(error: RelayError, declarations: Iterable[Declaration]) -> str:
    """Return what a person should do about a tenant whose subscriptions can't be listed."""
    if isinstance(error, GraphRequestError) and error.status == 403:
        wanted, _ = needs_of_all(declarations)
        needed = ", ".join(missing(wanted, error.granted or ()))
        if needed:
            return f"Its consent is missing or was withdrawn: an administrator there has to grant {needed} to this app."
        return "The token has every permission that the declarations need: see what Graph's message names."
    return "The next run retries."
