"""What a check found, and what to do about it."""

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """How it stands. UNSEEN: it can't be told from here, which is no failure."""

    FINE = "fine"
    ATTENTION = "attention"
    UNREACHABLE = "unreachable"
    UNSEEN = "unseen"


class Finding(msgspec.Struct):
    """One thing that was looked at: what it is, how it stands, and what to do."""

    check: str
    verdict: Verdict
    says: str
    todo: str = ""


def fine(check: str, says: str) -> Finding:
    """Return that all is well."""
    return Finding(check, Verdict.FINE, says)


def attention(check: str, says: str, todo: str = "") -> Finding:
    """Return that a person has to do something."""
    return Finding(check, Verdict.ATTENTION, says, todo)


def unreachable(check: str, says: str, todo: str = "") -> Finding:
    """Return that something needed does not answer."""
    return Finding(check, Verdict.UNREACHABLE, says, todo)


def unseen(check: str, says: str, todo: str = "") -> Finding:
    """Return that it can't be told from here."""
    return Finding(check, Verdict.UNSEEN, says, todo)
