"""What a row needs: hosts that run the conformance app, a storage proxy for each, and a record of their behaviour."""

import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueClient, QueueMessage

from local.azurite import Azurite
from local.conformance.proxy import StorageProxy
from local.conformance.table import NotTried
from local.host.app_folder import app_folder
from local.host.core_tools import CoreTools
from local.host.process import HostProcess
from local.host.server import KEY_SETTING
from local.host.waits import HASTE_SETTING

APP = Path(__file__).parent / "app"
NEVER = "0 0 0 1 1 *"
PATIENCE = 90.0  # seconds: the time limit of a wait, on a busy machine


class RowFailed(Exception):
    """A row could not be completed; the message names the event that never came."""


def option(*path: str) -> str:
    """Return the app setting that overrides a value of host.json."""
    return "__".join(("AzureFunctionsJobHost", *path))


class TriedHost:
    """A host with the conformance app and a queue of its own. `process` can be ended and started again."""

    def __init__(
        self, process: HostProcess, storage: str, queue: QueueClient, proxy: StorageProxy, record: Path
    ) -> None:
        self.process = process
        self.storage = storage
        self.queue = queue
        self.proxy = proxy
        self.record = record
        self.port = process.port
        self.http = httpx.Client(base_url=process.url, timeout=PATIENCE, trust_env=False)

    @property
    def log(self) -> str:
        """The whole log of the host."""
        return self.process.log.read_text(errors="replace")

    def events(self, event: str, text: str | None = None) -> list[dict[str, Any]]:
        """Return the records of the functions."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        found = [json.loads(line) for line in lines]
        return [entry for entry in found if entry["event"] == event and text in (None, entry.get("text"))]

    def failures(self, function: str) -> int:
        """Return how many invocations of a function have failed."""
        return len(re.findall(rf"Executed 'Functions\.{function}' \(Failed", self.log))

    def post(self, path: str, **options: Any) -> httpx.Response:
        """Post to a function."""
        return self.http.post(path, **options)

    def send(self, text: str) -> QueueMessage:
        """Put a message on the queue."""
        return self.queue.send_message(text)

    def left(self) -> int:
        """Return how many messages the queue holds, hidden messages included."""
        return self.queue.get_queue_properties().approximate_message_count or 0

    def poison(self) -> list[QueueMessage]:
        """Return the messages of the poison queue."""
        with QueueClient.from_connection_string(self.storage, f"{self.queue.queue_name}-poison") as poison:
            try:
                return list(poison.peek_messages(32))
            except ResourceNotFoundError:
                return []

    def works(self, text: str = "alive") -> bool:
        """Whether the host takes a message: a running host does so in time, a host that has ended does not."""
        text = f"{text} {secrets.token_hex(4)}"
        self.send(text)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.events("end", text):
                return True
            if not self.process.child.running:
                return False
            time.sleep(0.05)
        return False

    def has_ended(self, within: float = PATIENCE) -> bool:
        """Wait for the host to end by itself; return whether it did."""
        return self.process.child.wait(within)


@dataclass(frozen=True)
class Surroundings:
    """What all rows share. `kind`: the class of the host. `haste`: the factor that shortens its waits."""

    kind: type[HostProcess]
    directory: Path
    azurite: Azurite
    haste: float

    @property
    def is_func(self) -> bool:
        """Whether the host is `func`."""
        return issubclass(self.kind, CoreTools)


class Trial:
    """Starts the hosts for the rows; hosts that several rows share run until the trial ends."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self._shared: dict[str, TriedHost] = {}
        self._locks = {name: threading.Lock() for name in SHARED}
        self._stack = ExitStack()

    def __enter__(self) -> "Trial":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def haste(self) -> float:
        """The factor that shortens the waits of the host."""
        return self.around.haste

    @contextmanager
    def shared(self, name: str) -> Iterator[TriedHost]:
        """Lend the host of that name to one row at a time; starts the host if necessary."""
        with self._locks[name]:
            found = self._shared.get(name)
            if found is None:
                found = self._shared[name] = self._stack.enter_context(self.host(SHARED[name]()))
            elif not found.process.child.running:
                found.process.start()
            yield found

    @contextmanager
    def host(
        self, settings: Mapping[str, str] | None = None, *, closed: bool = False, start: bool = True, queue: bool = True
    ) -> Iterator[TriedHost]:
        """Run a host for one row. `closed`: `/admin` needs a key. `start`, `queue`: what exists at first."""
        name = secrets.token_hex(5)
        directory = self.around.directory / name
        with ExitStack() as stack:
            queues = stack.enter_context(StorageProxy(self.around.azurite.ports["queue"]).running())
            blobs = stack.enter_context(StorageProxy(self.around.azurite.ports["blob"]).running())
            direct = QueueClient.from_connection_string(self.around.azurite.connection_string, f"conf-{name}")
            stack.enter_context(direct)
            if queue:
                direct.create_queue()
            chosen = {
                "AzureWebJobsStorage": self._through(queues, blobs),
                "FUNCTIONS_WORKER_RUNTIME": "python",
                "PYTHON_THREADPOOL_THREAD_COUNT": "32",
                "CONFORMANCE_RECORD": str(directory / "record"),
                "CONFORMANCE_QUEUE": f"conf-{name}",
                "CONFORMANCE_SCHEDULE": NEVER,
                **dict.fromkeys(SCHEDULES, NEVER),
                HASTE_SETTING: str(self.haste),
                **(settings or {}),
            }
            process = self.around.kind(chosen, log=directory / "host.log", directory=app_folder(directory / "app", APP))
            if closed:
                self._close(process)
            tried = TriedHost(process, self.around.azurite.connection_string, direct, queues, directory / "record")
            stack.callback(tried.http.close)
            if start:
                process.start()
            else:
                process.launch()
            stack.callback(process.kill)
            yield tried

    def twin(self, host: TriedHost) -> "TriedHost":
        """Return another host of the same app, over the same storage, not started."""
        directory = host.process.directory
        log = directory.parent / "twin.log"
        record = directory.parent / "twin-record"
        settings = {**host.process.settings, "CONFORMANCE_RECORD": str(record)}
        process = self.around.kind(settings, log=log, directory=directory)
        return TriedHost(process, host.storage, host.queue, host.proxy, record)

    def _close(self, process: HostProcess) -> None:
        if not self.around.is_func:
            process.key = secrets.token_hex(16)
            process.settings[KEY_SETTING] = process.key
        elif not process.key:
            raise NotTried("HOST_KEY is not set")

    def _through(self, queues: StorageProxy, blobs: StorageProxy) -> str:
        """Return the connection string that leads through the proxies."""
        text = self.around.azurite.connection_string
        for service, proxy in (("queue", queues), ("blob", blobs)):
            text = text.replace(f":{self.around.azurite.ports[service]}/", f":{proxy.port}/")
        return text


SCHEDULES = ("SCHEDULE_BOTH_DAYS", "SCHEDULE_ONE_DAY", "SCHEDULE_BACKWARDS", "SCHEDULE_FEBRUARY", "SCHEDULE_TAB")


def schedules() -> dict[str, str]:
    """Return a schedule for each rule of NCRONTAB, starting now; past midnight too."""
    now = datetime.now(UTC)
    tomorrow, later = now + timedelta(days=1), now + timedelta(days=3)
    weekdays = ",".join(str(day.isoweekday() % 7) for day in (now, tomorrow))
    least = (now + timedelta(seconds=12)).second % 54
    return {
        "SCHEDULE_BOTH_DAYS": f"* * * {later.day} * {weekdays}",  # the weekday matches, the day of the month does not
        "SCHEDULE_ONE_DAY": f"* * * {now.day},{tomorrow.day} * *",
        "SCHEDULE_BACKWARDS": f"{least + 5}-{least} * * * * *",
        "SCHEDULE_FEBRUARY": "* * * 30 2 *",
        "SCHEDULE_TAB": "*\t* * * * *",
    }


def informed() -> dict[str, str]:
    """Return the settings of a host that logs as much as possible of its functions, and shows no homepage."""
    said = dict.fromkeys(("Function", "Host.Function.Console"), "Information")
    levels = {option("logging", "logLevel", category): level for category, level in said.items()}
    return {**levels, "AzureWebJobsDisableHomepage": "true"}


def patient() -> dict[str, str]:
    """Return the settings of a host that hides a failed message for long enough to be observed."""
    return {option("extensions", "queues", "visibilityTimeout"): "00:00:03"}


SHARED: dict[str, Callable[[], dict[str, str]]] = {
    "plain": dict,
    "informed": informed,
    "patient": patient,
    "storage": dict,
    "schedules": schedules,
}
"""Settings of the shared hosts: for HTTP and the queue with default settings, for logs, for failures,
for storage that fails now and then, and for timers.
"""


def eventually(condition: Callable[[], object], what: str, within: float = PATIENCE) -> None:
    """Wait until `condition` holds.

    Raises:
        RowFailed: it does not hold in time.
    """
    deadline, pause = time.monotonic() + within, 0.05
    while not condition():
        if time.monotonic() > deadline:
            raise RowFailed(f"it never came to this: {what}")
        time.sleep(pause)
        pause = min(pause * 1.3, 0.3)


def most_at_once(begun: Iterable[Mapping[str, Any]], ended: Iterable[Mapping[str, Any]]) -> int:
    """Return the largest number of recorded runs at the same time."""
    at_once = most = 0
    for _, step in sorted([(event["at"], 1) for event in begun] + [(event["at"], -1) for event in ended]):
        at_once += step
        most = max(most, at_once)
    return most


def plural(count: int, what: str) -> str:
    """Return a count with its noun."""
    return f"{count} {what}{'' if count == 1 else 's'}"
