"""A handler of signals that raises at every moment of a decision."""

from __future__ import annotations

import random
import signal
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from mesh_store.model import Charge, Limit
from mesh_store.redis import Limiter, connect

TIMES = 1_500
#: When it rings at the latest: a decision takes about half of it.
LATEST_S = 4e-4
PATIENCE_S = 60
HOUR = 3_600_000_000


class Rung(KeyboardInterrupt):
    """What the handler raises; asyncio and others keep exceptions of most other kinds to themselves."""


class Caller:
    """Takes units of a limit of its own amount, so that an answer meant for another is seen.

    Attributes:
        granted, unsure: ids that were admitted, and that the caller heard nothing of.
        broken: what must not happen.
    """

    def __init__(self, limiter: Limiter, tag: str, amount: int) -> None:
        self._limiter = limiter
        self._amount = amount
        limit = Limit(amount=amount, period_us=10_000 * HOUR, burst=amount)
        self.charge = Charge(f"{{{tag}}}:q:key:{amount}:requests", limit, 1)
        self.granted: list[str] = []
        self.unsure: list[str] = []
        self.broken: list[str] = []

    def take(self) -> None:
        """Take one; raises whatever interrupts it."""
        owner = uuid.uuid4().hex
        self.unsure.append(owner)
        decision = self._limiter.reserve([self.charge], reservation_id=owner)
        self.granted.append(owner)
        self.unsure.remove(owner)
        left = self._amount - len(self.granted)
        # What nobody heard of may have been taken as well.
        if not decision.admitted or not left - len(self.unsure) <= decision.remaining[0] <= left:
            self.broken.append(f"{decision} after {len(self.granted)} and {len(self.unsure)}")

    def account(self) -> int:
        """Give back what nobody heard of; returns what the server then counts."""
        for owner in set(self.unsure) - set(self.granted):
            self._limiter.cancel(owner, [self.charge])
        return self._amount - self._limiter.peek([self.charge]).remaining[0]


def storm(url: str, tag: str, *, others: int) -> None:
    """Take units while it rings, and account for each; others take theirs in threads meanwhile."""
    assert threading.current_thread() is threading.main_thread()
    dice, rung = random.Random(7), 0
    with connect(url, deadline=PATIENCE_S, connect_deadline=PATIENCE_S) as client:
        limiter = Limiter(client)
        main, *rest = [Caller(limiter, tag, 100_000 + 1_000 * number) for number in range(1 + others)]
        main.take()
        threads = _started(rest)
        with _heard():
            for _ in range(TIMES):
                try:
                    signal.setitimer(signal.ITIMER_REAL, dice.uniform(1e-6, LATEST_S))
                    main.take()
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except Rung:
                    rung += 1
        _ended(threads)
        main.take()
        assert TIMES / 10 < rung < TIMES, "it rings before, within and after"
        for caller in (main, *rest):
            assert caller.broken == []
            assert caller.account() == len(caller.granted)


@contextmanager
def _heard() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Rung

    before, hook = signal.signal(signal.SIGALRM, ring), sys.unraisablehook
    sys.unraisablehook = lambda unraisable: None  # a socket that is left while it is made warns
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        signal.signal(signal.SIGALRM, before)


class _Going(threading.Thread):
    """Takes until it is told to stop."""

    def __init__(self, caller: Caller) -> None:
        super().__init__(daemon=True)
        self.caller, self.enough = caller, threading.Event()

    def run(self) -> None:
        while not self.enough.is_set():
            try:
                self.caller.take()
            except Exception as error:
                if "interrupted" not in str(error):
                    self.caller.broken.append(repr(error))


def _started(callers: list[Caller]) -> list[_Going]:
    threads = [_Going(caller) for caller in callers]
    for each in threads:
        each.start()
    return threads


def _ended(threads: list[_Going]) -> None:
    for each in threads:
        each.enough.set()
    for each in threads:
        each.join(PATIENCE_S)
        assert not each.is_alive(), "it waits for ever"
