"""Verifies envelopes from the queue before the app trusts them.

An authentic envelope is trusted: only this app can have written it. Any other comes from a version without
authentication, or from somebody with write access to the queue. It is verified like an anonymous POST, and refused if
it is older than an envelope on the queue can be: every clientState and validation token is checked again, and claims
about earlier attempts, links and traces are dropped.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from shared import telemetry
from shared.configuration.declaration import Declaration, Declarations, declaration_id
from shared.errors import Reason, Refused
from shared.messages.authentication import EnvelopeKeys
from shared.messages.envelope import ChangeBatch, Envelope, LifecycleBatch, ReadbackPage, read, size
from shared.messages.ingest import ExpectedRecipient, sort_items
from shared.messages.packing import Sealed
from shared.resources.matching import is_certainly_within
from shared.resources.path import segments

_log = logging.getLogger("graph_relay.admission")

CLOCK_SKEW = timedelta(minutes=5)
"""Maximum difference by which another instance's time of receipt may be in the future."""

_LONGEST_RANGE = timedelta(days=400)
"""Maximum range of an unauthenticated page, back from its request."""

_FAN_OUTS = {
    "teams/getallmessages": "teams/[^/]+/channels/getallmessages",
    "chats/getallmessages": "users/[^/]+/chats/getallmessages",
}
"""How a tenant-wide declaration is read back: the same for each team, or for each user."""


@dataclass(frozen=True)
class Admitted:
    """The trusted part of an envelope, possibly without items, and whether this app wrote all of it."""

    envelope: Envelope
    authentic: bool


@dataclass(frozen=True)
class Admission:
    """longest_queued: the longest time that a message can stay on the queue."""

    keys: EnvelopeKeys
    recipient: ExpectedRecipient
    declarations: Declarations
    longest_queued: timedelta
    clock: Callable[[], datetime]

    def is_authentic(self, text: str) -> bool:
        """Return whether this app wrote the text of a queue message or a dead letter."""
        return self.keys.is_authentic(text)

    def read(self, text: str) -> Admitted:
        """Return the trusted part of the envelope in the text of a queue message.

        Raises:
            Undeliverable: it is not an envelope.
            Refused: it is not authentic, and too old or not about a declared resource.
        """
        envelope = read(text)
        if self.is_authentic(text):
            return Admitted(envelope, authentic=True)
        _log.warning(
            "A queue message has no valid MAC: an earlier version wrote it, or somebody who can write to the queue. "
            "Everything in it is checked again"
        )
        now = self.clock()
        if not now - self.longest_queued <= envelope.received <= now + CLOCK_SKEW:
            raise Refused(Reason.UNAUTHENTICATED, "a queue message without a valid MAC is too old")
        return Admitted(self.recheck(envelope), authentic=False)

    def recheck(self, envelope: Envelope) -> Envelope:
        """Return the trusted part of an envelope without a valid MAC. Its time of receipt is trusted.

        Items without a valid clientState are counted and dropped. Raises Refused, see `read`.
        """
        if isinstance(envelope, ReadbackPage):
            return self._recheck_page(envelope)
        found = sort_items(envelope.items, self.recipient)
        for reason, count in found.refused.items():
            telemetry.REFUSED.add(count, {"reason": reason})
        if isinstance(envelope, LifecycleBatch):
            return LifecycleBatch(envelope.received, _texts(found.lifecycle))
        return ChangeBatch(envelope.received, _texts(found.changes), envelope.tokens)

    def replayed(self, envelope: Envelope, *, authentic: bool) -> Envelope:
        """Return the envelope of a dead letter to enqueue. Raises Refused if nothing in it is verified."""
        believed = envelope if authentic else self.recheck(envelope)
        if not size(believed):
            raise Refused(Reason.UNAUTHENTICATED, "the dead letter has no MAC, and its clientState is not this app's")
        # `received` stays: validation tokens are checked as of that time.
        return msgspec.structs.replace(believed, attempt=0, replayed=self.clock())

    def _recheck_page(self, page: ReadbackPage) -> ReadbackPage:
        declared = self.declarations.of_tenant(page.tenant_id)
        owner = next((declaration.id for declaration in declared if _reads(declaration, page)), None)
        if owner is None:
            raise Refused(
                Reason.UNAUTHENTICATED,
                "a queue message without a valid MAC asks to read a resource that is not declared",
            )
        since, until = max(page.since, page.received - _LONGEST_RANGE), min(page.until, page.received)
        return ReadbackPage(page.received, page.tenant_id, page.resource, since, until, declaration=owner)


def _texts(items: list[Sealed]) -> tuple[msgspec.Raw, ...]:
    return tuple(msgspec.Raw(item.text) for item in items)


def _reads(declaration: Declaration, page: ReadbackPage) -> bool:
    """Whether reading back a declaration can lead to a page."""
    if declaration_id(page.tenant_id, page.resource) == declaration.id:
        return True
    declared, named = ([part.lower() for part in segments(path)] for path in (declaration.resource, page.resource))
    if named == [*declared, "delta"]:
        return True
    each = _FAN_OUTS.get("/".join(declared))
    if each is not None and re.fullmatch(each, "/".join(named)):
        return True
    return is_certainly_within(declaration.resource, page.resource)
