"""Third parties extend Mesh with an object and a marker; their mistakes are named and contained."""

from __future__ import annotations

import msgspec
import pytest

from mesh_plugins import manager
from mesh_plugins.core.call import Receipt
from mesh_plugins.defaults import builtin_plugins
from mesh_plugins.markers import hookimpl
from mesh_store.model.errors import AccessDenied, PluginError, UnknownAlias
from mesh_store.model.facts import Done
from mesh_store.model.limits import Charge
from tests.core.ports import ANSWER


def test_a_plugin_may_refuse(make_world):
    class Curfew:
        @hookimpl
        def mesh_authorize(self, request):
            if "prod" not in request.tags:
                raise AccessDenied("only calls tagged 'prod' at night")

    world = make_world(plugins=(Curfew(),))
    with pytest.raises(AccessDenied, match="at night"):
        world.call()
    assert not world.sender.calls
    assert world.call(tags={"prod": ""}).body == "the answer"


def test_a_plugin_is_asked_before_the_built_in_one(make_world):
    class Prices:
        @hookimpl
        def mesh_price(self, target, usage):
            return usage.total_tokens * 1_000

    assert make_world(plugins=(Prices(),)).call().receipt.cost_pico_usd == 18_000


def test_a_plugin_may_add_a_limit_and_none_may_remove_one(make_world, make_rule):
    class Extra:
        @hookimpl
        def mesh_charges(self):
            rule = make_rule("extra", "requests", 3)
            return [(rule, Charge("{t1}:q:extra", rule.limit, 1))]

    world = make_world(plugins=(Extra(),))
    world.call()
    assert {charge.key for charge in world.limiter.asked[0]} == {"{t1}:q:r1", "{t1}:q:r2", "{t1}:q:extra"}


def test_a_plugin_may_redact_a_fact(make_world):
    class Redact:
        @hookimpl
        def mesh_fact(self, fact):
            import msgspec

            return msgspec.structs.replace(fact, end_user=None)

    world = make_world(plugins=(Redact(),))
    world.call(end_user="ada")
    assert world.recorder.facts[0].end_user is None


@pytest.mark.parametrize("field", ["session", "end_user", "tags", "trace_id", "user_id", "alias", "id"])
def test_what_a_plugin_masks_is_masked_in_whatever_is_written_of_a_call(make_world, fail, field):
    """In tries that failed, in what holds if the process dies, in a refusal; and the books still pair."""
    blank = {"tags": {}, "alias": "***", "id": "01890000-0000-7000-8000-00000000ffff"}.get(field)

    class Mask:
        @hookimpl
        def mesh_fact(self, fact):
            return msgspec.structs.replace(fact, **{field: blank})

    world = make_world(script=[fail(status=503), ANSWER], plugins=(Mask(),))
    said = {"session": "s1", "end_user": "ada", "tags": {"who": "ada"}, "trace_id": "t1", "span_id": "s"}
    world.call(**said)
    with pytest.raises(UnknownAlias):
        world.call(alias="none", **said)
    intents = world.recorder.intents
    assert len(intents) == 2
    written = [*world.recorder.facts, *(intent.lost for intent in intents if field != "id")]
    assert [getattr(fact, field) for fact in written] == [blank] * len(written)
    closing = {record.closes for record in world.recorder.records if isinstance(record, Done)} - {None}
    assert {intent.lost.id for intent in intents} == closing


def test_an_observer_that_fails_is_counted_named_once_and_loses_no_fact(make_world, caplog):
    class Broken:
        @hookimpl
        def mesh_fact(self, receipt: Receipt):
            raise ValueError("oops")

    world = make_world(plugins=(Broken(),))
    world.call()
    world.call()
    assert [fact.outcome for fact in world.recorder.facts] == ["ok", "ok"]
    assert (
        world.runtime.hooks.fact.failures == 4
    )  # two a call: of its fact, and of the one if the process dies
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "Broken" in caplog.text


def test_a_decider_that_fails_ends_the_call_closed_and_is_named(make_world):
    class Broken:
        @hookimpl
        def mesh_authorize(self):
            raise KeyError("x")

    world = make_world(plugins=(Broken(),))
    with pytest.raises(PluginError, match="'Broken' failed in mesh_authorize: KeyError"):
        world.call()
    assert not world.sender.calls


def load(plugin):
    return manager.load((), [plugin], builtin=builtin_plugins())


def test_a_misspelt_hook_is_an_error():
    class Typo:
        @hookimpl
        def mesh_autorize(self, request):
            return None

    with pytest.raises(PluginError, match="Typo"):
        load(Typo())


def test_a_wrong_argument_is_an_error():
    class Wrong:
        @hookimpl
        def mesh_authorize(self, reqest):
            return None

    with pytest.raises(PluginError, match="reqest"):
        load(Wrong())


def test_a_coroutine_is_refused_because_it_would_always_win():
    class Waits:
        @hookimpl
        async def mesh_price(self, target):
            return 1

    with pytest.raises(PluginError, match="plain function"):
        load(Waits())


def test_a_generator_and_a_wrapper_are_refused():
    class Yields:
        @hookimpl
        def mesh_price(self, target):
            yield 1

    class Wraps:
        @hookimpl(wrapper=True)
        def mesh_price(self, target):
            return (yield)

    for plugin in (Yields(), Wraps()):
        with pytest.raises(PluginError, match="must return its answer"):
            load(plugin)


def test_a_named_plugin_that_is_not_installed_stops_the_start():
    with pytest.raises(PluginError, match="'nobody' is not installed"):
        manager.load(["nobody"], builtin=builtin_plugins())


def test_every_hook_has_a_frozen_caller():
    from mesh_plugins import hookspecs
    from mesh_plugins.core.hooks import Hooks

    specified = {name.removeprefix("mesh_") for name in vars(hookspecs) if name.startswith("mesh_")}
    assert specified == set(Hooks.__slots__)


def test_a_price_that_fails_once_the_answer_is_here_leaves_the_money_to_the_next_plugin(make_world):
    class Prices:
        @hookimpl
        def mesh_price(self, usage):
            if not usage.estimated:
                raise KeyError("no price")

    world = make_world(plugins=(Prices(),))
    assert world.call().body == "the answer"
    assert [done.fact.cost_pico_usd for done in world.recorder.settlements] == [250]
    assert world.runtime.hooks.price.failures == 1


@pytest.mark.parametrize("nonsense", [1.5, -1, True, "2"])
def test_a_price_that_is_none_ends_the_call_before_it_is_sent_and_is_skipped_after(make_world, nonsense):
    class Prices:
        always = True

        @hookimpl
        def mesh_price(self, usage):
            return nonsense if self.always or not usage.estimated else 7

    prices = Prices()
    world = make_world(plugins=(prices,))
    with pytest.raises(PluginError, match="mesh_price answered"):
        world.call()
    assert not world.limiter.asked
    prices.always = False
    world.call()
    assert [fact.cost_pico_usd for fact in world.recorder.facts] == [250]


def test_an_observer_that_answers_something_else_than_a_fact_is_skipped(make_world):
    class Wrong:
        @hookimpl
        def mesh_fact(self, fact):
            return {"id": fact.id}

    world = make_world(plugins=(Wrong(),))
    world.call()
    assert [fact.outcome for fact in world.recorder.facts] == ["ok"]
    assert world.runtime.hooks.fact.failures == 2


def test_a_snapshot_that_arrives_while_the_mesh_is_built_reaches_the_plugins(world, monkeypatch):
    from mesh_plugins import mesh as module

    seen = []

    class Watches:
        @hookimpl
        def mesh_snapshot_changed(self, old, new):
            seen.append(new.revision)

    class Eager:
        subscriber = limiter = async_limiter = recorder = database_url = None

        def __init__(self, settings, on_snapshot, on_sample):
            on_snapshot(None, world.config.snapshot())

        def __getattr__(self, name):
            return None

    monkeypatch.setattr(module, "Connections", Eager)
    module.Mesh(module.Settings(), plugins=(Watches(),))
    assert seen == [7]
