"""The host that benchmarks measure: the stand-in, or with HOST=func Core Tools; in a folder of its own."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from local.host.app_folder import app_folder
from local.host.core_tools import host_class
from local.host.process import HostProcess


@contextmanager
def running_host(settings: Mapping[str, str]) -> Iterator[HostProcess]:
    """Run the app. Raises NoHost if HOST names a host that does not exist."""
    with TemporaryDirectory() as name:
        folder = app_folder(Path(name) / "app")
        with host_class(os.environ)(settings, log=Path(name) / "host.log", directory=folder) as host:
            yield host
