"""Ports for servers that are about to start."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from local.ports import PARTS, free_ports

ROOT = Path(__file__).parents[2]
TELL = "from local.ports import free_ports; print(*free_ports(50)); input()"


def part_of(port: int) -> range:
    return next(part for part in PARTS if port in part)


def test_a_port_comes_again_only_after_all_others() -> None:
    found = [free_ports(1)[0] for _ in range(200)]
    assert len(set(found)) == 200
    assert len({part_of(port) for port in found}) == 1


def test_a_port_in_use_is_passed_over() -> None:
    (port,) = free_ports(1)
    part = part_of(port)
    following = part[(port - part.start + 1) % len(part)]
    with socket.socket() as server:
        server.bind(("127.0.0.1", following))
        assert following not in free_ports(5)


@pytest.mark.process
def test_processes_that_live_at_the_same_time_get_no_port_of_each_other() -> None:
    others = [
        subprocess.Popen(
            [sys.executable, "-c", TELL],
            cwd=ROOT,
            env=os.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    try:
        parts = [set(map(int, other.stdout.readline().split())) for other in others if other.stdout]
    finally:
        for other in others:
            other.communicate("\n")
    assert len(set.union(set(free_ports(50)), *parts)) == 200
