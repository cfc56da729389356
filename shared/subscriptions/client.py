"""The subscriptions of our app at Graph: list, create, renew, re-key, replace, remove."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from shared.configuration.declaration import Declaration
from shared.errors import Reason, Refused, RelayError, RetryLater
from shared.graph import client_state
from shared.graph.client import GraphClient, GraphRequestError, Json
from shared.keys.key import EncryptionKey
from shared.resources.catalog import SHORTEST_LIFETIME, longest_lifetime
from shared.subscriptions.plan import carries_another_key, change_types, is_of
from shared.subscriptions.subscription import Action, DesiredState, Outcome, Step, Subscription

_log = logging.getLogger("graph_relay.subscriptions")

DEBOUNCE = timedelta(minutes=10)
"""Least time between two renewals of a subscription that Graph asks for (docs/graph.md, "Lifecycle notifications")."""


class SubscriptionsClient:
    """The subscriptions of our app at Graph."""

    def __init__(self, graph: GraphClient, clock: Callable[[], datetime], random_bytes: Callable[[int], bytes]) -> None:
        self._graph = graph
        self._clock = clock
        self._random_bytes = random_bytes

    def list(self, tenant_id: str) -> list[Subscription]:
        """Return all of ours in a tenant; call it once per run. Raises RetryLater, GraphRequestError."""
        listed = [entry for page in self._graph.pages(tenant_id, "subscriptions") for entry in page]
        found = []
        for entry in listed:
            try:
                found.append(msgspec.json.decode(entry, type=Subscription))
            except msgspec.ValidationError as error:
                _log.warning("Graph lists a subscription that can't be read, and is left alone: %s", error)
        return found

    def carry_out(self, step: Step, desired: DesiredState) -> Outcome:
        """Do one step. Never raises RelayError: one failing subscription must not stop the others."""
        try:
            return Outcome(step, self._do(step, desired))
        except RelayError as error:
            return Outcome(step, error=error)

    def to_reauthorize(self, tenant_id: str, subscription_id: str, declaration: Declaration) -> Subscription | None:
        """Return a subscription that Graph wants re-authorized; None if it was renewed within the last ten minutes
        (DEBOUNCE).

        Raises:
            Refused: the subscription is of something else than what is declared.
            GraphRequestError: Graph wants none of it; 404: it is gone.
            RetryLater: Graph is away.
        """
        found = self._read(self._graph.get(tenant_id, f"subscriptions/{subscription_id}"))
        if not is_of(found, declaration):
            raise Refused(Reason.CLIENT_STATE, "an item names a subscription of another resource")
        life = longest_lifetime(declaration.resource, rich=declaration.include_resource_data)
        return None if found.expiration_date_time > self._clock() + life - DEBOUNCE else found

    def reauthorize(self, subscription: Subscription, declaration: Declaration) -> Subscription:
        """Renew, and thereby re-authorize; return Graph's answer. Raises GraphRequestError, RetryLater.

        Its certificate stays: a storm of these must not wait for the key store, and a run of the timer re-keys it.
        """
        path = f"subscriptions/{subscription.id}"
        return self._granted(declaration, lambda life: self._graph.patch(declaration.tenant_id, path, life))

    def _do(self, step: Step, desired: DesiredState) -> Subscription | None:
        match step:
            case Step(Action.REMOVE, _, _, Subscription() as old):
                self._graph.delete(step.tenant_id, f"subscriptions/{old.id}")
                return None
            case Step(Action.CREATE, _, Declaration() as declaration):
                return self._create(step.tenant_id, declaration, desired)
            case Step(
                action=Action.REPLACE, declaration=Declaration() as declaration, subscription=Subscription() as old
            ):
                return self._replace(step.tenant_id, old, declaration, desired)
            case Step(_, _, Declaration() as declaration, Subscription() as old):
                return self._patch(step.tenant_id, old, declaration, desired)
        raise AssertionError(step)

    def _replace(
        self, tenant_id: str, old: Subscription, declaration: Declaration, desired: DesiredState
    ) -> Subscription:
        """Without a gap where Graph lets two stand side by side: with other change types, and quota left."""
        _certificate(declaration, desired.key)  # what can't be recreated must not be deleted
        if change_types(old) != set(declaration.change_types):
            try:
                made = self._create(tenant_id, declaration, desired)
            except GraphRequestError as refusal:
                if refusal.status not in (403, 409):
                    raise
            else:
                self._graph.delete(tenant_id, f"subscriptions/{old.id}")
                return made
        self._graph.delete(tenant_id, f"subscriptions/{old.id}")
        return self._create(tenant_id, declaration, desired)

    def _create(self, tenant_id: str, declaration: Declaration, desired: DesiredState) -> Subscription:
        body: Json = {
            "changeType": ",".join(declaration.change_types),
            "resource": declaration.resource,
            "notificationUrl": desired.url_for(declaration.resource),
            "lifecycleNotificationUrl": desired.url_for(declaration.resource),
            "clientState": client_state.mint(
                desired.client_state_secret, tenant_id, declaration.id, self._random_bytes
            ),
            "includeResourceData": declaration.include_resource_data,
            "latestSupportedTlsVersion": "v1_2",
            **_certificate(declaration, desired.key),
        }
        return self._granted(declaration, lambda life: self._graph.post(tenant_id, "subscriptions", body | life))

    def _patch(
        self, tenant_id: str, old: Subscription, declaration: Declaration, desired: DesiredState
    ) -> Subscription:
        """Renew; a certificate is refused without a new expiry, so it goes along (docs/graph.md, "Certificates")."""
        body = _certificate(declaration, desired.key) if carries_another_key(old, declaration, desired) else {}
        path = f"subscriptions/{old.id}"
        return self._granted(declaration, lambda life: self._graph.patch(tenant_id, path, body | life))

    def _granted(self, declaration: Declaration, ask: Callable[[Json], Json]) -> Subscription:
        """Ask for the longest life, and if that is refused, for one that no resource refuses: our table may be old."""
        longest = longest_lifetime(declaration.resource, rich=declaration.include_resource_data)
        try:
            return self._read(ask(self._until(longest)))
        except GraphRequestError as refusal:
            if refusal.status != 400 or longest <= SHORTEST_LIFETIME:
                raise
            return self._read(ask(self._until(SHORTEST_LIFETIME)))

    def _until(self, life: timedelta) -> Json:
        moment = (self._clock() + life).astimezone(UTC)
        return {"expirationDateTime": moment.strftime("%Y-%m-%dT%H:%M:%SZ")}

    def _read(self, answer: Json) -> Subscription:
        try:
            return msgspec.convert(answer, Subscription)
        except msgspec.ValidationError:
            raise RetryLater(Reason.GRAPH, "Graph's answer is not a subscription") from None


def _certificate(declaration: Declaration, key: EncryptionKey | None) -> Json:
    """Raises RetryLater if one is needed and there is none just now."""
    if not declaration.include_resource_data:
        return {}
    if key is None:
        raise RetryLater(Reason.KEY_STORE, "there is no key just now to encrypt resource data with")
    return {"encryptionCertificate": key.public_certificate, "encryptionCertificateId": key.key_id}
