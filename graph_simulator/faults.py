"""Injected faults, and the time limits for answers of an endpoint."""

import random
from datetime import timedelta
from typing import Annotated, Literal

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shares are probabilities from 0 to 1. Seconds are virtual for `late_seconds` and real elsewhere."""

    throttle: Share = 0.0
    """Share of Graph calls answered 429."""
    retry_after: Annotated[int, msgspec.Meta(ge=0)] | None = 1
    """The `Retry-After` of those answers; null: none, as some services do."""
    throttled: dict[str, Annotated[int, msgspec.Meta(ge=1)]] = {}
    """Beginnings of paths, such as `chats/19:…`, each with the `Retry-After` of the 429 that calls below it get."""
    unavailable: tuple[Literal["graph", "login", "keys"], ...] = ()
    """What answers 503: the Graph API, the token endpoint, the signing keys with their metadata."""
    slow_seconds: Seconds = 0.0
    """Delay of every Graph call."""
    duplicate: Share = 0.0
    """Share of notifications sent twice."""
    reorder: Share = 0.0
    """Share of notifications delayed by a few seconds, so that later notifications overtake them."""
    drop: Share = 0.0
    """Share of notifications that are never sent, without a `missed` event."""
    forge: Share = 0.0
    """Forgeries sent, as a share of the genuine notifications."""
    bare: Share = 0.0
    """Share of rich notifications without their content."""
    token_version: Literal[1, 2, "both"] = "both"  # noqa: S105 - a version, no secret
    """The version of validation tokens; "both": either, at random."""
    stuck_certificates: bool = False
    """A PATCH changes the certificate that a subscription shows, but not the one that encrypts its items."""
    null_tokens: bool = False
    """The app's assignment is required: items have no tokens and no content (docs/graph.md, "Rich notifications")."""
    renewing_takes_more: bool = False
    """Renewing needs the permissions on Microsoft's page on renewal: more than creation for files, lists and tasks."""
    names_tenant: Share = 0.25
    """Share of notifications of mailboxes that name the user with the tenant: `Users/{GUID}@{tenant GUID}/…`."""
    checks_licences: bool = True
    """The chats of who has no licence for Teams, guests and rooms, can't be read: 403."""
    lagging: Share = 0.01
    """Share of reads of single resources that meet a lagging replica, with the state before the last change."""
    lag_seconds: Seconds = 3.0
    """How long after a change a replica may lag."""
    respell: bool = False
    """Subscriptions are shown with other spellings than given: a user by GUID, a query encoded, the host in lower case,
    a lifecycle URL as null, a certificate's id as ""."""
    listing: Literal["true", "stale", "empty"] = "true"
    """Content of the list of subscriptions: the present ones, those when this fault was set, or none."""
    spell_members: Share = 0.0
    """Share of notifications whose member names begin with a capital, as on Microsoft's page on transcripts."""
    loop_links: bool = False
    """A next link leads to its own page."""
    calendar_tells_of_others: bool = True
    """A delta query of a calendar view shows changed events outside its range as removed."""
    short_lists: bool = False
    """The first round of a delta query leaves out every second entry."""
    forget_links: bool = False
    """Delta links are answered 410: start over."""
    late_seconds: Seconds = 0.0
    """How long a change stays invisible to reads of many messages."""
    answer_seconds: Seconds = 3.0
    """Time limit for an endpoint's answer to a notification. A busy machine needs more."""
    repeat_answer_seconds: Seconds = 10.0
    """The same for a retried notification."""
    validation_seconds: Seconds = 10.0
    """Time limit for an endpoint's answer to its validation."""

    def late(self) -> timedelta:
        """Return how long a change stays invisible to reads."""
        return timedelta(seconds=self.late_seconds)


def happens(share: float, chance: random.Random) -> bool:
    """Return true with probability `share`. Draws nothing if `share` is 0, so that seeds stay comparable."""
    return share > 0 and chance.random() < share


def changed(faults: Faults, body: bytes) -> Faults:
    """Return the faults with the changes in a JSON object.

    Raises:
        msgspec.ValidationError: a name or a value is wrong.
        msgspec.DecodeError: the text is not JSON.
    """
    wanted = msgspec.json.decode(body, type=dict[str, object])
    return msgspec.convert({**msgspec.to_builtins(faults), **wanted}, Faults)
