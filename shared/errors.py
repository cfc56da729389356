"""The exceptions of this app, by what the caller must do, and every reason that is counted."""

from datetime import timedelta
from enum import StrEnum
from typing import Self

from shared.text import line


class Reason(StrEnum):
    """Why an item was refused, is retried, or was dead-lettered. Counted and logged; never holds message data."""

    # Refused: not proven to come from Graph.
    MALFORMED = "malformed"
    CLIENT_STATE = "client_state"
    UNAUTHENTICATED = "unauthenticated"
    SUBSCRIPTION_UNKNOWN = "subscription_unknown"
    NOT_DECLARED = "not_declared"
    NOT_CONFIRMED = "not_confirmed"
    TOKEN_MISSING = "token_missing"  # noqa: S105 - a reason, not a secret
    TOKENS_NULL = "tokens_null"
    TOKEN_MALFORMED = "token_malformed"  # noqa: S105
    TOKEN_ALGORITHM = "token_algorithm"  # noqa: S105
    TOKEN_KEY = "token_key"  # noqa: S105
    TOKEN_SIGNATURE = "token_signature"  # noqa: S105
    TOKEN_ISSUER = "token_issuer"  # noqa: S105
    TOKEN_AUDIENCE = "token_audience"  # noqa: S105
    TOKEN_PUBLISHER = "token_publisher"  # noqa: S105
    TOKEN_LIFETIME = "token_lifetime"  # noqa: S105
    TOKEN_TENANT = "token_tenant"  # noqa: S105

    # Dead-lettered: proven, but cannot be delivered. Can be replayed.
    CONTENT_UNREADABLE = "content_unreadable"
    CONTENT_NOT_JSON = "content_not_json"
    KEY_UNKNOWN = "key_unknown"
    DESTINATION_REJECTED = "destination_rejected"
    CLAIM_GONE = "claim_gone"
    READBACK_UNKNOWN = "readback_unknown"
    DESTINATION_UNKNOWN = "destination_unknown"

    # Retried: something this app needs is unavailable.
    STORAGE = "storage"
    SIGNING_KEYS = "signing_keys"
    KEY_STORE = "key_store"
    GRAPH = "graph"
    GRAPH_THROTTLED = "graph_throttled"
    GRAPH_REFUSED = "graph_refused"
    GRAPH_LAGS = "graph_lags"
    LOGIN = "login"
    DESTINATION = "destination"
    DESTINATION_ERROR = "destination_error"
    DESTINATION_GONE = "destination_gone"
    DESTINATION_REJECTS = "destination_rejects"
    DESTINATION_BUSY = "destination_busy"
    POSTPONED = "postponed"


ANSWERED_BY_DESTINATION = frozenset(
    {Reason.DESTINATION, Reason.DESTINATION_ERROR, Reason.DESTINATION_GONE, Reason.DESTINATION_REJECTS}
)
"""The reasons of failures after a call to a destination, unless they are NotAttempted."""


class RelayError(Exception):
    """Base of the exceptions that this app raises.

    detail: what is wrong or what to do; never contains a secret or a message.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        detail = line(detail)  # may contain text of Graph, and so text of others
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail

    def copy(self) -> Self:
        """Return an equal exception that was never raised. Use it for stored exceptions that are raised repeatedly:
        raising one object again and again keeps the frames of every caller alive.
        """
        fresh = type(self).__new__(type(self))
        fresh.args = self.args
        fresh.__dict__ |= self.__dict__
        return fresh


class Refused(RelayError):
    """The item is not proven to come from Graph. Count it and drop it; continue with the next item."""


class Undeliverable(RelayError):
    """The item is proven but can never be decrypted or read. Dead-letter it unchanged."""


class AlreadyProcessed(RelayError):
    """The queue message was processed before: its content is gone. Count a duplicate and continue."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(Reason.CLAIM_GONE, detail)


class RetryLater(RelayError):
    """Something this app needs is unavailable. Try the item again, not before `retry_after` if that is set."""

    def __init__(self, reason: Reason, detail: str = "", *, retry_after: timedelta | None = None) -> None:
        super().__init__(reason, detail)
        self.retry_after = retry_after


class TimedOut(RetryLater):
    """A dependency did not answer within its time limit. One such failure opens a circuit breaker: the next caller
    would wait as long.
    """


class Isolable(RetryLater):
    """A destination fails on a request, perhaps because of one item: later attempts separate the items."""


class NotAttempted(RetryLater):
    """Nothing was tried: a circuit breaker is open, the invocation's time is over, or another invocation does the same.

    It does not count as an attempt of the item: its backoff does not grow.
    """
