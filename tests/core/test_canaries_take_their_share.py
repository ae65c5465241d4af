"""A canary gets its share of the calls and not one more; who is on its side stays there."""

from __future__ import annotations

import collections
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as some

from mesh_plugins.core.call import CallRequest
from mesh_plugins.defaults.ordering import Ordering
from mesh_store.model.shares import parse_share, share_text
from mesh_store.model.snapshot import Alias, KeyEntry, Snapshot, SnapshotDocument, Target

NOTHING = Snapshot(SnapshotDocument(epoch="e", revision=1, compiled_at_us=0))
CALLS = 4_000

ORDINARY = Target(id="o1", provider="p1", model="old", weight=3)
OTHER = Target(id="o2", provider="p2", model="other", tier=2)
SHARES = some.lists(some.integers(1, 400_000), min_size=1, max_size=3).filter(
    lambda each: sum(each) <= 1_000_000
)


def canary(share: str | int, name: str = "c1") -> Target:
    return Target(
        id=name, provider="p1", model="new", canary=parse_share(share) if isinstance(share, str) else share
    )


def first(targets, user: str | None = None, **who) -> str:
    principal = KeyEntry(id="k", team="t1", user=user)
    request = CallRequest("id", "chat", "fast", {}, principal, **who)
    return Ordering().mesh_order_targets(request, targets, NOTHING)[0].id


def counted(targets, calls: int) -> collections.Counter[str]:
    return collections.Counter(first(targets, session=f"s{n}") for n in range(calls))


@given(shares=SHARES)
def test_each_canary_takes_its_share_whatever_the_others_are(shares: list[int]) -> None:
    targets = (*(canary(share, f"c{n}-{share}") for n, share in enumerate(shares)), ORDINARY, OTHER)
    seen, drawn = counted(targets, 400), 400
    for n, share in enumerate(shares):
        part = share / 1_000_000
        # Six standard deviations: wrong once in a billion.
        assert abs(seen[f"c{n}-{share}"] - drawn * part) <= 6 * sqrt(drawn * part * (1 - part)) + 1


def test_five_percent_are_five_percent() -> None:
    seen = counted((canary("5%"), ORDINARY), CALLS)
    assert abs(seen["c1"] - CALLS * 0.05) <= 6 * sqrt(CALLS * 0.05 * 0.95)


def test_calls_that_name_nobody_are_drawn_one_by_one() -> None:
    seen = collections.Counter(first((canary("50%"), ORDINARY)) for _ in range(CALLS))
    assert abs(seen["c1"] - CALLS / 2) <= 6 * sqrt(CALLS / 4)


@given(
    caller=some.text(min_size=1, max_size=40), share=some.integers(1, 999_999), more=some.integers(0, 999_999)
)
def test_a_caller_stays_on_its_side_and_a_growing_share_takes_nobody_back(caller, share, more) -> None:
    for name in ("session", "end_user"):
        before = first((canary(share), ORDINARY), **{name: caller})
        assert first((canary(share), ORDINARY), **{name: caller}) == before
        if before == "c1":
            assert first((canary(max(share, more)), ORDINARY), **{name: caller}) == "c1"


def test_a_keys_user_is_a_caller_too() -> None:
    sides = [{first((canary("50%"), ORDINARY), user=f"u{n}") for _ in range(10)} for n in range(20)]
    assert {len(side) for side in sides} == {1}
    assert set.union(*sides) == {"c1", "o1"}


@given(shares=SHARES, caller=some.text(min_size=1))
def test_one_more_canary_takes_nothing_from_those_before(shares, caller) -> None:
    targets = tuple(canary(share, f"c{n}") for n, share in enumerate(shares))
    with_all = first((*targets, ORDINARY), session=caller)
    for count in range(len(targets)):
        fewer = first((*targets[:count], ORDINARY), session=caller)
        assert fewer in (with_all, "o1")


def test_all_of_the_calls_may_go_to_a_canary() -> None:
    assert counted((canary("100%"), ORDINARY), 100) == {"c1": 100}


def test_a_canary_that_fails_falls_back_and_is_nobodys_fallback(make_world, fail) -> None:
    def made(share: str):
        alias = Alias(id="a1", name="fast", targets=(canary(share), ORDINARY, OTHER))
        return make_world(aliases=(alias,), limits=())

    on_canary, beside = made("100%"), made("0.0001%")
    answer = on_canary.sender.script[0]
    on_canary.sender.script = [fail(status=500), answer]
    on_canary.call(session="a")
    assert [call.target.id for call in on_canary.sender.calls] == ["c1", "o1"]
    beside.sender.script = [fail(status=500), answer]
    beside.call(session="a")
    assert [call.target.id for call in beside.sender.calls] == ["o1", "o2"]


@pytest.mark.parametrize(
    "text", ["0%", "101%", "5", "5 %%", "-1%", "1e1%", "NaN%", "\u0665%", "0.00001%", ""]
)
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write a share"):
        parse_share(text)


@given(some.integers(1, 1_000_000))
def test_a_share_reads_back_as_it_is_written(share: int) -> None:
    assert parse_share(share_text(share)) == share
