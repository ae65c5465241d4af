"""``on_exhausted: cut``: a stream beyond what a hard limit reserved ends, settled at what was used."""

from collections.abc import Callable
from typing import Any
from unittest.mock import ANY

import msgspec
import pytest

from mesh_plugins.core.call import ProviderReply
from mesh_store.model.errors import BudgetExceeded, QuotaExceeded
from mesh_store.model.limits import Limit
from mesh_store.model.usage import Usage

#: Forty characters, ten tokens, a chunk.
CHUNK = "x" * 40


class Growing:
    """A stream of chunks that are counted as they are read, in both colours."""

    def __init__(self, count: int) -> None:
        self.left, self.closed = count, 0
        self.reply = ProviderReply(None)

    def __iter__(self) -> Any:
        return self

    __aiter__ = __iter__

    def __next__(self) -> str:
        if not self.left:
            self.reply.usage, self.reply.finish_reason = Usage(3, 99), "stop"
            raise StopIteration
        self.left -= 1
        self.reply.output_chars += len(CHUNK)
        return CHUNK

    async def __anext__(self) -> str:
        try:
            return next(self)
        except StopIteration:
            raise StopAsyncIteration from None

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.close()


@pytest.fixture
def cutting(make_world: Callable[..., Any], make_rule: Callable[..., Any]) -> Callable[..., Any]:
    """A world with one cutting limit, and a stream of 20 chunks (200 tokens) through it."""

    def make(dimension: str = "output_tokens", *, hard: bool = True, **changes: Any) -> Any:
        limit = Limit(amount=10**9, period_us=60_000_000, hard=hard)
        rule = make_rule("r1", dimension, 10**9, limit=limit, team="t1")
        rule = msgspec.structs.replace(rule, **{"on_exhausted": "cut", **changes})
        world = make_world(limits=(rule,))
        world.inner = Growing(20)
        world.sender.script = [world.inner]
        world.sender.stream = lambda call: world.inner

        async def astream(call: Any) -> Any:
            return world.inner

        world.sender.astream = astream
        return world

    return make


async def read(world: Any, colour: str) -> tuple[int, Exception | None, Any]:
    """Read to the end; return how many chunks came, what was raised, and the stream."""
    got = 0
    request = world.ask(stream=True)
    try:
        if colour == "sync":
            stream = world.runtime.stream_call(request, world.sender)
            for _ in stream:
                got += 1
        else:
            stream = await world.runtime.astream_call(request, world.sender)
            async for _ in stream:
                got += 1
    except QuotaExceeded as error:
        return got, error, stream
    return got, None, stream


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_it_is_cut_and_settled_at_what_was_used(cutting: Callable[..., Any], colour: str) -> None:
    world = cutting()
    got, error, stream = await read(world, colour)
    # The caller allowed 50 tokens: five chunks; the sixth is too much.
    assert got == 5
    assert isinstance(error, QuotaExceeded)
    assert "about 60 output tokens" in str(error)
    assert (error.requested, error.remaining, error.subject) == (60, 0, "team research")
    assert world.inner.closed == 1
    [fact] = world.recorder.facts
    assert (fact.outcome, fact.output_tokens, fact.estimated) == ("cancelled", 60, True)
    assert "cut" in fact.flags
    [done] = world.recorder.settlements
    assert done.settlement.actual == (60,)
    assert stream.receipt is not None


@pytest.mark.parametrize(
    "changes", [{"hard": False}, {"on_exhausted": "allow"}, {"enforce": False}], ids=repr
)
async def test_no_other_limit_cuts(cutting: Callable[..., Any], changes: dict[str, Any]) -> None:
    world = cutting(**changes)
    got, error, _ = await read(world, "sync")
    assert (got, error) == (20, None)
    assert world.recorder.facts[0].outcome == "ok"


async def test_tokens_leave_what_was_sent_to_the_input(cutting: Callable[..., Any]) -> None:
    world = cutting("tokens")
    got, error, _ = await read(world, "sync")
    assert isinstance(error, QuotaExceeded)
    assert 5 <= got < 20


async def test_money_is_counted_in_tokens(cutting: Callable[..., Any]) -> None:
    world = cutting("usd")
    # The dearer target was reserved for: what it would have cost may be spent at the cheaper one.
    assert await read(world, "sync") == (20, None, ANY)
    world = cutting("usd")
    rates = world.config.document.rates
    same = {"x1": rates["x1"], "x2": rates["x1"]}
    world.config.document = msgspec.structs.replace(world.config.document, rates=same)
    got, error, _ = await read(world, "sync")
    assert isinstance(error, BudgetExceeded)
    assert 5 <= got < 20


async def test_money_without_a_price_cuts_nothing(cutting: Callable[..., Any]) -> None:
    world = cutting("usd")
    world.config.document = msgspec.structs.replace(world.config.document, rates={})
    got, error, _ = await read(world, "sync")
    assert (got, error) == (20, None)
