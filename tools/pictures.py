"""Take the pictures in docs/pictures from a run of the whole system, with its destination failing for a while.

python -m tools.pictures

Needs chromium, and fonts for the scripts and emoji of the simulator's messages (Debian: fonts-noto-color-emoji,
fonts-noto-cjk).
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from local.run.system import System

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
RATE = 3.0
"""Messages per second."""
FLOWING = 45.0
"""Seconds that messages flow before the first picture; so much of the chart is filled."""
COLUMNS = 80
LIMIT = 120_000
"""Milliseconds that the page may take to show an element."""
_FONT_FACE = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)
"""In rich's template: fonts from another site, which a picture in a page does not load."""


def main() -> None:
    """Take all pictures."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("expected chromium on the PATH")
    expect.set_options(timeout=LIMIT)
    with (
        tempfile.TemporaryDirectory(prefix="pictures-") as directory,
        System(Path(directory)) as system,
        sync_playwright() as playwright,
    ):
        system.subscribe()
        system.tell_simulator("generate", rate=RATE)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900}, locale="en-GB", reduced_motion="reduce")
        page.set_default_timeout(LIMIT)
        page.goto(system.feed_url)
        time.sleep(FLOWING)
        take_all(page, system)
        browser.close()


def take_all(page: Page, system: System) -> None:
    """Take each picture: during an outage, then of a message that was delayed by it."""
    outage = page.get_by_role("button", name="Destination down (503)")
    outage.click()
    trouble = page.locator("#trouble")
    expect(trouble).to_contain_text("the destination answers 503")
    expect(trouble).to_contain_text("queue messages waiting")
    page.screenshot(path=PICTURES / "page.png")
    draw(system, "doctor")
    outage.click()
    expect(page.locator("#link")).to_have_text("Live")
    page.goto(f"{system.feed_url}#message={position_of_the_latest(system)}")
    expect(page.get_by_role("dialog")).to_contain_text("Attempt failed")
    page.screenshot(path=PICTURES / "inspector.png")


def position_of_the_latest(system: System) -> int:
    """Return the position of the message with the longest delay."""
    messages = system.http.get(f"{system.feed_url}/api/messages?limit=500").raise_for_status().json()
    return int(max(messages, key=lambda message: message["lag_ms"])["position"])


def draw(system: System, command: str) -> None:
    """Draw the output of an operator's command on a terminal, as docs/pictures/COMMAND.svg."""
    settings = system.directory / "local.settings.json"
    shown = subprocess.run(
        [sys.executable, "-m", "ops", "--settings", str(settings), command],
        cwd=ROOT,
        env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # the system that the command reads
        text=True,
        check=False,  # a result that needs attention ends with 1
    ).stdout
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere)
        console.print(Text.from_ansi(shown))
    console.save_svg(
        str(PICTURES / f"{command}.svg"),
        title=f"python -m ops {command}",
        code_format=_FONT_FACE.sub("", CONSOLE_SVG_FORMAT),
        unique_id=command,
    )


if __name__ == "__main__":
    main()
