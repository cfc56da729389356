"""The members that declarations fan out over: rows of a table, written by the timer and read by every instance.

A row has a MAC, so that write access to the table does not extend what is watched. A row stays for a while after the
member has left, so that its last notifications are delivered.
"""

import base64
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.configuration.declaration import Declaration
from shared.storage.state import time_in
from shared.storage.tables import Row, Tables

TABLE = "members"

_ID = re.compile(r"[A-Za-z0-9!@:._,=~-]{1,200}")
"""Ids that need no encoding in a path: GUIDs, ids of channels (19:…@thread.tacv2) and of drives (b!…)."""


@dataclass(frozen=True)
class Member:
    """A member of a template's list. joined: when it was first listed.

    missing: since when Graph's list omits it, not yet confirmed. left: when the omission was confirmed. outdated:
    whether the MAC of its row is by a secret that is being retired.
    """

    id: str
    parent: str
    joined: datetime
    missing: datetime | None = None
    left: datetime | None = None
    outdated: bool = field(default=False, compare=False)

    @property
    def key(self) -> tuple[str, str]:
        """The key of a member within a template."""
        return self.parent, self.id


def is_usable(member_id: str) -> bool:
    """Whether an id can be part of a resource path."""
    return _ID.fullmatch(member_id) is not None and member_id not in (".", "..")


class Members:
    """The rows of members. Every method raises RetryLater if storage is unavailable."""

    def __init__(self, tables: Tables, secrets: Sequence[bytes]) -> None:
        """secrets: the values of CLIENT_STATE_SECRET, the current one first."""
        self._tables = tables
        self._keys = [
            HKDF(SHA256(), length=32, salt=None, info=b"graph_relay member").derive(secret) for secret in secrets
        ]

    def of(self, template: Declaration) -> list[Member]:
        """Return the members of a template, including those that have left."""
        rows = self._tables.partition(TABLE, template.id)
        return [member for row in rows if (member := self._read(template, row)) is not None]

    def find(self, template: Declaration, declaration_id: str) -> Member | None:
        """Return the member of a template whose declaration has the id; None if there is none."""
        row = self._tables.get(TABLE, template.id, declaration_id)
        return None if row is None else self._read(template, row)

    def save(self, template: Declaration, members: Iterable[Member]) -> None:
        """Insert or replace members."""
        rows = {template.member(member.id, member.parent).id: self._row(template, member) for member in members}
        if rows:
            self._tables.put_all(TABLE, template.id, rows)

    def remove(self, template: Declaration, member: Member) -> None:
        """Delete a member."""
        self._tables.remove(TABLE, template.id, template.member(member.id, member.parent).id)

    def forget(self, template_id: str) -> None:
        """Delete all members of a template, by its id."""
        for row in list(self._tables.partition(TABLE, template_id, ["RowKey"])):
            self._tables.remove(TABLE, template_id, str(row["RowKey"]))

    def _read(self, template: Declaration, row: Row) -> Member | None:
        """Return the member in a row; None if the app did not write the row."""
        found = Member(
            str(row.get("member", "")),
            str(row.get("parent", "")),
            time_in(row, "joined"),
            time_in(row, "missing") if "missing" in row else None,
            time_in(row, "left") if "left" in row else None,
        )
        mac = str(row.get("mac", "")).encode()
        matches = [hmac.compare_digest(self._mac(key, template, found).encode(), mac) for key in self._keys]
        if not any(matches) or not is_usable(found.id):
            return None
        return found if matches[0] else replace(found, outdated=True)

    def _row(self, template: Declaration, member: Member) -> Row:
        row: Row = {
            "member": member.id,
            "parent": member.parent,
            "joined": member.joined.isoformat(),
            "mac": self._mac(self._keys[0], template, member),
        }
        if member.missing is not None:
            row = {**row, "missing": member.missing.isoformat()}
        return row if member.left is None else {**row, "left": member.left.isoformat()}

    def _mac(self, key: bytes, template: Declaration, member: Member) -> str:
        text = "\n".join((template.id, member.parent, member.id)).encode()
        return base64.urlsafe_b64encode(hmac.digest(key, text, "sha256")).rstrip(b"=").decode()
