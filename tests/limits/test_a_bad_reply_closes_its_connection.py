"""A reply that cannot be ours is an outage, and whoever brought it is not asked again."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from mesh_store.model import Charge, Limit, QuotaUnavailable
from mesh_store.redis import AsyncLimiter, Limiter, connect, connect_async

BAD = [
    [b"\xc1"],
    [msgspec.msgpack.encode([1, 2])],
    [msgspec.msgpack.encode([1, 2, 3, 4])],
    [msgspec.msgpack.encode("text")],
    b"PONG",
    7,
    [],
    None,
]


#: In a list of answers: what the script really said.
TRUE = object()


@pytest.fixture
def charge(tag: str) -> Charge:
    return Charge(f"{{{tag}}}:q:a", Limit(amount=100, period_us=3_600_000_000), 1)


class Swapped:
    """A client whose next script calls really happen, and answer something else."""

    def __init__(self, client: Any) -> None:
        self.answers: list[Any] = []
        real = client.execute_command

        def swapped(*args: Any, **options: Any) -> Any:
            reply = real(*args, **options)
            if args[0] not in ("EVALSHA", "EVAL") or not self.answers:
                return reply
            answer = self.answers.pop()
            if answer is TRUE:
                return reply
            if not hasattr(reply, "__await__"):
                return answer

            async def later() -> Any:
                await reply
                return answer

            return later()

        client.execute_command = swapped


@pytest.fixture(params=["sync", "async"])
async def door(request: pytest.FixtureRequest, server: Any) -> Any:
    """What to call: ``await door(method, …)``, ``await door.connection()``, ``door.next_answer``."""
    if request.param == "sync":
        with connect(server.url, deadline=5) as client:
            yield Door(client, Limiter(client))
    else:
        async with connect_async(server.url, deadline=5, connect_deadline=5) as aclient:
            yield Door(aclient, AsyncLimiter(aclient))


class Door:
    def __init__(self, client: Any, limiter: Any) -> None:
        self.client, self.limiter, self.swapped = client, limiter, Swapped(client)
        self.orphans: list[str] = []
        limiter._watch.orphaned = lambda owner, charges: self.orphans.append(owner)

    async def __call__(self, method: str, *args: Any) -> Any:
        return await settled(getattr(self.limiter, method)(*args))

    async def connection(self) -> int:
        number: int = await settled(self.client.client_id())
        return number


async def settled(value: Any) -> Any:
    return await value if hasattr(value, "__await__") else value


@pytest.mark.parametrize("reply", BAD, ids=repr)
async def test_of_a_reserve(door: Callable[..., Any], charge: Charge, reply: Any) -> None:
    await door("reserve", [charge])
    before = await door.connection()  # type: ignore[attr-defined]
    door.swapped.answers.append(reply)  # type: ignore[attr-defined]
    with pytest.raises(QuotaUnavailable):
        await door("reserve", [charge])
    assert await door.connection() != before  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["settle", "peek", "renew"])
@pytest.mark.parametrize("reply", [b"\x93\x01\x01\x01", b"\xc1", [], 7], ids=repr)
async def test_of_any_other_call(door: Callable[..., Any], charge: Charge, method: str, reply: Any) -> None:
    reservation = (await door("reserve", [charge])).reservation
    before = await door.connection()  # type: ignore[attr-defined]
    door.swapped.answers.append(reply)  # type: ignore[attr-defined]
    asked = {"settle": reservation, "peek": [charge], "renew": [reservation]}[method]
    with pytest.raises(QuotaUnavailable):
        await door(method, asked)
    assert await door.connection() != before  # type: ignore[attr-defined]


@pytest.mark.parametrize("reply", [b"\x93\x01\x01\x01", b"\xc1", [], 7], ids=repr)
@pytest.mark.parametrize(
    "garbled", ["the first tag's cancel", "the other tag's peek", "the first tag's peek"]
)
async def test_a_refusal_stays_one_when_what_follows_it_is_garbled(
    door: Any, tag: str, garbled: str, reply: Any
) -> None:
    limit = Limit(amount=10, period_us=3_600_000_000)
    first, other = Charge(f"{{{tag}}}:q:a", limit, 1), Charge(f"{{user-{tag}}}:q:b", limit, 1)
    await door("reserve", [first])
    before = await door.connection()
    later = [TRUE, TRUE, reply] if garbled.endswith("cancel") else [TRUE, TRUE, TRUE, reply]
    if garbled == "the other tag's peek":
        later = [TRUE, reply]
    charges = [Charge(first.key, limit, 1), Charge(other.key, limit, 11)]
    if garbled == "the other tag's peek":
        charges = [Charge(first.key, limit, 11), other]
    door.swapped.answers = later[::-1]
    decision = await door("reserve", charges)
    assert not decision.admitted
    assert decision.binding == charges.index(max(charges, key=lambda each: each.amount))
    assert decision.unseen == (() if garbled.endswith("cancel") else (1 - decision.binding,))
    assert len(door.orphans) == int(garbled.endswith("cancel")), (
        "what may still be charged is nobody's to cancel"
    )
    assert await door.connection() != before
