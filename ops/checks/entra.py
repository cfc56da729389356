"""Checks of the app's identity and permissions in each of its tenants."""

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from ops.checks.result import CheckResult, Verdict, attention, fine, unreachable, unseen
from shared.configuration.declaration import Declaration
from shared.errors import Reason, RelayError, RetryLater
from shared.graph.client import GraphRequestError
from shared.graph.entra import granted_permissions
from shared.graph.resolver import alias_in
from shared.graph.validation_token import PUBLISHER
from shared.messages.envelope import ReadbackPage
from shared.readback import pages
from shared.readback.by_time import reads_each_of_a_list
from shared.readback.fetched import FetchedPage
from shared.relay import relay, utc_now
from shared.resources.catalog import find
from shared.resources.path import segments
from shared.resources.permissions import (
    OPTIONAL_PERMISSION,
    Purpose,
    least,
    missing,
    needs_of_all,
    refused_consent,
    remedy,
    superfluous,
)

_CREDENTIALS = "check GRAPH_CLIENT_ID, its secret or certificate, and the tenant's consent"
_MOST_TRIED, _MOST_LISTED = 5, 20
"""Teams or users to try until one can be read; pages of their list."""

CONSENT = "python -m ops permissions says how to grant it"


def entra() -> Iterator[CheckResult]:
    """Check signing keys, identity, permissions and the prerequisite of rich notifications, in every tenant."""
    settings = relay().settings
    keys = _signing_keys()
    yield keys
    for tenant_id in dict.fromkeys(
        (settings.tenant_id, *(declaration.tenant_id for declaration in relay().declarations.entries))
    ):
        declared = [declaration for declaration in relay().declarations.entries if declaration.tenant_id == tenant_id]
        check = f"identity in {tenant_id}"
        try:
            token = relay().entra.token(tenant_id, f"{settings.graph_url}/.default")
        except RetryLater as retry_later:
            answers = keys.verdict is Verdict.FINE
            yield (attention if answers else unreachable)(check, str(retry_later), _CREDENTIALS if answers else "")
            continue
        yield fine(check, "Entra ID gives the app a token")
        granted = granted_permissions(token)
        yield from _permissions(granted, tenant_id, declared)
        shown = _examples(declared)
        yield from _names(tenant_id, shown)
        yield from _reading_back(granted, tenant_id, shown)
        if any(declaration.include_resource_data for declaration in declared):
            yield from _prerequisite(tenant_id)


def _examples(declared: Iterable[Declaration]) -> list[Declaration]:
    """Return the declarations; for each one that fans out, that of one member."""
    examples = (
        (declaration if not declaration.sources else relay().declarations.example(declaration))
        for declaration in declared
    )
    return [example for example in examples if example is not None]


def _signing_keys() -> CheckResult:
    """Look up a key id that does not exist: the app then fetches the keys."""
    check = "signing keys"
    try:
        relay().signing_keys.find("", "2.0", utc_now())
    except RetryLater as retry_later:
        return unreachable(
            check, str(retry_later), "check LOGIN_BASE_URL and the outbound connection to the login authority"
        )
    except RelayError:
        pass  # the authority answered: it has no such key
    return fine(check, "the login authority publishes them")


def _permissions(granted: frozenset[str] | None, tenant_id: str, declared: list[Declaration]) -> Iterator[CheckResult]:
    """Compare the needed permissions with the granted ones; only permissions that Graph accepts count."""
    check = f"permission in {tenant_id}"
    wanted, complaints = needs_of_all(declared)
    yield from (attention(check, complaint, "remove the declaration") for complaint in complaints)
    for declaration in declared:
        if declaration.consent == "resource" and not refused_consent(declaration.resource):
            yield unseen(check, f"{declaration.resource} relies on resource-specific consent, which tokens do not show")
    if granted is None:
        for name in least(wanted):
            yield unseen(check, f"whether the app has {name}: its token does not tell", "see the subscriptions below")
        return
    for name in sorted(granted - set(superfluous(wanted, granted)) - {OPTIONAL_PERMISSION}):
        yield fine(check, name)
    for name in missing(wanted, granted):
        yield attention(check, f"{name} is missing", CONSENT)


def _reading_back(granted: frozenset[str] | None, tenant_id: str, declared: list[Declaration]) -> Iterator[CheckResult]:
    """Read what a sweep would read first, over an empty range of time; for a fan-out, also one team or user."""
    now = utc_now()
    for declaration in declared:
        check = f"reading back {declaration.resource}"
        if not pages.can_read(declaration.resource):
            yield unseen(check, "can't be read back; what Graph drops of it stays missing")
            continue
        if complaint := pages.unreadable(declaration):
            yield attention(check, "can't be read back as it is declared; what Graph drops stays missing", complaint)
            continue
        try:
            was_read = _is_read(pages.page_of(declaration, now, now, now))
        except GraphRequestError as refusal:
            yield attention(check, str(refusal), _todo(refusal, declaration, granted))
        except RetryLater as retry_later:
            yield unreachable(check, str(retry_later), "run this again")
        else:
            nobody = "no team or user is listed that has messages, so none could be read"
            yield fine(check, "Graph answers") if was_read else unseen(check, nobody, "run this again once there is")


def _is_read(first: ReadbackPage) -> bool:
    """Read a page; for a fan-out, also one of the first teams or users. Return whether there was anything to read.

    Graph refuses to read some, such as rooms, which says nothing about the others. Raises GraphRequestError,
    RetryLater.
    """
    fetched = pages.ask(first, relay().graph, lambda _: None)
    if not reads_each_of_a_list(first.resource):
        return True
    refused: GraphRequestError | None = None
    for page in islice(_listed(fetched), _MOST_TRIED):
        try:
            pages.ask(page, relay().graph, lambda _: None)
        except GraphRequestError as refusal:
            refused = refusal
        else:
            return True
    if refused is not None:
        raise refused
    return False


def _listed(fetched: FetchedPage) -> Iterator[ReadbackPage]:
    """Yield the first pages of the entries of a list; a page of the list may be empty, and still link to others."""
    for _ in range(_MOST_LISTED):
        yield from (page for page in fetched.further if not page.link)
        further = next((page for page in fetched.further if page.link), None)
        if further is None:
            return
        fetched = pages.ask(further, relay().graph, lambda _: None)


def _todo(refusal: GraphRequestError, declaration: Declaration, granted: frozenset[str] | None) -> str:
    if refusal.status == 403:
        return remedy(declaration.resource, (Purpose.LIST, Purpose.SWEEP), granted, declaration.consent)
    if refusal.status == 404:
        return "it does not exist: correct or remove the declaration"
    return "see Graph's message; the same request is refused again"


def _names(tenant_id: str, declared: list[Declaration]) -> Iterator[CheckResult]:
    """Resolve the aliases in declarations, and report resources that `hydrate` could not read."""
    for declaration in declared:
        kind = find(declaration.resource)
        if declaration.hydrate and kind is not None and not kind.read:
            summary = "hydrate: Graph does not let an application read it; its events have no content"
            yield attention(f"hydrating {declaration.resource}", summary, "remove hydrate from the declaration")
        if alias_in(segments(declaration.resource)) is None:
            continue
        check = f"names in {declaration.resource}"
        try:
            yield fine(check, f"Graph calls it {relay().resolver.resolved(tenant_id, declaration.resource)}")
        except RetryLater as retry_later:
            if retry_later.reason is Reason.GRAPH_REFUSED:
                yield attention(check, str(retry_later), "without it, what was pushed can't be told from what is read")
            else:
                yield unreachable(check, str(retry_later), "run this again")
    try:
        hydration_failures = relay().hydration_failures.all()
    except RetryLater:
        return  # the check of the storage account reports that
    for declaration in declared:
        if declaration.id in hydration_failures and declaration.hydrate:
            summary = f"its notifications name {hydration_failures[declaration.id]}, which may not belong to it"
            yield attention(f"hydrating {declaration.resource}", summary, "name it by its ids in the declaration")


class _Principal(msgspec.Struct, rename="camel"):
    id: str
    app_role_assignment_required: bool = False


class _Assignment(msgspec.Struct, rename="camel"):
    principal_id: str = ""


def _prerequisite(tenant_id: str) -> Iterator[CheckResult]:
    """Without it, Graph gets no token for the app, and sends no content (docs/graph.md, "Rich notifications")."""
    client_id = relay().settings.client_id
    check = f"validation tokens in {tenant_id}"
    try:
        app = _principal(tenant_id, client_id)
        publisher = _publisher(tenant_id)
        if publisher is None:
            yield attention(
                check,
                "the service principal Microsoft Graph Change Tracking is not in the tenant",
                f"az ad sp create --id {PUBLISHER}",
            )
        elif not app.app_role_assignment_required:
            yield fine(check, "appRoleAssignmentRequired is false")
        elif publisher.id in _assigned(tenant_id, app.id):
            yield fine(check, "Microsoft Graph Change Tracking is assigned to the app")
        else:
            yield attention(
                check,
                "appRoleAssignmentRequired is true and Microsoft Graph Change Tracking is not assigned: "
                "Graph sends no tokens",
                f"az ad sp update --id {client_id} --set appRoleAssignmentRequired=false",
            )
    except RetryLater as retry_later:
        yield unreachable(check, str(retry_later), "run this again")
    except GraphRequestError as refusal:
        yield unseen(
            check,
            f"Graph does not show the app its service principal ({refusal.status})",
            f"az ad sp show --id {client_id} --query appRoleAssignmentRequired should say false",
        )


def _principal(tenant_id: str, app_id: str) -> _Principal:
    path = f"servicePrincipals(appId='{app_id}')?$select=id,appRoleAssignmentRequired"
    try:
        return msgspec.convert(relay().graph.get(tenant_id, path), _Principal)
    except msgspec.ValidationError:
        raise RetryLater(Reason.GRAPH, "Graph's answer is not a service principal") from None


def _publisher(tenant_id: str) -> _Principal | None:
    try:
        return _principal(tenant_id, PUBLISHER)
    except GraphRequestError as refusal:
        if refusal.status != 404:
            raise
        return None


def _assigned(tenant_id: str, principal_id: str) -> set[str]:
    listed = relay().graph.pages(tenant_id, f"servicePrincipals/{principal_id}/appRoleAssignedTo")
    try:
        return {msgspec.json.decode(entry, type=_Assignment).principal_id for page in listed for entry in page}
    except msgspec.DecodeError:
        raise RetryLater(Reason.GRAPH, "Graph's answer is not a list of assignments") from None
