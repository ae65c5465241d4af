"""Processes that fork, end, or are killed: what `done` took arrives once."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mesh_store.model.facts import Asked
from mesh_store.telemetry import Recorder, drain
from mesh_store.telemetry.collector import Collector

#: Python 3.12 warns of every fork of a process with threads, which is what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

ROOT = Path(__file__).parents[2]
PRODUCER = Path(__file__).parent / "producer.py"


def run_python(source: str, *arguments: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(source), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def start_producer(home: Path, url: str, log: Path, count: int = 0) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(PRODUCER), str(home), url, str(log), str(count), "0.001"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def logged(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


async def collect(database_url: str, redis_url: str) -> None:
    collector = Collector(database_url, redis_url, claim_s=0)
    await collector.collect_once()
    await collector.close()


async def test_what_a_killed_process_took_arrives_once_after_a_drain(
    kit: Any, tmp_path: Path, valkey: Any, database_url: str, postgres: Any
) -> None:
    log = tmp_path / "log"
    producer = start_producer(tmp_path, valkey.url, log)
    kit.eventually(lambda: len(logged(log)) >= 300, "300 calls were made")
    producer.kill()
    producer.wait()

    drain(tmp_path, valkey.url)
    await collect(database_url, valkey.url)
    report = drain(tmp_path, valkey.url, wait_collected_s=5)
    stored = [
        str(row["id"]) for row in await postgres.fetch("SELECT id FROM usage_events WHERE outcome = 'ok'")
    ]

    assert set(logged(log)) <= set(stored)
    assert len(stored) == len(set(stored))
    assert report.delivered == 1
    assert list((tmp_path / "rings").iterdir()) == []


def test_the_interpreter_ends_soon_although_no_server_can_be_reached(tmp_path: Path) -> None:
    """It waits half a second for what is still on its way; the rest waits in the ring."""
    done = run_python(
        """
        import sys, time
        from mesh_store.model.facts import Done
        from mesh_store.telemetry import Recorder
        from tests.telemetry.producer import fact
        recorder = Recorder(sys.argv[1], "unix:///nowhere", ring_bytes=256 * 1024)
        recorder.done(Done(fact("c", "ok"), None, None))
        print(time.time())
        """,
        str(tmp_path),
    )
    took = time.time() - float(done.stdout)
    assert took < 8, done.stderr
    assert len(list((tmp_path / "rings").glob("*.ring"))) == 1


@pytest.mark.parametrize(
    "spoilt",
    [{"session": "\ud800"}, {"cost_pico_usd": 2**80}, {"tags": {"a": object()}}],
    ids=lambda each: next(iter(each)),
)
async def test_a_running_call_whose_fact_a_plugin_spoilt_is_lost_like_any_other(
    kit: Any,
    tmp_path: Path,
    valkey: Any,
    database_url: str,
    postgres: Any,
    settled: Any,
    spoilt: dict[str, Any],
) -> None:
    """It was asked for under a budget: were its intent not written, its money would be given back."""
    running, _ = kit.call(**spoilt)
    child = os.fork()
    if child == 0:
        recorder = Recorder(tmp_path, "unix:///nowhere", settler=settled, ring_bytes=256 * 1024)
        recorder.asked(Asked(running.reservation.id, running.reservation.charges))
        recorder.intent(running)
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.to_thread(os.waitpid, child, 0)
    assert drain(tmp_path, valkey.url, settler=settled).lost == 1
    await collect(database_url, valkey.url)
    assert (settled.settled, settled.cancelled) == ([(running.reservation.id, (0,))], [])
    row = await postgres.fetchrow("SELECT * FROM usage_events")
    assert (str(row["id"]), row["outcome"], row["input_tokens"]) == (running.lost.id, "lost", 100)
    assert row["session"] is None
    assert row["tags"] == "{}"


async def test_a_call_that_was_running_when_its_process_died_becomes_lost_and_is_settled_as_reserved(
    kit: Any, tmp_path: Path, valkey: Any, database_url: str, postgres: Any, settled: Any
) -> None:
    running, ended = kit.call(), kit.call()
    child = os.fork()
    if child == 0:
        recorder = Recorder(tmp_path, "unix:///nowhere", settler=settled, ring_bytes=256 * 1024)
        recorder.intent(running[0])
        recorder.intent(ended[0])
        recorder.done(ended[1])
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.to_thread(os.waitpid, child, 0)

    first = drain(tmp_path, valkey.url, settler=settled)
    again = drain(tmp_path, valkey.url, settler=settled)
    await collect(database_url, valkey.url)

    assert (first.lost, first.facts) == (1, 2)
    assert (again.lost, again.facts) == (0, 0)
    assert sorted(settled.settled) == sorted(
        [(running[0].reservation.id, (0,)), (ended[0].reservation.id, (-6,))]
    )
    rows = {
        str(row["id"]): row["outcome"] for row in await postgres.fetch("SELECT id, outcome FROM usage_events")
    }
    assert rows == {running[0].lost.id: "lost", ended[1].fact.id: "ok"}


async def test_an_intent_moved_forward_in_the_ring_still_ends_with_its_call(
    kit: Any,
    make_recorder: Callable[..., Recorder],
    valkey: Any,
    database_url: str,
    tmp_path: Path,
    settled: Any,
) -> None:
    recorder = make_recorder(ring_bytes=128 * 1024)
    running, never_ended = kit.call(), kit.call()
    recorder.intent(running[0])
    recorder.intent(never_ended[0])
    collector = Collector(database_url, valkey.url)
    for _ in range(12):
        for _ in range(40):
            recorder.done(kit.call()[1])
        assert recorder.flush(5)
        await collector.collect_once()
        assert recorder.flush(5, collected=True)
    assert recorder.health().dropped == 0
    recorder.done(running[1])
    assert recorder.flush(5)
    recorder.close()

    report = drain(tmp_path, valkey.url, settler=settled)
    await collector.collect_once()
    await collector.close()
    assert report.lost == 1
    assert (never_ended[0].reservation.id, (0,)) in settled.settled
    assert (running[0].reservation.id, (0,)) not in settled.settled


async def test_a_forked_child_gets_its_own_ring_and_both_sides_arrive(
    kit: Any,
    make_recorder: Callable[..., Recorder],
    valkey: Any,
    database_url: str,
    postgres: Any,
    tmp_path: Path,
) -> None:
    recorder = make_recorder()
    recorder.done(kit.call()[1])
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            try:
                for _ in range(50):
                    recorder.done(kit.call()[1])
                recorder.close(5)
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
    for _ in range(50):
        recorder.done(kit.call()[1])
    assert recorder.flush(5)
    drain(tmp_path, valkey.url)
    await collect(database_url, valkey.url)
    assert await postgres.fetchval("SELECT count(*) FROM usage_events") == 201


def test_the_lock_of_a_ring_ends_with_the_process_that_made_it_even_while_its_child_lives(
    kit: Any, tmp_path: Path, valkey: Any
) -> None:
    source = """
        import os, sys, time
        from mesh_store.telemetry import Recorder
        recorder = Recorder(sys.argv[1], sys.argv[2], ring_bytes=65536)
        if os.fork() == 0:
            os.close(1); os.close(2)
            time.sleep(20)
            os._exit(0)
        print("forked", flush=True)
        os._exit(0)
    """
    run_python(source, str(tmp_path), valkey.url)
    assert drain(tmp_path, valkey.url).rings == 1


def test_a_multiprocessing_child_ships_what_it_recorded_before_it_leaves(
    kit: Any, make_recorder: Callable[..., Recorder], valkey: Any, settled: Any
) -> None:
    recorder = make_recorder()
    child = multiprocessing.get_context("fork").Process(target=recorder.done, args=(kit.call()[1],))
    child.start()
    child.join(20)
    assert child.exitcode == 0
    assert valkey.client.xlen("mesh:facts:0") == 1


EXITING = """
    import sys, time
    sys.path.insert(0, sys.argv[3])
    from producer import fact, new_id
    from mesh_store.model.facts import Done
    from mesh_store.telemetry import Recorder
    recorder = Recorder(sys.argv[1], sys.argv[2], ring_bytes=1 << 20)
    for _ in range(50):
        recorder.done(Done(fact(new_id(), "ok")))
    print(time.time())
"""


def test_a_script_that_ends_at_once_ships_everything_on_its_way_out(tmp_path: Path, valkey: Any) -> None:
    result = run_python(EXITING, str(tmp_path), valkey.url, str(PRODUCER.parent))
    assert result.returncode == 0, result.stderr
    entries = valkey.client.xrange("mesh:facts:0")
    assert sum(int(fields[b"n"]) for _, fields in entries) == 50


@pytest.mark.parametrize("where", ["gone", "silent"])
def test_a_script_ends_within_a_second_while_redis_is_away_and_loses_nothing(
    tmp_path: Path, valkey: Any, where: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = "unix:///nowhere/at/all" if where == "gone" else f"redis://127.0.0.1:{port}"
        result = run_python(EXITING, str(tmp_path), url, str(PRODUCER.parent))
    assert result.returncode == 0, result.stderr
    assert time.time() - float(result.stdout) < 30  # the second, the interpreter's own end, a busy machine
    report = drain(tmp_path, valkey.url)
    assert (report.rings, report.facts) == (1, 50)


def test_a_record_that_comes_after_close_waits_for_the_next_process(
    kit: Any, make_recorder: Callable[..., Recorder], tmp_path: Path, valkey: Any
) -> None:
    child = os.fork()
    if child == 0:
        recorder = make_recorder()
        recorder.close()
        recorder.done(kit.call()[1])
        os._exit(0)
    os.waitpid(child, 0)
    assert drain(tmp_path, valkey.url).facts == 1


def test_the_next_process_takes_over_what_the_last_one_left(
    kit: Any, make_recorder: Callable[..., Recorder], tmp_path: Path, valkey: Any
) -> None:
    away = make_recorder()
    away.close()
    first = Recorder(tmp_path, "unix:///nowhere", ring_bytes=65536)
    first.done(kit.call()[1])
    first.close(0.05)
    make_recorder()
    kit.eventually(lambda: valkey.client.xlen("mesh:facts:0") == 1, "the orphan was shipped")


def test_importing_telemetry_brings_no_database_driver() -> None:
    source = """
        import sys, mesh_store.telemetry
        print([name for name in sys.modules if name.split(".")[0] in ("sqlalchemy", "asyncpg", "alembic")])
    """
    result = run_python(source)
    assert result.stdout.strip() == "[]", result.stderr
