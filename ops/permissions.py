"""`permissions`: what each declaration needs of Graph and why, what is granted, and how to grant the rest."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
import msgspec

from ops.report import ExitCode, Failure, Report, ReportTable, as_json, finish, table
from shared.configuration.declaration import Declaration, read_declarations, with_tenant
from shared.configuration.settings import Settings, SettingsError
from shared.configuration.values import CLOUDS, InvalidValue
from shared.errors import RetryLater
from shared.graph.entra import granted_permissions
from shared.relay import relay
from shared.resources.permissions import Need, Unsupported, kind_of, least, missing, needs, needs_of_all, superfluous

_CLIENT = "GRAPH_CLIENT_ID"
_TENANT = "GRAPH_TENANT_ID"
_PORTAL = "https://entra.microsoft.com/#view/Microsoft_AAD_RegisteredApps/ApplicationMenuBlade/~/CallAnAPI/appId/"
_ANY_TENANT = "organizations"
"""The placeholder for an unknown tenant in Entra ID's URLs."""


class NeedState(msgspec.Struct):
    """One operation: its purpose, its path below `/v1.0/`, and permissions of which any one suffices.

    resource_specific: the permissions for one team, chat or user that suffice, too, or, if `by_resource`, that the
    declaration uses. granted: which of them the tenant has granted; None if none, or if that is unknown.
    """

    purpose: str
    path: str
    permissions: list[str]
    resource_specific: list[str]
    by_resource: bool
    granted: str | None


class DeclarationState(msgspec.Struct):
    """A declaration, the permissions and other conditions that it needs, or why no application can have it."""

    tenant: str
    resource: str
    needs: list[NeedState]
    besides: list[str]
    complaint: str | None = None


class TenantState(msgspec.Struct):
    """A tenant: the least set of permissions, and the difference from the granted ones.

    granted: None if the tenant could not be asked; then `unknown` says why.
    """

    tenant: str
    needed: list[str]
    granted: list[str] | None
    missing: list[str]
    not_needed: list[str]
    unknown: str | None
    commands: list[str]
    consent_url: str | None


class PermissionReport(Report):
    """All declarations, and all tenants."""

    declarations: list[DeclarationState]
    tenants: list[TenantState]

    @property
    def exit_code(self) -> ExitCode:
        """Attention if no application can have a declared resource, or a tenant has not granted a needed permission."""
        lacking = any(tenant.granted is not None and tenant.missing for tenant in self.tenants)
        refused = any(declaration.complaint for declaration in self.declarations)
        return ExitCode.ATTENTION if lacking or refused else ExitCode.FINE

    def shown(self) -> Iterable[str | ReportTable]:
        """Yield a table of needs; then problems, and for each tenant what to grant and how."""
        rows = [
            (declaration.resource, need.purpose, _in_words(need), need.granted)
            for declaration in self.declarations
            for need in declaration.needs
        ]
        yield table("What is needed", ("Resource", "To", "Any one of", "Granted"), rows)
        for declaration in self.declarations:
            if declaration.complaint:
                yield declaration.complaint
            yield from (f"{declaration.resource}: {sentence}" for sentence in declaration.besides)
        for tenant in self.tenants:
            yield from _tenant_shown(tenant)


@click.command()
@click.argument("subscriptions", required=False, type=click.Path(dir_okay=False, exists=True, path_type=Path))
@as_json
def permissions(subscriptions: Path | None, *, as_json: bool) -> None:
    """Show which Graph permissions the declarations need and why, what is granted, and how to grant the rest.

    SUBSCRIPTIONS is a file like subscriptions.json; without it, the declarations of the settings. With a file
    you need no settings. Changes nothing.
    """
    settings = _settings(optional=subscriptions is not None)
    try:
        declared = _declared(subscriptions, settings)
    except InvalidValue as complaint:
        finish(Failure([f"{subscriptions}: {complaint}"], ExitCode.USAGE), as_json=as_json)
    finish(report(declared, settings), as_json=as_json)


def report(declared: Sequence[Declaration], settings: Settings | None) -> PermissionReport:
    """Return the needs of declarations. With settings, each tenant's token shows what is granted there."""
    found: list[DeclarationState] = []
    tenants: list[TenantState] = []
    for tenant_id in dict.fromkeys(declaration.tenant_id for declaration in declared):
        of_tenant = [declaration for declaration in declared if declaration.tenant_id == tenant_id]
        granted, unknown = _granted(tenant_id, settings)
        found += [_state(declaration, granted or ()) for declaration in of_tenant]
        tenants.append(_tenant(tenant_id, of_tenant, granted, unknown, settings))
    return PermissionReport(found, tenants)


def _settings(*, optional: bool) -> Settings | None:
    try:
        return relay().settings
    except SettingsError:
        if not optional:
            raise
        return None


def _declared(subscriptions: Path | None, settings: Settings | None) -> Sequence[Declaration]:
    """Raises InvalidValue."""
    if subscriptions is None:
        return relay().declarations.entries if settings else []
    home = settings.tenant_id if settings else os.environ.get(_TENANT, _ANY_TENANT)
    return with_tenant(read_declarations(str(subscriptions.resolve())), home).entries


def _granted(tenant_id: str, settings: Settings | None) -> tuple[frozenset[str] | None, str | None]:
    """Return the permissions in the token of a tenant, or None and why they are unknown."""
    if settings is None:
        return None, "the settings are incomplete"
    try:
        token = relay().entra.token(tenant_id, f"{settings.graph_url}/.default")
    except RetryLater as problem:
        return None, str(problem)
    granted = granted_permissions(token)
    return granted, None if granted is not None else "the app's token does not say"


def _state(declaration: Declaration, granted: Iterable[str]) -> DeclarationState:
    try:
        kind = kind_of(declaration.resource)
        wanted = needs(
            declaration.resource,
            hydrate=declaration.hydrate,
            consent=declaration.consent,
            sources=declaration.sources,
        )
    except Unsupported as unsupported:
        return DeclarationState(declaration.tenant_id, declaration.resource, [], [], str(unsupported))
    besides = [sentence for sentence in kind.besides if declaration.hydrate or "hydrate" not in sentence]
    if kind.beta:
        besides.append("Only Graph's beta endpoint offers it, which this app does not use: Graph will refuse it.")
    states = [_need_state(need, set(granted)) for need in wanted]
    return DeclarationState(declaration.tenant_id, declaration.resource, states, besides)


def _need_state(need: Need, granted: set[str]) -> NeedState:
    serving = next((name for name in need.accepted if name in granted), None)
    return NeedState(need.purpose, need.path, list(need.accepted), list(need.specific), need.by_resource, serving)


def _tenant(
    tenant_id: str,
    declared: Sequence[Declaration],
    granted: frozenset[str] | None,
    unknown: str | None,
    settings: Settings | None,
) -> TenantState:
    wanted, _ = needs_of_all(declared)
    lacking = missing(wanted, granted or ())
    client = settings.client_id if settings else os.environ.get(_CLIENT, _CLIENT)
    return TenantState(
        tenant_id,
        least(wanted),
        None if granted is None else sorted(granted),
        lacking,
        superfluous(wanted, granted) if granted is not None else [],
        unknown,
        _commands(client, tenant_id, lacking),
        _consent_url(client, tenant_id, settings) if lacking else None,
    )


def _commands(client: str, tenant_id: str, lacking: Sequence[str]) -> list[str]:
    if not lacking:
        return []
    sign_in = "az login" if tenant_id == _ANY_TENANT else f"az login --tenant {tenant_id}"
    return [sign_in, f"python3 infra/consent.py {client} {' '.join(lacking)}"]


def _consent_url(client: str, tenant_id: str, settings: Settings | None) -> str | None:
    """Return the URL of the registration's page in the home tenant; only the global cloud's portal is known here.

    Entra ID's `/adminconsent` fails for a registration without a reply URL (AADSTS500113), such as this one.
    """
    is_home = tenant_id == (settings.tenant_id if settings else _ANY_TENANT)
    is_global = settings is None or settings.cloud == CLOUDS["global"]
    return f"{_PORTAL}{client}" if is_home and is_global and client != _CLIENT else None


def _in_words(need: NeedState) -> str:
    if need.by_resource:
        return f"{need.resource_specific[0]}, given to your Teams app with the team, chat or user"
    names = ", ".join(need.permissions[:3])
    return names if len(need.permissions) <= 3 else f"{names}, … ({len(need.permissions)}; --json lists them)"


def _tenant_shown(tenant: TenantState) -> Iterable[str]:
    named = "Your tenant" if tenant.tenant == _ANY_TENANT else f"Tenant {tenant.tenant}"
    yield f"{named} needs {', '.join(tenant.needed) or 'no permission for the whole tenant'}."
    if tenant.granted is None:
        yield f"What it has granted is not known: {tenant.unknown}."
    elif tenant.missing:
        yield f"Not granted: {', '.join(tenant.missing)}."
    else:
        yield "All of it is granted."
    if tenant.not_needed:
        yield f"Granted and not needed: {', '.join(tenant.not_needed)}."
    if tenant.commands:
        yield "To grant the missing permissions:"
        yield from (f"  {command}" for command in tenant.commands)
    if tenant.consent_url:
        yield (
            f"Or, for all that the app registration lists, an administrator opens {tenant.consent_url} and chooses "
            "Grant admin consent."
        )
