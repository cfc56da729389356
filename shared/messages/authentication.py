"""Authenticates queue messages: write access to a queue alone forges nothing.

Every envelope and dead letter ends in a member `mac`, an HMAC-SHA256 over the text before it. Its key is derived from
CLIENT_STATE_SECRET with HKDF (RFC 5869), so that it needs no setting of its own, and neither key discloses the other.
Earlier versions of the app ignore the member.
"""

import base64
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.storage.queues import MESSAGE_LIMIT, Queue, Sender

_OPENING, _CLOSING = ',"mac":"', '"}'
_INFO = b"graph_relay envelope"

MAC_LENGTH = len(_OPENING) + 43 + len(_CLOSING) - len("}")
"""Bytes that a MAC adds to an envelope."""

ENVELOPE_LIMIT = MESSAGE_LIMIT - MAC_LENGTH
"""Maximum size of an envelope that fits a queue message once it is authenticated, in bytes."""


class EnvelopeKeys:
    """The keys that authenticate envelopes. The first one signs, all verify, so that secrets can be replaced.

    secrets: the values of CLIENT_STATE_SECRET, the current one first.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._keys = [HKDF(SHA256(), length=32, salt=None, info=_INFO).derive(secret) for secret in secrets]

    def sign(self, text: str) -> str:
        """Return `text`, a JSON object with members, in ASCII, with its MAC as the last member."""
        return f"{text[:-1]}{_OPENING}{_mac(self._keys[0], text[:-1])}{_CLOSING}"

    def is_authentic(self, text: str) -> bool:
        """Return whether this app wrote `text`. Takes the same time whichever key matches."""
        stem, opening, mac = text.removesuffix(_CLOSING).rpartition(_OPENING)
        if not opening or not text.endswith(_CLOSING) or not text.isascii():
            return False
        return any([hmac.compare_digest(_mac(key, stem), mac) for key in self._keys])  # noqa: C419 - compares with all


@dataclass(frozen=True)
class SigningSender:
    """Sends envelopes and dead letters with a MAC."""

    sender: Sender
    keys: EnvelopeKeys

    def send(self, text: str, queue: Queue = Queue.NOTIFICATIONS, *, delay: timedelta = timedelta(0)) -> None:
        """See Sender."""
        self.sender.send(self.keys.sign(text), queue, delay=delay)

    def send_all(self, texts: Sequence[str], *, within: timedelta) -> None:
        """See Sender."""
        self.sender.send_all([self.keys.sign(text) for text in texts], within=within)


def _mac(key: bytes, stem: str) -> str:
    return base64.urlsafe_b64encode(hmac.digest(key, stem.encode("ascii"), "sha256")).rstrip(b"=").decode()
