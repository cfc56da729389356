"""The result of a check, and what to do."""

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """The verdict of a check. UNSEEN: it can't be checked from here, which is not a failure."""

    FINE = "fine"
    ATTENTION = "attention"
    UNREACHABLE = "unreachable"
    UNSEEN = "unseen"


class CheckResult(msgspec.Struct):
    """A check, its verdict, its finding, and what to do."""

    check: str
    verdict: Verdict
    says: str
    todo: str = ""


def fine(check: str, says: str) -> CheckResult:
    """Return the result that all is well."""
    return CheckResult(check, Verdict.FINE, says)


def attention(check: str, says: str, todo: str = "") -> CheckResult:
    """Return a result that needs a person."""
    return CheckResult(check, Verdict.ATTENTION, says, todo)


def unreachable(check: str, says: str, todo: str = "") -> CheckResult:
    """Return that something needed does not answer."""
    return CheckResult(check, Verdict.UNREACHABLE, says, todo)


def unseen(check: str, says: str, todo: str = "") -> CheckResult:
    """Return that it can't be checked from here."""
    return CheckResult(check, Verdict.UNSEEN, says, todo)
