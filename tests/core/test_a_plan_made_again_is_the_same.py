"""What is kept of earlier plans changes nothing about any later one."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh_plugins.core import plan as planning
from mesh_plugins.core import planned
from mesh_plugins.core.call import CallRequest
from mesh_plugins.core.measure import measure
from mesh_plugins.core.plan import plan_call
from mesh_plugins.core.planned import Planner
from mesh_plugins.defaults import builtin_plugins
from mesh_plugins.manager import load
from mesh_plugins.markers import hookimpl
from mesh_store.model.errors import AccessDenied, ConfigError, MeshError, UnknownAlias
from mesh_store.model.limits import Limit
from mesh_store.model.snapshot import Alias, KeyEntry, Snapshot, Target, Team
from mesh_store.model.usage import Rates, Usage
from tests.core.conftest import document, rule

ONE = Target(id="x1", provider="p1", model="small")
TWO = Target(id="x2", provider="p2", model="large", tier=2, max_output_tokens=50)
DRAWN = tuple(Target(id=f"d{number}", provider="p1", model="small", weight=1) for number in range(3))
NEVER = lambda target_id: False  # noqa: E731 - one word of a table
HARD = Limit(amount=10**9, period_us=60_000_000, hard=True)


def aliases(**changes) -> tuple[Alias, ...]:
    both = ("chat", "embeddings")
    return (
        Alias(id="a1", name="one", targets=(ONE,), operations=both, timeout_us=30_000_000, **changes),
        Alias(id="a2", name="two", targets=(ONE, TWO), operations=both, defaults={"service_tier": "flex"}),
        Alias(id="a3", name="any/*", targets=(TWO,)),
        Alias(id="a4", name="drawn", targets=DRAWN),
        Alias(id="a5", name="firm", targets=(ONE, TWO), max_output_tokens=9),
    )


LIMITS = (
    rule("r1", "requests", 600, team="t1"),
    rule("r2", "tokens", 100_000, team="t1", alias="a1"),
    rule("r3", "usd", 10**15, team="t1"),
    rule("r4", "input_tokens", 10**6, provider="p2"),
    rule("r5", "concurrency", 9, target="x1", limit=Limit(amount=9, period_us=60_000_000, kind="slots")),
    rule("r6", "requests", 9, team="t1", end_user="*"),
    rule("r7", "output_tokens", 9, team="t1", tag="feature=search"),
    rule("r8", "tokens", 10**9, alias="a5", limit=HARD),
)
SNAPSHOTS = [
    Snapshot(document(aliases=aliases(), limits=LIMITS)),
    Snapshot(document(aliases=aliases(), limits=LIMITS[1:5], revision=8)),
    Snapshot(document(aliases=aliases(grants=("t2",)), limits=LIMITS, revision=9)),
    Snapshot(document(aliases=aliases(), limits=LIMITS, rates={"x1": Rates(1, 2, request=5)}, revision=10)),
    Snapshot(document(aliases=aliases()[1:], limits=(), teams=(Team("t1", "research"),), revision=11)),
]
ENTRIES = [
    KeyEntry(id="k1", team="t1"),
    KeyEntry(id="k1", team="t1", aliases=frozenset({"two"})),
    KeyEntry(id="k2", team="t2"),
]


def asked(alias="one", principal=ENTRIES[0], text="hello", **options) -> CallRequest:
    payload = {"messages": [{"role": "user", "content": text}], **options.pop("payload", {})}
    values = {"operation": "chat", "session": "s", **options}
    return CallRequest(
        "c", alias=alias, payload=payload, principal=principal, size=measure(payload), **values
    )


REQUESTS = st.builds(
    asked,
    alias=st.sampled_from(["one", "one", "two", "two", "any/thing", "drawn", "firm", "none"]),
    principal=st.sampled_from(ENTRIES),
    text=st.text(max_size=40),
    operation=st.sampled_from(["chat", "chat", "embeddings", "responses"]),
    max_tokens=st.none() | st.integers(1, 5_000),
    timeout_us=st.none() | st.integers(1, 10**8),
    tags=st.sampled_from([{}, {}, {}, {"feature": "search"}]),
    end_user=st.sampled_from([None, None, None, "ann"]),
    payload=st.sampled_from([{}, {"service_tier": "priority"}, {"max_tokens": 7}]),
)


def outcome(decide):
    """Return a plan field by field, or what refused it."""
    try:
        plan = decide()
    except MeshError as error:
        return type(error), str(error)
    return [getattr(plan, each.name) for each in dataclasses.fields(plan)]


@pytest.fixture
def hooks():
    return load((), builtin=builtin_plugins())


@settings(max_examples=60, deadline=None)
@given(
    calls=st.lists(st.tuples(REQUESTS, st.sampled_from([0, 0, 0, 1, 2, 3, 4]), st.booleans()), max_size=30)
)
def test_whatever_was_planned_before(calls):
    hooks = load((), builtin=builtin_plugins())
    failing: set[str] = set()
    planner = Planner(hooks, failing.__contains__)
    for request, number, fails in calls:
        failing.symmetric_difference_update({"x1"} if fails else set())
        snapshot = SNAPSHOTS[number]
        for _ in range(2):
            made = outcome(lambda: planner.plan(request, snapshot))  # noqa: B023 - called at once
            anew = outcome(lambda: plan_call(request, snapshot, hooks, failing.__contains__))  # noqa: B023
            assert made == anew


class Counting:
    """Counts who is asked what, and knows a price that changes from moment to moment."""

    def __init__(self):
        self.at = []

    @hookimpl
    def mesh_price(self, target, usage, snapshot, at_us):
        self.at.append(at_us)
        return at_us


def test_what_stays_the_same_is_not_asked_for_again(hooks, monkeypatch):
    planner = Planner(hooks, NEVER)
    first = planner.plan(asked(), SNAPSHOTS[0])
    monkeypatch.setattr(planned, "plan_call", None)
    again = planner.plan(asked(text="something longer"), SNAPSHOTS[0])
    assert again.estimate.input_tokens > first.estimate.input_tokens
    assert again.rules == first.rules
    assert planner.plan(asked(max_tokens=3), SNAPSHOTS[0]).estimate.output_tokens == 3


def test_targets_that_no_plan_tried_before_join_what_is_known(hooks, monkeypatch):
    planner = Planner(hooks, NEVER)
    both = Alias(id="a1", name="one", targets=(ONE, TWO))
    snapshot = Snapshot(document(aliases=(both,), limits=LIMITS))
    hooks.order_targets = type(hooks.order_targets)(
        "mesh_order_targets", [("test", lambda request: order[request.session], ("request",))]
    )
    order = {"first": (ONE,), "second": (TWO,), "both": (ONE, TWO)}
    planner.plan(asked(session="first"), snapshot)
    planner.plan(asked(session="second"), snapshot)
    monkeypatch.setattr(planned, "plan_call", None)
    assert planner.plan(asked(session="both"), snapshot).targets == (ONE, TWO)


def test_prices_are_those_of_the_moment(monkeypatch):
    counting = Counting()
    planner = Planner(load((), [counting], builtin=builtin_plugins()), NEVER)
    for now in (11, 22, 33):
        monkeypatch.setattr(planned, "now_us", lambda now=now: now)
        monkeypatch.setattr(planning, "now_us", lambda now=now: now)
        plan = planner.plan(asked(), SNAPSHOTS[0])
        taken = {limit.id: charge.amount for limit, charge in zip(plan.rules, plan.charges, strict=True)}
        assert (plan.estimate_pico_usd, taken["r3"], set(counting.at)) == (now, now, {now})
        counting.at.clear()


class Deciding:
    """A plugin that decides by more than we know of."""

    def __init__(self):
        self.asked = 0


def deciding(name):
    class Plugin(Deciding):
        @hookimpl
        def mesh_resolve(self, request, snapshot):
            self.asked += 1

        @hookimpl
        def mesh_authorize(self, request, alias, snapshot):
            self.asked += 1

        @hookimpl
        def mesh_charges(self, request, alias, target, estimate, snapshot, price):
            self.asked += 1

    for other in ("mesh_resolve", "mesh_authorize", "mesh_charges"):
        if other != name:
            delattr(Plugin, other)
    return Plugin()


@pytest.mark.parametrize("name", ["mesh_resolve", "mesh_authorize", "mesh_charges"])
def test_a_plugin_that_decides_is_asked_each_time(name):
    plugin = deciding(name)
    planner = Planner(load((), [plugin], builtin=builtin_plugins()), NEVER)
    for _ in range(3):
        planner.plan(asked(), SNAPSHOTS[0])
    assert plugin.asked == 3


def test_an_estimate_of_nothing_is_none(hooks):
    hooks.estimate = type(hooks.estimate)("mesh_estimate", [("test", lambda request: None, ("request",))])
    planner = Planner(hooks, NEVER)
    assert [planner.plan(asked(), SNAPSHOTS[0]).estimate for _ in range(2)] == [Usage(), Usage()]


def test_a_new_revision_and_a_new_entry_hold_at_once(hooks):
    planner = Planner(hooks, NEVER)
    planner.plan(asked(), SNAPSHOTS[0])
    with pytest.raises(AccessDenied):
        planner.plan(asked(), SNAPSHOTS[2])
    with pytest.raises(UnknownAlias):
        planner.plan(asked(), SNAPSHOTS[4])
    planner.plan(asked(), SNAPSHOTS[0])
    with pytest.raises(AccessDenied):
        planner.plan(asked(principal=ENTRIES[1]), SNAPSHOTS[0])


def test_a_hard_limit_asks_for_its_bound_each_time(hooks):
    planner = Planner(hooks, NEVER)
    snapshot = Snapshot(
        document(aliases=aliases(), limits=(rule("r8", "tokens", 1, alias="a1", limit=HARD),))
    )
    for cap in (5, 6_000):
        charge = planner.plan(asked(payload={"max_tokens": cap}), snapshot).charges[0]
        assert charge.amount > cap
    with pytest.raises(ConfigError, match="pass max_tokens"):
        planner.plan(asked(), snapshot)


def test_names_that_a_pattern_catches_are_not_kept_without_end(hooks):
    planner = Planner(hooks, NEVER)
    for number in range(planned.MOST_KEPT + 10):
        planner.plan(asked(f"any/{number}"), SNAPSHOTS[0])
    assert len(planner._kept[1]) <= planned.MOST_KEPT + 1


def test_each_target_takes_of_a_budget_what_it_costs_there(hooks):
    planner = Planner(hooks, NEVER)
    snapshot = Snapshot(document(aliases=aliases(), limits=LIMITS[2:3]))
    for _ in range(2):
        plan = planner.plan(asked("two", max_tokens=3), snapshot)
        first, second = (needs["r3"].amount for needs in plan.needs)
        assert second == 10 * first
        assert plan.charges[0].amount == second
