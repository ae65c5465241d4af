"""Whatever lock a thread holds while another one forks, the child makes its calls."""

from __future__ import annotations

import builtins
import contextlib
import gc
import importlib
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

import mesh_plugins
from mesh_store.model import ProviderError, forking
from mesh_store.model.usage import Usage

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no fork there")

#: What lives as long as one call, has a fork handler or a process id of its own, or never meets a fork.
OTHERWISE = {
    "core/course.py",
    "redis/joining.py",
    "redis/servers/cluster.py",
    "postgres/migrate.py",
    "sync/subscriber.py",
}


def ends(pid: int) -> int:
    """Return a child's status; one that hangs is killed."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -1


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_locks_that_are_held_at_a_fork_are_free_in_the_child(world):
    world.call()
    held = [lock for lock in list(forking._locks) if lock.acquire(blocking=False)]
    assert world.runtime._engine.budget._lock in held
    try:
        pid = os.fork()
        if pid == 0:
            try:
                world.call()
                os._exit(0)
            finally:
                os._exit(1)
    finally:
        for lock in held:
            lock.release()
    assert ends(pid) == 0


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("how", ["read", "closed", "dropped", "failed"])
def test_a_call_that_was_open_at_a_fork_is_the_parents_to_end(world, chunks, fail, how):
    last = fail("incomplete") if how == "failed" else "b"
    world.sender.script = [chunks("a", last, usage=Usage(5, 2))]
    stream = world.runtime.stream_call(world.ask(stream=True), world.sender)
    next(stream)
    written = len(world.recorder.records)
    stream._course._lock.acquire()  # as a thread of the parent would that ends it just now
    pid = os.fork()
    if pid == 0:
        try:
            if how == "closed":
                stream.close()
            elif how == "dropped":
                del stream
                gc.collect()
            else:
                with contextlib.suppress(ProviderError):
                    list(stream)
            os._exit(len(world.recorder.records) - written)
        finally:
            os._exit(100)
    status = ends(pid)
    stream._course._lock.release()
    stream.close()
    assert status == 0
    assert len(world.recorder.settlements) == 1


SLOW = "import time; began.set(); ended.wait(0.5); whole = True"
ENDLESS = "began.set(); ended.wait(60)"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("body", [SLOW, ENDLESS], ids=["whole", "waiting for the fork"])
def test_a_module_that_is_being_imported_at_a_fork_is_whole_or_left_alone(body, tmp_path, monkeypatch):
    """By a thread that is not there in the child: who imports it there would wait for ever."""
    began, ended = threading.Event(), threading.Event()
    (tmp_path / "imported_meanwhile.py").write_text(f"from builtins import began, ended\n{body}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(builtins, "began", began, raising=False)
    monkeypatch.setattr(builtins, "ended", ended, raising=False)
    importing = threading.Thread(target=importlib.import_module, args=("imported_meanwhile",))
    importing.start()
    assert began.wait(30)
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if body == ENDLESS or importlib.import_module("imported_meanwhile").whole else 1)
        finally:
            os._exit(2)
    ended.set()
    importing.join()
    sys.modules.pop("imported_meanwhile")
    assert ends(pid) == 0


def test_whoever_keeps_a_lock_for_longer_than_a_call_takes_one_that_survives_a_fork():
    top = Path(mesh_plugins.__file__).parent.parent
    apart = re.compile(r"/(testing|cli|server|embedded)/")
    bare = {
        str(path.relative_to(top)).partition("/")[2]
        for package in ("mesh_plugins", "mesh_store")
        for path in (top / package).rglob("*.py")
        if "threading.Lock()" in path.read_text("utf-8") and not apart.search(str(path.relative_to(top)))
    }
    assert bare - {"model/forking.py"} <= OTHERWISE
