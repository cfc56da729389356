"""The app, in a hurry: what a host of a fault run loads in place of function_app.py."""

import importlib.util
import os

from local.host.process import ROOT
from tests.chaos.hurry import HURRY_SETTING, hurry

hurry(float(os.environ[HURRY_SETTING]))
_spec = importlib.util.spec_from_file_location("whole_app", ROOT / "function_app.py")
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
app = _module.app
