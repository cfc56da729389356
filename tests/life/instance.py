"""One instance of the app with a clock of its own, and a destination for it."""

import json
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
from standardwebhooks import Webhook

from graph_simulator.authority import write_private
from notify_http.function import handshake
from notify_http.receive import receive
from process_queue.handler import MessageHandler
from renew_timer.run import RenewalRun
from shared.configuration.settings import Settings, storage_settings
from shared.keys.directory import KeyDirectory
from shared.keys.key import new_key, write_pem
from shared.relay import Relay
from shared.storage.clients import StorageClients
from shared.storage.queues import Queue
from shared.subscriptions.wait_budget import WaitBudget
from tests.servers import RecordedRequest, ScriptedResponse
from tests.waiting import eventually

HIDDEN = timedelta(minutes=1)
"""How long a message that is being processed, or has failed, is hidden."""


def bring(directory: Path, key_id: str, made: datetime, life: timedelta = timedelta(days=730)) -> None:
    """Put a key of a certain age into a key directory, as an operator may."""
    directory.mkdir(mode=0o700, exist_ok=True)
    write_private(directory / f"{key_id}.pem", write_pem(new_key(key_id, made, life)))


class Instance:
    """An instance of the app. Instances with equal settings share a storage account and keys, as in Azure; or the
    account `storage`.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        session: requests.Session,
        clock: Callable[[], datetime],
        store: type[KeyDirectory] = KeyDirectory,
        storage: StorageClients | None = None,
    ) -> None:
        self.wait_budget = WaitBudget.none()
        self.settings = Settings.from_environment(environ)
        self.clock = clock
        self.key_store = store(Path(self.settings.key_store.removeprefix("file:")))
        self.storage = storage or StorageClients.of(storage_settings(environ))
        self.relay = Relay(self.settings, self.storage, clock=clock, session=session, key_store=self.key_store)

    def tick(self) -> None:
        """Run `renew_timer` once."""
        RenewalRun(self.relay, self.wait_budget)()

    def answer(self, request: RecordedRequest) -> ScriptedResponse:
        """Pass a request to `notify_http`."""
        query = parse_qs(urlsplit(request.path).query, keep_blank_values=True)
        if "validationToken" in query:
            echo = handshake(query["validationToken"][0])
            return ScriptedResponse(echo.status_code, echo.get_body(), {"Content-Type": "text/plain"})
        app = self.relay
        answer = receive(request.body, app.recipient, app.acknowledging, self.clock(), app.paths, app.account)
        return ScriptedResponse(answer.status)

    def work(self) -> int:
        """Pass all messages on the queue to `process_queue`; return how many there were."""
        handler, queues = MessageHandler(self.relay), self.storage.queues
        done = 0
        while messages := queues.receive(Queue.NOTIFICATIONS, HIDDEN):
            for message in messages:
                handler.handle_message(message.text)
                queues.delete(message)
                done += 1
        return done

    def work_until(self, condition: Callable[[], object]) -> None:
        """Work until a condition holds; fail after a generous time."""
        eventually(lambda: condition() or (self.work() and condition()))

    def queued(self) -> int:
        """Return how many notifications wait, hidden ones included."""
        return self.storage.queues.length()

    def dead_letters(self) -> int:
        """Return the number of dead letters."""
        return self.storage.queues.length(Queue.DEAD_LETTERS)


class Inbox:
    """A destination: accepts requests with its signature, and keeps the greatest version of each message."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.events: list[dict[str, Any]] = []
        self.unsigned = 0
        self._lock = threading.Lock()

    def answer(self, request: RecordedRequest) -> ScriptedResponse:
        if not self._is_signed(request):
            self.unsigned += 1
            return ScriptedResponse(401)
        with self._lock:
            self.events += json.loads(request.body)
        return ScriptedResponse(204)

    def messages(self) -> dict[str, dict[str, Any]]:
        """Return the latest events in the order of their versions, by subject."""
        with self._lock:
            ordered = sorted(self.events, key=lambda event: str(event["version"]))
        return {event["source"] + event["subject"]: event for event in ordered}

    def _is_signed(self, request: RecordedRequest) -> bool:
        """Whether one of the signatures is valid; the time is not checked, since it is virtual."""
        message_id, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        moment = datetime.fromtimestamp(int(at)).astimezone()
        expected = Webhook(self.secret).sign(message_id, moment, request.body.decode())
        return expected in request.headers["webhook-signature"].split(" ")
