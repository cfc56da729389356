"""The whole system with several hosts behind a gateway, and a way to make each part fail."""

import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from local.child import Child
from local.host.app_folder import app_folder
from local.host.core_tools import CoreTools
from local.host.process import ROOT, HostProcess
from local.host.timers import HOST_ID_SETTING
from local.host.waits import HASTE_SETTING, LEASE_SETTING
from local.ports import free_ports
from local.run import kinds
from local.run.system import System
from shared.configuration.destinations import DEFAULT
from shared.keys.directory import KeyDirectory
from tests.chaos import hurried_graph
from tests.chaos.gateway import Gateway, serving
from tests.chaos.hurry import HURRY_SETTING
from tests.chaos.received import NotificationLog, Seen
from tests.chaos.receivers import DEAD, SLOW, Others, Receiver, receiver
from tests.chaos.tcp_proxy import TcpProxy, road_to

NEVER = "0 0 0 1 1 *"
HURRIED_APP = Path(__file__).parent / "hurried_app/function_app.py"


@dataclass(frozen=True)
class ChaosSettings:
    """The parameters of a run. Seconds; `hurry`: the factor that shortens the app's own waits."""

    seed: int
    hosts: int = 3
    hurry: float = 10
    lease: int = 10
    renew_every: int = 4
    sweep_every: float = 400
    stubborn: int = 200
    """One event in this number is answered 400 until `relent`."""
    others: bool = False
    """Whether a slow and a dead destination receive every event too."""
    other_kinds: bool = True
    """Whether mail, events, files and list items change beside messages."""

    @property
    def hidden(self) -> int:
        """How many seconds the host hides a message after a failure: the 30 of host.json, shortened."""
        return max(round(30 / self.hurry), 1)


class ChaosSystem(System):
    """A system whose parts can be stopped."""

    least_age = 0.0  # storage is stopped and started: a host may end right after its start

    def __init__(self, directory: Path, chaos: ChaosSettings) -> None:
        self.chaos = chaos
        gateway, road, slow, dead = free_ports(4)
        super().__init__(directory, self._settings(gateway, road))
        for declared in self.declared:
            declared["hydrate"] = True
        self.others = self._others(slow, dead) if chaos.others else None
        self.declared += kinds.declarations(self.tenant, chaos.seed) if chaos.other_kinds else []
        self.host.settings["SUBSCRIPTIONS"] = json.dumps(self.declared)
        self.hosts = [self._host(number) for number in range(chaos.hosts)]
        self.host = self.hosts[0]
        self.keys = KeyDirectory(directory / "keys")
        self.notifications = NotificationLog(self.keys, self.tenant)
        self.struck = receiver(DEFAULT, self.feed_url, directory)
        self.conduct = self.struck.conduct
        self._ports = gateway, road
        self._trust = ssl.create_default_context(cafile=str(self.authority.ca))
        self._numbers: dict[str, int] = {}
        self._numbering = threading.Lock()
        self._around = ExitStack()
        self.road: TcpProxy
        self.storage_runs = True
        self.lifecycle_sent = 0

    def __enter__(self) -> Self:
        gateway, road = self._ports
        urls = [host.url for host in self.hosts]
        try:
            front = Gateway(urls, self.notifications, self._choose_stubborn, self._trust)
            self._around.enter_context(serving(front, self.authority, gateway))
            if self.others is not None:
                self._around.enter_context(self.others.running())
            self.road = self._around.enter_context(road_to(int(self.feed_url.rpartition(":")[2]), road))
            super().__enter__()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        super().__exit__(kind, error, at)
        self._around.close()

    @property
    def children(self) -> list[Child]:
        """The processes that must never end by themselves; hosts, storage and destination stop and start."""
        return self._children[:1]

    @property
    def receivers(self) -> list[Receiver]:
        """All destinations; the first is the one with the faults."""
        return [self.struck, *([self.others.slow, self.others.dead] if self.others else [])]

    def subscribe(self) -> None:
        """Have renew_timer create all subscriptions, and wait until Graph has them."""
        self.run_timer()  # of the last host; the first keeps the schedule
        self.host.child.wait_until(lambda: self.simulator("summary")["subscriptions"] >= len(self.declared))

    def change_other_kinds(self) -> None:
        """Change one more resource of another kind."""
        self.tell_simulator("resources", **kinds.order(self.tenant, self._changes, self.chaos.seed))
        self._changes += 1

    def subscriptions(self) -> list[dict[str, Any]]:
        """Ask Graph, as the app would, for the subscriptions; empty while Graph is unavailable."""
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.host.settings["GRAPH_CLIENT_SECRET"],
            "scope": f"{self.simulator_url}/.default",
        }
        asked = self.http.post(f"{self.simulator_url}/{self.tenant}/oauth2/v2.0/token", data=form)
        if asked.is_error:
            return []
        bearer = {"Authorization": f"Bearer {asked.json()['access_token']}"}
        found = self.http.get(f"{self.simulator_url}/v1.0/subscriptions", headers=bearer)
        listed: list[dict[str, Any]] = found.json().get("value", []) if found.is_success else []
        return listed

    def stop_destination(self) -> None:
        """Stop the feed."""
        self._feed.stop()

    def start_destination(self) -> None:
        """Start the feed, with its last faults."""
        if not self._feed.running:
            self._children[1] = self._start("feed", "local.feed", self._feed_arguments())
            self._feed.wait_until(lambda: self._answers(f"{self.feed_url}/api/summary"))
            self.conduct.tell()

    def counters(self) -> Iterator[dict[str, Any]]:
        """Yield the counters of every host that answers."""
        for host in self.hosts:
            try:
                answer = self.http.get(f"{host.url}/admin/metrics", headers=host.admin_headers, timeout=2)
                yield from answer.json() if answer.is_success else ()
            except httpx.TransportError:
                continue

    @property
    def _feed(self) -> Child:
        return self._children[1]

    def _others(self, slow: int, dead: int) -> Others:
        found = Others(
            receiver(SLOW, f"http://127.0.0.1:{slow}", self.directory),
            receiver(DEAD, f"http://127.0.0.1:{dead}", self.directory),
            self.host.settings["DESTINATION_SECRET"],
        )
        self.host.settings["DESTINATIONS"] = json.dumps(found.entries())
        return found

    def _host(self, number: int) -> HostProcess:
        host = self._new_host(f"functions-{number}")
        # A timer is a singleton over all instances in Azure.
        schedule = {"RENEW_SCHEDULE": f"*/{self.chaos.renew_every} * * * * *" if number == 0 else NEVER}
        host.settings.update({**self.host.settings, **schedule})
        if isinstance(host, CoreTools):
            # Hosts of one folder are one app to `func`: one of them would run the timer for all, by its own schedule.
            host.settings[HOST_ID_SETTING] = f"chaos-{number}"
        return host

    def _app_folder(self) -> None:
        folder = app_folder(self.directory / "app")
        (folder / "function_app.py").unlink()
        (folder / "function_app.py").symlink_to(HURRIED_APP)

    def _settings(self, gateway: int, road: int) -> dict[str, str]:
        return {
            "NOTIFICATION_URL": f"https://127.0.0.1:{gateway}/api/notifications",
            "DESTINATION_URL": f"http://127.0.0.1:{road}/events",
            "SWEEP_INTERVAL_HOURS": f"{self.chaos.sweep_every / 3600:.4f}",
            "PYTHON_THREADPOOL_THREAD_COUNT": "16",
            "PYTHONPATH": str(ROOT),
            LEASE_SETTING: str(self.chaos.lease),
            HASTE_SETTING: str(self.chaos.hurry),
            "AzureFunctionsJobHost__extensions__queues__visibilityTimeout": f"00:00:{self.chaos.hidden:02d}",
            HURRY_SETTING: str(self.chaos.hurry),
        }

    def _start(self, name: str, module: str, arguments: Mapping[str, str]) -> Child:
        return super()._start(name, hurried_graph.__name__ if module == "graph_simulator" else module, arguments)

    def _simulator_arguments(self) -> dict[str, str]:
        return {**super()._simulator_arguments(), "seed": str(self.chaos.seed)}

    def _choose_stubborn(self, items: list[Seen]) -> None:
        """Choose events that the destinations reject from the start."""
        chosen = {seen.version for seen in items if seen.version and self._is_stubborn(seen.version)}
        for found in self.receivers:
            found.conduct.refuse(chosen)

    def _is_stubborn(self, version: str) -> bool:
        """Whether to reject a version. Its number decides, in order of arrival: by chance, a short run had none."""
        with self._numbering:
            number = self._numbers.setdefault(version, len(self._numbers) + self.chaos.seed)
        return number % self.chaos.stubborn == 0


def now() -> datetime:
    """Return the present time, UTC."""
    return datetime.now(UTC)
