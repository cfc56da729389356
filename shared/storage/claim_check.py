"""Claim checks: a blob stores a text that is too long for a queue message; the message holds a reference."""

import logging
import re
import uuid
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import ContainerClient

from shared.configuration.settings import StorageSettings
from shared.errors import AlreadyProcessed, Reason, Undeliverable
from shared.storage.account import TimeLimits, identity_credential, settings_checked, translated

_log = logging.getLogger("graph_relay.storage")

_PREFIX = "claim:"
LARGEST_CLAIM = 200 << 20
"""Bytes of a blob: one item of the largest POST, every character of it escaped, and its tokens."""

_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A UUID: a foreign message must not reference any other blob."""


@dataclass(frozen=True)
class Opened:
    """The full text of a queue message, and the name of its blob; None if the message itself holds the text."""

    text: str
    blob: str | None = None


class ClaimCheck(Protocol):
    """Stores long texts. Every method raises RetryLater if storage is unavailable."""

    def check_in(self, text: str) -> str:
        """Store `text`, ASCII, and return the queue message that references it."""

    def open(self, message: str) -> Opened:
        """Return the full text of a queue message.

        Raises:
            AlreadyProcessed: its blob is gone.
            Undeliverable: this app did not write it.
        """

    def delete(self, opened: Opened) -> None:
        """Delete the blob, if there is one, of a processed message; a missing blob is fine."""

    def withdraw(self, message: str) -> None:
        """Delete the blob of a message that could not be enqueued. Never raises: at worst an unreferenced blob
        remains.
        """

    def create_missing(self) -> None:
        """Create the container if it does not exist."""


def claimed_blob(message: str) -> str | None:
    """Return the name of the blob that a queue message references; None if it holds its text itself.

    Raises Undeliverable for a reference to anything but a blob of this app: the name becomes part of a URL.
    """
    if not message.startswith(_PREFIX):
        return None
    name = message.removeprefix(_PREFIX)
    if not _NAME.fullmatch(name):
        raise Undeliverable(Reason.MALFORMED, "a claim that this app did not write")
    return name


class BlobClaims:
    """Claim checks in a blob container; one object serves all threads."""

    def __init__(self, settings: StorageSettings, limits: TimeLimits) -> None:
        self._settings = settings
        self._limits = limits

    def check_in(self, text: str) -> str:
        """See ClaimCheck."""
        name = str(uuid.uuid4())
        content = text.encode("ascii")
        with translated():
            try:
                self._container.upload_blob(name, content)
            except ResourceNotFoundError:
                self._create_container()
                self._container.upload_blob(name, content)
        return _PREFIX + name

    def open(self, message: str) -> Opened:
        """See ClaimCheck."""
        name = claimed_blob(message)
        if name is None:
            return Opened(message)
        with translated():
            try:
                download = self._container.download_blob(name)
                if download.size > LARGEST_CLAIM:
                    raise Undeliverable(Reason.MALFORMED, "a blob that is larger than any that this app writes")
                content: bytes = download.readall()
            except ResourceNotFoundError:
                raise AlreadyProcessed("the blob of a queue message is gone") from None
        try:
            return Opened(content.decode("ascii"), name)
        except UnicodeDecodeError:
            raise Undeliverable(Reason.MALFORMED, "a blob that this app did not write") from None

    def delete(self, opened: Opened) -> None:
        """See ClaimCheck."""
        if opened.blob is None:
            return
        with translated():
            try:
                self._container.delete_blob(opened.blob)
            except ResourceNotFoundError:
                return

    def withdraw(self, message: str) -> None:
        """See ClaimCheck."""
        try:
            self._container.delete_blob(message.removeprefix(_PREFIX))
        except AzureError as error:
            _log.debug("A blob that no message refers to was not deleted (%s)", type(error).__name__)

    def create_missing(self) -> None:
        """See ClaimCheck."""
        with translated():
            self._create_container()

    def _create_container(self) -> None:
        try:
            self._container.create_container()
        except ResourceExistsError:
            return

    @cached_property
    def _container(self) -> ContainerClient:
        name = f"{self._settings.queue}-claims"
        options = self._limits.options()
        if self._settings.connection_string:
            with settings_checked():
                return ContainerClient.from_connection_string(self._settings.connection_string, name, **options)
        return ContainerClient(self._settings.urls[1], name, credential=identity_credential(self._settings), **options)
