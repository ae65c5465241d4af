"""The pair lives as long as its users, and not a moment longer, however they end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from mesh_store.embedded import attach, keep, release, status, stop
from mesh_store.embedded.layout import Layout


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def test_the_pair_ends_after_a_clean_exit_of_its_last_user(home, users, gone):
    first, second = users(home), users(home)
    assert first.line() == second.line() == "ready"
    first.end()
    assert status(home).running
    second.end()
    gone(home)


def test_the_pair_ends_after_its_last_user_is_killed(home, users, gone, servers):
    user = users(home)
    assert user.line() == "ready"
    assert servers(home)
    user.kill()
    gone(home)


def test_a_killed_user_does_not_take_the_pair_from_the_others(home, users, until):
    with attach(home) as engines:
        user = users(home)
        assert user.line() == "ready"
        assert set(status(home).users) == {os.getpid(), user.pid}
        user.kill()
        until(lambda: status(home).users == (os.getpid(),))
        time.sleep(1.0)  # longer than the linger time: nothing happening is what is observed
        with redis.Redis.from_url(engines.redis_url) as client:
            assert client.ping()


@pytest.mark.parametrize(
    "victims", ["supervisor", "supervisor and postmaster", "supervisor and both servers"]
)
def test_no_server_outlives_a_killed_supervisor(home, state, gone, victims):
    engines = attach(home)
    found = state(home)
    extra = {"supervisor and postmaster": [found.postgres.pid]}.get(victims, [])
    if "both" in victims:
        extra = [found.postgres.pid, found.valkey.pid]
    kill(found.supervisor, *extra)
    gone(home)
    engines.close()


def test_the_next_attach_recovers_from_a_killed_supervisor_while_users_live(home, state):
    with attach(home) as engines:
        with redis.Redis.from_url(engines.redis_url) as client:
            client.set("written", "before")
        before = state(home)
        kill(before.supervisor)
        with attach(home) as again:
            assert again.started
            assert again.redis_url == engines.redis_url  # so that pools made earlier reconnect
            assert again.dsn == engines.dsn
            assert state(home).supervisor != before.supervisor
            with redis.Redis.from_url(engines.redis_url) as client:
                assert client.get("written") == b"before"


def test_nothing_is_left_when_user_supervisor_and_postmaster_are_killed_together(home, users, state, gone):
    user = users(home)
    assert user.line() == "ready"
    found = state(home)
    kill(found.supervisor, found.postgres.pid)
    user.kill()
    gone(home)
    with attach(home) as engines:
        assert engines.started


def test_a_pair_that_is_kept_runs_without_users_until_it_is_released(home, gone):
    with attach(home):
        keep(home)
    time.sleep(1.0)  # longer than the linger time: nothing happening is what is observed
    found = status(home)
    assert found.running
    assert found.kept
    assert found.users == ()
    release(home)
    gone(home)


def test_stop_ends_a_kept_pair_and_the_next_one_is_not_kept(home, servers, gone):
    with attach(home):
        keep(home)
    assert stop(home, timeout=60)
    assert not servers(home)
    with attach(home) as engines:
        assert engines.started
        assert not status(home).kept
    gone(home)


def test_stop_ends_the_pair_in_spite_of_users_and_the_next_attach_starts_anew(home, servers):
    with attach(home):
        assert stop(home, timeout=60)
        assert not servers(home)
        assert not status(home).running
        with attach(home) as again:
            assert again.started
            assert status(home).running


def test_stopping_what_does_not_run_is_done_at_once_and_leaves_no_order_behind(home):
    assert stop(home, timeout=0)
    assert stop(home / "never made", timeout=0)
    assert not (home / "never made").exists()
    with attach(home):
        assert status(home).running


def test_a_forked_child_is_a_user_of_its_own(home, users, until, gone):
    parent = users(
        home,
        "engines = attach(home)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    signal.pause()\n"
        "print(child, flush=True)\n",
    )
    child = int(parent.line())
    try:
        until(lambda: set(status(home).users) == {parent.pid, child})
        parent.kill()
        until(lambda: status(home).users == (child,))
        time.sleep(1.0)  # longer than the linger time: nothing happening is what is observed
        assert status(home).running
    finally:
        kill(child)
    gone(home)


def test_a_forked_child_that_closes_its_copy_leaves_the_parents_lease_alone(home, users, until):
    parent = users(
        home,
        "engines = attach(home)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    engines.close(); signal.pause()\n"
        "print(child, flush=True)\n",
    )
    child = int(parent.line())
    try:
        until(lambda: status(home).users == (parent.pid,))
    finally:
        kill(child)


def test_a_program_started_by_a_user_holds_neither_lease_nor_descriptor(home, gone):
    with attach(home):
        lease = str(Layout.of(home).engines)
        program = subprocess.Popen(
            [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            close_fds=False,  # even a careless start
        )
        assert program.stdout.readline() == b"up\n"
        if os.path.exists("/proc/self/fd"):
            held = [os.readlink(entry) for entry in Path(f"/proc/{program.pid}/fd").iterdir()]
            assert not [path for path in held if path.startswith(lease)]
    gone(home)
    program.communicate()


def test_attach_and_close_leave_no_descriptor_behind(home):
    with attach(home):
        before = len(os.listdir("/dev/fd"))
        for _ in range(5):
            attach(home).close()
        assert len(os.listdir("/dev/fd")) == before


def test_the_pair_ends_when_another_home_takes_the_place_of_its_own(
    bare_home, cluster, state, running, until, clean
):
    home, replacement = clean(bare_home / "home"), bare_home / "replacement"
    for place in (home, replacement):
        shutil.copytree(cluster, place / "postgres")
    (replacement / "engines").mkdir()
    engines = attach(home)
    found = state(home)
    home.rename(bare_home / "aside")
    replacement.rename(home)
    with attach(home) as again:
        assert again.started
        until(lambda: not any(map(running, (found.supervisor, found.postgres.pid, found.valkey.pid))))
        assert status(home).running
        with redis.Redis.from_url(again.redis_url) as client:
            assert client.ping()
    engines.close()


def test_the_pair_ends_when_its_home_is_removed(home, state, running, until):
    engines = attach(home)
    found = state(home)
    shutil.rmtree(home)
    until(lambda: not any(map(running, (found.supervisor, found.postgres.pid, found.valkey.pid))))
    engines.close()


@pytest.mark.full
@pytest.mark.parametrize("end", ["end", "kill"])
def test_the_pair_ends_within_two_seconds_of_its_last_user(home, users, gone, end):
    took = []
    for _ in range(5):
        user = users(home)
        assert user.line() == "ready"
        getattr(user, end)()
        took.append(gone(home))
    assert min(took) < 2.0, "other work on the machine only ever adds"
