"""What is declared: the subscriptions that should exist."""

import msgspec

from shared.configuration.values import APP_ROOT, GUID, Expected


class Declaration(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One subscription that should exist: an entry of `subscriptions.json`.

    `tenant_id`, lower case, is that of the app registration unless the entry names another.
    """

    resource: str
    change_types: tuple[str, ...]
    include_resource_data: bool = False
    tenant_id: str = ""
    hydrate: bool = False


def read_declarations(text: str, home: str) -> list[Declaration]:
    """Read them from a JSON list, or the path of a file that holds one; what names no tenant is of `home`.

    Raises Expected.
    """
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
    for number, one in enumerate(declared, start=1):
        _check_declaration(f"declaration {number}", one)
    declared = [msgspec.structs.replace(one, tenant_id=(one.tenant_id or home).lower()) for one in declared]
    if len({(one.tenant_id, one.resource.strip("/").lower()) for one in declared}) < len(declared):
        raise Expected("two declarations name the same resource of one tenant; merge their changeTypes")
    return declared


def _check_declaration(name: str, one: Declaration) -> None:
    if not one.resource.strip("/") or not one.resource.isprintable():
        raise Expected(f"{name}: resource: expected a path such as /chats/getAllMessages")
    if not one.change_types or not set(one.change_types) <= {"created", "updated", "deleted"}:
        raise Expected(f"{name}: changeTypes: expected some of created, updated, deleted")
    if one.tenant_id and not GUID.fullmatch(one.tenant_id.lower()):
        raise Expected(f"{name}: tenantId: expected a GUID")
