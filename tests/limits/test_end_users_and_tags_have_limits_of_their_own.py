"""Limits on what callers say: each end user and each value of a tag by itself, bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import redis

from mesh_plugins.testing.limiter import MemoryLimiter
from mesh_plugins.testing.memory import MemoryMesh
from mesh_store.model.errors import QuotaExceeded
from mesh_store.model.limit_text import parse_limit
from mesh_store.model.snapshot import LimitRule, Subject, Team
from mesh_store.redis import AsyncLimiter, Limiter

ASK = [{"role": "user", "content": "hi"}]
SPELLINGS = ["2 requests/hour", "2 requests/hour, hard, burst 1", "100 tokens/hour, burst 100",
             "90 output tokens/hour, burst 90", "60 input tokens/hour, burst 60", "2 concurrent"]  # fmt: skip


def rule(rule_id: str, text: str, *, label: str = "team team", **more: Any) -> LimitRule:
    dimension, limit = parse_limit(text)
    fields = {name: more.pop(name) for name in ("distinct", "enforce") if name in more}
    return LimitRule(
        id=rule_id, subject=Subject(**{"team": "team", **more}), dimension=dimension, limit=limit, text=text,
        label=label, **fields,
    )  # fmt: skip


@pytest.fixture(params=["memory", "redis"])
def mesh(request: pytest.FixtureRequest, client: redis.Redis, tag: str) -> Callable[..., MemoryMesh]:
    """A mesh whose limits are counted in memory, or in Redis."""

    def make(*rules: LimitRule) -> MemoryMesh:
        made = MemoryMesh()
        config: Any = made.config
        config.publish(msgspec.structs.replace(config.document, limits=rules, teams=(Team("team", "team"),)))
        if request.param == "redis":
            limiter: Any = Keyed(Limiter(client), tag)
            made.limiter = limiter
            made.memory._limiter = limiter
        return made

    return make


class Keyed:
    """The limiter over Redis, with a hash tag of this test's own in place of the team's."""

    def __init__(self, inner: Limiter, tag: str) -> None:
        self._inner, self._tag = inner, tag

    def reserve(self, charges: Any, **options: Any) -> Any:
        own = [msgspec.structs.replace(c, key=c.key.replace("{team}", f"{{{self._tag}}}")) for c in charges]
        options["ttl_us"] = options.get("ttl_us") or 60_000_000
        return self._inner.reserve(own, **options)

    def settle(self, reservation: Any, deltas: Any) -> Any:
        return self._inner.settle(reservation, deltas)


def refused(mesh: MemoryMesh, **said: Any) -> QuotaExceeded | None:
    try:
        mesh.chat("fast", ASK, max_tokens=30, **said)
    except QuotaExceeded as error:
        return error
    return None


def until_refused(mesh: MemoryMesh, **said: Any) -> int:
    return next(n for n in range(100) if refused(mesh, **said))


def test_each_end_user_has_the_whole_limit_by_itself(mesh: Callable[..., MemoryMesh]) -> None:
    world = mesh(rule("r", "2 requests/hour", label="team team, end user *", end_user="*"))
    assert until_refused(world, end_user="ann") == 2
    assert until_refused(world, end_user="bob") == 2
    assert not refused(world)  # a call without an end user is nobody's
    error = refused(world, end_user="ann")
    assert error is not None
    assert error.subject == "team team, end user ann"
    assert "end user ann: the limit '2 requests/hour'" in str(error)


@pytest.mark.parametrize("text", SPELLINGS)
def test_every_dimension_counts_by_itself(mesh: Callable[..., MemoryMesh], text: str) -> None:
    """Slots come back with their calls, so that nothing is refused; the rest is, and for one user alone."""
    world = mesh(rule("r", text, end_user="*"))
    if "concurrent" in text:
        assert [refused(world, end_user="ann") for _ in range(5)] == [None] * 5
    else:
        assert 1 <= until_refused(world, end_user="ann") <= 30
        assert not refused(world, end_user="bob")


def test_a_named_end_user_has_its_own_limit_in_place_of_the_one_for_each(
    mesh: Callable[..., MemoryMesh],
) -> None:
    world = mesh(
        rule("r", "2 requests/hour", end_user="*"),
        rule("vip", "5 requests/hour", end_user="vip"),
        rule("other", "4 requests/day", end_user="vip"),
    )
    assert until_refused(world, end_user="ann") == 2
    assert until_refused(world, end_user="vip") == 4  # another period's limit holds beside it


def test_tags_bind_by_name_by_value_and_each_value_by_itself(mesh: Callable[..., MemoryMesh]) -> None:
    world = mesh(
        rule("r1", "3 requests/hour", tag="batch"),
        rule("r2", "2 requests/hour", tag="job=*"),
        rule("r3", "1 requests/hour", tag="job=nightly"),
    )
    assert until_refused(world, tags=["batch"]) == 3
    assert refused(world, tags={"batch": "any value", "job": "new"})
    assert until_refused(world, tags={"job": "a"}) == 2
    assert until_refused(world, tags={"job": "b"}) == 2
    assert until_refused(world, tags={"job": "nightly"}) == 1
    assert not refused(world, tags={"other": "x"})


def test_inventing_end_users_evades_neither_the_teams_limits_nor_the_cap(
    mesh: Callable[..., MemoryMesh],
) -> None:
    world = mesh(
        rule("r", "5 requests/hour", end_user="*", distinct=3, label="team team, end user *"),
        rule("team", "7 requests/hour"),
    )
    assert [refused(world, end_user=f"u{n}") is None for n in range(5)] == [True, True, True, False, False]
    error = refused(world, end_user="u9")
    assert error is not None
    assert error.limit == "3 end users/day"
    assert error.requested == 1
    assert until_refused(world, end_user="u0") == 4  # known, and stopped by the team: 3 + 4 were admitted


def test_keys_hold_no_word_of_the_caller_and_go_by_themselves(client: redis.Redis, tag: str) -> None:
    made = MemoryMesh()
    config: Any = made.config
    rules = (rule("r", "2 requests/hour", end_user="*"), rule("s", "2 concurrent", tag="job=*"))
    config.publish(msgspec.structs.replace(config.document, limits=rules))
    limiter: Any = Keyed(Limiter(client), tag)
    made.limiter = made.memory._limiter = limiter
    refused(made, end_user="ann@example.com", tags={"job": "secret-project"})
    keys = [key.decode() for key in client.keys(f"*{tag}*")]
    assert len(keys) >= 4
    assert not [key for key in keys if "ann" in key or "secret" in key or "job" in key]
    assert all(0 < client.pttl(key) <= 90_000_000 for key in keys)


def test_teams_do_not_share_end_users_of_a_limit_on_everybody() -> None:
    from mesh_plugins.defaults.charging import charge_key

    everybody = rule("r", "2 requests/hour", end_user="*", team=None)
    assert charge_key(everybody, "t1", "ann") != charge_key(everybody, "t2", "ann")
    assert charge_key(everybody, "t1", "ann").startswith("{t1}")


def test_shadow_limits_on_end_users_only_count(mesh: Callable[..., MemoryMesh]) -> None:
    world = mesh(rule("r", "1 requests/hour", end_user="*", enforce=False, distinct=1))
    assert [refused(world, end_user=f"u{n // 2}") for n in range(4)] == [None] * 4
    assert [fact.flags for fact in world.facts] == [(), *[("shadow_denied",)] * 3]


class TestDistinctMembers:
    def test_are_forgotten_after_their_period_and_known_ones_are_kept(
        self, client: redis.Redis, tag: str
    ) -> None:
        from mesh_store.model.limits import Charge, Limit

        limiter, day, start = Limiter(client), 86_400_000_000, 1_900_000_000_000_000
        limit = Limit(amount=2, period_us=day, kind="distinct", on_outage="open")

        def see(member: int, after_us: int) -> Any:
            return limiter.reserve([Charge(f"{{{tag}}}:q:d", limit, member)], now_us=start + after_us)

        assert see(1, 0).admitted
        assert see(2**52 - 1, 10).admitted
        denied = see(3, 20)
        assert not denied.admitted
        assert denied.retry_after_us == day - 20
        assert see(1, day - 30).admitted  # known, and kept from now
        assert not see(3, day - 10).admitted
        assert see(3, day + 10).admitted  # the other one was forgotten
        assert not see(4, day + 20).admitted

    async def test_are_told_apart_on_an_event_loop_too(self, aclient: Any, tag: str) -> None:
        from mesh_store.model.limits import Charge, Limit

        limit = Limit(amount=1, period_us=60_000_000, kind="distinct", on_outage="open")
        limiter = AsyncLimiter(aclient)
        assert (await limiter.reserve([Charge(f"{{{tag}}}:q:d", limit, 7)])).admitted
        assert (await limiter.reserve([Charge(f"{{{tag}}}:q:d", limit, 7)])).admitted
        assert not (await limiter.reserve([Charge(f"{{{tag}}}:q:d", limit, 8)])).admitted


def test_memory_forgets_too() -> None:
    from mesh_store.model.limits import Charge, Limit

    now = [0]
    limiter = MemoryLimiter(lambda: now[0])
    limit = Limit(amount=1, period_us=100, kind="distinct", on_outage="open")
    assert limiter.reserve([Charge("k", limit, 7)]).admitted
    assert not limiter.reserve([Charge("k", limit, 8)]).admitted
    now[0] = 101
    assert limiter.reserve([Charge("k", limit, 8)]).admitted


class TestMembersGivenBack:
    """A call that never was leaves nobody known behind it."""

    @pytest.fixture
    def seen(self, client: redis.Redis, tag: str) -> Any:
        from mesh_store.model.limits import Charge, Limit

        limit = Limit(amount=2, period_us=86_400_000_000, kind="distinct", on_outage="open")
        limiter, start = Limiter(client), 1_900_000_000_000_000

        class Seen:
            def see(self, member: int, after_us: int = 0) -> Any:
                return limiter.reserve([Charge(f"{{{tag}}}:q:d", limit, member)], now_us=start + after_us)

            def back(self, held: Any, after_us: int) -> Any:
                [charge] = held.reservation.charges
                return limiter.settle(held.reservation, (-charge.amount,), now_us=start + after_us)

            def cancel(self, held: Any, after_us: int) -> Any:
                kept = held.reservation
                return limiter.cancel(kept.id, kept.charges, now_us=start + after_us)

            def settle(self, held: Any, after_us: int) -> Any:
                return limiter.settle(held.reservation, now_us=start + after_us)

            def left(self, after_us: int) -> int:
                asked = [Charge(f"{{{tag}}}:q:d", limit, 999)]
                return limiter.peek(asked, now_us=start + after_us).remaining[0]

        return Seen()

    @pytest.mark.parametrize("way", ["back", "cancel"])
    @pytest.mark.parametrize("after_us", [1, 5_000_000, 3_600_000_000])
    def test_by_the_only_call_that_saw_it_a_member_is_forgotten(
        self, seen: Any, way: str, after_us: int
    ) -> None:
        call = seen.see(7)
        assert seen.left(after_us) == 1
        assert getattr(seen, way)(call, after_us)
        assert seen.left(after_us) == 2

    def test_by_all_that_saw_it_too_in_any_order(self, seen: Any) -> None:
        calls = [seen.see(7, n) for n in range(3)]
        for at, call in enumerate(reversed(calls)):
            assert seen.left(10) == 1
            seen.cancel(call, 10 + at)
        assert seen.left(20) == 2

    def test_but_not_once_one_of_them_is_settled(self, seen: Any) -> None:
        first, second, third = seen.see(7), seen.see(7, 1), seen.see(7, 2)
        seen.settle(second, 3)
        seen.cancel(first, 4)
        seen.cancel(third, 5)
        assert seen.left(6) == 1
        seen.cancel(seen.see(7, 7), 8)
        assert seen.left(9) == 1

    def test_nor_by_a_call_from_before_it_was_seen_anew(self, seen: Any) -> None:
        day = 86_400_000_000
        old = seen.see(7)
        fresh = seen.see(7, day + 1)
        seen.cancel(old, day + 2)
        assert seen.left(day + 3) == 1
        seen.cancel(fresh, day + 4)
        assert seen.left(day + 5) == 2

    def test_and_what_is_forgotten_leaves_no_word_behind(
        self, seen: Any, client: redis.Redis, tag: str
    ) -> None:
        seen.see(7)
        seen.see(8, 1)
        assert seen.see(9, 86_400_000_010).admitted
        assert client.zrange(f"{{{tag}}}:q:d", 0, -1) == [b"t9", b"9"]

    def test_so_what_another_tag_refuses_makes_nobody_known(
        self, seen: Any, client: redis.Redis, tag: str
    ) -> None:
        from mesh_store.model.limits import Charge, Limit

        limit = Limit(amount=2, period_us=86_400_000_000, kind="distinct", on_outage="open")
        full = Charge(f"{{user-{tag}}}:q:u", Limit(amount=1, period_us=3_600_000_000), 2)
        for member in range(10, 20):
            decision = Limiter(client).reserve([Charge(f"{{{tag}}}:q:d", limit, member), full])
            assert not decision.admitted
            assert decision.binding == 1


def test_memory_forgets_what_was_given_back_like_redis() -> None:
    from mesh_store.model.limits import Charge, Limit

    limiter = MemoryLimiter(lambda: 1)
    limit = Limit(amount=1, period_us=100, kind="distinct", on_outage="open")
    calls = [limiter.reserve([Charge("k", limit, 7)]).reservation for _ in range(2)]
    for call, others in zip(calls, (False, True), strict=True):
        assert call is not None
        limiter.cancel(call.id)
        assert limiter.peek([Charge("k", limit, 8)]).admitted is others
    known = limiter.reserve([Charge("k", limit, 8)]).reservation
    assert known is not None
    limiter.settle(known)
    again = limiter.reserve([Charge("k", limit, 8)]).reservation
    assert again is not None
    limiter.cancel(again.id)
    assert not limiter.reserve([Charge("k", limit, 9)]).admitted
