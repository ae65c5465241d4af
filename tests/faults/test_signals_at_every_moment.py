"""Ctrl-C at every moment of a call: it has one ending, the books agree, and nothing keeps it to itself."""

from __future__ import annotations

import random
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.faults.conftest import Priced

TIMES = 400
#: When it rings at the latest, seconds; most calls have ended by then.
LATEST_S = 6e-3
PATIENCE_S = 60

pytestmark = [
    pytest.mark.timeout(60, method="thread"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@contextmanager
def heard() -> Iterator[None]:
    """While this lasts, the clock rings as Ctrl-C does."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    hook, sys.unraisablehook = (
        sys.unraisablehook,
        lambda unraisable: None,
    )  # what is left while it is made warns
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        signal.signal(signal.SIGALRM, before)


def call(mesh: Any, **asked: Any) -> None:
    mesh.chat(**asked)


def stream(mesh: Any, **asked: Any) -> None:
    list(mesh.stream(**asked))


@pytest.mark.parametrize("way", [call, stream])
def test_each_call_has_one_ending_and_the_books_agree(priced: Priced, way: Any) -> None:
    assert threading.current_thread() is threading.main_thread()
    mesh, dice, rung = priced.world.mesh(), random.Random(7), 0
    way(mesh, **priced.asked(f"{priced.world.team}-first"))
    with heard():
        for number in range(TIMES):
            try:
                signal.setitimer(signal.ITIMER_REAL, dice.uniform(1e-5, LATEST_S))
                way(mesh, **priced.asked(f"{priced.world.team}-{number}"))
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                rung += 1
    way(mesh, **priced.asked(f"{priced.world.team}-last"))
    assert mesh.flush(PATIENCE_S)
    mesh.close()
    ended = priced.check()
    assert rung > 10
    assert ended["ok"] + rung >= TIMES // 2
