"""Wait until Azure has resolved the Key Vault references of the app's settings.

    python3 infra/resolve.py RESOURCE_GROUP APP_NAME

Until then, a setting contains its reference instead of the secret, for up to a day without a refresh: the role by which
the app reads its vault takes minutes to become effective.
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from infra.az import AzError
from infra.deployed import site

PAUSES = [float(seconds) for seconds in os.environ.get("RESOLVE_PAUSES", "10 20 30 60 60 60").split()]
"""Seconds between two checks."""


def main() -> None:
    """Check and refresh until the references are resolved."""
    try:
        app = site(*sys.argv[1:])
        for pause in PAUSES:
            if not app.unresolved():
                return
            app.refresh()
            time.sleep(pause)
        waiting = app.unresolved()
    except AzError as error:
        sys.exit(str(error))
    for name, reason in waiting.items():
        print(f"{name}: {reason}", file=sys.stderr)
    if waiting:
        sys.exit("These settings still contain their unresolved Key Vault reference: docs/runbook/not-acknowledged.md")


if __name__ == "__main__":
    main()
