"""What a thread logs belongs to the invocation that gave it work."""

import ast
from contextvars import ContextVar
from pathlib import Path

import pytest

from shared.threads import ContextThreadPool

ROOT = Path(__file__).parents[2]
APP = ("shared", "notify_http", "notify_event_hub", "process_queue", "renew_timer")

invocation = ContextVar("invocation", default="none")


def test_a_task_has_the_context_of_whoever_submitted_it() -> None:
    with ContextThreadPool(1) as pool:
        for name in ("first", "second"):
            invocation.set(name)
            assert pool.submit(invocation.get).result() == name
            assert list(pool.map(lambda _: invocation.get(), range(2))) == [name, name]


@pytest.mark.parametrize("room", APP)
def test_the_app_has_no_other_pool(room: str) -> None:
    made = {
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("ThreadPoolExecutor")
    }
    assert made == set()
