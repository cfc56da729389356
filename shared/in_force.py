"""The value in force of a setting that a blob may hold.

The blob is read at each timer run, otherwise at most once a minute, and before the app refuses something as unknown:
another instance may have read a newer blob. While the blob can't be read, or its text is invalid, the last valid one
stays in force. The app's own storage keeps a copy, for new instances.
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
"""Maximum age of a blob's value before it is read again."""

_FAILED_FOR = timedelta(seconds=5)
"""No second read for this time after a failed first read: concurrent threads wait for one."""

_READABLE_WITHIN = timedelta(minutes=2)
"""Delay of work that waits for a first or confirmed value: the cause is in Storage, or a setting."""

_CLOCKS_DIFFER = timedelta(seconds=10)
"""Maximum difference of the clocks of two instances."""

_PARTITION = "settings"
_CHUNK = 60 * 1024
"""Bytes in one column of a row; storage takes 64 KiB."""
_CHUNKS = 14
"""Columns of a row; storage takes 1 MiB in all."""

T = TypeVar("T")


class StoredCopies:
    """The last valid text of each such setting, compressed and encrypted, as a row of the state table.

    Write access to the table must not change subscriptions or destinations, and read access must not disclose the
    secrets of destinations. The key is derived from CLIENT_STATE_SECRET with HKDF (RFC 5869).
    """

    def __init__(self, tables: Tables, secrets: Sequence[bytes], *, keeps: bool = True) -> None:
        """keeps: whether this process is an instance of the app; others only read."""
        self._keeps = keeps
        info = b"graph_relay copy of a setting"
        self._tables = tables
        self._ciphers = [AESGCM(HKDF(SHA256(), length=32, salt=None, info=info).derive(secret)) for secret in secrets]

    def keep(self, setting: str, address: str, document: Document) -> None:
        """Store a text. Raises RetryLater if storage is unavailable, InvalidValue if the text is too large."""
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
        """Return the last stored text for an address; None if there is none that this app wrote.

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
class BlobValue(Generic[T]):
    """A value, and when its blob was written."""

    value: T
    modified: datetime


class InForce(Generic[T]):
    """The value of one setting; one object serves all threads.

    problem: why the blob's current text is not in force, as a sentence; None if it is.
    """

    def __init__(
        self, source: T | InBlob[T], documents: Documents, copies: StoredCopies, clock: Callable[[], datetime]
    ) -> None:
        self._source: InBlob[T] | None = source if isinstance(source, InBlob) else None
        self._held: BlobValue[T] | None = None if isinstance(source, InBlob) else BlobValue(source, clock())
        self._documents = documents
        self._copies = copies
        self._clock = clock
        self._lock = threading.Lock()
        self._reads = 0
        self._looked: datetime | None = None
        self._is_current = False  # whether the last read found the blob, or a copy by another instance
        self._current: datetime | None = None  # when the last such read began
        self._seen = ""  # the ETag of the last read text, and the complaint about it
        self._wrong: str | None = None
        self.problem: str | None = None

    @property
    def since(self) -> datetime | None:
        """When the blob in force was written; None if there is none."""
        return self._held.modified if self._source is not None and self._held is not None else None

    @property
    def address(self) -> str | None:
        """The address of the blob; None if the setting itself holds the value."""
        return self._source.address if self._source is not None else None

    def get(self) -> T:
        """Return the value in force. One thread at a time reads the blob; the others do not wait for it.

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
        """Return the value in force after a read of the blob that began during this call. Raises as `get`."""
        if self._source is not None:
            asked = self._reads
            with self._lock:
                if self._reads <= asked:  # otherwise another thread has begun to read after this call
                    self._read(self._source)
        return self._value()

    def confirmed(self, since: datetime | None = None) -> T:
        """Return the value in force, for a caller that is about to refuse something as unknown.

        The blob was read since the call began, or since a time (perhaps by another instance's clock): an instance that
        acted on a newer blob had put it in force before. A blob with an invalid text counts as read if its copy was
        read.

        Raises NotAttempted if neither the blob nor its copy could be read.
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
        """Return the failure for waiting work. It does not count as an attempt, so that the delay does not grow to
        hours.
        """
        return NotAttempted(
            Reason.STORAGE, self.problem or "a setting in a blob was not read yet", retry_after=_READABLE_WITHIN
        )

    def _read(self, source: InBlob[T]) -> None:
        """Read the blob, or fall back on the copy. The caller holds the lock."""
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

        The copy is stored first, so that no instance has a newer value than the copy.
        """
        try:
            value = source.read(document.text)
            self._copies.keep(source.setting, source.address, document)
        except InvalidValue as error:
            self._seen, self._wrong = document.etag, _wrong(source, error)
        except RelayError as error:
            return f"the blob takes effect only after a copy is stored, and storing it failed: {error.detail}"
        else:
            self._held = BlobValue(value, document.modified)
            self._seen, self._wrong = document.etag, None
            _log.info("%s: the blob as of %s is in force", source.setting, document.modified)
        return self._wrong

    def _fall_back(self, source: InBlob[T]) -> bool:
        """Put the copy in force if it is newer: another instance has read it. Return whether it exists."""
        try:
            copy = self._copies.kept(source.setting, source.address)
            if copy is not None and (self._held is None or copy.modified > self._held.modified):
                self._held = BlobValue(source.read(copy.text), copy.modified)
        except (RelayError, InvalidValue) as error:
            _log.error("%s: the copy of the last valid value can't be used: %s", source.setting, error)
            return False
        return copy is not None


def _wrong(source: InBlob[T], error: InvalidValue) -> str:
    return f"the blob {source.address} is invalid: {error}"
