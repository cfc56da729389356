"""The value in force of a setting that a blob may hold.

The blob is read again at each run of the timer, at most once a minute elsewhere, and before anything is refused for
being unknown here: another instance may know a newer blob. While the blob can't be read, or its text is wrong, the last
good one stays in force. A copy of that is kept in the app's own storage, so that a new instance has it too.
"""

import logging
import os
import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.configuration.in_blob import InBlob
from shared.configuration.values import InvalidValue
from shared.errors import NotAttempted, Reason, RelayError
from shared.storage.documents import DIVIDE, Document, Documents
from shared.storage.state import STATE, time_in
from shared.storage.tables import Row, Tables

_log = logging.getLogger("graph_relay.settings")

READ_AGAIN_AFTER = timedelta(minutes=1)
"""How old the knowledge of a blob may be before it is read again."""

_FAILED_FOR = timedelta(seconds=5)
"""How long after a failed first read no other is tried: threads that come together wait for one."""

_READABLE_WITHIN = timedelta(minutes=2)
"""When work that waits for a first value, or for certainty, comes back: the cause is with Storage, or is a setting."""

_CLOCKS_DIFFER = timedelta(seconds=10)
"""By how much the clocks of two instances may."""

_PARTITION = "settings"
_CHUNK = 60 * 1024
"""Bytes in one column of a row; storage takes 64 KiB."""
_CHUNKS = 14
"""Columns of a row; storage takes 1 MiB in all."""

T = TypeVar("T")


class Copies:
    """The last good text of each such setting, compressed and encrypted, as a row of the state table.

    Who can write to the table must not change what is subscribed to or where events go, and who can read it must not
    learn the secrets of destinations. The key is derived from CLIENT_STATE_SECRET with HKDF (RFC 5869).
    """

    def __init__(self, tables: Tables, secrets: Sequence[bytes], *, keeps: bool = True) -> None:
        """keeps: whether this process is an instance of the app; others only read."""
        self._keeps = keeps
        info = b"graph_relay copy of a setting"
        self._tables = tables
        self._ciphers = [AESGCM(HKDF(SHA256(), length=32, salt=None, info=info).derive(secret)) for secret in secrets]

    def keep(self, setting: str, address: str, document: Document) -> None:
        """Keep a text. Raises RetryLater if storage is unavailable, InvalidValue if the text is too large."""
        if not self._keeps:
            return
        nonce = os.urandom(12)
        context = _context(setting, address, document.etag, document.modified)
        packed = nonce + self._ciphers[0].encrypt(nonce, zlib.compress(document.text.encode(), 9), context)
        if len(packed) > _CHUNK * _CHUNKS:
            raise InvalidValue(f"expected at most {_CHUNK * _CHUNKS} bytes after compression: {DIVIDE}")
        chunks = {f"text{at // _CHUNK}": packed[at : at + _CHUNK] for at in range(0, len(packed), _CHUNK)}
        row: Row = {"address": address, "etag": document.etag, "modified": document.modified.isoformat(), **chunks}
        self._tables.put(STATE, _PARTITION, setting, row)

    def kept(self, setting: str, address: str) -> Document | None:
        """Return the text that was kept last for that address; None if there is none that this app wrote.

        Raises RetryLater if storage is unavailable.
        """
        row = self._tables.get(STATE, _PARTITION, setting)
        if row is None or row.get("address") != address:
            return None
        etag, modified = str(row.get("etag")), time_in(row, "modified")
        packed = b"".join(bytes(part) for at in range(_CHUNKS) if isinstance(part := row.get(f"text{at}"), bytes))
        context = _context(setting, address, etag, modified)
        for cipher in self._ciphers:
            try:
                text = zlib.decompress(cipher.decrypt(packed[:12], packed[12:], context))
            except (InvalidTag, ValueError):
                continue
            return Document(text.decode(), etag, modified)
        return None


def _context(setting: str, address: str, etag: str, modified: datetime) -> bytes:
    return "\n".join((setting, address, etag, modified.isoformat())).encode()


@dataclass(frozen=True)
class Held(Generic[T]):
    """A value, and when its blob was written."""

    value: T
    modified: datetime


class InForce(Generic[T]):
    """The value of one setting; one object serves all threads.

    problem: why the blob's present text is not in force, as a sentence; None if it is.
    """

    def __init__(
        self, source: T | InBlob[T], documents: Documents, copies: Copies, clock: Callable[[], datetime]
    ) -> None:
        self._source: InBlob[T] | None = source if isinstance(source, InBlob) else None
        self._held: Held[T] | None = None if isinstance(source, InBlob) else Held(source, clock())
        self._documents = documents
        self._copies = copies
        self._clock = clock
        self._lock = threading.Lock()
        self._reads = 0
        self._looked: datetime | None = None
        self._is_current = False  # whether the last read found the blob, or the copy of what another instance found
        self._current: datetime | None = None  # when the last such read began
        self._seen = ""  # the ETag of the text that was read last, and what is wrong with it
        self._wrong: str | None = None
        self.problem: str | None = None

    @property
    def since(self) -> datetime | None:
        """When the blob was written whose text is in force; None if there is none."""
        return self._held.modified if self._source is not None and self._held is not None else None

    @property
    def address(self) -> str | None:
        """The address of the blob; None if the setting itself holds the value."""
        return self._source.address if self._source is not None else None

    def get(self) -> T:
        """Return the value in force. A thread at a time reads the blob again; the others don't wait for it.

        Raises NotAttempted if there is no value yet.
        """
        if self._source is None or not self._is_due():
            return self._value()
        if self._lock.acquire(blocking=self._held is None):
            try:
                if self._is_due():
                    self._read(self._source)
            finally:
                self._lock.release()
        return self._value()

    def refresh(self) -> T:
        """Return the value in force as of now: the blob was read since the call began. Raises as `get`."""
        if self._source is not None:
            asked = self._reads
            with self._lock:
                if self._reads <= asked:  # otherwise another thread began to read after this one asked
                    self._read(self._source)
        return self._value()

    def confirmed(self, since: datetime | None = None) -> T:
        """Return the value in force for a caller that is about to deny what is not in it.

        The blob was read since the call began, or since a time (by the clock of another instance, perhaps): an instance
        that acted on a newer blob had put it in force before. A blob whose text is wrong counts as read if its copy is.

        Raises NotAttempted if neither the blob nor its copy could be read: then nobody can tell.
        """
        known = self._current
        if self._source is None or (since is not None and known is not None and known > since + _CLOCKS_DIFFER):
            return self._value()
        value = self.refresh()
        if not self._is_current:
            raise self._not_read()
        return value

    def _is_due(self) -> bool:
        if self._looked is None:
            return True
        return self._clock() - self._looked >= (_FAILED_FOR if self._held is None else READ_AGAIN_AFTER)

    def _value(self) -> T:
        if self._held is None:
            raise self._not_read()
        return self._held.value

    def _not_read(self) -> NotAttempted:
        """Return why work waits. It is no attempt: after an outage it must not wait for hours."""
        return NotAttempted(
            Reason.STORAGE, self.problem or "a setting in a blob was not read yet", retry_after=_READABLE_WITHIN
        )

    def _read(self, source: InBlob[T]) -> None:
        """Read the blob, or fall back on the copy. The lock is held."""
        self._reads += 1
        began, before = self._clock(), self.problem
        try:
            document = self._documents.read(source.address, self._seen)
            self.problem = self._wrong if document is None else self._take(document, source)
        except InvalidValue as error:
            self.problem = _wrong(source, error)
        except RelayError as error:
            self.problem = f"the blob can't be read: {error.detail}"
        self._looked = self._clock()
        self._is_current = self.problem is None or self._fall_back(source)
        if self._is_current:
            self._current = began
        if self.problem is not None and self.problem != before:
            instead = (
                "Messages wait until it can be read" if self._held is None else "The last valid value stays in force"
            )
            _log.error("%s: %s. %s", source.setting, self.problem, instead)

    def _take(self, document: Document, source: InBlob[T]) -> str | None:
        """Put a text in force; return why it is not.

        The copy is kept first: so no instance has a newer value than the copy.
        """
        try:
            value = source.read(document.text)
            self._copies.keep(source.setting, source.address, document)
        except InvalidValue as error:
            self._seen, self._wrong = document.etag, _wrong(source, error)
        except RelayError as error:
            return f"the blob takes effect only after a copy is stored, and storing it failed: {error.detail}"
        else:
            self._held = Held(value, document.modified)
            self._seen, self._wrong = document.etag, None
            _log.info("%s: the blob as of %s is in force", source.setting, document.modified)
        return self._wrong

    def _fall_back(self, source: InBlob[T]) -> bool:
        """Put the copy in force if it is newer than what is: another instance has read it. Return whether it exists."""
        try:
            copy = self._copies.kept(source.setting, source.address)
            if copy is not None and (self._held is None or copy.modified > self._held.modified):
                self._held = Held(source.read(copy.text), copy.modified)
        except (RelayError, InvalidValue) as error:
            _log.error("%s: the copy of the last valid value can't be used: %s", source.setting, error)
            return False
        return copy is not None


def _wrong(source: InBlob[T], error: InvalidValue) -> str:
    return f"the blob {source.address} is invalid: {error}"
