"""A call is refused, bounded and ordered from the snapshot alone; a refused one reaches no provider."""

from __future__ import annotations

import collections

import msgspec
import pytest

from mesh_plugins.core.parameters import output_cap
from mesh_store.model import keys
from mesh_store.model.errors import (
    AccessDenied,
    BudgetExceeded,
    ConfigError,
    InvalidKey,
    QuotaExceeded,
    UnknownAlias,
)
from mesh_store.model.limits import Decision, Limit
from mesh_store.model.snapshot import Alias, KeyEntry, Target
from mesh_store.model.usage import Rates

TARGET = Target(id="x1", provider="p1", model="small")


def assert_refused(world, error, match, **options):
    with pytest.raises(error, match=match) as caught:
        world.call(**options)
    assert not world.sender.calls
    assert not world.recorder.intents
    return caught.value


class TestWho:
    @pytest.mark.parametrize(
        "entry",
        [
            None,
            KeyEntry(id="k", team="t1", revoked=True),
            KeyEntry(id="k", team="t1", expires_at_us=1),
        ],
        ids=["unknown", "revoked", "expired"],
    )
    def test_unknown_revoked_and_expired_keys_answer_alike(self, world, entry):
        key = keys.mint()
        if entry is not None:
            world.config.entries[key.digest] = entry
        error = assert_refused(world, InvalidKey, "unknown, revoked or expired", key=key.text)
        assert key.text not in str(error)

    def test_a_typo_is_found_without_asking_anybody(self, world):
        text = keys.mint().text
        assert_refused(world, InvalidKey, "typo", key=text[:-1] + ("a" if text[-1] != "a" else "b"))

    def test_no_key_says_how_to_get_one(self, world):
        world.runtime._key = None
        assert_refused(world, InvalidKey, "MESH_KEY")

    def test_an_unknown_alias_lists_what_the_team_can_use(self, world):
        assert_refused(world, UnknownAlias, "can use: fast", alias="fsat")

    def test_a_team_without_a_grant(self, make_world):
        world = make_world(aliases=(Alias(id="a1", name="fast", grants=("t2",), targets=(TARGET,)),))
        assert_refused(world, AccessDenied, "team 'research' may not use alias 'fast'")
        assert [(f.outcome, f.attempt, f.error_type) for f in world.recorder.facts] == [
            ("denied", 0, "AccessDenied")
        ]

    def test_a_key_that_lists_other_aliases(self, make_world):
        world = make_world()
        key = keys.mint()
        world.config.entries[key.digest] = KeyEntry(id=key.id, team="t1", aliases=("slow",))
        assert_refused(world, AccessDenied, "only: slow", key=key.text)

    def test_an_archived_team(self, make_world):
        assert_refused(make_world(teams=()), AccessDenied, "archived")

    def test_an_alias_for_another_operation(self, make_world):
        world = make_world(
            aliases=(Alias(id="a1", name="fast", operations=("embeddings",), targets=(TARGET,)),)
        )
        assert_refused(world, AccessDenied, "not for chat")

    @pytest.mark.parametrize(("for_", "asked"), [("embeddings", "chat"), ("chat", "embeddings")])
    def test_an_alias_for_chat_is_not_for_embeddings_and_the_reverse(self, make_world, for_, asked):
        world = make_world(aliases=(Alias(id="a1", name="fast", operations=(for_,), targets=(TARGET,)),))
        request = world.runtime.request(asked, "fast", {"input": "x", "messages": []})
        with pytest.raises(AccessDenied, match=f"alias 'fast' is for {for_}, not for {asked}"):
            world.runtime.call(request, world.sender)
        assert not world.sender.calls

    def test_a_teams_own_alias_hides_the_global_one(self, make_world):
        own = Target(id="x2", provider="p2", model="ours")
        world = make_world(
            aliases=(
                Alias(id="a1", name="fast", targets=(TARGET,)),
                Alias(id="a2", name="fast", team="t1", targets=(own,)),
                Alias(id="a3", name="fast", team="t2", targets=(TARGET,)),
            )
        )
        world.call()
        assert world.sender.calls[0].target.model == "ours"


class TestLimits:
    def deny(self, world, **fields):
        values = {
            "admitted": False,
            "remaining": (0, 5),
            "retry_after_us": 1_500_000,
            "reset_after_us": (1, 1),
        }
        world.limiter.refuse = lambda charges: Decision(**{**values, "binding": 0, **fields})

    def test_a_refusal_names_the_limit_whose_it_is_what_is_left_and_when_to_come_back(self, world):
        self.deny(world)
        error = assert_refused(
            world, QuotaExceeded, r"team research: the limit '600 requests/min' has 0 requests left"
        )
        assert error.retry_after == 1.5
        assert (error.limit, error.subject, error.requested, error.remaining) == (
            "600 requests/min",
            "team research",
            1,
            0,
        )
        assert len(error.headroom) == 2
        assert [f.outcome for f in world.recorder.facts] == ["denied"]
        assert not world.recorder.cancels

    def test_a_call_that_can_never_fit_says_which_burst_it_would_need(self, world):
        self.deny(world, retry_after_us=None)
        assert assert_refused(world, QuotaExceeded, "at most 600 requests of it").retry_after is None

    def test_a_budget_is_told_in_dollars(self, make_world, make_rule):
        world = make_world(limits=(make_rule("r", "usd", 50, team="t1"),))
        self.deny(world, remaining=(1_500_000_000,))
        assert_refused(world, BudgetExceeded, r"has \$0\.0015\d* left")

    @pytest.mark.parametrize("dear_first", [False, True])
    def test_the_most_any_target_may_take_is_reserved(self, make_world, make_rule, dear_first):
        small, large = Target(id="x1", provider="p1", model="s"), Target(id="x2", provider="p2", model="l")
        last = msgspec.structs.replace(small if dear_first else large, tier=2)
        targets = (large, last) if dear_first else (small, last)
        world = make_world(
            limits=(make_rule("r", "usd", 50, team="t1"),),
            aliases=(Alias(id="a1", name="fast", targets=targets),),
        )
        world.call()
        dear = Rates(input=100, output=200)
        estimate = world.recorder.intents[0].lost
        assert world.limiter.asked[0][0].amount == dear.input * estimate.input_tokens + dear.output * 50

    @pytest.mark.parametrize(
        ("subject", "key"),
        [
            ({"team": "t1"}, "{t1}:q:r"),
            ({"key": "testkey1"}, "{t1}:q:r"),
            ({"team": "t1", "alias": "a1"}, "{t1}:q:r"),
            ({"alias": "a1"}, "{a1}:q:r"),
            ({"provider": "p1"}, "{p1}:q:r"),
            ({"target": "x1"}, "{x1}:q:r"),
            ({}, "{global}:q:r"),
        ],
        ids=str,
    )
    def test_limits_of_one_team_share_a_slot_and_those_that_span_teams_have_their_own(
        self, make_world, make_rule, subject, key
    ):
        world = make_world(limits=(make_rule("r", "requests", 5, **subject),))
        world.call()
        assert [charge.key for charge in world.limiter.asked[0]] == [key]

    def test_limits_of_others_do_not_bind(self, make_world, make_rule):
        world = make_world(
            limits=(make_rule("r", "requests", 5, team="t2"), make_rule("s", "requests", 5, key="x"))
        )
        world.call()
        assert world.limiter.asked == []

    def test_a_call_without_limits_still_leaves_its_fact(self, make_world):
        world = make_world(limits=())
        world.call()
        assert [f.outcome for f in world.recorder.facts] == ["ok"]
        assert len(world.recorder.intents) == 1


class TestHardLimits:
    def hard(self, make_rule):
        return make_rule(
            "r", "output_tokens", 100, team="t1", limit=Limit(amount=100, period_us=1, hard=True)
        )

    def test_reserve_the_cap_not_the_estimate(self, make_world, make_rule):
        world = make_world(limits=(self.hard(make_rule),))
        world.call(payload={"messages": [], "max_completion_tokens": 77})
        assert world.limiter.asked[0][0].amount == 77

    def test_count_every_choice(self, make_world, make_rule):
        world = make_world(limits=(self.hard(make_rule),))
        world.call(payload={"messages": [], "max_tokens": 10, "n": 3})
        assert world.limiter.asked[0][0].amount == 30

    def test_refuse_a_call_without_a_cap_and_name_the_field(self, make_world, make_rule):
        world = make_world(limits=(self.hard(make_rule),))
        assert_refused(world, ConfigError, "max_tokens", payload={"messages": []})

    def test_send_the_aliass_cap_where_the_caller_gives_none(self, make_world, make_rule):
        alias = Alias(id="a1", name="fast", targets=(TARGET,), max_output_tokens=33)
        world = make_world(limits=(self.hard(make_rule),), aliases=(alias,))
        world.call(payload={"messages": []})
        assert world.limiter.asked[0][0].amount == 33
        assert world.sender.calls[0].payload["max_tokens"] == 33

    def test_a_forced_cap_is_the_one_that_counts(self, world):
        alias = Alias(id="a1", name="fast", targets=(TARGET,), forced={"max_tokens": 500})
        assert output_cap(world.ask(), alias, TARGET) == 500


class TestOrder:
    def test_tiers_first_and_weights_within_a_tier(self, make_world):
        targets = tuple(
            Target(id=name, provider="p1", model=name, tier=tier, weight=weight)
            for name, tier, weight in [("a", 1, 3), ("b", 1, 1), ("c", 2, 100)]
        )
        world = make_world(aliases=(Alias(id="a1", name="fast", targets=targets),), limits=())
        firsts = collections.Counter()
        for _ in range(400):
            world.call()
            firsts[world.sender.calls[-1].target.id] += 1
        assert firsts["c"] == 0
        assert 240 < firsts["a"] < 360

    def test_a_session_always_goes_to_the_same_target(self, make_world):
        targets = tuple(Target(id=f"x{i}", provider="p1", model=f"m{i}") for i in range(5))
        world = make_world(aliases=(Alias(id="a1", name="fast", targets=targets),), limits=())
        for _ in range(20):
            world.call(session="s-42")
        assert len({call.target.id for call in world.sender.calls}) == 1

    def test_a_target_that_just_failed_is_tried_last(self, make_world, fail):
        targets = tuple(Target(id=f"x{i}", provider="p1", model=f"m{i}", tier=i) for i in (1, 2))
        world = make_world(aliases=(Alias(id="a1", name="fast", targets=targets),), limits=())
        answer = world.sender.script[0]
        world.sender.script = [fail(status=503), answer]
        world.call()
        world.call()
        assert [call.target.id for call in world.sender.calls] == ["x1", "x2", "x2"]


class TestParameters:
    def test_the_callers_go_over_defaults_and_forced_ones_over_all(self, make_world):
        alias = Alias(
            id="a1",
            name="fast",
            targets=(Target(id="x1", provider="p1", model="small", params={"top_p": 0.1}),),
            defaults={"temperature": 0.0, "seed": 1},
            forced={"user": "us"},
        )
        world = make_world(aliases=(alias,))
        payload = {"messages": [], "temperature": 0.9, "user": "me", "top_p": 0.9}
        world.call(payload=payload)
        sent = world.sender.calls[0].payload
        assert sent == {
            "messages": [],
            "temperature": 0.9,
            "seed": 1,
            "user": "us",
            "top_p": 0.1,
            "model": "small",
        }
        assert payload == {"messages": [], "temperature": 0.9, "user": "me", "top_p": 0.9}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"x": {"type": ["string", "null"]}}},
        {"type": "object", "properties": {"type": {"type": "string"}}},
    ],
)
def test_a_tools_schema_may_say_type_in_every_way_json_schema_has(world, schema):
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    assert world.call(payload={"messages": [], "tools": [tool]}).body == "the answer"
