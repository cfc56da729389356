"""`doctor`: checks everything that the app needs, and says what to do about each fault."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import click

from ops.checks.blobs import blobs
from ops.checks.connectivity import clock, destinations, endpoint, subscriptions
from ops.checks.entra import entra
from ops.checks.member_lists import fan_outs
from ops.checks.result import CheckResult, Verdict, attention, fine, unreachable
from ops.checks.schedule import schedule
from ops.checks.storage import key_store, storage
from ops.report import ExitCode, Indented, Report, ReportTable, as_json, console, finish, table
from ops.subscription_state import listed
from shared.configuration.settings import SettingsError, storage_settings
from shared.errors import RetryLater
from shared.relay import relay

SETTINGS = "settings"
IDENTITY = "identity in "
UNREAD = "declarations and destinations"
_OF_TENANT = re.compile(r" in \S+$")


class Diagnosis(Report):
    """All findings, in the order in which to fix them."""

    findings: list[CheckResult]

    @property
    def exit_code(self) -> ExitCode:
        """A check that could not be run does not count."""
        verdicts = {result.verdict for result in self.findings}
        if any(result.check == SETTINGS and result.verdict is not Verdict.FINE for result in self.findings):
            return ExitCode.USAGE
        if Verdict.UNREACHABLE in verdicts:
            return ExitCode.UNREACHABLE
        return ExitCode.ATTENTION if Verdict.ATTENTION in verdicts else ExitCode.FINE

    def shown(self) -> Iterable[str | Indented | ReportTable]:
        """Yield the number of findings for each verdict, those that need attention, and a table of all."""
        counts = Counter(result.verdict for result in self.findings)
        yield ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
        for result in self.findings:
            if result.verdict in (Verdict.ATTENTION, Verdict.UNREACHABLE):
                yield f"{result.verdict}: {result.check}: {result.says}"
                yield Indented(f"-> {result.todo or 'see docs/operations.md'}", 4)
        tenants = {tenant[0] for result in self.findings if (tenant := _OF_TENANT.search(result.check))}
        within = tenants.pop() if len(tenants) == 1 else ""  # named once, not in each row
        rows = ((result.verdict, result.check.removesuffix(within), result.says) for result in self.findings)
        yield table(f"All checks{within}", ("Verdict", "Check", "Found"), rows)


@click.command()
@as_json
def doctor(*, as_json: bool) -> None:
    """Check everything, and say what to do.

    Sends each destination a signed request without events, and deletes at once what it writes to storage.
    """
    found: list[CheckResult] = []
    with console(errors=True).status("Checking …") as status:
        for finding in diagnose():
            found.append(finding)
            status.update(f"Checked {finding.check}")
    finish(Diagnosis(found), as_json=as_json)


def diagnose() -> Iterator[CheckResult]:
    """Yield the results; if settings are invalid, only of checks that do not need them."""
    try:
        relay()
    except SettingsError as error:
        yield from (attention(SETTINGS, complaint, "see docs/configuration.md") for complaint in error.complaints)
        yield from _storage_alone()
        return
    failing: set[str] = set()  # tenants in which the app can't sign in: waiting is useless
    yield from blobs()
    yield from _findings(_declared)
    checks: tuple[Callable[[], Iterator[CheckResult]], ...] = (
        storage,
        key_store,
        schedule,
        clock,
        entra,
        fan_outs,
        endpoint,
        lambda: subscriptions(listed(), failing),
        destinations,
    )
    for check in checks:
        for found in _findings(check):
            if found.check.startswith(IDENTITY) and found.verdict is Verdict.ATTENTION:
                failing.add(found.check.removeprefix(IDENTITY))
            yield found


def _findings(check: Callable[[], Iterator[CheckResult]]) -> Iterator[CheckResult]:
    """Yield the results of a check; if it depends on a blob of settings that can't be read, a result about that."""
    try:
        yield from check()
    except RetryLater as retry_later:
        yield unreachable(UNREAD, str(retry_later), "see the checks of the blob and of the storage account")


def _declared() -> Iterator[CheckResult]:
    yield fine(SETTINGS, f"complete; {len(relay().declarations)} subscriptions are declared")


def _storage_alone() -> Iterator[CheckResult]:
    try:
        storage_settings(os.environ)
    except SettingsError:
        return
    yield from storage()
