"""The declarations in force, of which a blob may hold the list."""

from collections.abc import Mapping

from shared.configuration.declaration import Declaration, Declarations
from shared.in_force import InForce


class DeclarationsInForce(Declarations):
    """As they are now. Every method raises RetryLater while they can't be read at all."""

    def __init__(self, in_force: InForce[Declarations]) -> None:
        super().__init__(())
        self._in_force = in_force

    def by_id(self) -> Mapping[str, Declaration]:
        """See Declarations."""
        return self._in_force.get().by_id()

    def get(self, declaration_id: str, tenant_id: str) -> Declaration | None:
        """See Declarations. What is unknown here may be known to another instance: the blob is read again."""
        return super().get(declaration_id, tenant_id) or self._in_force.refresh().get(declaration_id, tenant_id)
