"""The declarations: the subscriptions that should exist."""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Literal

import msgspec

from shared.configuration.fan_out import MEMBER, PARENT, check_fan_out
from shared.configuration.in_blob import BlobAddress, blob_address
from shared.configuration.values import APP_ROOT, GUID, InvalidValue
from shared.resources.permissions import refused_consent


class Declaration(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One subscription that should exist: an entry of `subscriptions.json`.

    `tenant_id`, lower case, is that of the app registration unless the entry names another. `consent` "resource": the
    app may watch this one team, chat or user by resource-specific consent, and needs no permission for the tenant.

    With `for_each`, it is a template: each member of a list should have a subscription (see `member`). `read_back`:
    changes of a member before its subscription are read back, from when it was first listed.
    """

    resource: str
    change_types: tuple[str, ...]
    include_resource_data: bool = False
    tenant_id: str = ""
    hydrate: bool = False
    consent: Literal["tenant", "resource"] = "tenant"
    for_each: str | tuple[str, ...] = ()
    read_back: bool = False

    @property
    def id(self) -> str:
        """Identifies the declaration, in 16 characters, in clientStates, table rows and checkpoints."""
        return declaration_id(self.tenant_id, " for each ".join((self.resource, *self.sources)))

    @property
    def sources(self) -> tuple[str, ...]:
        """The lists that a template fans out over, the outer one first; none for any other declaration."""
        return (self.for_each,) if isinstance(self.for_each, str) else self.for_each

    def member(self, member: str, parent: str = "") -> "Declaration":
        """Return the declaration of one member of a template, by the id of the member. parent: the id of the outer
        member.
        """
        resource = self.resource.replace(MEMBER, member).replace(PARENT, parent)
        return msgspec.structs.replace(self, resource=resource, for_each=(), read_back=False)


@lru_cache(maxsize=65_536)  # called for each declaration and each notification
def declaration_id(tenant_id: str, resource: str) -> str:
    """Return the id, 16 characters, of the declaration of a resource in a tenant, whether or not it exists."""
    identity = f"{tenant_id.lower()}\n{resource.strip('/').lower()}".encode()
    return base64.urlsafe_b64encode(hashlib.sha256(identity).digest()[:12]).decode()


class Declarations:
    """The declarations of all tenants, in the given order.

    Iteration, look-up and length cover the subscriptions that should exist; `templates` are declarations that fan out.
    """

    def __init__(self, declarations: Iterable[Declaration]) -> None:
        given = {declaration.id: declaration for declaration in declarations}
        self._by_id = {name: declaration for name, declaration in given.items() if not declaration.sources}
        self._templates = tuple(declaration for declaration in given.values() if declaration.sources)

    @property
    def templates(self) -> tuple[Declaration, ...]:
        """The declarations that fan out: one subscription for each member of a list."""
        return self._templates

    @property
    def entries(self) -> Sequence[Declaration]:
        """The entries as written: every declaration, and every template."""
        return (*self._by_id.values(), *self._templates)

    def read_again(self) -> None:
        """Read the declarations again, in case another instance has acted on newer ones. Raises RetryLater."""

    def by_id(self) -> Mapping[str, Declaration]:
        """Return the declarations by their ids."""
        return self._by_id

    def __iter__(self) -> Iterator[Declaration]:
        return iter(self.by_id().values())

    def __len__(self) -> int:
        return len(self.by_id())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Declarations) and tuple(self) == tuple(other) and self.templates == other.templates

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __contains__(self, declaration_id: str) -> bool:
        return declaration_id in self.by_id()

    def get(self, declaration_id: str, tenant_id: str) -> Declaration | None:
        """Return the declaration with that id in that tenant; None if there is no such declaration (any more)."""
        declaration = self.by_id().get(declaration_id)
        return declaration if declaration is not None and declaration.tenant_id == tenant_id else None

    def of_tenant(self, tenant_id: str) -> "Declarations":
        """Return the declarations of one tenant."""
        return Declarations(declaration for declaration in self if declaration.tenant_id == tenant_id)

    def by_tenant(self, home: str) -> dict[str, "Declarations"]:
        """Return the declarations of each tenant; `home` is always included, so that its last subscription can be
        removed.
        """
        tenants: dict[str, list[Declaration]] = {home: [], **{template.tenant_id: [] for template in self.templates}}
        for declaration in self:
            tenants.setdefault(declaration.tenant_id, []).append(declaration)
        return {tenant_id: Declarations(entries) for tenant_id, entries in tenants.items()}


def subscriptions(text: str) -> list[Declaration] | BlobAddress:
    """Read SUBSCRIPTIONS: as `read_declarations`, or the address of a blob that holds the list. Raises InvalidValue."""
    return blob_address(text) or read_declarations(text)


def read_declarations(text: str) -> list[Declaration]:
    """Read declarations from a JSON list, or from the file with that path. Raises InvalidValue."""
    if not text.startswith("["):
        try:
            text = (APP_ROOT / text).read_text(encoding="utf-8")
        except (OSError, ValueError):
            raise InvalidValue(
                "expected a JSON list, the path of a readable file that holds one, or the https:// address of a blob "
                "that does"
            ) from None
    return decode_declarations(text)


def decode_declarations(text: str) -> list[Declaration]:
    """Read declarations from a JSON list. Raises InvalidValue."""
    try:
        entries = msgspec.json.decode(text, type=list[Declaration])
    except (msgspec.DecodeError, RecursionError) as error:
        # msgspec names the field and the types, not the value; besides, a declaration holds no secret.
        raise InvalidValue(f"expected a JSON list of declarations: {error}") from None
    for number, declaration in enumerate(entries, start=1):
        _check_declaration(f"declaration {number}", declaration)
    return entries


def with_tenant(entries: Iterable[Declaration], home: str) -> Declarations:
    """Return the declarations; an entry without a tenant belongs to `home`.

    Raises InvalidValue if two declare the same resource of one tenant.
    """
    complete = [msgspec.structs.replace(entry, tenant_id=(entry.tenant_id or home).lower()) for entry in entries]
    declarations = Declarations(complete)
    if len(declarations) + len(declarations.templates) < len(complete):
        raise InvalidValue("two declarations name the same resource of one tenant; merge their changeTypes")
    return declarations


def _check_declaration(name: str, declaration: Declaration) -> None:
    if not declaration.resource.strip("/") or not declaration.resource.isprintable():
        raise InvalidValue(f"{name}: resource: expected a path such as /chats/getAllMessages")
    if not declaration.change_types or not set(declaration.change_types) <= {"created", "updated", "deleted"}:
        raise InvalidValue(f"{name}: changeTypes: expected some of created, updated, deleted")
    try:
        check_fan_out(declaration.resource, declaration.sources, read_back=declaration.read_back)
    except InvalidValue as error:
        raise InvalidValue(f"{name}: {error}") from None
    if declaration.consent == "resource" and (refusal := refused_consent(declaration.resource)):
        raise InvalidValue(f"{name}: consent: {refusal}")
    if declaration.tenant_id and not GUID.fullmatch(declaration.tenant_id.lower()):
        raise InvalidValue(f"{name}: tenantId: expected a GUID")
