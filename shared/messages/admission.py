"""Decides what of a queue message is believed.

An authentic envelope is believed: only this app can have written it. Any other was written by a version that did not
authenticate, or by somebody who can write to the queue. It is judged as a stranger's POST is, and no later than an
envelope of that age can be on the queue: every clientState and every validation token is checked again, and what
earlier attempts, links or traces are said to have been is dropped.
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
"""How far in the future another instance's time of receipt may be."""

_LONGEST_RANGE = timedelta(days=400)
"""How far before the request a page is believed to reach."""

_FAN_OUTS = {
    "teams/getallmessages": "teams/[^/]+/channels/getallmessages",
    "chats/getallmessages": "users/[^/]+/chats/getallmessages",
}
"""How what is declared for a whole tenant is read back: the same of each team, or of each user."""


@dataclass(frozen=True)
class Admitted:
    """What is believed of an envelope, which may have no items, and whether this app wrote all of it."""

    envelope: Envelope
    authentic: bool


@dataclass(frozen=True)
class Admission:
    """longest_queued: how long a message can stay on the queue."""

    keys: EnvelopeKeys
    recipient: ExpectedRecipient
    declarations: Declarations
    longest_queued: timedelta
    clock: Callable[[], datetime]

    def is_authentic(self, text: str) -> bool:
        """Return whether this app wrote the text of a queue message or a dead letter."""
        return self.keys.is_authentic(text)

    def read(self, text: str) -> Admitted:
        """Return what is believed of the envelope in the text of a queue message.

        Raises:
            Undeliverable: it is not an envelope.
            Refused: it is not authentic, and too old, or not about anything that is declared.
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
        """Return what is left of an envelope that anybody may have written; its time of receipt is believed.

        Items without a clientState of ours are counted and dropped. Raises Refused, see `read`.
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
        """Return what to enqueue of the envelope of a dead letter. Raises Refused if nothing of it is proven."""
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
    """Whether a page is one that reading a declaration back leads to."""
    if declaration_id(page.tenant_id, page.resource) == declaration.id:
        return True
    declared, named = ([part.lower() for part in segments(path)] for path in (declaration.resource, page.resource))
    if named == [*declared, "delta"]:
        return True
    each = _FAN_OUTS.get("/".join(declared))
    if each is not None and re.fullmatch(each, "/".join(named)):
        return True
    return is_certainly_within(declaration.resource, page.resource)
