"""Writes docs/samples.json: an event of every type."""

import json
from pathlib import Path

from ops.samples import samples
from shared.delivery.request import encode

FILE = Path(__file__).parents[1] / "docs" / "samples.json"


def main() -> None:
    """Write the file."""
    events = [json.loads(encode(event)) for event in samples()]
    FILE.write_text(json.dumps(events, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
