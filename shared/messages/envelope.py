"""The content of queue messages: items as Graph encrypted them, with the tokens that verify them.

An envelope is ASCII JSON: a queue message travels inside XML, which can't hold every character that JSON can.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Annotated, TypeVar

import msgspec

from shared.errors import Reason, Undeliverable

T = TypeVar("T")

Time = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time with its UTC offset: without one, times can't be compared."""

LONGEST_HISTORY = 8
"""Failed attempts stored in an envelope; the latest ones."""


class FailedAttempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """A failed attempt and the time of the next one (None: it was the last). `detail` never contains content.

    event: the id of the event that the destination rejected, if it did. asked: whether a destination was called.
    """

    at: Time
    detail: str
    retry_at: Time | None = None
    event: str = ""
    asked: bool = False


class ItemBatch(msgspec.Struct, frozen=True, tag_field="kind"):
    """Items of one kind that arrived together.

    received: when Graph's POST arrived (UTC); validation tokens are checked as of that time.
    items: changeNotifications, unchanged.
    tokens: the validation tokens for the tenants of these items; None if Graph sent `null`.
    attempt: number of earlier attempts.
    replayed: when the dead letter was replayed; the delivery horizon then starts here.
    trace: the `traceparent` of the span that received the items; "" if it was not traced.
    history: see `attempts`; not written until there is one, so that other versions of the app read the same text.
    """

    received: Time
    items: tuple[msgspec.Raw, ...]
    tokens: tuple[str, ...] | None = ()
    attempt: int = 0
    replayed: Time | None = None
    trace: str = ""
    history: tuple[FailedAttempt, ...] | msgspec.UnsetType = msgspec.UNSET


class ChangeBatch(ItemBatch, frozen=True, tag="change"):
    """Change items.

    proven: the tenants for which an earlier attempt found a valid token. Their items are not verified again: an outage
    of the destination can last longer than the authority's keys.
    destination: the only one that the items still have to reach; "" for all of them.
    """

    proven: tuple[str, ...] = ()
    destination: str = ""


class LifecycleBatch(ItemBatch, frozen=True, tag="lifecycle"):
    """Lifecycle items; Graph sends them without tokens."""


class ReadbackPage(msgspec.Struct, frozen=True, tag_field="kind", tag="readback"):
    """A page to read back from Graph; holds no content.

    received: when it was requested (UTC). resource: a path that `shared.readback.pages` supports. since, until: the
    range of last changes, exclusive. link: Graph's link to the page; "" for the first page. declaration: the id of the
    declaration; "": none, and every resource is delivered. full: whether the delta query lists everything, so that
    resources that did not change in the range are skipped. among_many: whether it is one user or team of many. number:
    how many pages came before. destination: the only destination; "" for all. passed: a digest of an earlier link,
    which detects loops. listed: for a single resource, when a list contained it: then one 404 is not trusted. removed:
    whether Graph reported it as removed, or omits it: it may only have moved, so it is delivered only if it is gone.
    restarted: when the list began again after its links were refused. without: destinations with a backlog of their
    own, for which the page is read separately.
    """

    received: Time
    tenant_id: str
    resource: str
    since: Time
    until: Time
    link: str = ""
    attempt: int = 0
    replayed: Time | None = None
    trace: str = ""
    history: tuple[FailedAttempt, ...] | msgspec.UnsetType = msgspec.UNSET
    declaration: str = ""
    full: bool = False
    among_many: bool = False
    number: int = 0
    passed: str = ""
    listed: Time | None = None
    removed: bool = False
    restarted: Time | None = None
    destination: str = ""
    without: tuple[str, ...] = ()

    @property
    def begins(self) -> bool:
        """Whether it belongs to the first delta query of a declaration: its range is empty."""
        return self.since >= self.until

    @property
    def asked(self) -> datetime:
        """When the list of the page was requested."""
        return self.restarted or self.received


Envelope = ChangeBatch | LifecycleBatch | ReadbackPage
"""The content of a queue message."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A dead letter: one item, still encrypted, or a page to read back; with the reason and the time."""

    reason: Reason
    given_up: Time
    envelope: Envelope


def halves(envelope: Envelope) -> Iterator[Envelope]:
    """Yield the two halves of an envelope; the envelope itself if it can't be split."""
    if isinstance(envelope, ReadbackPage) or len(envelope.items) < 2:
        yield envelope
        return
    middle = len(envelope.items) // 2
    for half in (envelope.items[:middle], envelope.items[middle:]):
        yield msgspec.structs.replace(envelope, items=half)


def singles(envelope: Envelope) -> Iterator[Envelope]:
    """Yield an envelope for each item."""
    if isinstance(envelope, ReadbackPage):
        yield envelope
        return
    for item in envelope.items:
        yield msgspec.structs.replace(envelope, items=(item,))


def failed(envelope: Envelope, attempt: FailedAttempt) -> Envelope:
    """Return an envelope with one more failed attempt.

    Of equal consecutive attempts that called no destination, only the last is kept, so that they do not displace the
    others.
    """
    before = attempts(envelope)
    if before and before[-1].detail == attempt.detail and not (before[-1].asked or attempt.asked):
        before = before[:-1]
    return msgspec.structs.replace(envelope, history=(*before[1 - LONGEST_HISTORY :], attempt))


def attempts(envelope: Envelope) -> tuple[FailedAttempt, ...]:
    """Return the failed attempts stored in an envelope, oldest first."""
    return () if isinstance(envelope.history, msgspec.UnsetType) else envelope.history


def tried_before(event_ids: Iterable[str], envelope: Envelope) -> dict[str, datetime]:
    """Return when a destination last failed on the events of an envelope, by event id; empty if it was not tried."""
    if isinstance(envelope, LifecycleBatch) or not envelope.destination:
        return {}
    asked = [attempt.at for attempt in attempts(envelope) if attempt.asked]
    return dict.fromkeys(event_ids, asked[-1]) if asked else {}


def enqueued(envelope: ChangeBatch) -> datetime:
    """Return when an envelope was last enqueued: on receipt, after its last failed attempt, or on replay."""
    return max((envelope.replayed or envelope.received, *(attempt.at for attempt in attempts(envelope))))


def destination_of(envelope: Envelope) -> str:
    """Return the only destination that an envelope is for; "" if it is for all of them."""
    return "" if isinstance(envelope, LifecycleBatch) else envelope.destination


def size(envelope: Envelope) -> int:
    """Return how many items an envelope holds; a page to read back counts as one."""
    return 1 if isinstance(envelope, ReadbackPage) else len(envelope.items)


def write(content: ItemBatch | ReadbackPage | DeadLetter) -> str:
    """Return the text of a queue message."""
    return ascii_json(msgspec.json.encode(content)).decode("ascii")


def together(texts: Sequence[str]) -> str:
    """Return the text of one queue message for several envelopes; see `parts`."""
    return texts[0] if len(texts) == 1 else f"[{','.join(texts)}]"


def parts(text: str) -> list[str]:
    """Return the texts of the envelopes in a queue message. Raises Undeliverable for what `together` did not write."""
    if not text.startswith("["):
        return [text]
    found = [bytes(part).decode() for part in _decode(text, _texts)]
    if not found:
        raise _foreign()
    return found


def read(text: str) -> Envelope:
    """Parse the text of `write`. Raises Undeliverable for any other text."""
    return _decode(text, _envelope)


def read_dead_letter(text: str) -> DeadLetter:
    """Parse the text of `write`. Raises Undeliverable for any other text."""
    return _decode(text, _dead_letter)


_envelope: msgspec.json.Decoder[Envelope] = msgspec.json.Decoder(Envelope)
_dead_letter = msgspec.json.Decoder(DeadLetter)
_texts = msgspec.json.Decoder(list[msgspec.Raw])


def _decode(text: str, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise _foreign() from None


def _foreign() -> Undeliverable:
    return Undeliverable(Reason.MALFORMED, "a queue message that this app did not write")


def ascii_json(item: bytes) -> bytes:
    """Return valid JSON with every non-ASCII character as a \\u escape; only strings can hold one.

    XML normalizes carriage returns, but in valid JSON they occur only between tokens, where they do not matter.
    """
    if item.isascii():
        return item
    return _NON_ASCII.sub(lambda run: json.dumps(run.group())[1:-1], item.decode("utf-8")).encode("ascii")


_NON_ASCII = re.compile(r"[^\x00-\x7f]+")
