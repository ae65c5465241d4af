"""A child does not outlive its parent, by the kernel or by the guard."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

PARENT = """
import subprocess, sys, signal, time
from mesh_store.embedded.tie import Tie
tie = Tie(signal.SIGTERM, by_kernel={by_kernel})
child = subprocess.Popen(["sleep", "600"], preexec_fn=tie.in_child)
tie.watch(child.pid)
print(child.pid, tie._guard.pid if tie._guard else 0, flush=True)
if sys.stdin.readline():
    child.kill(); child.wait(); tie.loosen()
    print("loose", flush=True)
    sys.stdin.read()
"""

ways = pytest.mark.parametrize(
    "by_kernel",
    [
        pytest.param(
            True, marks=pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
        ),
        False,
    ],
)


@pytest.fixture
def parent():
    started = []

    def start(by_kernel: bool) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", PARENT.format(by_kernel=by_kernel)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@ways
def test_a_child_ends_when_its_parent_is_killed(parent, running, until, by_kernel):
    process = parent(by_kernel)
    child, guard = map(int, process.stdout.readline().split())
    assert running(child)
    process.kill()
    until(lambda: not running(child))
    until(lambda: not running(guard))


@ways
def test_a_tie_that_was_loosened_signals_nobody(parent, running, until, by_kernel):
    process = parent(by_kernel)
    _, guard = map(int, process.stdout.readline().split())
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "loose\n"
    until(lambda: not running(guard))


def test_the_guard_itself_may_be_killed_without_harm(parent, running):
    process = parent(False)
    child, guard = map(int, process.stdout.readline().split())
    os.kill(guard, signal.SIGKILL)
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "loose\n"
    assert not running(child)
