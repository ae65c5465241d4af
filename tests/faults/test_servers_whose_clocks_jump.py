"""The clocks of Valkey and Postgres jump an hour while calls run: bounds hold, and every call is one fact."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import redis

from mesh_plugins import QuotaExceeded, QuotaUnavailable
from mesh_store.admin import Admin
from tests.conftest import SIGNER, World
from tests.engines import Engines, Operator
from tests.faults import books
from tests.faults.conftest import LIMITS, Priced
from tests.faults.test_clocks_that_jump import kept
from tests.faults.wound import Wound, needs_libfaketime, wound

pytestmark = needs_libfaketime

HOUR_S = 3_600
DAY_S = 24 * HOUR_S
BURST, RATE_S = 12, 2
JUMPS = {"forward": HOUR_S, "back": -HOUR_S}
ASK = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def wound_engines() -> Iterator[Wound]:
    """Engines of this file's own; one start for all of its tests."""
    with wound() as both:
        yield both


@pytest.fixture(scope="module")
def mesh_engines(wound_engines: Wound) -> Engines:
    """In place of the session's: `make_world` makes its teams here."""
    engines = wound_engines.engines

    async def prepare() -> None:
        urls = (engines.database_url, engines.redis_url)
        async with Admin.open(*urls, actor="tests", signer=SIGNER, migrate=True) as admin:
            await admin.publish()

    asyncio.run(prepare())
    return engines


@pytest.fixture(scope="module")
def mesh_operator(mesh_engines: Engines) -> Iterator[Operator]:
    with closing(Operator(mesh_engines.database_url)) as operator:
        yield operator


@pytest.fixture
def clocks(wound_engines: Wound) -> Iterator[Wound]:
    """Clocks that are right before and after a test."""
    yield wound_engines
    wound_engines.postgres.put(0)
    wound_engines.valkey.put(0)


def until_refused(call: Callable[[], Any]) -> tuple[int, float]:
    """Call until a limit refuses; how many were admitted, and when to come back."""
    admitted, until = 0, time.monotonic() + 60
    while time.monotonic() < until:
        try:
            call()
        except QuotaExceeded as refused:
            return admitted, refused.retry_after or 0.0
        admitted += 1
    raise AssertionError("nothing was refused for a minute")


def until_admitted(call: Callable[[], Any]) -> None:
    """Call until it is admitted."""
    until = time.monotonic() + 60
    while True:
        try:
            call()
        except QuotaExceeded:
            assert time.monotonic() < until, "still refused after a minute"
            time.sleep(0.1)
        else:
            return


def test_their_clocks_are_what_these_tests_set(clocks: Wound, mesh_operator: Operator) -> None:
    with redis.Redis.from_url(clocks.engines.redis_url) as client:
        for off_s in (0, *JUMPS.values()):
            clocks.valkey.put(off_s)
            clocks.postgres.put(off_s)
            [row] = mesh_operator.query("SELECT extract(epoch FROM clock_timestamp())::float AS now")
            seconds, _ = client.time()
            assert abs(seconds - time.time() - off_s) < 60
            assert abs(row["now"] - time.time() - off_s) < 60


@pytest.mark.parametrize("jump", JUMPS)
def test_a_rate_gives_one_burst_more_for_each_jump_and_denies_for_seconds(
    make_world: Callable[..., World], clocks: Wound, jump: str
) -> None:
    world = make_world(limits=(f"{RATE_S * 60} requests/min, burst {BURST}, lease off",))
    alias, mesh = world.alias(), world.mesh(leases=False)
    began, total, each = time.monotonic(), 0, []
    for off_s in (0, JUMPS[jump], 0):
        assert mesh.flush(60)  # else what settles after the jump sets the debt right, too
        clocks.valkey.put(off_s)
        admitted, wait_s = until_refused(lambda: mesh.chat(alias, ASK))
        time.sleep(wait_s)  # a refusal is remembered for so long, and Redis not asked
        until_admitted(lambda: mesh.chat(alias, ASK))  # under the clock that jumped
        total += admitted + 1
        each.append(admitted)
        assert wait_s <= BURST / RATE_S + 1, "seconds, and not the jump"
    assert max(each[1:]) >= 1, "Redis was asked under another clock"
    most = BURST + RATE_S * (time.monotonic() - began) + 2 * BURST
    assert total <= most + 1


@pytest.mark.parametrize("leases", [False, True], ids=["asked", "leased"])
@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("whose", ["valkey", "postgres", "both"])
def test_every_call_is_one_fact_and_every_cent_counts_once(
    make_priced: Callable[..., Priced], clocks: Wound, whose: str, jump: str, leases: bool
) -> None:
    """Before, in the middle of a stream, after, and back again."""
    priced = make_priced(LIMITS)
    mesh, spent, made = priced.world.mesh(leases=leases), 0, 0

    def put(off_s: int) -> None:
        if whose != "valkey":
            clocks.postgres.put(off_s)
        if whose != "postgres":
            clocks.valkey.put(off_s)

    def patiently(call: Callable[[], Any]) -> Any:
        """A day that a clock jumped into has no counted budget yet: it waits for a collector."""
        nonlocal made
        made += 1
        until = time.monotonic() + 60
        while True:
            try:
                return call()
            except (QuotaExceeded, QuotaUnavailable):
                assert time.monotonic() < until
                priced.world.collect()

    def calls(count: int) -> None:
        nonlocal spent
        for _ in range(count):
            reply = patiently(lambda: mesh.chat(**priced.asked(priced.world.team)))
            spent += int(reply.mesh.cost * 10**12)

    def streamed(off_s: int) -> None:
        nonlocal spent
        with patiently(lambda: mesh.stream(**priced.asked(priced.world.team))) as stream:
            next(stream)
            put(off_s)
            list(stream)
        assert stream.receipt is not None
        spent += stream.receipt.cost_pico_usd or 0

    calls(4)
    streamed(JUMPS[jump])
    calls(10)
    assert mesh.flush(60)
    priced.world.collect()
    calls(2)
    streamed(0)
    calls(4)
    mesh.close()
    told = kept(priced.world)
    assert [outcome for _, outcome in told].count("ok") == made
    assert len({call for call, outcome in told if outcome == "ok"}) == made
    [row] = priced.world.query(
        "SELECT sum(w.spent_pico_usd) AS spent FROM budget_windows w "
        "JOIN teams t ON w.key LIKE '{' || t.id || '}%' WHERE t.name = $1",
        priced.world.team,
    )
    assert row["spent"] == spent > 0
    assert books.nothing_is_held(priced.world, 60)


def test_a_slot_held_across_a_jump_forward_may_be_given_again_and_no_more(
    make_world: Callable[..., World], clocks: Wound
) -> None:
    """A lease that ended by the server's clock looks like one whose holder died."""
    world = make_world(limits=("1 concurrent",))
    alias, held = world.alias(), world.mesh()
    with held.stream(alias, ASK) as stream:
        next(stream)
        with pytest.raises(QuotaExceeded):
            held.chat(alias, ASK)
        clocks.valkey.put(HOUR_S)
        other = world.mesh()  # who remembers no refusal
        try:
            with other.stream(alias, ASK) as second:
                next(second)
                with pytest.raises(QuotaExceeded):
                    world.mesh().chat(alias, ASK)
        except QuotaExceeded:
            pass  # its holder renewed it first
        assert list(stream), "who held it goes on"
    assert held.flush(60)
    assert other.flush(60)
    assert books.nothing_is_held(world, 60)


def test_a_day_jumped_into_has_a_budget_of_its_own_and_the_day_before_keeps_what_it_spent(
    make_priced: Callable[..., Priced], clocks: Wound
) -> None:
    priced = make_priced(("$500/day",))
    noon_s = 12 * HOUR_S - int(time.time()) % DAY_S

    def left(off_s: int) -> Any:
        clocks.valkey.put(noon_s + off_s)  # no midnight comes by itself
        mesh = priced.world.mesh(leases=False)  # who has learned nothing: each reserves as much
        [left] = mesh.chat(**priced.asked(priced.world.team)).mesh.remaining.values()
        return left

    first = left(0)
    assert left(3 * DAY_S) == first
    assert left(-3 * DAY_S) == first
    assert left(0) < first
