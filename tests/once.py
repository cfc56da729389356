"""Test data that many tests read: created once, even if pytest-xdist distributes the tests over processes."""

import fcntl
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

Made = TypeVar("Made")


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Made]) -> Made:
    """Return what `make` creates in a directory of its own; another process that requests `name` gets a copy."""
    if "PYTEST_XDIST_TESTRUNUID" not in os.environ:
        return make(factory.mktemp(name))
    kept = factory.getbasetemp().parent / f"{name}.made"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_bytes(pickle.dumps(make(factory.mktemp(name))))
    made: Made = pickle.loads(kept.read_bytes())
    return made
