"""A running feed, a sender with signatures, and a browser."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Error, Page, Request, sync_playwright

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


@pytest.fixture(scope="session")
def tab(browser: Browser) -> Page:
    """The page of all tests: one of its own, in a process of its own, takes a second to open and close."""
    return browser.new_page(locale="en-GB")


@pytest.fixture
def blank(tab: Page) -> Iterator[Page]:
    """The page of all tests, in its usual size and colours, empty before and after the test. Nothing moves by itself:
    each frame of a movement that no test looks at takes processor time.
    """
    tab.set_viewport_size({"width": 1440, "height": 900})
    tab.emulate_media(color_scheme="null", reduced_motion="reduce")
    yield tab
    tab.goto("about:blank")  # ends what the page still asks of its feed, which is about to stop


@pytest.fixture
def page(blank: Page, feed: RunningFeed) -> Iterator[Page]:
    """The feed's page, open; a request to another origin, or an error in the page, fails the test.

    Each feed has a port of its own, hence an origin: nothing that the page has stored is left.
    """
    foreign: list[str] = []
    errors: list[str] = []

    def asked(request: Request) -> None:
        if not _own(request.url, feed.url):
            foreign.append(request.url)

    def failed(error: Error) -> None:
        errors.append(str(error))

    def noticed(dialog: Dialog) -> None:
        errors.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    blank.on("request", asked)
    blank.on("pageerror", failed)
    blank.on("dialog", noticed)
    blank.goto(feed.url)
    yield blank
    blank.remove_listener("request", asked)
    blank.remove_listener("pageerror", failed)
    blank.remove_listener("dialog", noticed)
    assert foreign == []
    assert errors == []


def _own(address: str, origin: str) -> bool:
    return address.startswith((f"{origin}/", "data:"))
