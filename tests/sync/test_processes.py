"""Forks and exits: a child follows by itself, and no interpreter waits for us."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from mesh_store.redis import config_channel as channel
from mesh_store.sync.publisher import publish

KEY = b"k" * 32

# Python 3.12 warns of what these tests are about: forking a process that has threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def _python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=240,
    )


def _in_child(work):
    """Run ``work`` in a forked child and return what it returned."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, json.dumps(work()).encode())
        except BaseException as error:
            os.write(writing, json.dumps(repr(error)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answered, _, _ = select.select([pipe], [], [], 20)
        if not answered:
            os.kill(pid, signal.SIGKILL)
        said = pipe.read()
    os.waitpid(pid, 0)
    assert answered, "the child hangs"
    return json.loads(said)


async def test_a_forked_child_follows_by_itself_and_the_parent_goes_on(
    source, aclient, subscribe, helpers, client
):
    source.commit()
    source.put_key(KEY)
    await publish(source, aclient)
    subscriber = subscribe()
    helpers.eventually(lambda: subscriber.state == "live")
    assert subscriber.keys.lookup(KEY)
    connects = subscriber.status().connects

    def work():
        before = subscriber.snapshot().revision
        found = subscriber.keys.lookup(KEY).team
        client.publish("child", "ready")
        after = subscriber.wait(2, 60).revision
        helpers.eventually(lambda: subscriber.keys.lookup(KEY) is None)
        subscriber.close()
        return [before, found, after]

    ready = client.pubsub()
    ready.subscribe("child")
    pid_said = []
    threading.Thread(target=lambda: pid_said.append(_in_child(work)), daemon=True).start()
    helpers.eventually(lambda: (ready.get_message(timeout=0.1) or {}).get("type") == "message", 20)
    source.commit()
    source.put_key(KEY, revoked=True)
    await publish(source, aclient)
    assert helpers.eventually(lambda: pid_said, 20) == [[1, "team-1", 2]]
    ready.close()
    assert subscriber.wait(2, 60)
    helpers.eventually(lambda: subscriber.keys.lookup(KEY) is None)
    assert subscriber.status().connects == connects


async def test_a_forked_child_that_only_looks_keys_up_hears_of_revocations(
    source, aclient, subscribe, helpers, client
):
    source.put_key(KEY)
    await publish(source, aclient)
    subscriber = subscribe()
    helpers.eventually(lambda: subscriber.state == "live")
    assert subscriber.keys.lookup(KEY)
    said = []

    def work():
        found = subscriber.keys.lookup(KEY).team
        client.publish("child", "ready")
        helpers.eventually(lambda: subscriber.keys.lookup(KEY) is None, 5)
        return found

    with client.pubsub() as ready:
        ready.subscribe("child")
        threading.Thread(target=lambda: said.append(_in_child(work)), daemon=True).start()
        helpers.eventually(lambda: (ready.get_message(timeout=0.1) or {}).get("type") == "message", 20)
    source.put_key(KEY, revoked=True)
    await publish(source, aclient)
    assert helpers.eventually(lambda: said, 20) == ["team-1"]


async def test_a_child_forked_while_the_cache_is_locked_does_not_hang(source, aclient, subscribe, helpers):
    source.commit()
    source.put_key(KEY)
    await publish(source, aclient)
    subscriber = subscribe()
    helpers.eventually(lambda: subscriber.state == "live")
    with subscriber.keys.table._lock, subscriber._lock, subscriber._follower.changed:
        said = _in_child(lambda: [subscriber.keys.lookup(KEY).team, subscriber.snapshot().revision])
    assert said == ["team-1", 1]


async def test_an_interpreter_that_just_ends_does_not_wait_and_keeps_what_it_learned(
    source, aclient, valkey, tmp_path
):
    source.commit()
    source.put_key(KEY)
    await publish(source, aclient)
    code = """
        import sys, time
        from pathlib import Path
        from mesh_store.sync import Subscriber
        subscriber = Subscriber(sys.argv[1], disk=Path(sys.argv[2]), poll_s=30)
        subscriber.start()
        print(subscriber.snapshot().revision)
        print(subscriber.keys.lookup(b"k" * 32).team, time.time())
    """
    ended = _python(code, valkey.url, str(tmp_path))
    now = time.time()
    assert (ended.returncode, ended.stderr) == (0, "")
    revision, team, left = ended.stdout.split()
    assert (revision, team) == ("1", "team-1")
    assert now - float(left) < 20
    await aclient.flushall()
    again = _python(code, valkey.url.replace("/s", "/gone"), str(tmp_path))
    assert "ConfigUnavailable" in again.stderr
    await aclient.execute_command("CONFIG", "SET", "requirepass", "closed")
    try:
        closed = _python(code, valkey.url, str(tmp_path))
    finally:
        await aclient.execute_command("CONFIG", "SET", "requirepass", "")
    assert closed.stdout.split()[:2] == ["1", "team-1"], closed.stderr


def test_an_interpreter_ends_though_redis_hangs(own_valkey):
    os.kill(own_valkey.process.pid, signal.SIGSTOP)  # connections are accepted, nothing is answered
    try:
        started = time.monotonic()
        ended = _python(
            """
            import sys
            from mesh_store.sync import Subscriber
            Subscriber(sys.argv[1]).start()
            """,
            own_valkey.url,
        )
        assert time.monotonic() - started < 40
    finally:
        os.kill(own_valkey.process.pid, signal.SIGCONT)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_callers_process_never_imports_the_database():
    ended = _python(
        """
        import sys
        import mesh_store.sync
        print([name for name in ("sqlalchemy", "asyncpg", "alembic") if name in sys.modules])
        """
    )
    assert ended.stdout.strip() == "[]", ended.stderr


def test_every_name_is_in_one_slot():
    names = [
        channel.HEAD,
        channel.SNAPSHOT,
        channel.DELTAS,
        channel.CHANGED,
        channel.COMPLETE,
        channel.HANDOVERS,
    ]
    assert all("{cfg}" in name for name in [*names, channel.key_name(KEY)])
