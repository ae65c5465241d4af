"""Looking starts nothing; what is said is so."""

from __future__ import annotations

import os
import sys
import time

import pytest

from mesh_store.embedded import attach, keep, status
from mesh_store.embedded.child import open_log


def test_looking_at_a_home_makes_and_starts_nothing(bare_home):
    found = status(bare_home / "never")
    assert not found.running
    assert (found.postgres, found.valkey, found.supervisor, found.companions) == (None, None, None, ())
    assert found.size == 0
    assert not (bare_home / "never").exists()


def test_a_running_pair_is_described(home, running):
    began = time.time()
    with attach(home):
        found = status(home)
        assert found.running
        assert not found.kept
        assert found.home == home
        assert all(map(running, (found.supervisor, found.postgres.pid, found.valkey.pid)))
        assert found.postgres.version.startswith("18.")
        assert found.valkey.version.startswith("9.")
        assert found.postgres.socket.is_socket()
        assert found.valkey.socket.is_socket()
        assert found.size > 10_000_000
        assert began - 60 < found.started_at < time.time() + 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells who holds a lock")
def test_users_are_the_processes_that_hold_a_lease(home, users):
    with attach(home), attach(home):
        other = users(home)
        assert other.line() == "ready"
        assert status(home).users == tuple(sorted((os.getpid(), other.pid)))


def test_a_pair_that_was_killed_does_not_look_alive(home, users, state, gone):
    user = users(home)
    assert user.line() == "ready"
    os.kill(state(home).supervisor, 9)
    gone(home)
    assert not status(home).running
    assert status(home).users == (user.pid,)


def test_keeping_starts_nothing(bare_home):
    keep(bare_home)
    assert status(bare_home).kept
    assert not status(bare_home).running


def test_a_long_log_is_put_aside_when_it_is_opened_again(tmp_path):
    log = tmp_path / "postgres.log"
    log.write_bytes(b"x" * (1 << 20) + b"y")
    with open_log(log) as handle:
        handle.write(b"new")
    assert log.read_bytes() == b"new"
    assert (tmp_path / "postgres.log.1").stat().st_size > 1 << 20
    with open_log(log) as handle:
        handle.write(b"er")
    assert log.read_bytes() == b"newer"
