"""What is declared: the subscriptions that should exist."""

import base64
import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Literal

import msgspec

from shared.configuration.values import APP_ROOT, GUID, Expected
from shared.resources.permissions import refused_consent


class Declaration(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One subscription that should exist: an entry of `subscriptions.json`.

    `tenant_id`, lower case, is that of the app registration unless the entry names another. `consent` "resource": the
    app may watch this one team, chat or user by resource-specific consent, and needs no permission for the tenant.
    """

    resource: str
    change_types: tuple[str, ...]
    include_resource_data: bool = False
    tenant_id: str = ""
    hydrate: bool = False
    consent: Literal["tenant", "resource"] = "tenant"

    @property
    def id(self) -> str:
        """Its name, 16 characters: the same in a clientState, a table row and a checkpoint."""
        return declaration_id(self.tenant_id, self.resource)


@lru_cache(maxsize=16_384)  # asked for each declaration, of each notification
def declaration_id(tenant_id: str, resource: str) -> str:
    """Return the name, 16 characters, of the declaration of a resource in a tenant, whether or not it exists."""
    identity = f"{tenant_id.lower()}\n{resource.strip('/').lower()}".encode()
    return base64.urlsafe_b64encode(hashlib.sha256(identity).digest()[:12]).decode()


class Declarations:
    """The declarations of all tenants, in the order in which they were given."""

    def __init__(self, declarations: Iterable[Declaration]) -> None:
        self._by_id = {declaration.id: declaration for declaration in declarations}

    def __iter__(self) -> Iterator[Declaration]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Declarations) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __contains__(self, declaration_id: str) -> bool:
        return declaration_id in self._by_id

    def get(self, declaration_id: str, tenant_id: str) -> Declaration | None:
        """Return the declaration of that id, if it is of that tenant; None if it is declared no more."""
        found = self._by_id.get(declaration_id)
        return found if found is not None and found.tenant_id == tenant_id else None

    def of_tenant(self, tenant_id: str) -> "Declarations":
        """Return those of one tenant."""
        return Declarations(declaration for declaration in self if declaration.tenant_id == tenant_id)

    def by_tenant(self, home: str) -> dict[str, "Declarations"]:
        """Return those of each tenant; `home` is always there, so that its last subscription can be removed."""
        tenants: dict[str, list[Declaration]] = {home: []}
        for declaration in self:
            tenants.setdefault(declaration.tenant_id, []).append(declaration)
        return {tenant_id: Declarations(declared) for tenant_id, declared in tenants.items()}


def read_declarations(text: str) -> list[Declaration]:
    """Read them from a JSON list, or the path of a file that holds one. Raises Expected."""
    if not text.startswith("["):
        try:
            text = (APP_ROOT / text).read_text(encoding="utf-8")
        except (OSError, ValueError):
            raise Expected("expected a JSON list, or the path of a readable file that holds one") from None
    try:
        declared = msgspec.json.decode(text, type=list[Declaration])
    except (msgspec.DecodeError, RecursionError) as error:
        # msgspec names the place and the types, not the value; a declaration holds no secret in any case.
        raise Expected(f"expected a JSON list of declarations: {error}") from None
    for number, declaration in enumerate(declared, start=1):
        _check_declaration(f"declaration {number}", declaration)
    return declared


def in_tenant(declared: Iterable[Declaration], home: str) -> Declarations:
    """Return declarations; what names no tenant is of `home`. Raises Expected if two are of the same resource."""
    placed = [msgspec.structs.replace(entry, tenant_id=(entry.tenant_id or home).lower()) for entry in declared]
    declarations = Declarations(placed)
    if len(declarations) < len(placed):
        raise Expected("two declarations name the same resource of one tenant; merge their changeTypes")
    return declarations


def _check_declaration(name: str, declaration: Declaration) -> None:
    if not declaration.resource.strip("/") or not declaration.resource.isprintable():
        raise Expected(f"{name}: resource: expected a path such as /chats/getAllMessages")
    if not declaration.change_types or not set(declaration.change_types) <= {"created", "updated", "deleted"}:
        raise Expected(f"{name}: changeTypes: expected some of created, updated, deleted")
    if declaration.consent == "resource" and (refusal := refused_consent(declaration.resource)):
        raise Expected(f"{name}: consent: {refusal}")
    if declaration.tenant_id and not GUID.fullmatch(declaration.tenant_id.lower()):
        raise Expected(f"{name}: tenantId: expected a GUID")
