"""The server did its work and nobody heard: the same id is asked again, and counts once."""

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis

from mesh_store.model import Charge, Limit, QuotaUnavailable
from mesh_store.redis import AsyncLimiter, Limiter, connect, connect_async

MINUTE_US = 60_000_000
#: Long enough for a shared machine, short enough to time out in a test.
DEADLINE = 0.5


@pytest.fixture
def charge(tag: str) -> Charge:
    return Charge(f"{{{tag}}}:q:key:k1:requests", Limit(amount=100, period_us=3_600 * MINUTE_US), 1)


@pytest.fixture(params=["sync", "async"])
async def through(request: pytest.FixtureRequest, proxy: Any) -> Any:
    """Call a limiter of either colour through the proxy; ``orphans`` collects what it reports."""
    orphans: list[str] = []

    def orphaned(reservation_id: str, _: object) -> None:
        orphans.append(reservation_id)

    if request.param == "sync":
        with connect(proxy.url, deadline=DEADLINE) as client:
            limiter = Limiter(client, orphaned=orphaned)

            async def call(method: str, *args: Any, **kwargs: Any) -> Any:
                return getattr(limiter, method)(*args, **kwargs)

            call.orphans = orphans  # type: ignore[attr-defined]
            yield call
    else:
        async with connect_async(proxy.url, deadline=DEADLINE) as aclient:
            alimiter = AsyncLimiter(aclient, orphaned=orphaned)

            async def acall(method: str, *args: Any, **kwargs: Any) -> Any:
                return await getattr(alimiter, method)(*args, **kwargs)

            acall.orphans = orphans  # type: ignore[attr-defined]
            yield acall


@pytest.mark.parametrize("silent", [False, True], ids=["reset", "swallowed"])
async def test_a_reserve_whose_reply_was_lost_charges_once(
    through: Callable[..., Any], proxy: Any, charge: Charge, limiter: Limiter, silent: bool
) -> None:
    await through("peek", [charge])
    proxy.silent, proxy.lose = silent, 1
    decision = await through("reserve", [charge])
    assert proxy.lost == 1
    assert decision.admitted
    assert limiter.peek([charge]).remaining == (99,)


async def test_twenty_losses_in_forty_reserves_charge_forty(
    through: Callable[..., Any], proxy: Any, charge: Charge, limiter: Limiter
) -> None:
    await through("peek", [charge])
    for number in range(40):
        proxy.lose = number % 2
        assert (await through("reserve", [charge])).admitted
    assert proxy.lost == 20
    assert limiter.peek([charge]).remaining == (60,)


async def test_a_settlement_whose_reply_was_lost_settles_once(
    through: Callable[..., Any], proxy: Any, charge: Charge, limiter: Limiter
) -> None:
    decision = await through("reserve", [charge])
    proxy.lose = 1
    await through("settle", decision.reservation, (30,))
    assert proxy.lost == 1
    assert limiter.peek([charge]).remaining == (69,)


async def test_at_most_grants_once_when_its_reply_was_lost(
    through: Callable[..., Any], proxy: Any, tag: str, limiter: Limiter
) -> None:
    wide = Charge(f"{{{tag}}}:q:key:k1:tokens", Limit(amount=100, period_us=3_600 * MINUTE_US), 70)
    await through("peek", [wide])
    proxy.lose = 1
    assert (await through("at_most", wide)).granted == 70
    assert limiter.peek([wide]).remaining == (30,)


async def test_two_losses_are_an_outage_and_the_charge_is_reported(
    through: Callable[..., Any], proxy: Any, charge: Charge, limiter: Limiter
) -> None:
    await through("peek", [charge])
    proxy.lose = 2
    with pytest.raises(QuotaUnavailable):
        await through("reserve", [charge])
    assert limiter.peek([charge]).remaining == (99,)
    [unheard] = through.orphans  # type: ignore[attr-defined]
    assert limiter.cancel(unheard, [charge])
    assert limiter.peek([charge]).remaining == (100,)


def test_a_silent_server_is_given_up_within_two_deadlines(proxy: Any, charge: Charge) -> None:
    import time

    with connect(proxy.url, deadline=0.05) as client:
        limiter = Limiter(client)
        proxy.silent, proxy.lose = True, 10**6
        started = time.monotonic()
        with pytest.raises(QuotaUnavailable):
            limiter.reserve([charge])
        assert time.monotonic() - started < 4.5, "redis-py's own patience is five seconds"


def test_scripts_a_server_forgot_are_sent_again(client: redis.Redis, charge: Charge) -> None:
    limiter = Limiter(client)
    decision = limiter.reserve([charge])
    assert decision.reservation
    client.script_flush()
    assert limiter.reserve([charge]).remaining == (98,)
    client.script_flush()
    assert limiter.settle(decision.reservation, (-1,))
    client.script_flush()
    assert limiter.peek([charge]).remaining == (99,)


def test_below_the_limiter_nothing_is_asked_again() -> None:
    asked = 0
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            nonlocal asked
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as connection:
                        # A connection that closes before anything was sent may be made anew.
                        asked += bool(connection.recv(4096))

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        with (
            connect(f"redis://127.0.0.1:{server.getsockname()[1]}", deadline=DEADLINE) as client,
            pytest.raises(redis.ConnectionError),
        ):
            client.get("anything")
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)
    assert asked == 1
