"""The parts of the local system: storage, Graph, the feed, and the functions.

The functions run in one host, or each in a host of its own, as in Flex Consumption. With `func`, there is no key for
`/admin`, unless HOST_KEY holds one: then the timer runs on its schedule only.
"""

import base64
import json
import os
import secrets
import ssl
import sys
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from azure.storage.queue import QueueClient

from graph_simulator.authority import Authority, write_private
from local.azurite import Azurite
from local.child import Child, ChildFailed
from local.host.app_folder import app_folder
from local.host.core_tools import CoreTools, host_class
from local.host.process import ROOT, HostProcess
from local.ports import free_ports
from local.run import kinds
from shared.resources.permissions import least, needs

QUEUE = "notifications"
FUNCTIONS = ("notify_http", "process_queue", "renew_timer")
PROBE = "/api/notifications?validationToken=ready"
DECLARED = ("/teams/getAllMessages", "/chats/getAllMessages")


class System:
    """The system with its own data, ports and secrets in an empty directory; ended with the block.

    `settings` are added to the app's own; `page_port` is the feed's. `split`: each function in a host of its own.
    `all_kinds`: also mail, a calendar, a drive and a list. All methods raise httpx.HTTPError if a part does not answer.
    Raises NoHost if HOST names a host that does not exist.
    """

    least_age = 10.0
    """Seconds after which an ended host counts as having worked."""

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, str] | None = None,
        page_port: int | None = None,
        *,
        split: bool = False,
        all_kinds: bool = False,
    ) -> None:
        self.directory = directory
        self.authority = Authority.create(directory / "authority")
        self.tenant, self.client_id = str(uuid.uuid4()), str(uuid.uuid4())
        self.declared = [
            {"resource": resource, "changeTypes": ["created", "updated", "deleted"], "includeResourceData": True}
            for resource in DECLARED
        ] + (kinds.declarations(self.tenant) if all_kinds else [])
        simulator, free = free_ports(2)
        feed = page_port or free
        self.simulator_url = f"https://127.0.0.1:{simulator}"
        self.feed_url = f"http://127.0.0.1:{feed}"
        self.azurite = Azurite(directory / "storage")
        self.host = self._new_host("functions")
        self.host.settings.update({**self._app_settings(), **(settings or {})})
        self.hosts = self._split() if split else [self.host]
        self.killed: set[HostProcess] = set()
        """Hosts that were stopped on purpose: they are not restarted automatically."""
        # For `python -m ops --settings`. `func` overwrites such a file if its JSON is malformed.
        values = json.dumps({"IsEncrypted": False, "Values": self.host.settings}, indent=2).encode()
        for name in ("local.settings.json", "local.settings.json.copy"):
            write_private(directory / name, values)
        # Servers close a connection that is idle for five seconds; no request may coincide with that.
        limits = httpx.Limits(keepalive_expiry=1)
        context = ssl.create_default_context(cafile=str(self.authority.ca))
        self.http = httpx.Client(verify=context, timeout=30, limits=limits)
        self.queue = QueueClient.from_connection_string(self.azurite.connection_string, QUEUE, retry_total=0)
        self._changes = 0
        self._children: list[Child] = []
        self._stack = ExitStack()

    @property
    def children(self) -> list[Child]:
        """All processes but the hosts: those end when storage fails, and `revive` restarts them."""
        storage = [self.azurite.child] if self.azurite.is_running else []
        return [*self._children, *storage]

    def simulator(self, path: str) -> Any:
        """Read from the Graph simulator's control API."""
        return self.http.get(f"{self.simulator_url}/simulator/{path}").raise_for_status().json()

    def tell_simulator(self, path: str, **command: object) -> None:
        """Send a command to the Graph simulator."""
        self.http.post(f"{self.simulator_url}/simulator/{path}", json=command).raise_for_status()

    def feed(self) -> Any:
        """Read the feed's summary."""
        return self.http.get(f"{self.feed_url}/api/summary").raise_for_status().json()

    def lines(self, url: str) -> list[dict[str, Any]]:
        """Read newline-delimited JSON."""
        return [json.loads(line) for line in self.http.get(url).raise_for_status().iter_lines() if line]

    def metrics(self) -> list[dict[str, Any]]:
        """Return the app's counters; none of the real host, which exports them instead, and of a stopped one."""
        found: list[dict[str, Any]] = []
        for host in self.hosts:
            try:
                answer = self.http.get(f"{host.url}/admin/metrics", headers=host.admin_headers)
            except httpx.TransportError:
                continue  # it is being restarted
            found += answer.json() if answer.is_success else []
        return found

    def revive(self) -> int:
        """Restart the hosts that have ended because storage failed, as Azure does; return their number.

        Raises:
            ChildFailed: one has ended soon after its start, although storage runs.
        """
        ended = [host for host in self.hosts if host not in self.killed and not host.child.running]
        for host in ended:
            if self.azurite.is_running and host.child.age < self.least_age:
                raise ChildFailed(f"{host.child.name} has ended\n{host.child.tail()}")
            host.child.kill()  # descendants of the ended process
            host.launch()  # it listens when storage is available again
        return len(ended)

    def run_timer(self) -> None:
        """Run renew_timer at once; without a key for that, it runs when it is due."""
        host = self.hosts[-1]  # the only host, or that of the timer
        if not isinstance(host, CoreTools) or host.key:
            run = f"{host.url}/admin/functions/renew_timer"
            self.http.post(run, json={"input": ""}, headers=host.admin_headers).raise_for_status()

    def subscribe(self) -> None:
        """Create the declared subscriptions with renew_timer, and wait until Graph has them.

        Raises:
            ChildFailed: the subscriptions are not created in time.
        """
        self.run_timer()
        self.hosts[-1].child.wait_until(lambda: self.simulator("summary")["subscriptions"] >= len(self.declared))

    def change_other_kinds(self) -> None:
        """Change one more resource of another kind while messages are written, if such kinds are declared."""
        if len(self.declared) > len(DECLARED) and self.simulator("summary")["generating"]:
            self.tell_simulator("resources", **kinds.order(self.tenant, self._changes))
            self._changes += 1

    def __enter__(self) -> Self:
        try:
            simulator = self._start("graph simulator", "graph_simulator", self._simulator_arguments())
            feed = self._start("feed", "local.feed", self._feed_arguments())
            self._stack.enter_context(self.azurite)
            self._app_folder()
            for host in self.hosts:
                self._stack.enter_context(host)
            simulator.wait_until(lambda: self._answers(f"{self.simulator_url}/simulator/summary"))
            feed.wait_until(lambda: self._answers(f"{self.feed_url}/api/summary"))
            self._stack.callback(simulator.stop, patience=1)  # first, so that no new messages arrive
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # Otherwise, servers would wait for idle HTTPS connections to close.
        self.http.close()
        self.queue.close()
        self._stack.close()

    def _new_host(self, name: str) -> HostProcess:
        kind = host_class(os.environ, prefer_func=True)
        log, app = self.directory / f"{name}.log", self.directory / "app"
        host = kind({}, log=log, authority=self.authority, directory=app)
        if isinstance(host, CoreTools):
            host.auth, host.probe = True, PROBE
        return host

    def _app_folder(self) -> None:
        app_folder(self.directory / "app")

    def _split(self) -> list[HostProcess]:
        """Return a host for each function, first the one that Graph posts to."""
        hosts = [self.host, *(self._new_host(name) for name in FUNCTIONS[1:])]
        settings = dict(self.host.settings)
        for host, name in zip(hosts, FUNCTIONS, strict=True):
            others = {f"AzureWebJobs.{other}.Disabled": "true" for other in FUNCTIONS if other != name}
            host.settings = {**settings, **others}
        for host in hosts[1:]:
            if isinstance(host, CoreTools):
                host.probe = None
        return hosts

    def _simulator_arguments(self) -> dict[str, str]:
        files = str(self.authority.ca.parent)
        declared = json.loads(self.host.settings["SUBSCRIPTIONS"])
        return {
            "port": port_of(self.simulator_url),
            "directory": files,
            "tenant": self.tenant,
            "client-id": self.client_id,
            # Grant exactly what `ops permissions` names, as an administrator does.
            "grant": ",".join(
                least(
                    need
                    for declaration in declared
                    for need in needs(declaration["resource"], hydrate=declaration.get("hydrate", False))
                )
            ),
        }

    def _feed_arguments(self) -> dict[str, str]:
        database = str(self.directory / "feed.db")
        arguments = {
            "port": port_of(self.feed_url),
            "database": database,
            "simulator": self.simulator_url,
            "supervisor": "make run",
        }
        # The real host has no such page: it exports its counters.
        metrics = [f"{host.url}/admin/metrics" for host in self.hosts if not isinstance(host, CoreTools)]
        return {**arguments, "relay": ",".join(metrics)} if metrics else arguments

    def _start(self, name: str, module: str, arguments: Mapping[str, str]) -> Child:
        shared = ("GRAPH_CLIENT_SECRET", "DESTINATION_SECRET", "REQUESTS_CA_BUNDLE", "AzureWebJobsStorage")
        child = Child(
            name,
            [sys.executable, "-m", module, *(f"--{option}={value}" for option, value in arguments.items())],
            log=self.directory / f"{name.replace(' ', '-')}.log",
            environment={**os.environ, "PYTHONUNBUFFERED": "1", **{key: self.host.settings[key] for key in shared}},
            directory=ROOT,
        )
        self._stack.callback(child.stop)
        self._children.append(child)
        return child

    def _answers(self, url: str) -> bool:
        try:
            return self.http.get(url).is_success
        except httpx.TransportError:
            return False

    def _app_settings(self) -> dict[str, str]:
        return {
            "AzureWebJobsStorage": self.azurite.connection_string,
            "FUNCTIONS_WORKER_RUNTIME": "python",
            "PYTHON_THREADPOOL_THREAD_COUNT": "32",
            "AzureWebJobsDisableHomepage": "true",
            "NOTIFICATION_QUEUE": QUEUE,
            "GRAPH_TENANT_ID": self.tenant,
            "GRAPH_CLIENT_ID": self.client_id,
            "GRAPH_CLIENT_SECRET": secrets.token_urlsafe(30),
            "GRAPH_BASE_URL": self.simulator_url,
            "LOGIN_BASE_URL": self.simulator_url,
            "REQUESTS_CA_BUNDLE": str(self.authority.ca),
            "NOTIFICATION_URL": f"{self.host.url}/api/notifications",
            "CLIENT_STATE_SECRET": random_base64(),
            "SUBSCRIPTIONS": json.dumps(self.declared),
            "KEY_STORE": f"file:{self.directory / 'keys'}",
            "DESTINATION_URL": f"{self.feed_url}/events",
            "DESTINATION_SECRET": f"whsec_{random_base64()}",
            "RENEW_SCHEDULE": "*/15 * * * * *",
            # A comparison leaves out the last five minutes, and the next is due four minutes later: dropped
            # notifications are found within nine minutes.
            "SWEEP_INTERVAL_HOURS": "0.15",
        }


def random_base64() -> str:
    """Return base64 of 32 random bytes."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def port_of(url: str) -> str:
    """Return the port in a URL."""
    return str(httpx.URL(url).port)
