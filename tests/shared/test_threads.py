"""A log record of a task belongs to the invocation that submitted the task."""

import ast
import threading
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from shared.threads import ContextThreadPool, ThrottledWriter
from tests.waiting import LIMIT, eventually

ROOT = Path(__file__).parents[2]
APP = ("shared", "notify_http", "notify_event_hub", "process_queue", "renew_timer")

invocation = ContextVar("invocation", default="none")


def test_a_task_has_the_context_of_its_submitter() -> None:
    with ContextThreadPool(1) as pool:
        for name in ("first", "second"):
            invocation.set(name)
            assert pool.submit(invocation.get).result() == name
            assert list(pool.map(lambda _: invocation.get(), range(2))) == [name, name]


@pytest.mark.parametrize("package", APP)
def test_the_app_has_no_other_pool(package: str) -> None:
    made = {
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("ThreadPoolExecutor")
    }
    assert made == set()


def test_a_throttled_writer_writes_at_once_then_the_newest_items_after_a_pause() -> None:
    written: list[list[int]] = []
    pauses: list[float] = []
    resume = threading.Semaphore(0)

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        assert resume.acquire(timeout=LIMIT)

    writer = ThrottledWriter(written.append, 3, timedelta(seconds=10), pause=pause)
    writer.add([])
    writer.add([1])
    eventually(lambda: pauses == [10])
    for number in range(2, 100):
        writer.add([number])
    assert written == [[1]]
    resume.release()
    eventually(lambda: len(pauses) == 2)
    assert written == [[1], [97, 98, 99]]
    resume.release()


def test_an_idle_throttled_writer_writes_again() -> None:
    written: list[list[int]] = []
    writer = ThrottledWriter(written.append, 3, timedelta(0))
    for number in range(3):
        writer.add([number])
        eventually(partial(written.__contains__, [number]))
