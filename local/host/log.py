"""The host's log: its records have categories, whose levels host.json sets.

An invocation logs three records for a queue function and two for others, and a failed one logs the exception with its
stack twice, as in the Functions host. A function's record reaches the host only if it belongs to an invocation: the
worker drops the records of a thread without the invocation's context.
"""

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_LEVEL = logging.INFO
CONSOLE = "Host.Function.Console"
RESULTS = "Host.Results"


@dataclass(frozen=True)
class Failure:
    """An exception of a function: its kind, its message and its stack, as text."""

    kind: str
    message: str
    stack: str


class FunctionFailed(Exception):
    """A function raised; holds the exception."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.kind}: {failure.message}")
        self.failure = failure


class InvocationFailed(Exception):
    """An invocation failed without an exception of the function; `kind` is .NET's name for the failure."""

    kind = "InvocationException"


class BadHttpRequest(InvocationFailed):
    """The body of the request cannot be read."""

    kind = "Microsoft.AspNetCore.Server.Kestrel.Core.BadHttpRequestException"


class CallerLeft(InvocationFailed):
    """The caller disconnected before the answer."""

    kind = "System.Threading.Tasks.TaskCanceledException"


class FunctionTimeout(InvocationFailed):
    """A function ran for longer than functionTimeout; its worker process is restarted."""

    kind = "Microsoft.Azure.WebJobs.Host.FunctionTimeoutException"


class WorkerDied(InvocationFailed):
    """The worker process ended while it ran the function."""

    kind = "Microsoft.Azure.WebJobs.Script.Workers.WorkerProcessExitException"


class Undecodable(InvocationFailed):
    """A queue message is not in the encoding that host.json names."""

    kind = "System.FormatException"


def configure(levels: Mapping[str, int]) -> None:
    """Set the levels of the loggers of all categories."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(lambda record: record.levelno >= level_for(record.name, levels))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(root_level(levels))


def root_level(levels: Mapping[str, int]) -> int:
    """Return the lowest level of any category."""
    return min([DEFAULT_LEVEL, *levels.values()])


def level_for(category: str, levels: Mapping[str, int]) -> int:
    """Return the level of a category: that of the longest prefix in host.json; `*` matches any text."""
    fitting = [name for name in levels if name != "default" and _fits(category, name)]
    if fitting:
        return levels[max(fitting, key=len)]
    return levels.get("default", DEFAULT_LEVEL)


def _fits(category: str, name: str) -> bool:
    begin, _, end = name.partition("*")
    return category.lower().startswith(begin.lower()) and category.lower().endswith(end.lower())


@dataclass(frozen=True)
class Invocation:
    """One run of a function, as the host logs it. `details`: further fields of the trigger, for a queue message."""

    function: str
    reason: str
    details: str = ""
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def _log(self) -> logging.Logger:
        return logging.getLogger(f"Function.{self.function}")

    def begin(self) -> None:
        """Log the start."""
        self._log.info("Executing 'Functions.%s' (Reason='%s', Id=%s)", self.function, self.reason, self.id)
        if self.details:
            self._log.info("Trigger Details: %s", self.details)

    def succeed(self) -> None:
        """Log the success."""
        self._log.info("Executed 'Functions.%s' (Succeeded, Id=%s)", self.function, self.id)

    def fail(self, error: Exception) -> None:
        """Log the failure, in both categories."""
        text = (
            "Microsoft.Azure.WebJobs.Host.FunctionInvocationException: "
            f"Exception while executing function: Functions.{self.function}\n ---> {_told(error)}"
        )
        self._log.error("Executed 'Functions.%s' (Failed, Id=%s)\n%s", self.function, self.id, text)
        logging.getLogger(RESULTS).error("%s", text)


def _told(error: Exception) -> str:
    if isinstance(error, FunctionFailed):
        found = error.failure
        return f"Result: Failure\nException: {found.kind}: {found.message}\nStack: {found.stack}"
    kind = error.kind if isinstance(error, InvocationFailed) else type(error).__name__
    return f"{kind}: {error}"
