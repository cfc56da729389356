"""A running feed, a sender with signatures, and a browser."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Page, sync_playwright

from local.feed.server import RunningFeed, running
from tests.local.feed.sender import Sender, new_secret

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture
def secret() -> str:
    return new_secret()


@pytest.fixture
def feed(secret: str, tmp_path: Path) -> Iterator[RunningFeed]:
    with running(secret, tmp_path / "feed.db") as feed:
        yield feed


@pytest.fixture
def sender(feed: RunningFeed, secret: str) -> Iterator[Sender]:
    sender = Sender(feed.url, secret)
    yield sender
    sender.close()


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("the page is not tested here: no Chromium on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, feed: RunningFeed) -> Iterator[Page]:
    """The feed's page, open; a request to another origin, or an error in the page, fails the test."""
    page = browser.new_page(viewport={"width": 1440, "height": 900}, locale="en-GB")
    foreign: list[str] = []
    errors: list[str] = []

    def noticed(dialog: Dialog) -> None:
        errors.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    page.on("request", lambda request: None if _own(request.url, feed.url) else foreign.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", noticed)
    page.goto(feed.url)
    yield page
    page.close()
    assert foreign == []
    assert errors == []


def _own(address: str, origin: str) -> bool:
    return address.startswith((f"{origin}/", "data:"))
