"""What a declaration needs of Graph, by the table of `shared/resources/catalog.py`, and which least set covers it."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Protocol

from shared.resources.catalog import (
    ACCESS_POLICY,
    KINDS,
    LIST_TEAMS,
    LIST_USERS,
    RESOLVE_USER,
    RESOURCE_CONSENT_QUERY,
    TRANSCRIPT_ACCESS,
    Kind,
    Operation,
    find,
    read_by,
    template_segments,
)
from shared.resources.member_sources import operations_of
from shared.resources.path import segments

OPTIONAL_PERMISSION = "Application.Read.All"
"""Never needed: with it the app warns of credentials that end, and `ops doctor` sees service principals."""


class Unsupported(ValueError):
    """No application can subscribe to a resource, or it is not known. The message says why, and what is near."""


class Declared(Protocol):
    """What of a declaration decides which permissions it needs."""

    @property
    def resource(self) -> str: ...
    @property
    def hydrate(self) -> bool: ...
    @property
    def consent(self) -> str: ...
    @property
    def sources(self) -> tuple[str, ...]: ...


class Purpose(StrEnum):
    """What a permission is needed for."""

    SUBSCRIBE = "subscribe"
    NAME = "learn the id behind a user principal name"
    READ = "read one back"
    LIST = "list whom to read back"
    SWEEP = "read back what was missed"
    MEMBERS = "list whom to subscribe for"


@dataclass(frozen=True)
class Need:
    """One operation of the app: any one of `accepted` will do, the first is the least.

    `specific` are the resource-specific permissions that do as well; `by_resource`: the declaration relies on them, and
    nothing has to be granted for the whole tenant. `path` is below `/v1.0/`, with `{}` for an id.
    """

    purpose: Purpose
    path: str
    accepted: tuple[str, ...]
    specific: tuple[str, ...] = ()
    by_resource: bool = False

    @property
    def least(self) -> str:
        """The least permission for the whole tenant."""
        return self.accepted[0]


def kind_of(resource: str) -> Kind:
    """Return the row of a resource that an application can subscribe to.

    Raises Unsupported.
    """
    kind = find(resource)
    if kind is None:
        raise Unsupported(f"{resource}: {_unknown(resource)}")
    if not kind.subscribe:
        raise Unsupported(f"{resource}: there is no application permission for it. {' '.join(kind.besides)}")
    return kind


def needs(resource: str, *, hydrate: bool = False, consent: str = "tenant", sources: Iterable[str] = ()) -> list[Need]:
    """Return what a declaration needs, in the order in which it is needed.

    consent: "tenant", or "resource" if it relies on resource-specific consent alone. sources: the lists that it fans
    out over.

    Raises Unsupported.
    """
    kind = kind_of(resource)
    by_resource = consent == "resource"
    if by_resource and (refusal := refused_consent(resource)):
        raise Unsupported(f"{resource}: {refusal}")
    subscribe = Need(Purpose.SUBSCRIBE, "subscriptions", kind.subscribe, kind.specific)
    reads = [_need(Purpose.READ, operation) for operation in kind.read] if hydrate else []
    sweep = kind.specific_sweep if by_resource else kind.sweep
    names = [_need(Purpose.NAME, RESOLVE_USER)] if names_by_principal(resource) else []
    wanted = [subscribe, *names, *reads, *(_need(_sweep_purpose(operation), operation) for operation in sweep)]
    return [*member_needs_of(sources), *(replace(need, by_resource=by_resource) for need in wanted)]


def member_needs_of(sources: Iterable[str]) -> list[Need]:
    """Return what it takes to know the members of lists that a declaration fans out over."""
    return [_need(Purpose.MEMBERS, operation) for source in sources for operation in operations_of(source)]


def names_by_principal(resource: str) -> bool:
    """Whether a resource is of a user that it names by principal name: `ada@example.org`, and not `{GUID}@{tenant}`."""
    parts = segments(resource)
    return len(parts) > 1 and parts[0].lower() == "users" and "." in parts[1].partition("@")[2]


def needs_of_all(declared: Iterable[Declared]) -> tuple[list[Need], list[str]]:
    """Return what declarations need together, and what is wrong with those that no application can have."""
    wanted: list[Need] = []
    complaints: list[str] = []
    for declaration in declared:
        try:
            wanted += needs(
                declaration.resource,
                hydrate=declaration.hydrate,
                consent=declaration.consent,
                sources=declaration.sources,
            )
        except Unsupported as unsupported:
            complaints.append(str(unsupported))
    return wanted, complaints


def refused_consent(resource: str) -> str:
    """Return why a declaration can't rely on resource-specific consent, as a sentence; "" if it can.

    What is not known here is not judged.
    """
    kind = find(resource)
    if kind is None:
        return ""
    if not kind.specific:
        return f"Graph names no resource-specific consent for subscribing to it ({kind.source.page})"
    if kind.specific_by_query and RESOURCE_CONSENT_QUERY.lower() not in resource.lower():
        return f"for resource-specific consent Graph wants ?{RESOURCE_CONSENT_QUERY} at the end of the resource"
    return ""


def least(wanted: Iterable[Need]) -> list[str]:
    """Return the least set of permissions that covers all needs, sorted.

    What has to be granted for one need is not granted in a lesser form for another: needs with the fewest choices
    decide first.
    """
    chosen: set[str] = set()
    for need in sorted(wanted, key=lambda need: len(need.accepted)):
        if not need.by_resource and not chosen.intersection(need.accepted):
            chosen.add(need.least)
    return sorted(chosen)


def missing(wanted: Iterable[Need], granted: Collection[str]) -> list[str]:
    """Return the least permissions that have to be granted besides those that are, sorted."""
    return least(need for need in wanted if not set(granted).intersection(need.accepted))


def superfluous(wanted: Iterable[Need], granted: Collection[str]) -> list[str]:
    """Return which granted permissions no need accepts, or a lesser granted one serves as well, sorted."""
    wanted = [need for need in wanted if not need.by_resource]
    covering = {name for need in wanted for name in granted if name in need.accepted}
    used: set[str] = set()
    for need in sorted(wanted, key=lambda need: len(set(need.accepted) & covering)):
        candidates = [name for name in need.accepted if name in covering]
        if candidates and not used.intersection(candidates):
            used.add(candidates[0])
    return sorted(set(granted) - used - {OPTIONAL_PERMISSION})


def remedy(
    resource: str, purposes: Collection[Purpose], granted: Collection[str] | None, consent: str = "tenant"
) -> str:
    """Return what a person should do about a 403 of Graph's for one of these purposes, as sentences.

    Never tells to grant a permission that the token already has. granted: what it holds; None if it does not say.
    """
    try:
        kind = kind_of(resource)
        wanted = [need for need in needs(resource, hydrate=True, consent=consent) if need.purpose in purposes]
    except Unsupported as unsupported:
        return f"{unsupported}."
    besides = [sentence for sentence in kind.besides if Purpose.READ in purposes or "hydrate" not in sentence]
    if Purpose.SUBSCRIBE in purposes:
        besides.append("Or a quota of Graph's on subscriptions is used up.")
        if kind.renew is not None:
            besides.append(f"Microsoft's page on renewing names {', '.join(kind.renew) or 'no permission'} for it.")
    if consent == "resource":
        names = ", ".join(dict.fromkeys(name for need in wanted for name in need.specific[:1]))
        return " ".join((f"Install your Teams app with the resource-specific permission {names} there.", *besides))
    lacking = missing(wanted, granted or ())
    if granted is None:
        return " ".join((f"See that the tenant has granted {', '.join(least(wanted))}, with admin consent.", *besides))
    if lacking:
        return f"Grant the application permission {', '.join(lacking)}, with admin consent."
    had = ", ".join(sorted({name for need in wanted for name in need.accepted if name in granted}))
    return " ".join((f"It is not a missing permission: the token has {had}.", *besides))


def remedy_of_reading(path: str, granted: Collection[str] | None) -> str:
    """Return what a person should do about a 403 on reading back a path, as sentences; "" if no row reads it.

    path: that of a page to read back: a declared resource, or one team, user or entry of it. granted: as for `remedy`.
    """
    declared = find(path)
    if declared is not None and declared.sweep:
        return remedy(path, (Purpose.LIST, Purpose.SWEEP), granted)
    found = read_by(path)
    if found is None:
        return ""
    kind, operation = found
    had = sorted(set(granted or ()).intersection(operation.accepted))
    if had:
        return " ".join((f"It is not a missing permission: the token has {', '.join(had)}.", *kind.besides))
    specific = f", or for this one the resource-specific {operation.specific[0]}" if operation.specific else ""
    verb = "Grant the application permission" if granted is not None else "See that the tenant has granted"
    return f"{verb} {operation.accepted[0]}, with admin consent{specific}."


def is_policy_refusal(resource: str, inner_code: str, message: str, granted: Collection[str] | None) -> bool:
    """Whether a 403 on a read-back means that a policy or switch of the tenant is missing, not a permission.

    Graph says so by a code (/graph/api/calltranscript-get) or in its message
    (/graph/cloud-communication-online-meeting-application-access-policy, "Errors"). Elsewhere it is certain where the
    token has the permission, of a kind that a policy governs.
    """
    if inner_code in _POLICY_CODES or any(words in message.lower() for words in _POLICY_WORDS):
        return True
    kind = find(resource)
    if kind is None or granted is None or not {ACCESS_POLICY, TRANSCRIPT_ACCESS}.intersection(kind.besides):
        return False
    return any(not set(granted).isdisjoint(operation.accepted) for operation in kind.read)


def policies(resource: str) -> str:
    """Return what an administrator has to allow besides a permission for a resource to be read back, as sentences."""
    kind = find(resource)
    return " ".join(sentence for sentence in (kind.besides if kind else ()) if "hydrate" in sentence)


def near(resource: str, at_most: int = 3) -> list[str]:
    """Return the paths of the table that look most like a resource, the nearest first."""
    given = "/".join("{}" if _LOOKS_LIKE_ID.search(part) else part for part in template_segments(resource))
    ranked = sorted(
        ((SequenceMatcher(None, given, path.lower()).ratio(), path) for kind in KINDS for path in kind.paths),
        reverse=True,
    )
    return [path.replace("{}", "{id}") for ratio, path in ranked[:at_most] if ratio >= _ALIKE]


def _unknown(resource: str) -> str:
    parts = template_segments(resource)
    if parts[:1] == ("me",):
        return f"`me` is a signed-in user, and an app is none; name one: users/{{id}}/{'/'.join(parts[1:])}"
    alike = near(resource)
    hint = f"Near it: {', '.join(alike)}. " if alike else ""
    return (
        f"not known as a resource that Graph notifies applications of. {hint}"
        "If Graph offers it, add a row to shared/resources/catalog.py"
    )


def _need(purpose: Purpose, operation: Operation) -> Need:
    return Need(purpose, operation.path, operation.accepted, operation.specific)


def _sweep_purpose(operation: Operation) -> Purpose:
    return Purpose.LIST if operation in (LIST_TEAMS, LIST_USERS) else Purpose.SWEEP


def every_need() -> Iterator[tuple[Kind, Need]]:
    """Yield what each row of the table can need, with everything a declaration can ask for."""
    for kind in KINDS:
        for operation in (*kind.sweep, *kind.specific_sweep):
            yield kind, _need(_sweep_purpose(operation), operation)
        if kind.subscribe:
            yield kind, Need(Purpose.SUBSCRIBE, "subscriptions", kind.subscribe, kind.specific)
        for operation in kind.read:
            yield kind, _need(Purpose.READ, operation)


_POLICY_CODES = ("GraphAccessToTranscriptsDisabled",)
_POLICY_WORDS = ("application access policy", "rsc permission evaluation")

_LOOKS_LIKE_ID = re.compile(r"[\d@{:,!]|-.*-")
_ALIKE = 0.6
