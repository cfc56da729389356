"""A folder that contains only an app, for a host to run in.

`func` reads local.settings.json of its folder and restarts when a Python file below the folder changes: in a clone,
these are the developer's own settings and the whole `.venv`.
"""

import json
from pathlib import Path

from local.host.process import ROOT

PARTS = ("host.json", "function_app.py", "notify_http", "notify_event_hub", "process_queue", "renew_timer", "shared")
SETTINGS = {"IsEncrypted": False, "Values": {"FUNCTIONS_WORKER_RUNTIME": "python"}}
"""The settings of the folder; without them `func` asks for the language. The app's settings are in the environment."""


def app_folder(directory: Path, source: Path = ROOT) -> Path:
    """Fill `directory` with links to the app in `source`, and return it."""
    directory.mkdir(parents=True)
    for part in PARTS:
        if (source / part).exists():
            (directory / part).symlink_to(source / part)
    (directory / "local.settings.json").write_text(json.dumps(SETTINGS, indent=2))
    return directory
