"""``openai/*`` stands for every name under ``openai/`` that has no alias of its own."""

from __future__ import annotations

import pytest

from mesh_plugins.http.wire import openai
from mesh_store.model import keys
from mesh_store.model.errors import AccessDenied, QuotaExceeded, Rejected, UnknownAlias
from mesh_store.model.limits import Decision
from mesh_store.model.passed_prices import PassedPrices
from mesh_store.model.snapshot import Alias, KeyEntry, Provider, Snapshot, SnapshotDocument, Target
from mesh_store.model.usage import Rates

HOSTILE = [
    "", "..", "../x", "a/../b", "a//b", "/a", "a/", ".hidden", "a/.b", "%2e%2e", "a%2fb", "a?b", "a#b", "a b",
    "a\\b", "a\nb", "a\x00b", "*", "a*", "é", "\uff41", "a;b", "a&b=c", "http://x", "x" * 129, "a/" * 200,
]  # fmt: skip
USUAL = [
    "gpt-5-mini", "gpt-4o-2024-05-13", "ft:gpt-4o-mini:acme::Ab12", "claude-3@20240229", "a_b",
    "anthropic.claude-v2:0", "accounts/fireworks/models/Llama-3", "@cf/meta/llama", "x" * 128,
]  # fmt: skip


def alias(name: str, model: str = "*", **fields) -> Alias:
    target = Target(id=f"t-{name}-{fields.get('team')}", provider="p1", model=model)
    return Alias(id=f"a-{name}-{fields.get('team')}", name=name, targets=(target,), **fields)


def meant(name: str, *aliases: Alias, team: str = "t1", kind: str = "openai") -> Alias | None:
    document = SnapshotDocument(
        epoch="e",
        revision=1,
        compiled_at_us=0,
        aliases=aliases,
        providers=(Provider(id="p1", name="first", kind=kind),),
    )
    return Snapshot(document).alias(name, team)


@pytest.mark.parametrize("rest", USUAL)
def test_names_as_vendors_write_them_are_passed_on(rest: str) -> None:
    found = meant(f"openai/{rest}", alias("openai/*"))
    assert found is not None
    assert (found.name, found.targets[0].model) == ("openai/*", rest)


@pytest.mark.parametrize("rest", HOSTILE)
def test_what_could_be_more_than_a_name_is_no_name(rest: str) -> None:
    assert meant(f"openai/{rest}", alias("openai/*")) is None


def test_a_name_of_ten_thousand_characters_is_no_name() -> None:
    assert meant("openai/" + "a/" * 5_000 + "a", alias("openai/*")) is None


def test_an_alias_of_the_name_goes_first_and_then_the_longest_prefix() -> None:
    aliases = alias("v/*"), alias("v/x/*"), alias("v/x/y", "fixed"), alias("v/x/*", team="t2")
    found = [meant(name, *aliases).id for name in ("v/x/y", "v/x/z", "v/z", "v/z/x")]
    assert found == ["a-v/x/y-None", "a-v/x/*-None", "a-v/*-None", "a-v/*-None"]
    assert meant("v/x/z", *aliases, team="t2").id == "a-v/x/*-t2"
    assert meant("w/x", *aliases) is None


def test_a_team_that_is_not_granted_a_name_gets_no_other_way_to_it() -> None:
    closed = alias("v/x", "fixed", grants=("t2",))
    assert meant("v/x", alias("v/*"), closed).grants == ("t2",)


def test_targets_may_put_something_before_it_or_say_another_model() -> None:
    assert meant("v/x", alias("v/*", "accounts/us/*")).targets[0].model == "accounts/us/x"
    assert meant("v/x", alias("v/*", "always-this")).targets[0].model == "always-this"


@pytest.mark.parametrize(
    ("model", "rest", "passes"),
    [("gemini/*", "flash", True), ("gemini/*", "a/b", False), ("openrouter/*", "meta/Llama-3", True)],
)
def test_vendors_that_put_the_model_into_the_path_are_passed_one_segment(model, rest, passes) -> None:
    found = meant(f"v/{rest}", alias("v/*", model), kind="litellm")
    assert (found is not None) is passes


def test_a_caller_never_chooses_the_vendor_a_secret_goes_to() -> None:
    with pytest.raises(Rejected, match=r"write it before the '\*'"):
        meant("v/openai/gpt-5", alias("v/*"), kind="litellm")


def test_azure_is_asked_for_one_deployment_whatever_its_name(make_world) -> None:
    azure = Provider(
        id="p1",
        name="az",
        kind="openai",
        base_url="https://a.test",
        options={"azure": True, "api_version": "1"},
    )
    world = make_world(aliases=(alias("az/*"),), providers=(azure,), limits=())
    world.call(alias="az/a/b:c@d")
    assert "/openai/deployments/a%2Fb%3Ac%40d/chat" in openai._url(world.sender.calls[0])


def test_the_call_is_made_and_its_fact_names_the_pattern_and_the_model(make_world) -> None:
    world = make_world(aliases=(alias("openai/*"),), limits=())
    world.call(alias="openai/gpt-5-mini")
    [call] = world.sender.calls
    assert (call.target.model, call.payload["model"]) == ("gpt-5-mini", "gpt-5-mini")
    [fact] = world.recorder.facts
    assert (fact.alias, fact.alias_id, fact.request_model) == ("openai/*", "a-openai/*-None", "gpt-5-mini")
    [intent] = world.recorder.intents
    assert (intent.lost.alias, intent.lost.request_model) == ("openai/*", "gpt-5-mini")


def test_the_pattern_itself_cannot_be_called(make_world) -> None:
    world = make_world(aliases=(alias("openai/*"),), limits=())
    with pytest.raises(UnknownAlias, match=r"can use: openai/\*"):
        world.call(alias="openai/*")


def test_a_limit_on_the_pattern_is_one_subject(make_world, make_rule) -> None:
    caught = alias("openai/*")
    world = make_world(aliases=(caught,), limits=(make_rule("r", "requests", 5, team="t1", alias=caught.id),))
    world.call(alias="openai/a")
    world.call(alias="openai/b")
    assert [charge.key for asked in world.limiter.asked for charge in asked] == ["{t1}:q:r"] * 2
    world.limiter.refuse = lambda _: Decision(
        admitted=False, binding=0, remaining=(0,), retry_after_us=1, reset_after_us=(1,)
    )
    with pytest.raises(QuotaExceeded):
        world.call(alias="openai/c")
    assert world.recorder.facts[-1].alias == "openai/*"


def test_a_team_without_a_grant_is_refused(make_world) -> None:
    world = make_world(aliases=(alias("openai/*", grants=("t2",)),), limits=())
    with pytest.raises(AccessDenied, match="may not use alias"):
        world.call(alias="openai/a")
    assert not world.sender.calls


@pytest.mark.parametrize(
    ("listed", "asked", "may"),
    [
        ("openai/*", "openai/a", True),
        ("openai/*", "openai/own", True),
        ("openai/a", "openai/a", True),
        ("openai/a", "openai/b", False),
        ("openai/a", "openai/ab", False),
        ("openai/g/*", "openai/g/a", True),
        ("openai/g/*", "openai/a", False),
        ("openai/own", "openai/own", True),
        ("open/*", "openai/a", False),
    ],
)
def test_a_key_lists_a_name_or_everything_under_a_prefix(make_world, listed, asked, may) -> None:
    world = make_world(aliases=(alias("openai/*"), alias("openai/own", "own")), limits=())
    key = keys.mint()
    world.config.entries[key.digest] = KeyEntry(id=key.id, team="t1", aliases=(listed,))
    if may:
        world.call(alias=asked, key=key.text)
    else:
        with pytest.raises(AccessDenied, match=f"only: {listed[:4]}"):
            world.call(alias=asked, key=key.text)


def test_the_true_model_has_its_price_and_an_unknown_one_has_none(make_world) -> None:
    prices = PassedPrices(id="p1/*", models={"m": Rates(input=1, output=2), "Own": Rates(input=3, output=3)},
                          stems=("m",))  # fmt: skip
    snapshot = make_world(aliases=(alias("v/*"),), passed=(prices,), rates={}).config.snapshot()

    def rates(name: str) -> Rates | None:
        return snapshot.rates(snapshot.alias(f"v/{name}", "t1").targets[0])

    assert [rates(name) for name in ("m", "M", "m-20260101", "m-2026-01-01", "m@20260101")] == [
        Rates(input=1, output=2)
    ] * 5
    assert rates("Own") == Rates(input=3, output=3)
    assert [rates(name) for name in ("n", "m-2", "m-19990101", "Own-20260101")] == [None] * 4


def test_callers_cannot_fill_the_memory_with_names() -> None:
    table = Snapshot(
        SnapshotDocument(
            epoch="e", revision=1, compiled_at_us=0, aliases=(alias("v/*"),),
            providers=(Provider(id="p1", name="first", kind="openai"),),
        )
    )  # fmt: skip
    for number in range(5_000):
        assert table.alias(f"v/{number}", "t1").targets[0].model == str(number)
    assert len(table._aliases._caught) <= 1_024
