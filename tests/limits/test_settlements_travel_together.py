"""Settlements of more calls than one script call carries go out in one round trip, and happen once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from mesh_store.model import Charge, Limit, Reservation
from mesh_store.redis import Limiter, connect
from mesh_store.redis.batches import MAX_REQUESTS

T0 = 1_000_000_000
CALLS = 4
COUNT = CALLS * MAX_REQUESTS
#: Far above what a busy machine needs to pass on what a client has sent already.
PATIENCE_S = 20.0
#: Short enough for a swallowed reply to time out in a test.
DEADLINE_S = 2.0


@pytest.fixture
def charge(tag: str) -> Charge:
    return Charge(
        f"{{{tag}}}:q:key:k1:requests", Limit(amount=1_000, period_us=3_600_000_000, burst=1_000), 1
    )


@pytest.fixture
def held(limiter: Limiter, charge: Charge) -> list[Reservation]:
    made = [limiter.reserve([charge], now_us=T0).reservation for _ in range(COUNT)]
    assert limiter.peek([charge], now_us=T0).remaining == (1_000 - COUNT,)
    return [reservation for reservation in made if reservation is not None]


@pytest.fixture
def far(proxy: Any) -> Iterator[redis.Redis]:
    with connect(proxy.url, deadline=3 * PATIENCE_S) as client:
        yield client


def given_back(held: list[Reservation]) -> list[tuple[Reservation, tuple[int]]]:
    return [(reservation, (-1,)) for reservation in held]


def test_all_are_asked_before_the_first_answer_is_read(
    proxy: Any, far: redis.Redis, held: list[Reservation], charge: Charge
) -> None:
    distant = Limiter(far)
    distant.peek([charge])
    proxy.asked = b""
    waited: list[bool] = []
    arrived = threading.Event()

    def passed_on() -> None:
        while not arrived.wait(0.01) and len(waited) < PATIENCE_S / 0.01:
            waited.append(True)
            if proxy.asked.count(b"EVALSHA") == CALLS:
                arrived.set()

    proxy.before_reply = passed_on
    assert distant.settle_all(given_back(held), now_us=T0) == [True] * COUNT
    assert arrived.is_set()
    assert distant.peek([charge], now_us=T0).remaining == (1_000,)


@pytest.mark.parametrize("silent", [False, True], ids=["reset", "swallowed"])
def test_they_happen_once_when_their_replies_are_lost(
    proxy: Any, held: list[Reservation], charge: Charge, limiter: Limiter, silent: bool
) -> None:
    with connect(proxy.url, deadline=DEADLINE_S, connect_deadline=PATIENCE_S) as client:
        distant = Limiter(client)
        distant.peek([charge])
        proxy.silent, proxy.lose = silent, 1
        distant.settle_all(given_back(held), now_us=T0)
        proxy.lose = 0
    assert proxy.lost == 1
    assert limiter.settle_all(given_back(held), now_us=T0) == [False] * COUNT
    assert limiter.peek([charge], now_us=T0).remaining == (1_000,)


def test_a_server_that_forgot_the_scripts_is_sent_them_again(
    client: redis.Redis, limiter: Limiter, held: list[Reservation], charge: Charge
) -> None:
    client.script_flush()
    assert limiter.settle_all(given_back(held), now_us=T0) == [True] * COUNT
    assert limiter.peek([charge], now_us=T0).remaining == (1_000,)


def test_a_client_with_commands_of_its_own_sees_each(
    client: redis.Redis, held: list[Reservation], charge: Charge, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    run = client.execute_command

    def execute_command(*command: Any, **options: Any) -> Any:
        seen.append(command[0])
        return run(*command, **options)

    monkeypatch.setattr(client, "execute_command", execute_command)
    assert Limiter(client).settle_all(given_back(held), now_us=T0) == [True] * COUNT
    assert seen.count("EVALSHA") == CALLS
