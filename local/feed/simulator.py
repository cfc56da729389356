"""The Graph simulator's controls that the page needs: faults, commands, names, and unacknowledged notifications."""

from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from local.feed.breakage import Breakage


class _Place(msgspec.Struct, frozen=True):
    tenant: str
    path: str
    title: str


class _Subscription(msgspec.Struct, frozen=True):
    id: str
    resource: str


class _Summary(msgspec.Struct, frozen=True):
    pending: int


class SimulatorUnavailable(Exception):
    """The simulator did not answer, or refused."""


class Simulator:
    """Talks to one simulator's `/simulator/`."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = f"{url}/simulator"

    async def apply(self, faults: dict[str, Any]) -> None:
        """Set faults. Raises SimulatorUnavailable."""
        await self._post("faults", faults)

    async def act(self, breakage: Breakage) -> None:
        """Execute the action of a fault that happens once. Raises SimulatorUnavailable."""
        if breakage.action == "lifecycle":
            subscriptions = msgspec.json.decode(await self._get("subscriptions"), type=list[_Subscription])
            for subscription in subscriptions[:1]:
                await self._post("lifecycle", {"subscriptionId": subscription.id, "event": "subscriptionRemoved"})
        elif breakage.action:
            await self._post(breakage.action, {})

    async def pending(self) -> int:
        """Return the number of notifications that are not acknowledged. Raises SimulatorUnavailable."""
        return msgspec.json.decode(await self._get("summary"), type=_Summary).pending

    async def names(self) -> dict[str, str]:
        """Return the titles of chats and channels by conversation, as events spell it. Raises SimulatorUnavailable."""
        places = msgspec.json.decode(await self._get("places"), type=list[_Place])
        return {conversation_of(place.tenant, place.path): place.title for place in places}

    async def _get(self, path: str) -> bytes:
        return await self._ask("GET", path, None)

    async def _post(self, path: str, order: dict[str, Any]) -> bytes:
        return await self._ask("POST", path, order)

    async def _ask(self, method: str, path: str, order: dict[str, Any] | None) -> bytes:
        try:
            response = await self._client.request(method, f"{self._url}/{path}", json=order)
            return response.raise_for_status().content
        except httpx.HTTPError as error:
            raise SimulatorUnavailable(type(error).__name__) from error


def conversation_of(tenant: str, path: str) -> str:
    """Return a place's conversation in the form of `Event.conversation`: `chats/19:a@b` →
    `/tenants/T/chats/19%3Aa%40b`.
    """
    collection, _, thread = path.rpartition("/")
    return f"/tenants/{tenant}/{collection}/{quote(thread, safe='')}"
