"""Token counts as LangChain's messages report them: what is believed, and how it adds up."""

import pytest
from langchain_core.messages import AIMessage

from mesh_plugins.hosts.langchain.usage import message_usage


def said(sent, generated, into=(), out=(), **metadata):
    """A message with these counts, and with text."""
    usage = {"input_tokens": sent, "output_tokens": generated, "total_tokens": sent + generated}
    details = {"input_token_details": dict(into), "output_token_details": dict(out)}
    return AIMessage("text", usage_metadata=usage | details, response_metadata=metadata)


class TestWhatAMessageSaysItUsed:
    def test_what_was_written_for_minutes_and_for_an_hour_adds_up(self):
        into = {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3}
        usage, _ = message_usage(said(10, 2, into))
        assert (usage.cache_write_tokens, usage.cache_write_1h_tokens) == (7, 3)

    def test_counts_under_the_name_of_a_service_are_found(self):
        usage, _ = message_usage(
            said(10, 5, {"flex_cache_read": 6}, {"flex_reasoning": 4}, service_tier="flex")
        )
        assert (usage.cache_read_tokens, usage.reasoning_tokens, usage.service) == (6, 4, "flex")

    @pytest.mark.parametrize(
        ("sent", "generated", "into", "out"),
        [
            (10, 5, {"cache_creation": 2, "ephemeral_1h_input_tokens": 3}, {}),
            (10, 5, {"cache_read": 6, "cache_creation": 5}, {}),
            (10, 5, {"audio": 11}, {}),
            (10, 5, {"image": 11}, {}),
            (10, 5, {}, {"reasoning": 6}),
            (10, 5, {}, {"audio": 6}),
            (10, 5, {"cache_read": -1}, {}),
            (10, 0, {}, {}),
        ],
    )
    def test_what_cannot_be_true_is_not_believed(self, sent, generated, into, out):
        assert message_usage(said(sent, generated, into, out)) == (None, ("usage_suspect",))

    def test_parts_as_large_as_their_wholes_are_believed(self):
        into = {"cache_read": 4, "cache_creation": 6, "ephemeral_1h_input_tokens": 6}
        usage, doubts = message_usage(said(10, 5, into, {"reasoning": 5}))
        assert usage is not None
        assert not doubts
