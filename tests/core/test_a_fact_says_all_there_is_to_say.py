"""Every field of a fact, from a call that had something to say for each."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from mesh_plugins.core.call import ProviderReply
from mesh_store.model.errors import UnknownAlias
from mesh_store.model.facts import Fact
from mesh_store.model.usage import Usage
from mesh_store.telemetry import records

TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0x00F067AA0BA902B7
EVERYTHING = Usage(
    input_tokens=1_000,
    output_tokens=200,
    cache_read_tokens=100,
    cache_write_tokens=90,
    reasoning_tokens=80,
    audio_input_tokens=70,
    audio_output_tokens=60,
    cache_write_1h_tokens=50,
    service="flex",
    image_input_tokens=40,
    image_output_tokens=30,
)
#: Of a call that was no stream, met no error, and was made with a key of no user.
NEVER = {"ttft_us", "stream", "error_type", "status", "user_id", "estimated"}


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a module in the place of OpenTelemetry's, whose current span is known."""

    def put(**context: Any) -> None:
        span = SimpleNamespace(get_span_context=lambda: SimpleNamespace(**context))
        api = SimpleNamespace(get_current_span=lambda: span)
        monkeypatch.setitem(sys.modules, "opentelemetry.trace", api)

    return put


def test_nothing_is_left_out(make_world, traced):
    traced(is_valid=True, trace_id=TRACE, span_id=SPAN)
    world = make_world([ProviderReply("x", EVERYTHING, "stop", "small-2026", "resp-1", 800, ("odd",))])
    world.call(tags={"job": "nightly"}, session="s1", end_user="u9")
    (fact,) = world.recorder.facts
    empty = {name for name in Fact.__struct_fields__ if not getattr(fact, name)}
    assert empty - {"duration_us"} == NEVER
    assert (fact.trace_id, fact.span_id) == (f"{TRACE:032x}", "00f067aa0ba902b7")
    used = {name: getattr(fact, name) for name in Usage.__struct_fields__}
    assert used == msgspec.structs.asdict(EVERYTHING)
    assert fact.settled_tokens == 1_200
    assert fact.settled_pico_usd == fact.cost_pico_usd
    said = (fact.session, fact.end_user, fact.tags, fact.flags, fact.service)
    assert said == ("s1", "u9", {"job": "nightly"}, ("odd",), "flex")
    answered = (fact.finish_reason, fact.response_model, fact.response_id)
    assert answered == ("stop", "small-2026", "resp-1")
    lost = world.recorder.intents[0].lost
    assert lost.output_tokens > 0
    assert fact.estimate_tokens == lost.estimate_tokens == lost.input_tokens + lost.output_tokens
    assert fact.estimate_pico_usd == lost.estimate_pico_usd == lost.cost_pico_usd
    same = ("call_id", "attempt", "operation", "host", "stream", "team_id", "user_id", "key_id", "alias")
    same += ("alias_id", "revision", "provider_id", "provider", "request_model", "rate_card", "session")
    same += ("end_user", "tags", "trace_id", "span_id", "reservation_id", "version")
    assert [getattr(lost, name) for name in same] == [getattr(fact, name) for name in same]
    ids = (fact.id, fact.call_id, fact.team_id, fact.key_id, fact.alias_id, fact.provider_id, fact.alias)
    assert len({*ids, fact.provider, fact.request_model, fact.rate_card, fact.reservation_id}) == 11


def test_a_refused_call_names_its_span_too(make_world, traced):
    traced(is_valid=True, trace_id=TRACE, span_id=SPAN)
    world = make_world()
    with pytest.raises(UnknownAlias):
        world.call(alias="nobody", tags={"job": "nightly"}, session="s1", end_user="u9")
    (fact,) = world.recorder.facts
    assert (fact.outcome, fact.trace_id) == ("denied", f"{TRACE:032x}")
    assert (fact.attempt, fact.status, fact.error_type) == (0, UnknownAlias("").status, "UnknownAlias")
    assert (fact.session, fact.end_user, fact.tags) == ("s1", "u9", {"job": "nightly"})
    assert (fact.alias, fact.alias_id, fact.provider_id) == ("nobody", None, None)


def test_a_lost_call_names_its_span_and_settles_at_its_estimate(make_world, traced):
    traced(is_valid=True, trace_id=TRACE, span_id=SPAN)
    world = make_world()
    world.call()
    lost = world.recorder.intents[0].lost
    assert (lost.outcome, lost.trace_id) == ("lost", f"{TRACE:032x}")
    assert (lost.settled_tokens, lost.settled_pico_usd) == (lost.estimate_tokens, lost.estimate_pico_usd)


def test_what_the_caller_says_of_its_span_comes_first(make_world, traced):
    traced(is_valid=True, trace_id=TRACE, span_id=SPAN)
    world = make_world()
    world.call(trace_id="a" * 32, span_id="b" * 16)
    assert (world.recorder.facts[0].trace_id, world.recorder.facts[0].span_id) == ("a" * 32, "b" * 16)


def test_a_span_id_that_is_no_text_does_not_cost_the_fact(make_world):
    world = make_world()
    world.call(trace_id=TRACE, span_id=SPAN)
    fact = world.recorder.facts[0]
    assert records.decode_fact(records.encode(fact)) == fact


@pytest.mark.parametrize(
    "context", [{"is_valid": False, "trace_id": 0, "span_id": 0}, {}, {"is_valid": True}]
)
def test_no_span_or_a_broken_tracer_costs_nothing(make_world, traced, context):
    traced(**context)
    world = make_world()
    assert world.call().body == "the answer"
    assert world.recorder.facts[0].trace_id is None


def test_the_span_is_that_of_opentelemetry_itself(make_world):
    trace = pytest.importorskip("opentelemetry.trace")
    context = trace.SpanContext(TRACE, SPAN, is_remote=False)
    world = make_world()
    with trace.use_span(trace.NonRecordingSpan(context)):
        world.call()
    assert world.recorder.facts[0].span_id == f"{SPAN:016x}"


def test_the_last_fact_says_what_all_attempts_took(make_world, fail):
    world = make_world([fail(status=503), ProviderReply("x", Usage(3, 4), "stop")])
    world.call()
    failed, last = world.recorder.facts
    assert (failed.settled_tokens, failed.settled_pico_usd) == (None, None)
    assert (last.settled_tokens, last.settled_pico_usd) == (7, 3 * 100 + 4 * 200)


def test_facts_of_an_older_writer_are_read(make_world):
    world = make_world()
    world.call()
    fact = world.recorder.facts[0]
    written, required = msgspec.to_builtins(fact), Fact.__struct_fields__.index("revision") + 1
    for length in range(required, len(written) + 1):
        read = records.decode_fact(msgspec.msgpack.encode(written[:length]))
        assert (read.id, read.alias, read.revision) == (fact.id, fact.alias, fact.revision)
        assert read.settled_pico_usd == (250 if length == len(written) else None)
