"""The command group, and the messages of common failures."""

import logging
import tomllib
from pathlib import Path
from typing import Any

import click

from ops.backfill import backfill
from ops.dead_letters import dead_letters
from ops.doctor import doctor
from ops.environment import load_settings
from ops.find import find
from ops.permissions import permissions
from ops.reconcile import reconcile, rotate_keys
from ops.report import ExitCode, Failure, PlainFormatter, finish
from ops.send_test import send_test
from ops.status import status
from ops.watch import watch
from shared.configuration.settings import SettingsError
from shared.errors import RelayError, RetryLater
from shared.relay import observe

_AS_JSON = "ops.as_json"


class Commands(click.Group):
    """A group whose commands may raise the app's own exceptions."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note whether the output is JSON: a failure may occur before the command has read its options."""
        ctx.meta[_AS_JSON] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; report common failures in one sentence."""
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            _fail(ctx, error.complaints, ExitCode.USAGE)
        except RetryLater as error:
            _fail(ctx, [str(error)], ExitCode.UNREACHABLE)
        except RelayError as error:
            _fail(ctx, [str(error)], ExitCode.ATTENTION)


def version() -> str:
    """Return the version that pyproject.toml names."""
    with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def _fail(ctx: click.Context, complaints: list[str], code: ExitCode) -> None:
    finish(Failure(complaints, code), as_json=ctx.meta[_AS_JSON])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version(), prog_name="Graph Relay", message="%(prog)s %(version)s")
@click.option(
    "--settings",
    "settings_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help='File whose "Values" override the environment. [default: local.settings.json; the environment overrides it]',
)
def ops(settings_file: Path | None) -> None:
    """Operate Graph Relay: inspect it, repair it, replay dead letters.

    Exit codes: 0 no problem; 1 something needs attention; 2 wrong usage or settings; 3 a service is unreachable.
    """
    to_terminal = logging.StreamHandler()
    to_terminal.setFormatter(PlainFormatter("%(message)s"))
    logging.basicConfig(handlers=[to_terminal], level=logging.ERROR)
    load_settings(settings_file)
    observe()


for command in (doctor, permissions, status, watch, find, reconcile, rotate_keys, backfill, dead_letters, send_test):
    ops.add_command(command)
