"""Exporters on threads of their own: what they wait for holds up neither collectors nor requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Sequence

from mesh_store.telemetry.exporters.running import Exporter

log = logging.getLogger(__name__)

#: Seconds the end of a process waits for exporters' last words; what hangs is left behind.
LAST_WORDS_S = 10.0


class Apart:
    """One exporter with a daemon thread and an event loop."""

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="mesh-exporter", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end."""
        with contextlib.suppress(RuntimeError):  # it has ended, and closed its loop
            self._loop.call_soon_threadsafe(self._stop.set)

    def join(self, timeout_s: float) -> None:
        """Wait until it has ended, but not for ever."""
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("an exporter hangs in one of its outputs and is left behind")

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._exporter.run(self._stop))
        except Exception:
            log.exception("an exporter ended; facts are stored all the same")
        finally:
            self._loop.close()


@contextlib.asynccontextmanager
async def exporting(exporters: Sequence[Exporter]) -> AsyncIterator[None]:
    """Run exporters while this is open; they end after whoever commits has ended."""
    running = [Apart(exporter) for exporter in exporters]
    for one in running:
        one.start()
    try:
        yield
    finally:
        for one in running:
            one.stop()
        for one in running:
            await asyncio.to_thread(one.join, LAST_WORDS_S)
