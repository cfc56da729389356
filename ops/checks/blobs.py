"""The settings in blobs, and the values in force."""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from ops.checks.result import CheckResult, attention, fine
from shared.configuration.in_blob import InBlob
from shared.configuration.values import InvalidValue
from shared.errors import Reason, RetryLater
from shared.relay import relay
from shared.storage.documents import Document

_NAMED = 5
"""Entries of each kind that a result names."""

T = TypeVar("T")

Entries = Callable[[T], Mapping[str, object]]
"""Returns the entries of a value, by their names."""


def blobs() -> Iterator[CheckResult]:
    """Compare each blob with the last valid copy, which is in force."""
    settings = relay().settings
    if isinstance(settings.declarations, InBlob):
        yield _compare(
            settings.declarations,
            lambda value: {f"{declaration.resource} in {declaration.tenant_id}": declaration for declaration in value},
        )
    if isinstance(settings.destinations, InBlob):
        yield _compare(settings.destinations, lambda value: value.by_name)


def _compare(source: InBlob[T], entries: Entries[T]) -> CheckResult:
    check = f"{source.setting} in a blob"
    copy = relay().copies.kept(source.setting, source.address)
    in_force = (
        "nothing is in force" if copy is None else f"what it held on {copy.modified:%Y-%m-%d %H:%M} UTC is in force"
    )
    try:
        document = relay().storage.documents.read(source.address)
        if document is None:
            raise RetryLater(Reason.STORAGE, "the blob can't be read")
        present = source.read(document.text)
    except RetryLater as problem:
        return attention(check, f"{problem.detail}; {in_force}", "make the blob readable for you, and for the app")
    except InvalidValue as error:
        todo = "correct the blob; see docs/configuration.md"
        return attention(check, f"it is invalid: {error}; {in_force}", todo)
    if copy is not None and copy.text == document.text:
        return fine(check, f"what it holds, {len(entries(present))} entries, is in force")
    difference = _difference(_entries(source, copy, entries), entries(present))
    todo = "the app reads it within some minutes; if it stays so, look for the reason in the app's log"
    return attention(check, f"{in_force}, not what it holds now: {difference}", todo)


def _entries(source: InBlob[T], copy: Document | None, entries: Entries[T]) -> Mapping[str, object]:
    try:
        return {} if copy is None else entries(source.read(copy.text))
    except InvalidValue:  # an earlier version of the app read it
        return {}


def _difference(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    kinds = {
        "adds": [name for name in after if name not in before],
        "removes": [name for name in before if name not in after],
        "changes": [name for name in after if name in before and after[name] != before[name]],
    }
    parts = [f"it {kind} {_listed(names)}" for kind, names in kinds.items() if names]
    return "; ".join(parts) or "the entries are the same, and their text is not"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
