"""Checks of the storage account and the key store, with the rights of the user who runs them."""

from collections.abc import Iterator

from ops.checks.result import CheckResult, attention, fine, unreachable
from ops.queue_state import dead_letters_state, oldest, queue_state, reasons
from ops.report import plural, span
from shared.access import storage_access
from shared.errors import RetryLater
from shared.keys.key import newest_valid
from shared.keys.rotation import EXPIRY_MARGIN
from shared.relay import relay, utc_now
from shared.relay import storage as storage_clients

_ACCESS = "check AzureWebJobsStorage and its firewall; without a key, your roles: Storage Queue, Blob and Table Data"


def storage() -> Iterator[CheckResult]:
    """Check queue, dead letters and tables. Needs the settings of storage only."""
    try:
        queue, letters = queue_state(utc_now()), dead_letters_state()
    except RetryLater as retry_later:
        yield unreachable("queue", str(retry_later), _ACCESS)
    else:
        waiting = f"{plural(queue.messages, 'message')}{oldest(queue)}"
        yield attention("queue", waiting, queue.attention) if queue.attention else fine("queue", waiting)
        if letters.count:
            sample = "" if letters.looked_at >= letters.count else f" of the first {letters.looked_at}"
            summary = f"{letters.count}{sample and ','}{sample}: {reasons(letters.by_reason)}"
            yield attention("dead letters", summary, "fix the cause, then `dead-letters replay`")
        else:
            yield fine("dead letters", "none")
    try:
        tables = storage_clients().tables.names()
    except RetryLater as retry_later:
        yield unreachable("tables", str(retry_later), _ACCESS)
    else:
        yield fine("tables", f"{len(tables)} there" if tables else "none yet; the app creates them")
        if tables:  # before the app's first run there is nothing to write to, and this makes nothing
            yield from _writing()


def _writing() -> Iterator[CheckResult]:
    """Write to the queue, the blobs and the tables, and delete what was written."""
    for access in storage_access(storage_clients(), utc_now()):
        check = f"writing to the {access.to}"
        yield fine(check, "it may") if access.error is None else unreachable(check, str(access.error), _ACCESS)


def key_store() -> Iterator[CheckResult]:
    """Check that every key can be read and that one is current."""
    check, settings, now = "key store", relay().settings, utc_now()
    ring = relay().keys
    try:
        keys = ring.all()
    except RetryLater as retry_later:
        yield unreachable(
            check,
            str(retry_later),
            "check KEY_STORE, and your roles: Graph Relay key keeper, Key Vault Secrets User (docs/permissions.md)",
        )
        return
    unread = ring.unreadable()
    if unread is not None:
        yield attention(check, str(unread), "repair the key; until then, what it encrypted can't be decrypted")
    current = newest_valid(keys, now)
    if current is None:
        yield attention(check, "there is no valid key", "renew_timer creates one; `rotate-keys` creates one now")
        return
    left = current.expires - now
    if left < settings.key_overlap + EXPIRY_MARGIN:
        summary = f"{current.key_id} expires in {span(left.total_seconds())}"
        yield attention(check, summary, "renew_timer should have replaced it; `rotate-keys` does it now")
    else:
        yield fine(
            check, f"{current.key_id} is current, one of {len(keys)}; it expires in {span(left.total_seconds())}"
        )
