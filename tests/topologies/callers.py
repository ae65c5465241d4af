"""Eight callers that take from one limit while something happens to the servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mesh_store.model import Charge, QuotaUnavailable
from mesh_store.redis import Limiter, connect
from mesh_store.redis.steps import mint_id

CALLERS = 8

#: Seconds one attempt may take: generous, because the machine is shared.
DEADLINE = 0.5


class Callers:
    """Threads that reserve one unit after the other until they are refused or told to stop.

    Attributes:
        granted: ids that were admitted, with the moment the caller heard of it.
        unsure: ids nobody could decide, or so the caller was told.
        refused: how many callers heard that the limit is used up.
        broken: what a caller must never see.
    """

    def __init__(self, url: str, charge: Charge, *, pause: float = 0.001) -> None:
        self.granted: dict[str, float] = {}
        self.unsure: list[str] = []
        self.refused = 0
        self.broken: list[BaseException] = []
        self._url, self._charge, self._pause = url, charge, pause
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CALLERS)]

    @contextmanager
    def running(self) -> Iterator[Callers]:
        """Run until the block ends, or every caller was refused."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self.join()
        assert not self.broken

    def join(self, timeout: float = 30.0) -> None:
        """Wait until all have ended."""
        for thread in self._threads:
            thread.join(timeout)
            assert not thread.is_alive()

    def wait_for(self, holds: Callable[[Callers], bool], timeout: float = 30.0) -> None:
        """Wait until something is true of what they saw."""
        deadline = time.monotonic() + timeout
        while not holds(self):
            assert time.monotonic() < deadline
            assert not self.broken
            time.sleep(0.002)

    def heard_since(self, moment: float) -> int:
        """How many grants were heard after a moment."""
        return sum(at > moment for at in list(self.granted.values()))

    def _run(self) -> None:
        try:
            with connect(self._url, deadline=DEADLINE, connect_deadline=DEADLINE) as client:
                limiter = Limiter(client)
                while not self._stop.is_set():
                    owner = mint_id()
                    try:
                        decision = limiter.reserve([self._charge], reservation_id=owner)
                    except QuotaUnavailable:
                        self.unsure.append(owner)
                        time.sleep(0.02)
                        continue
                    if not decision.admitted:
                        self.refused += 1
                        return
                    self.granted[owner] = time.monotonic()
                    time.sleep(self._pause)
        except BaseException as error:  # an error nobody expected is what the test is about
            self.broken.append(error)
