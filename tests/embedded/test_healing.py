"""Dead servers are started again, and nothing the dead left behind blocks the living."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

import pytest
import redis

from mesh_store.embedded import attach, status
from mesh_store.embedded.layout import Layout
from mesh_store.embedded.processes import find_process

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a subreaper")


@pytest.mark.parametrize("name", ["postgres", "valkey"])
def test_a_killed_server_is_started_again_by_the_supervisor(home, state, until, name):
    with attach(home) as engines:
        with redis.Redis.from_url(engines.redis_url) as client:
            client.set("written", "before")
        before = state(home)
        os.kill(getattr(before, name).pid, signal.SIGKILL)
        until(lambda: getattr(state(home), name).pid not in (0, getattr(before, name).pid))
        until(lambda: status(home).running)
        assert state(home).supervisor == before.supervisor
        with redis.Redis.from_url(engines.redis_url) as client:
            assert client.get("written") == b"before"


def test_attach_waits_for_a_server_that_is_being_started_again(home, state):
    with attach(home):
        os.kill(state(home).postgres.pid, signal.SIGKILL)
        with attach(home) as again:
            assert not again.started
            assert status(home).running


def test_both_servers_are_started_again_however_often_they_are_killed(home, state, until):
    with attach(home):
        for _ in range(2):
            before = state(home)
            os.kill(before.postgres.pid, signal.SIGKILL)
            os.kill(before.valkey.pid, signal.SIGKILL)
            until(lambda before=before: state(home).postgres.pid not in (0, before.postgres.pid))
            until(lambda: status(home).running)


@pytest.fixture
def unreaped():
    """Become the parent of orphans and, like PID 1 of many containers, never wait for them."""
    set_subreaper = 36
    libc = ctypes.CDLL(None)
    libc.prctl(set_subreaper, 1, 0, 0, 0)
    yield
    libc.prctl(set_subreaper, 0, 0, 0, 0)
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                break
        except ChildProcessError:
            break


@linux
def test_zombies_nobody_reaps_do_not_hold_the_next_start(home, unreaped, state, gone):
    with attach(home):
        found = state(home)
        pids = (found.supervisor, found.postgres.pid, found.valkey.pid)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        gone(home)
        assert all(find_process(pid).zombie for pid in pids)
        assert (home / "postgres" / "postmaster.pid").read_text().startswith(f"{found.postgres.pid}\n")
        with attach(home) as again:
            assert again.started


def test_a_lock_file_that_names_a_stranger_does_not_hold_the_next_start(home, state, gone, running):
    with attach(home, linger=0):
        run = os.path.dirname(state(home).postgres.socket)
    gone(home)
    ours = os.getpid()
    (home / "postgres" / "postmaster.pid").write_text(f"{ours}\n{home / 'postgres'}\n1\n5432\n{run}\n\n")
    with attach(home) as again:
        assert again.started
    assert running(ours)


def test_servers_that_outlived_their_supervisor_are_ended_before_new_ones_start(home, servers, gone, until):
    # What a system without parent-death signals could leave: servers of ours without a supervisor.
    import subprocess

    from mesh_store.embedded.binaries import find_binaries

    attach(home, linger=0).close()
    gone(home)
    orphan = subprocess.Popen(
        [
            str(find_binaries().valkey_server),
            *("--port", "0", "--unixsocket", str(home / "old")),
            *("--dir", str(Layout.of(home).valkey), "--appendonly", "yes"),
        ],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    until(lambda: servers(home) == [orphan.pid])
    with attach(home):
        assert orphan.wait(60) == 0  # asked, not killed: it wrote what it had
        assert status(home).running


def test_a_start_that_was_interrupted_leaves_nothing_in_the_way(bare_home, users, until):
    user = users(bare_home)
    until(lambda: list(bare_home.glob("postgres.new-*")))
    user.kill()
    with attach(bare_home):
        assert status(bare_home).running
    assert not list(bare_home.glob("postgres.new-*"))


def test_a_supervisor_killed_while_it_makes_the_cluster_leaves_no_half_of_one(bare_home, users, until):
    user = users(bare_home, "engines = attach(home)")
    until(lambda: list(bare_home.glob("postgres.new-*")))
    log = Layout.of(bare_home).watch
    from mesh_store.embedded.leases import holders

    supervisors = holders(log)
    if supervisors is None:
        pytest.skip("the system does not tell who holds a lock")
    for pid in supervisors:
        os.kill(pid, signal.SIGKILL)
    with attach(bare_home):
        assert status(bare_home).running
    assert not list(bare_home.glob("postgres.new-*"))
    user.kill()
