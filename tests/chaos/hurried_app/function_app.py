"""The app with shortened waits: the hosts of a fault run load it in place of function_app.py.

It imports only what the app imports: `func` runs it with a Python that has no other packages.
"""

import importlib.util
import os
from pathlib import Path

from tests.chaos.hurry import HURRY_SETTING, hurry

ROOT = Path(__file__).resolve().parents[3]

hurry(float(os.environ[HURRY_SETTING]))
_spec = importlib.util.spec_from_file_location("whole_app", ROOT / "function_app.py")
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
app = _module.app
