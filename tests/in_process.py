"""Services that answer within the process: no socket, and a hanging service takes virtual time only."""

import threading
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter

from tests.builders import Clock
from tests.servers import RecordedRequest, Script, ScriptedResponse
from tests.waiting import LIMIT

HANGS = ScriptedResponse(-1)
"""No answer: the caller's time limit passes."""


class InProcess(BaseAdapter):
    """Answers the requests of a session from a script; `asked`: the requests so far.

    takes: virtual seconds of each answer.
    """

    def __init__(self, script: Script, clock: Clock) -> None:
        super().__init__()
        self.script = script
        self.takes = 0.0
        self.asked: list[RecordedRequest] = []
        self._together = threading.Barrier(1)
        self._clock = clock
        self._lock = threading.Lock()
        self._build = HTTPAdapter().build_response

    def together(self, number: int) -> None:
        """Make so many requests wait for each other, so that their durations overlap."""
        self._together = threading.Barrier(number)

    def mounted(self, url: str) -> requests.Session:
        """Return a session that sends requests to `url` here, and reaches nothing else."""
        session = requests.Session()
        session.adapters.clear()
        session.mount(url, self)
        return session

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        began = self._clock.now
        body = request.body or b""
        headers = {name.lower(): str(value) for name, value in request.headers.items()}
        url = urllib3.util.parse_url(str(request.url))
        asked = RecordedRequest(
            str(request.method), url.request_uri, headers, body.encode() if isinstance(body, str) else body
        )
        self._together.wait(LIMIT)
        with self._lock:
            self.asked.append(asked)
            answer = self.script(asked)
            limit = timeout[1] if isinstance(timeout, tuple) else timeout
            self._clock.advance_to(began, limit if answer is HANGS else self.takes)
        if answer is HANGS:
            raise requests.ReadTimeout("in virtual time")
        if answer.status == 0:
            raise requests.ConnectionError("reset")
        raw = urllib3.HTTPResponse(
            body=BytesIO(answer.body), headers=dict(answer.headers), status=answer.status, preload_content=False
        )
        return self._build(request, raw)

    def close(self) -> None:
        """See BaseAdapter."""
