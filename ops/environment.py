"""Settings as the app has them: from the environment, and from the `Values` of a file like local.settings.json."""

import json
import os
from pathlib import Path

import msgspec

from shared.configuration.settings import SettingsError

DEFAULT = Path(__file__).parent.parent / "local.settings.json"


class _File(msgspec.Struct, rename="pascal"):
    values: dict[str, str]
    is_encrypted: bool = False


def load_settings(path: Path | None, default: Path = DEFAULT) -> None:
    """Add the values of a file to the environment.

    A given file selects the system, and overrides the environment. None means `default`, if it exists: as with
    `func start`, the environment overrides it.

    Raises SettingsError.
    """
    if path is None and not default.exists():
        return
    chosen = path or default
    try:
        held = msgspec.json.decode(chosen.read_bytes(), type=_File)
    except OSError as error:
        raise SettingsError([f"{chosen.name}: can't be read ({type(error).__name__})"]) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise SettingsError([f"{chosen.name}: {_complaint(chosen)}"]) from None
    if held.is_encrypted:
        raise SettingsError([f"{chosen.name}: it is encrypted; `func settings decrypt` makes it readable"])
    known = {} if path else os.environ
    os.environ.update({name: value for name, value in held.values.items() if name not in known})


def _complaint(file: Path) -> str:
    """Return what is wrong with an invalid file, without its values."""
    try:
        json.loads(file.read_bytes())
    except json.JSONDecodeError as error:
        return f"line {error.lineno} is not JSON. Correct it before `func start`, which would overwrite the file"
    except UnicodeDecodeError:
        return "expected UTF-8"
    return 'expected JSON with "Values", names and texts'
