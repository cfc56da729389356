"""What goes wrong on purpose, and how often; and how long answers of an endpoint are waited for."""

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
    unavailable: tuple[Literal["graph", "login", "keys"], ...] = ()
    """What answers 503: the Graph API, the token endpoint, the signing keys and their metadata."""
    slow_seconds: Seconds = 0.0
    """Time that every Graph call takes."""
    duplicate: Share = 0.0
    """Share of notifications sent twice."""
    reorder: Share = 0.0
    """Share of notifications held back for a few seconds, so that later ones overtake them."""
    drop: Share = 0.0
    """Share of notifications that are never sent and never mentioned."""
    forge: Share = 0.0
    """Hostile items sent, as a share of the genuine ones."""
    bare: Share = 0.0
    """Share of rich notifications that come without their content."""
    token_version: Literal[1, 2, "both"] = "both"  # noqa: S105 - a version, no secret
    """Of the validation tokens; "both": now one, now the other."""
    stuck_certificates: bool = False
    """A PATCH changes the certificate that a subscription shows, and not the one that its items are encrypted to."""
    null_tokens: bool = False
    """The app's assignment is required: no tokens and no content come (docs/graph.md, "Rich notifications")."""
    renewing_takes_more: bool = False
    """Renewing takes what Microsoft's page on it names, for files, lists and tasks more than creating took."""
    lagging: Share = 0.01
    """Share of reads of one thing that meet a replica that lags: they answer what was there before its last change."""
    lag_seconds: Seconds = 3.0
    """How long after a change a replica may lag."""
    respell: bool = False
    """Subscriptions are shown otherwise than they were given: a user by GUID, a query encoded, the host in lower case,
    a lifecycle URL as null, a certificate's id as ""."""
    listing: Literal["true", "stale", "empty"] = "true"
    """What the list of subscriptions shows: what there is, what there was when this was set, or nothing."""
    spell_members: Share = 0.0
    """Share of notifications whose members begin with a capital, as on Microsoft's page on transcripts."""
    loop_links: bool = False
    """A next link leads to the page that it is on."""
    calendar_tells_of_others: bool = True
    """A delta query of a calendar view tells of changed events outside its range as if they were removed."""
    forget_links: bool = False
    """Delta links are answered 410: start over."""
    late_seconds: Seconds = 0.0
    """How long a change stays invisible to reads of many messages."""
    answer_seconds: Seconds = 3.0
    """How long an endpoint may take to answer a notification. A machine that is busy with other things needs more."""
    repeat_answer_seconds: Seconds = 10.0
    """The same for a notification that is sent again."""
    validation_seconds: Seconds = 10.0
    """How long an endpoint may take to answer its validation."""

    def late(self) -> timedelta:
        """Return how long a change stays invisible to reads."""
        return timedelta(seconds=self.late_seconds)


def happens(share: float, chance: random.Random) -> bool:
    """Draw: true with probability `share`. Draws nothing if it is 0, so that seeds stay comparable."""
    return share > 0 and chance.random() < share


def changed(faults: Faults, body: bytes) -> Faults:
    """Return the faults with those that a JSON object names changed.

    Raises:
        msgspec.ValidationError: a name or a value is wrong.
        msgspec.DecodeError: it is not JSON.
    """
    wanted = msgspec.json.decode(body, type=dict[str, object])
    return msgspec.convert({**msgspec.to_builtins(faults), **wanted}, Faults)
