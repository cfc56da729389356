"""Keys in a directory, as files `ID.pem`, for local use. Add a key by placing its file there."""

import os
import secrets
from datetime import datetime, timedelta
from pathlib import Path

from shared.errors import Reason, RetryLater
from shared.keys.key import BrokenKey, EncryptionKey, is_key_id, new_key, read_pem, write_pem

LIFETIME = timedelta(days=730)
"""Validity of a certificate; rotation replaces it much earlier."""


class KeyDirectory:
    """A key store. Several processes may use one directory: a file appears complete or not at all."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def ids(self) -> list[str]:
        """The ids of all keys. Raises RetryLater if the directory can't be read."""
        try:
            # not glob: it treats an unreadable directory as empty, and every key would be unknown
            names = list(self._directory.iterdir())
        except FileNotFoundError:
            return []  # no key has been created yet
        except OSError as error:
            raise _unavailable(error) from None
        return sorted(name.stem for name in names if name.suffix == ".pem" and is_key_id(name.stem))

    def get(self, key_id: str) -> EncryptionKey | None:
        """The key with that id, or None. Raises BrokenKey if others can read its file, or it holds no key."""
        try:
            with self._path(key_id).open("rb") as file:
                if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
                    raise BrokenKey(Reason.KEY_STORE, f"key {key_id}: others can read its file; run chmod 600 on it")
                return read_pem(key_id, file.read())
        except FileNotFoundError:
            return None
        except OSError as error:
            detail = f"key {key_id}: its file can't be read ({type(error).__name__})"
            raise BrokenKey(Reason.KEY_STORE, detail) from None

    def create(self, now: datetime) -> EncryptionKey:
        """Create a new key. Raises RetryLater if the directory can't be written."""
        key = new_key(f"enc-{now:%Y%m%d-%H%M%S-%f}-{secrets.token_hex(4)}", now, LIFETIME)
        path = self._path(key.key_id)
        temporary = path.with_suffix(".new")
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.touch(mode=0o600, exist_ok=False)
            with temporary.open("wb") as file:
                file.write(write_pem(key))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise _unavailable(error) from None
        return key

    def retire(self, key_id: str) -> None:
        """Rename a key's file to `ID.retired`, so that a person can restore it. Raises RetryLater."""
        try:
            self._path(key_id).replace(self._directory / f"{key_id}.retired")
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unavailable(error) from None

    def _path(self, key_id: str) -> Path:
        return self._directory / f"{key_id}.pem"


def _unavailable(error: OSError) -> RetryLater:
    return RetryLater(Reason.KEY_STORE, f"the directory of KEY_STORE can't be used ({type(error).__name__})")
