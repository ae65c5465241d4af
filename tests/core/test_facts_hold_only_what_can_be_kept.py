"""What callers and providers write about a call ends up in its fact; it must never cost the settlement."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh_plugins.core.call import ProviderReply
from mesh_plugins.core.words import LONGEST_LABEL, LONGEST_WORD
from mesh_store.model.usage import Usage
from mesh_store.telemetry.records import decode, decode_fact, encode

#: Every code point, lone surrogates and NUL among them.
anything = st.text(st.characters(codec=None)) | st.sampled_from(
    ["\ud800", "a\x00b", "x" * 10_000, "é\udfff" * 500]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=anything)
def test_any_text_of_a_caller_or_a_provider_survives_the_ring(make_world, text):
    world = make_world([ProviderReply("a", Usage(1, 1), text, text, text)])
    world.call(tags={text: text}, session=text, end_user=text)
    for record in world.recorder.records:
        assert decode(encode(record)) is not None
    fact = decode_fact(encode(world.recorder.facts[0]))
    labels = [fact.session, fact.end_user, *fact.tags, *fact.tags.values()]
    words = [fact.finish_reason, fact.response_model, fact.response_id]
    assert all(len(label) <= LONGEST_LABEL for label in labels)
    assert all(len(word) <= LONGEST_WORD for word in words)
    assert not any("\x00" in kept for kept in labels + words)


def test_a_providers_word_that_is_no_text_is_left_out(make_world):
    world = make_world([ProviderReply("a", Usage(1, 1), None, {"model": 1}, 17)])
    world.call()
    assert decode_fact(encode(world.recorder.facts[0])).response_id is None


def test_ordinary_words_stay_as_they_are(make_world):
    world = make_world([ProviderReply("a", Usage(1, 1), "stop", "größe-1", "resp_1")])
    world.call(session="séance")
    fact = world.recorder.facts[0]
    assert (fact.session, fact.response_model, fact.response_id) == ("séance", "größe-1", "resp_1")
