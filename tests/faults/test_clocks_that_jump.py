"""A caller's clock may jump while it calls, or its machine sleep: nothing else is admitted, counted, told."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from mesh_plugins import QuotaExceeded
from mesh_store.model.facts import Fact
from tests.conftest import World
from tests.faults import books
from tests.faults.conftest import LIMITS, Priced

ASK = [{"role": "user", "content": "hi"}]
DAY_S = 86_400
MOST = 14
JUMPS = {"a day on": DAY_S, "a day back": -DAY_S, "a month on": 30 * DAY_S, "a year back": -366 * DAY_S}
#: Asked exactly, so that one call too many shows.
EXACT = (f"{MOST} requests/day, burst {MOST}, lease off", *LIMITS[1:])


class Wall:
    """This process's wall clock, which somebody sets."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.off_s = 0
        truly_s, truly_ns = time.time, time.time_ns
        patch.setattr("time.time", lambda: truly_s() + self.off_s)
        patch.setattr("time.time_ns", lambda: truly_ns() + self.off_s * 1_000_000_000)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    """The clock of callers; set right again before others look at what they did."""
    return Wall(monkeypatch)


def kept(world: World) -> list[Any]:
    """Calls of which Postgres holds a fact, be it among those that are out of time."""
    world.collect()
    told = [(row["call_id"], row["outcome"]) for row in world.rows("e.call_id::text, e.outcome")]
    [team] = world.query("SELECT id::text FROM teams WHERE name = $1", world.team)
    for row in world.query("SELECT body FROM telemetry_dead WHERE reason IN ('too_new', 'too_old')"):
        fact = msgspec.msgpack.decode(row["body"], type=Fact)
        if fact.team_id == team["id"]:
            told.append((fact.call_id, fact.outcome))
    return told


@pytest.mark.parametrize("leases", [False, True], ids=["asked", "leased"])
@pytest.mark.parametrize("jump", JUMPS)
def test_calls_are_admitted_counted_and_told_as_if_it_had_not(
    make_priced: Callable[..., Priced], wall: Wall, jump: str, leases: bool
) -> None:
    """In front of calls, within calls and streams, and back again."""
    priced = make_priced(EXACT if not leases else LIMITS)
    mesh, numbers, spent = priced.world.mesh(leases=leases), itertools.count(), 0

    def ask() -> dict[str, Any]:
        return priced.asked(f"{priced.world.team}-{next(numbers)}")

    def call() -> None:
        nonlocal spent
        spent += mesh.chat(**ask()).mesh.cost * 10**12

    def streamed(off_s: int) -> None:
        nonlocal spent
        with mesh.stream(**ask()) as stream:
            next(stream)
            wall.off_s = off_s
            list(stream)
        assert stream.receipt is not None
        spent += stream.receipt.cost_pico_usd or 0

    call()
    streamed(JUMPS[jump])
    call()
    call()
    streamed(0)
    call()
    streamed(JUMPS[jump])
    most = 60 if leases else MOST
    for _ in range(most - 7):
        call()
    if not leases:
        for off_s in (JUMPS[jump], 0, JUMPS[jump]):
            wall.off_s = off_s
            with pytest.raises(QuotaExceeded) as refused:
                mesh.chat(**ask())
            assert 0 < refused.value.retry_after <= DAY_S
    mesh.close()
    wall.off_s = 0
    told = kept(priced.world)
    assert [outcome for _, outcome in told].count("ok") == most
    assert len({call for call, _ in told}) == len(told)
    [row] = priced.world.query(
        "SELECT sum(w.spent_pico_usd) AS spent FROM budget_windows w "
        "JOIN teams t ON w.key LIKE '{' || t.id || '}%' WHERE t.name = $1",
        priced.world.team,
    )
    assert row["spent"] == spent > 0, "money belongs to the window of its reservation, by the server's clock"
    assert books.nothing_is_held(priced.world)


def test_a_target_that_cools_down_does_so_by_no_clock_on_the_wall(world: World, wall: Wall) -> None:
    alias = world.alias(models=("sick", "well"))
    world.provider.script("sick", status=503)
    mesh = world.mesh()

    def asked(model: str) -> int:
        return sum(request.json["model"] == model for request in world.provider.requests if request.json)

    try:
        for _ in range(3):
            assert mesh.chat(alias, ASK).mesh.target.endswith("well")
        cooling = asked("sick")
        for off_s in (DAY_S, -DAY_S, 30 * DAY_S):
            wall.off_s = off_s
            mesh.chat(alias, ASK)
        assert asked("sick") == cooling, "a clock that was put on ends no cool-down"
        world.provider.script("sick")
        until = time.monotonic() + 60
        while not mesh.chat(alias, ASK).mesh.target.endswith("sick"):
            assert time.monotonic() < until, "a clock that was put back makes none last"
            time.sleep(0.1)
    finally:
        world.provider.script("sick")


def test_a_machine_that_slept_spends_no_lease_it_held(make_world: Callable[..., World]) -> None:
    world = make_world(limits=("60k requests/min, burst 6000",))
    alias, mesh = world.alias(), world.mesh()
    book = mesh._held.guard.leases
    assert book is not None
    asked: list[bool] = []
    draw = book.draw

    def counted(*given: Any) -> Any:
        drawn = draw(*given)
        asked.append(drawn is None)
        return drawn

    book.draw = counted
    until = time.monotonic() + 60
    while len(asked) < 2 or asked[-1]:
        assert time.monotonic() < until, "nothing was leased"
        mesh.chat(alias, ASK)
    slept = 3_600 * 1_000_000
    micros, nanos = book._clock_us, book._clock_ns
    book._clock_us, book._clock_ns = lambda: micros() + slept, lambda: nanos() + slept * 1_000
    mesh.chat(alias, ASK)
    assert asked[-1], "the first call after it asks Redis"
    mesh.close()
    world.collect()
    assert len(world.rows("e.id")) == len(asked)
