"""Runs with azure-cli's own Python: checks command lines with its parser, and runs none of them.

Reads a JSON list of argument lists from stdin, writes a JSON list of complaints, "" for a valid line.
"""

# mypy: ignore-errors
import contextlib
import io
import json
import sys

from azure.cli.core import get_default_cli
from knack.events import EVENT_INVOKER_POST_PARSE_ARGS


class Parsed(BaseException):
    """The line is valid: stop before running it."""


def stop(*_args, **_kwargs):
    raise Parsed


def complaint(arguments):
    cli = get_default_cli()
    cli.register_event(EVENT_INVOKER_POST_PARSE_ARGS, stop)
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            cli.invoke(arguments, out_file=io.StringIO())
        except Parsed:
            return ""
        except SystemExit:
            pass
    return said.getvalue() or "refused without a word"


if __name__ == "__main__":
    json.dump([complaint(arguments) for arguments in json.load(sys.stdin)], sys.stdout)
