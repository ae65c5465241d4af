"""Programs beside the engines: started once, started again, stopped first."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time

import pytest

from mesh_store.embedded import attach, status
from mesh_store.embedded.child import Child
from mesh_store.embedded.companions import companion_program

WRITE = "import os, sys; open(sys.argv[1], 'a').write(f'{os.getpid()} '); "


def companion(path, code: str = "import signal; signal.pause()") -> list[str]:
    return [sys.executable, "-c", WRITE + code, str(path)]


@pytest.fixture
def pids(tmp_path):
    return lambda: (
        [int(pid) for pid in (tmp_path / "pids").read_text().split()] if (tmp_path / "pids").exists() else []
    )


def test_a_companion_runs_with_the_addresses_of_the_pair(home, tmp_path, until, gone):
    code = "open(sys.argv[1] + '.env', 'w').write('|'.join(os.environ[n] for n in "
    code += "('MESH_HOME', 'MESH_DATABASE_URL', 'MESH_REDIS_URL'))); import signal; signal.pause()"
    with attach(home, companions=[companion(tmp_path / "pids", code)]) as engines:
        until(lambda: (tmp_path / "pids.env").exists() and (tmp_path / "pids.env").read_text())
        said = (tmp_path / "pids.env").read_text().split("|")
        assert said == [str(home), engines.database_url, engines.redis_url]
        assert status(home).companions[0].argv[0] == sys.executable


def test_a_companion_named_later_is_started_by_the_running_supervisor_and_only_once(
    home, tmp_path, pids, until
):
    argv = companion(tmp_path / "pids")
    with attach(home) as engines:
        assert engines.started
        assert not status(home).companions
        with attach(home, companions=[argv]), attach(home, companions=[argv]):
            until(pids)
            other = companion(tmp_path / "others")
            with attach(home, companions=[argv, other]):
                until(
                    lambda: len(status(home).companions) == 2 and all(c.pid for c in status(home).companions)
                )
        assert len(pids()) == 1


def test_a_companion_does_not_keep_the_engines(home, tmp_path, pids, until, gone, running):
    with attach(home, companions=[companion(tmp_path / "pids")]):
        until(pids)
        assert status(home).users == (os.getpid(),)
    gone(home)
    assert not running(pids()[0])


def test_a_companion_that_dies_is_started_again(home, tmp_path, pids, until):
    with attach(home, companions=[companion(tmp_path / "pids")]):
        until(pids)
        os.kill(pids()[0], signal.SIGKILL)
        until(lambda: len(pids()) == 2)


def test_a_companion_that_keeps_failing_leaves_the_engines_alone(home, tmp_path, pids, until):
    with attach(home, companions=[companion(tmp_path / "pids", "sys.exit(3)")]):
        until(lambda: len(pids()) >= 3)
        assert "ended with 3" in (home / "logs" / "supervisor.log").read_text()
        assert status(home).running


def test_what_keeps_failing_is_tried_ever_more_rarely(tmp_path, until):
    starts: list[float] = []
    program = companion_program("failing", ["false"], dict(os.environ), tmp_path)
    child = Child(program, lambda text: starts.append(time.monotonic()) if "started" in text else None)
    until(lambda: child.tend() and len(starts) == 4)
    child.stop()
    _, second, third = (later - earlier for earlier, later in itertools.pairwise(starts))
    assert second >= 0.2
    assert third >= 0.4


def test_companions_stop_while_the_servers_still_answer(home, tmp_path, until, gone):
    code = (
        "import signal, socket, urllib.parse\n"
        "def last(*_):\n"
        "    path = urllib.parse.unquote(urllib.parse.urlsplit(os.environ['MESH_REDIS_URL']).path)\n"
        "    s = socket.socket(socket.AF_UNIX); s.connect(path); s.sendall(b'PING\\r\\n')\n"
        "    open(sys.argv[1] + '.last', 'wb').write(s.recv(100)); sys.exit()\n"
        "signal.signal(signal.SIGTERM, last)\n"
        "open(sys.argv[1] + '.up', 'w').close()\n"
        "while True: signal.pause()\n"
    )
    argv = [sys.executable, "-c", "import os, sys\n" + code, str(tmp_path / "pids")]
    with attach(home, companions=[argv]):
        until((tmp_path / "pids.up").exists)
    gone(home)
    assert (tmp_path / "pids.last").read_bytes() == b"+PONG\r\n"


def test_a_companion_that_ignores_the_request_to_stop_is_killed_with_its_children(
    home, tmp_path, pids, until, gone, running
):
    code = (
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if not os.fork(): open(sys.argv[1], 'a').write(f'{os.getpid()} ')\n"
        "while True: signal.pause()\n"
    )
    argv = [sys.executable, "-c", "import os, sys\n" + WRITE + "\n" + code, str(tmp_path / "pids")]
    with attach(home, companions=[argv]):
        until(lambda: len(pids()) == 2)
    gone(home)
    until(lambda: not any(map(running, pids())))


def test_a_companion_ends_with_a_killed_supervisor(home, tmp_path, pids, until, state, running):
    with attach(home, companions=[companion(tmp_path / "pids")]):
        until(pids)
        os.kill(state(home).supervisor, signal.SIGKILL)
        until(lambda: not running(pids()[0]))


def test_a_new_pair_does_not_run_the_companions_of_the_last_one(home, tmp_path, pids, until, gone):
    with attach(home, companions=[companion(tmp_path / "pids")], linger=0):
        until(pids)
    gone(home)
    with attach(home):
        assert not status(home).companions
        attach(home, companions=[companion(tmp_path / "marker")]).close()
        until((tmp_path / "marker").exists)  # the supervisor has looked at its requests
        until(lambda: status(home).companions)
        assert [companion.argv[-1] for companion in status(home).companions] == [str(tmp_path / "marker")]
