"""Who makes facts that nobody commits says so once, and not because of what passes by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mesh_store.telemetry import Recorder, silence
from mesh_store.telemetry.collector import Collector
from mesh_store.telemetry.silence import SILENT_S, Silence


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "mesh collect" in record.getMessage()]


def test_nothing_is_said_before_a_minute_and_once_after_it(caplog: pytest.LogCaptureFixture) -> None:
    watched = Silence()
    watched.heard(100.0, 0, waiting=True)
    watched.heard(100.0 + SILENT_S - 0.1, 0, waiting=True)
    assert not said(caplog)
    for second in range(3):
        watched.heard(100.0 + SILENT_S + second, 0, waiting=True)
    [told] = said(caplog)
    assert "none was committed for 60 s" in told


def test_whoever_commits_is_heard_and_nobody_is_missed_while_nothing_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watched = Silence()
    for minute in range(10):
        watched.heard(minute * SILENT_S, minute, waiting=True)
        watched.heard(minute * SILENT_S + 59, minute, waiting=True)
    for minute in range(10, 20):
        watched.heard(minute * SILENT_S, 9, waiting=False)
    watched.heard(20 * SILENT_S - 1, 9, waiting=True)
    assert not said(caplog)


def test_a_process_without_a_collector_says_it_and_delivers_all_the_same(
    kit: Any,
    make_recorder: Callable[..., Recorder],
    valkey: Any,
    database_url: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(silence, "SILENT_S", 0.2)
    caplog.set_level(logging.WARNING)
    recorder = make_recorder()
    recorder.done(kit.call()[1])
    kit.eventually(lambda: said(caplog), "it was said")

    async def collect() -> None:
        collector = Collector(
            database_url.replace("postgresql:", "postgresql+asyncpg:"), valkey.url, tmp_path
        )
        await collector.collect_once()
        await collector.close()

    asyncio.run(collect())
    assert recorder.flush(60, collected=True)
    assert len(said(caplog)) == 1
