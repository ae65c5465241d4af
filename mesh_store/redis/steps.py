"""What a course is made of: steps that a driver of either colour performs.

A course is a generator without I/O. It yields the steps that may run side by side and is sent
their results, a `MeshError` in place of a result that could not be had. `Driver` and
`AsyncDriver` only perform steps, so both colours follow the same course.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

from mesh_store.model.errors import ConfigError, MeshError, QuotaUnavailable
from mesh_store.model.limits import Charge
from mesh_store.redis.answers import DONE, REUSED, ROLLED, Answer
from mesh_store.redis.asks import Ask
from mesh_store.redis.wire import Call

#: Told of charges that may stand without anybody holding their reservation.
Orphaned = Callable[[str, Sequence[Charge]], None]


class Reserving(NamedTuple):
    """Ask for the charges of one tag; the result is an `Answer`. May be joined with others'."""

    ask: Ask
    now_us: int


Step = Reserving | Call
Course = Generator[list[Step], list[Any], Any]


#: Ids nobody was given yet; a forked child must not give the same.
_minted: list[str] = []
os.register_at_fork(after_in_child=_minted.clear)


def mint_id() -> str:
    """Mint a reservation id: 128 random bits, unguessable and never repeated after a fork."""
    try:
        return _minted.pop()
    except IndexError:
        # The system is asked for many at once, which costs it as much as one.
        random = os.urandom(1024).hex()
        fresh = [random[at : at + 32] for at in range(0, 2048, 32)]
        _minted.extend(fresh[1:])
        return fresh[0]


def wall_us(now_us: int) -> int:
    """Return the virtual time, or this machine's guess at the server's."""
    return now_us or time.time_ns() // 1000


def raise_first(results: Sequence[Any], reservation_id: str) -> None:
    """Raise the first error among results, or what an answer's status means."""
    for result in results:
        if isinstance(result, MeshError):
            raise result
        if not isinstance(result, Answer):
            continue
        if result.status == REUSED:
            raise reused(reservation_id)
        if result.status == DONE:
            raise QuotaUnavailable(f"reservation {reservation_id} was cancelled before it was granted")
        if result.status == ROLLED:
            raise QuotaUnavailable("a budget's window rolled over twice while it was asked", retry_after=1.0)


def reused(reservation_id: str) -> ConfigError:
    """Say that an id already stands for something else."""
    return ConfigError(f"reservation id {reservation_id} was used before for other charges; mint a new one")
