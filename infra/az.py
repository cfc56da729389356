"""The Azure CLI, for the steps that Bicep cannot do. Needs `az` on the PATH, signed in, and the standard library."""

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
MICROSOFT_GRAPH = "https://graph.microsoft.com/v1.0"
PAUSES = (5, 10, 20, 30, 60)
"""Seconds between attempts: new objects in Entra ID and Azure take minutes to be available everywhere."""


class AzError(Exception):
    """`az` failed. Its output contains no secret, since none is on its command line."""

    @property
    def is_refusal(self) -> bool:
        """Whether the signed-in user lacks a right, so that a retry is useless."""
        words = ("Authorization_RequestDenied", "AuthorizationFailed", "Insufficient privileges", "Forbidden")
        return any(word in str(self) for word in words)


def az(*arguments: str) -> Any:
    """Run `az` and return what it prints, read as JSON; None if it prints nothing. Raises AzError."""
    done = subprocess.run(["az", *arguments, "--output", "json"], capture_output=True, text=True, check=False)  # noqa: S603, S607
    if done.returncode:
        raise AzError(done.stderr.strip() or f"az {arguments[0]} ended with {done.returncode}")
    return json.loads(done.stdout) if done.stdout.strip() else None


def graph(method: str, path: str, body: Any = None) -> Any:
    """Call Microsoft Graph as the signed-in user. Raises AzError."""
    given = ("--body", json.dumps(body)) if body is not None else ()
    return az("rest", "--method", method, "--url", MICROSOFT_GRAPH + path, *given)


def patiently(do: Callable[[], T]) -> T:
    """Return the result of `do`; retry while it raises AzError for another reason than a missing right."""
    for pause in PAUSES:
        try:
            return do()
        except AzError as error:
            if error.is_refusal:
                raise
        time.sleep(pause)
    return do()
